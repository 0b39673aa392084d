//! `echo`: the same bytes, or in upper case.

use std::io::Write;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

use super::{
    Connection, Got,
    codec::{Charset, EchoCodec, Upper},
};
use crate::Error;

/// What is read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The server's half: answers until the client has finished.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    upper: Option<Upper>,
    charset: Charset,
) -> Result<(), Error> {
    let mut codec = EchoCodec::new(upper, charset);
    while let Got::Bytes(bytes) = line.read_between().await? {
        line.send(&codec.handle_input(&bytes)).await?;
    }
    line.send(&codec.finish()).await
}

/// The client's half: sends what comes from `input`, and writes what comes back to `output`, both
/// at once, until the server has finished. Gives the bytes that came back.
///
/// # Errors
/// [`Error::Lost`], and what writing says.
pub async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    line: Connection<S>,
    mut input: mpsc::Receiver<Vec<u8>>,
    output: &mut (dyn Write + Send),
) -> Result<u64, Error> {
    let lost = |error: std::io::Error| Error::Lost(error.to_string());
    let (mut reader, mut writer) = tokio::io::split(line.into_stream());
    let send = async {
        while let Some(bytes) = input.recv().await {
            writer.write_all(&bytes).await?;
        }
        writer.shutdown().await
    };
    let receive = async {
        let mut count = 0;
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            if reader.read_buf(&mut chunk).await.map_err(lost)? == 0 {
                return Ok(count);
            }
            count += chunk.len() as u64;
            let written = output.write_all(&chunk).and_then(|()| output.flush());
            written.map_err(|error| Error::io("standard output", error))?;
        }
    };
    tokio::pin!(send, receive);
    tokio::select! {
        received = &mut receive => received,
        // What cannot be sent any more is no loss if the server has finished; what it has said counts.
        _ = &mut send => receive.await,
    }
}
