//! `echo`: the server sends the same bytes back, or in upper case.

use std::io::Write;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

use super::{
    Connection, Received,
    codec::{Charset, EchoCodec, UpperCase},
};
use crate::Error;

/// The bytes that one read takes at most.
const CHUNK_BYTES: usize = 64 * 1024;

/// The server: answers until the client has finished.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    upper: Option<UpperCase>,
    charset: Charset,
) -> Result<(), Error> {
    let mut codec = EchoCodec::new(upper, charset);
    while let Received::Bytes(bytes) = connection.read_at_boundary().await? {
        connection.send(&codec.handle_input(&bytes)).await?;
    }
    connection.send(&codec.finish()).await
}

/// The client: copies `input` to the server, and at once its answer to `output`.
///
/// Returns the number of bytes received when the server has finished.
///
/// # Errors
/// [`Error::Lost`], or [`Error::Io`] if writing fails.
pub async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    connection: Connection<S>,
    mut input: mpsc::Receiver<Vec<u8>>,
    output: &mut (dyn Write + Send),
) -> Result<u64, Error> {
    let lost = |error: std::io::Error| Error::Lost(error.to_string());
    let (mut reader, mut writer) = tokio::io::split(connection.into_stream());
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
        // A failed send is no error if the server has finished: only its answer counts.
        _ = &mut send => receive.await,
    }
}
