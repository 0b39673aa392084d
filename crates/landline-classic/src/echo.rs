//! `echo`: the server sends the same bytes back, or in upper case.

use std::{io::Write, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, watch},
};

use super::{
    Connection, Direction, Received,
    codec::{EchoCodec, Encodings, UpperCase},
};
use crate::{Error, Wording, error::STANDARD_OUTPUT};

/// The bytes that one read takes at most.
const CHUNK_BYTES: usize = 64 * 1024;
/// The pause after which an answer that is long enough has ended.
const END_PAUSE: Duration = Duration::from_millis(300);

/// The server: answers until the client has finished.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    upper: Option<UpperCase>,
    encodings: Encodings,
) -> Result<(), Error> {
    let mut codec = EchoCodec::new(upper, encodings);
    while let Received::Bytes(bytes) = connection.read_at_boundary().await? {
        connection.send(&codec.handle_input(&bytes)?).await?;
    }
    connection.send(&codec.finish()?).await
}

/// The client: copies `input` to the server, and at once its answer to `output`.
///
/// It ends when the server has finished, or when as many bytes came back as were sent. When all is
/// sent and nothing comes back for `wait`, it fails.
///
/// # Errors
/// [`Error::Lost`], also if too few bytes came back, or [`Error::Io`] if writing fails.
pub async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    connection: Connection<S>,
    encodings: Encodings,
    mut input: mpsc::Receiver<Vec<u8>>,
    wait: Duration,
    output: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let lost = |error: std::io::Error| Error::Lost(Wording::of_system(&error));
    let (stream, mut unread, watcher) = connection.into_parts();
    let watch = |direction, bytes: &[u8]| {
        if let Some(watcher) = &watcher {
            watcher(direction, bytes);
        }
    };
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (sent, mut expected) = watch::channel(Expected::new(encodings.reversed()));
    let send = async {
        while let Some(bytes) = input.recv().await {
            watch(Direction::Send, &bytes);
            sent.send_modify(|expected| expected.add(&bytes));
            writer.write_all(&bytes).await?;
        }
        sent.send_modify(|expected| expected.is_complete = true);
        writer.shutdown().await
    };
    let receive = async {
        let mut count = 0;
        loop {
            let limit = expected.borrow_and_update().wait_time(count, wait);
            let mut chunk = std::mem::take(&mut unread);
            if chunk.is_empty() {
                chunk.reserve(CHUNK_BYTES);
                let read = tokio::select! {
                    read = reader.read_buf(&mut chunk) => Some(read.map_err(lost)?),
                    changed = expected.changed(), if limit.is_none() => {
                        if changed.is_ok() {
                            continue;
                        }
                        Some(reader.read_buf(&mut chunk).await.map_err(lost)?)
                    }
                    () = sleep(limit) => None,
                };
                if let Some(read) = read {
                    watch(Direction::Recv, &chunk);
                    if read == 0 {
                        let why = Wording::new("the server has finished", "服务器已结束");
                        return expected.borrow().check(count, &why);
                    }
                } else {
                    let seconds = wait.as_secs_f64();
                    let why = Wording::new(
                        format!("nothing more has come for {seconds} s"),
                        format!("{seconds} 秒内没有再收到"),
                    );
                    return expected.borrow().check(count, &why);
                }
            }
            count += chunk.len() as u64;
            let written = output.write_all(&chunk).and_then(|()| output.flush());
            written.map_err(|error| Error::io(STANDARD_OUTPUT, error))?;
        }
    };
    tokio::pin!(send, receive);
    tokio::select! {
        received = &mut receive => received,
        // A failed send is no error if the server has finished: only its answer counts.
        _ = &mut send => receive.await,
    }
}

/// Waits for a time, or for ever.
async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// What a server of `echo` must send back.
struct Expected {
    sent: u64,
    /// The bytes of the upper case, which can be fewer.
    upper: u64,
    codec: EchoCodec,
    is_complete: bool,
}

impl Expected {
    fn new(encodings: Encodings) -> Self {
        Self {
            sent: 0,
            upper: 0,
            codec: EchoCodec::new(Some(UpperCase::Unicode), encodings),
            is_complete: false,
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.sent += bytes.len() as u64;
        // Bytes that are no text come back as they are.
        self.upper += self
            .codec
            .handle_input(bytes)
            .map_or(bytes.len() as u64, |upper| upper.len() as u64);
    }

    /// How long to wait for more after `count` bytes; `None` while there is more to send.
    fn wait_time(&self, count: u64, wait: Duration) -> Option<Duration> {
        let is_enough = count >= self.sent;
        self.is_complete
            .then(|| if is_enough { END_PAUSE.min(wait) } else { wait })
    }

    /// Checks that enough bytes came back.
    fn check(&self, count: u64, why: &Wording) -> Result<(), Error> {
        if count >= self.sent.min(self.upper) {
            return Ok(());
        }
        let sent = self.sent;
        Err(Error::Lost(Wording::new(
            format!("{count} of {sent} bytes came back; {}", why.english),
            format!("{sent} 字节只回来 {count} 字节；{}", why.chinese),
        )))
    }
}
