//! The client's half of `put` and `get`.

use std::{io::Write, sync::Arc};

use landline_proto::{ErrorCode, Message, Name, ProtocolError};

use super::{
    Algorithm, Copied, Input, Progress,
    digest::BLOCK_BYTES,
    messages::{FILE, FileInfo, Get, Have, Put, READY, Ready, SourceId},
    partial::{Manifest, Partials},
    receiver::{self, Sink},
    sender,
    staging::{self, Plan, Staging},
};
use crate::{Error, crypto::Fingerprint, net::Channel, paths::Destination};

/// Where a fetched file goes.
pub enum Output {
    /// A file, which appears whole or not at all.
    File(Box<Place>),
    /// A stream, with its name for people. What was written stays written even if the copy fails.
    Stream(Box<dyn Write + Send>, &'static str),
}

/// The place for a fetched file.
pub struct Place {
    /// Where it is.
    pub destination: Destination,
    /// Whether a file that is there is replaced.
    pub replace: bool,
    /// What is known of an earlier try; see [`Earlier::find`].
    pub earlier: Earlier,
}

/// What an earlier try at fetching a file has left, if there was one; locked against other
/// processes for as long as this lives.
pub struct Earlier {
    manifest: Option<Manifest>,
    is_named: bool,
    have: Option<Have>,
}

impl Earlier {
    /// Looks for an earlier try at fetching `path` from the server with this fingerprint to this
    /// place. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn find(
        partials: &Partials,
        server: &Fingerprint,
        path: &Name,
        destination: &Destination,
    ) -> Result<Self, Error> {
        match partials.claim(&[b"get", server.bytes(), &path.0, &destination.path_bytes()])? {
            Some(manifest) => {
                let have = staging::retained(destination, &manifest)?
                    .map(|(source, offset)| Have { source, offset });
                Ok(Self {
                    manifest: Some(manifest),
                    is_named: true,
                    have,
                })
            }
            None => Ok(Self {
                manifest: partials.unnamed()?,
                is_named: false,
                have: None,
            }),
        }
    }

    /// Forgets it: the copy begins anew.
    ///
    /// # Errors
    /// What the system says.
    pub fn forget(&mut self) -> Result<(), Error> {
        self.have = None;
        self.manifest
            .as_mut()
            .map_or(Ok(()), |manifest| manifest.keep(0))
    }

    /// What to ask the rest for.
    pub(crate) fn have(&self) -> Option<Have> {
        self.have.clone()
    }
}

/// The request that stores `input`.
pub fn put_request(
    input: &Input,
    path: Name,
    name: Option<Name>,
    replace: bool,
    restart: bool,
) -> Put {
    let source = match input {
        // What is shorter than a block has nothing to resume.
        Input::File(source) if source.length > BLOCK_BYTES => Some(SourceId::of(source)),
        _ => None,
    };
    let algorithm = Algorithm::Blake3;
    Put {
        path,
        name,
        length: input.length(),
        mode: input.mode(),
        replace,
        source,
        restart,
        algorithm,
    }
}

/// Stores a file, after [`put_request`] of `input` was sent. Returns also the path that the server
/// gave it.
///
/// # Errors
/// `source-changed` and `io` for the input, what the server says, [`Error::Protocol`],
/// [`Error::Lost`]. After an error tell the server ([`Error::to_peer`]) and close.
pub async fn put(
    channel: &mut Channel,
    input: Input,
    progress: &Arc<Progress>,
) -> Result<(Copied, Vec<u8>), Error> {
    let ready: Ready = channel.receive(&READY).await?.read()?;
    check_offset(Ready::TYPE, ready.offset, input.length())?;
    progress.begin(input.length(), ready.offset);
    let sent = sender::send(channel, input, ready.offset, progress).await?;
    Ok((sent, ready.path.0))
}

/// The request that fetches `path` to `output`.
pub fn get_request(path: Name, output: &Output) -> Get {
    let have = match output {
        Output::File(place) => place.earlier.have(),
        Output::Stream(..) => None,
    };
    Get { path, have }
}

/// Fetches a file, after [`get_request`] for `output` was sent.
///
/// # Errors
/// `exists`, `no-space` and `io` for the output, `digest-mismatch`, what the server says,
/// [`Error::Protocol`], [`Error::Lost`]. After an error tell the server ([`Error::to_peer`]) and
/// close.
pub async fn get(
    channel: &mut Channel,
    output: Output,
    progress: &Arc<Progress>,
) -> Result<Copied, Error> {
    let file: FileInfo = channel.receive(&FILE).await?.read()?;
    check_mode(file.mode)?;
    check_offset(FileInfo::TYPE, file.offset, Some(file.length))?;
    let sink = match output {
        Output::Stream(..) if file.offset > 0 => return Err(unwanted_offset(FileInfo::TYPE)),
        Output::Stream(stream, name) => Sink::Stream(stream, name),
        Output::File(place) => {
            let Place {
                destination,
                replace,
                earlier,
            } = *place;
            let plan = Plan {
                length: Some(file.length),
                mode: file.mode,
                replace,
                manifest: earlier.manifest,
                source: earlier.is_named.then_some(file.source),
                offset_max: file.offset,
            };
            let staging =
                tokio::task::spawn_blocking(move || Staging::open(destination, plan)).await;
            Sink::File(Box::new(staging.map_err(|error| {
                Error::here(ErrorCode::Io, error.to_string())
            })??))
        }
    };
    if sink.position() != file.offset {
        return Err(Error::here(
            ErrorCode::Io,
            "what was there of the file is gone; the next try begins anew",
        ));
    }
    progress.begin(Some(file.length), file.offset);
    let (length, algorithm) = (Some(file.length), Algorithm::Blake3);
    let copied = receiver::receive(
        channel,
        length,
        sink,
        algorithm,
        progress,
        || Ok(()),
        |_| Ok(()),
    )
    .await?;
    receiver::acknowledge(channel, &copied).await?;
    Ok(copied)
}

/// What is there from an earlier try: whole blocks, and not all of it.
pub(super) fn check_offset(kind: &str, offset: u64, length: Option<u64>) -> Result<(), Error> {
    let sound = offset == 0
        || offset.is_multiple_of(BLOCK_BYTES) && length.is_some_and(|length| offset < length);
    if sound {
        Ok(())
    } else {
        Err(unwanted_offset(kind))
    }
}

fn unwanted_offset(kind: &str) -> Error {
    ProtocolError::BadHeader(format!("in {kind:?}: \"offset\" is not what can be there")).into()
}

/// Permission bits from the wire.
pub(super) fn check_mode(mode: u32) -> Result<(), Error> {
    if mode <= 0o777 {
        return Ok(());
    }
    Err(ProtocolError::BadHeader("\"mode\" is above 511".into()).into())
}
