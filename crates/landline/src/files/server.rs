//! The server's half of `put` and `get`.

use std::sync::Arc;

use landline_proto::{ErrorCode, Header, Message, Name, messages::ErrorMessage, order::State};

use super::{
    Copied, Input, Progress,
    client::{check_mode, check_receipt},
    messages::{FileInfo, Get, Put, Ready},
    receiver::{self, Sink},
    sender,
    staging::Staging,
};
use crate::{
    Error, Event,
    net::Channel,
    server::{Account, Drain},
};

/// Serves one `files` channel until the client finishes or the server drains.
pub(crate) async fn serve(channel: &mut Channel, account: &Account, drain: &mut Drain) -> Result<(), Error> {
    loop {
        let header = tokio::select! {
            header = channel.receive_or_end(State::ServerFiles) => header?,
            () = drain.begun() => return Err(Error::here(ErrorCode::Draining, "the server is going down")),
        };
        let Some(header) = header else { return Ok(()) };
        let transfer = match header.kind() {
            Put::TYPE => put(channel, account, &header).await?,
            _ => get(channel, account, &header).await?,
        };
        if let Some(Transfer { direction, path, copied }) = transfer {
            account.report(|user, session| Event::Transfer {
                user,
                session,
                direction,
                path: String::from_utf8_lossy(&path).into_owned(),
                length: copied.length,
                digest: copied.digest.to_string(),
            });
        }
    }
}

/// A request that was answered in full.
struct Transfer {
    direction: &'static str,
    path: Vec<u8>,
    copied: Copied,
}

async fn put(channel: &mut Channel, account: &Account, header: &Header) -> Result<Option<Transfer>, Error> {
    let put: Put = header.read()?;
    check_mode(put.mode)?;
    let length = put.length;
    let root = account.root.clone();
    let prepare = move || {
        let destination = root.destination(&put.path.0, put.name.as_ref().map(|name| &name.0[..]))?;
        Staging::create(destination, put.length, put.mode, put.replace)
    };
    let Some(staging) = prepared(channel, account, prepare).await? else { return Ok(None) };
    let path = staging.destination().path_bytes();
    channel.send(&Ready { path: Name(path.clone()) })?;
    channel.flush().await?;
    let copied = receiver::receive(channel, length, Sink::File(staging), &Arc::new(Progress::default())).await?;
    Ok(Some(Transfer { direction: Put::TYPE, path, copied }))
}

async fn get(channel: &mut Channel, account: &Account, header: &Header) -> Result<Option<Transfer>, Error> {
    let get: Get = header.read()?;
    let root = account.root.clone();
    let prepare = move || root.source(&get.path.0);
    let Some(source) = prepared(channel, account, prepare).await? else { return Ok(None) };
    let path = source.name.clone().into_bytes();
    channel.send(&FileInfo { length: source.length, mode: source.mode })?;
    let copied = sender::send(channel, Input::File(source), &Arc::new(Progress::default())).await?;
    channel.flush().await?;
    check_receipt(channel, &copied).await?;
    Ok(Some(Transfer { direction: Get::TYPE, path, copied }))
}

/// Does what has to be done before the first byte. What fails here is told to the client, and the channel goes on.
async fn prepared<T: Send + 'static>(
    channel: &mut Channel,
    account: &Account,
    prepare: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<Option<T>, Error> {
    let result = tokio::task::spawn_blocking(prepare).await;
    match result.map_err(|error| Error::here(ErrorCode::Io, error.to_string()))? {
        Ok(ready) => Ok(Some(ready)),
        Err(error) => {
            account.report_failure(&error);
            let reason = error.to_peer().unwrap_or_else(|| ErrorMessage::new(ErrorCode::Io, "it failed"));
            channel.send(&reason)?;
            channel.flush().await?;
            Ok(None)
        }
    }
}
