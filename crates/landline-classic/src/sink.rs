//! `sink`: the server receives and answers nothing.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Connection, Received};
use crate::Error;

/// The server: reads until the client has finished. A watcher of the connection sees the bytes.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
) -> Result<(), Error> {
    while let Received::Bytes(_) = connection.read_at_boundary().await? {}
    Ok(())
}
