//! The client's half of `put` and `get`.

use std::{io::Write, path::PathBuf, sync::Arc};

use landline_proto::{ErrorCode, Message, ProtocolError, order::State};

use super::{
    Copied, Input, Progress,
    messages::{Done, FileInfo, Ready},
    receiver::{self, Sink},
    sender,
    staging::Staging,
};
use crate::{Error, net::Channel, paths::Destination};

/// Where a fetched file goes.
pub enum Output {
    /// A file, which appears whole or not at all; with whether one that is there is replaced.
    File(Destination, bool),
    /// A stream, with its name for people. What was written stays written even if the copy fails.
    Stream(Box<dyn Write + Send>, &'static str),
}

/// Stores a file, after a [`Put`](super::messages::Put) that describes `input` was sent. Returns also the path that the
/// server gave it.
///
/// # Errors
/// `source-changed` and `io` for the input, what the server says, [`Error::Protocol`], [`Error::Lost`]. After an error tell the
/// server ([`Error::to_peer`]) and close.
pub async fn put(channel: &mut Channel, input: Input, progress: &Arc<Progress>) -> Result<(Copied, Vec<u8>), Error> {
    if let Some(length) = input.length() {
        progress.set_total(length);
    }
    let ready: Ready = channel.receive(State::ClientReady).await?.read()?;
    let sent = sender::send(channel, input, progress).await?;
    channel.flush().await?;
    check_receipt(channel, &sent).await?;
    Ok((sent, ready.path.0))
}

/// Fetches a file, after a [`Get`](super::messages::Get) was sent.
///
/// # Errors
/// `exists`, `no-space` and `io` for the output, `digest-mismatch`, what the server says, [`Error::Protocol`],
/// [`Error::Lost`]. After an error tell the server ([`Error::to_peer`]) and close.
pub async fn get(channel: &mut Channel, output: Output, progress: &Arc<Progress>) -> Result<Copied, Error> {
    let file: FileInfo = channel.receive(State::ClientFile).await?.read()?;
    check_mode(file.mode)?;
    progress.set_total(file.length);
    let sink = match output {
        Output::Stream(stream, name) => Sink::Stream(stream, name),
        Output::File(destination, replace) => {
            let create = move || Staging::create(destination, Some(file.length), file.mode, replace);
            let staging = tokio::task::spawn_blocking(create).await;
            Sink::File(staging.map_err(|error| Error::here(ErrorCode::Io, error.to_string()))??)
        }
    };
    receiver::receive(channel, Some(file.length), sink, progress).await
}

/// Waits for `done`, which must name what was sent.
pub(super) async fn check_receipt(channel: &mut Channel, sent: &Copied) -> Result<(), Error> {
    let done: Done = channel.receive(State::SenderDone).await?.read()?;
    if done.length == sent.length && done.digest == sent.digest {
        return Ok(());
    }
    Err(Error::here(ErrorCode::DigestMismatch, format!("{} arrived as {}", sent.digest, done.digest)))
}

/// Permission bits from the wire.
pub(super) fn check_mode(mode: u32) -> Result<(), Error> {
    if mode <= 0o777 {
        return Ok(());
    }
    Err(ProtocolError::BadHeader(format!("in {:?}: \"mode\" is above 511", FileInfo::TYPE)).into())
}

/// The bytes of a path that the server sent, for people.
pub fn shown_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}
