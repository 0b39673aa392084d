//! The client's part of `put` and `get`.

use std::{io::Write, os::unix::ffi::OsStringExt, sync::Arc};

use landline_proto::{ErrorCode, Message, Name, ProtocolError};

use super::{
    Algorithm, Copied, Input, Progress,
    digest::BLOCK_BYTES,
    manifests::{Manifest, ManifestStore},
    messages::{FILE_INFO, FileInfo, Get, Have, Put, READY, Ready, SourceId},
    receiver::{self, Sink},
    sender,
    staging::{self, Plan, Staging},
};
use crate::{Error, crypto::Fingerprint, net::Channel, paths::Destination};

/// The destination of a fetched file.
pub enum Output {
    /// A file, which is replaced atomically.
    File(Box<Place>),
    /// A stream, with its display name. A failed transfer may have written some bytes.
    Stream(Box<dyn Write + Send>, &'static str),
}

/// The file to write, and what an earlier attempt left of it.
pub struct Place {
    /// The file's path, with its open folder.
    pub destination: Destination,
    /// Whether to replace an existing file.
    pub replace: bool,
    /// The earlier attempt; see [`EarlierAttempt::find`].
    pub earlier: EarlierAttempt,
}

/// What an earlier attempt to fetch a file left, if there was one.
///
/// Locked against other processes until it is dropped. The default is none: a transfer with it
/// cannot be resumed.
#[derive(Default)]
pub struct EarlierAttempt {
    manifest: Option<Manifest>,
    is_named: bool,
    have: Option<Have>,
}

impl EarlierAttempt {
    /// Looks for an earlier attempt to fetch `path` from `server` to `destination`.
    ///
    /// # Errors
    /// [`Error::State`].
    ///
    /// # Blocking
    /// Reads the disk, and may wait some seconds for another attempt.
    pub fn find(
        manifests: &ManifestStore,
        server: &Fingerprint,
        path: &Name,
        destination: &Destination,
    ) -> Result<Self, Error> {
        let place = destination.absolute_path().into_os_string().into_vec();
        // A transfer of the client is not preempted.
        let locked = manifests.lock(&[b"get", server.bytes(), &path.0, &place], |_| false)?;
        match locked {
            Some(manifest) => {
                let have = staging::find_resumable(destination, &manifest)?
                    .map(|(source, offset)| Have { source, offset });
                Ok(Self {
                    manifest: Some(manifest),
                    is_named: true,
                    have,
                })
            }
            None => Ok(Self {
                manifest: manifests.anonymous()?,
                is_named: false,
                have: None,
            }),
        }
    }

    /// Drops what the attempt left, so that the transfer starts over.
    ///
    /// # Errors
    /// [`Error::State`] or `io` of the manifest.
    pub fn forget(&mut self) -> Result<(), Error> {
        self.have = None;
        self.manifest
            .as_mut()
            .map_or(Ok(()), |manifest| manifest.truncate(0))
    }

    /// What the client has, for the request.
    pub(crate) fn have(&self) -> Option<Have> {
        self.have.clone()
    }
}

/// Makes the request that stores `input`.
pub fn put_request(
    input: &Input,
    path: Name,
    name: Option<Name>,
    replace: bool,
    restart: bool,
) -> Put {
    let source = match input {
        // A shorter file has no whole block to resume behind.
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

/// Stores a file, after [`put_request`] was sent. Returns also the path on the server.
///
/// # Errors
/// `source-changed` and `io` for the input, errors of the server, [`Error::Protocol`],
/// [`Error::Lost`]. The caller then has to report the error to the server ([`Error::to_peer`])
/// and close.
pub async fn put(
    channel: &mut Channel,
    input: Input,
    progress: &Arc<Progress>,
) -> Result<(Copied, Vec<u8>), Error> {
    let ready: Ready = channel.receive(&READY).await?.read()?;
    check_offset(Ready::TYPE, ready.offset, input.length())?;
    progress.begin(input.length(), ready.offset);
    let sent = sender::send(channel, input, ready.offset, Algorithm::Blake3, progress).await?;
    Ok((sent, ready.path.0))
}

/// Makes the request that fetches `path` to `output`.
pub fn get_request(path: Name, output: &Output) -> Get {
    let have = match output {
        Output::File(place) => place.earlier.have(),
        Output::Stream(..) => None,
    };
    let algorithm = Algorithm::Blake3;
    Get {
        path,
        have,
        algorithm,
    }
}

/// Fetches a file, after [`get_request`] was sent.
///
/// # Errors
/// `exists`, `no-space` and `io` for the output, `digest-mismatch`, errors of the server,
/// [`Error::Protocol`], [`Error::Lost`]. The caller then has to report the error to the server
/// ([`Error::to_peer`]) and close.
pub async fn get(
    channel: &mut Channel,
    output: Output,
    progress: &Arc<Progress>,
) -> Result<Copied, Error> {
    let file: FileInfo = channel.receive(&FILE_INFO).await?.read()?;
    check_mode(file.mode)?;
    check_offset(FileInfo::TYPE, file.offset, Some(file.length))?;
    let sink = match output {
        Output::Stream(..) if file.offset > 0 => return Err(bad_offset(FileInfo::TYPE)),
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
            "the staging file of the earlier attempt is gone; the next attempt starts over",
        ));
    }
    progress.begin(Some(file.length), file.offset);
    let (length, algorithm) = (Some(file.length), Algorithm::Blake3);
    let copied = receiver::receive(channel, length, sink, algorithm, progress, |_| Ok(())).await?;
    receiver::acknowledge(channel, &copied).await?;
    Ok(copied)
}

/// Checks an offset to resume at: whole blocks, and less than the whole file.
pub(super) fn check_offset(kind: &str, offset: u64, length: Option<u64>) -> Result<(), Error> {
    let is_valid = offset == 0
        || offset.is_multiple_of(BLOCK_BYTES) && length.is_some_and(|length| offset < length);
    if is_valid {
        Ok(())
    } else {
        Err(bad_offset(kind))
    }
}

fn bad_offset(kind: &str) -> Error {
    ProtocolError::BadHeader(format!(
        "in {kind:?}: \"offset\" is not one that can be resumed at"
    ))
    .into()
}

/// Checks permission bits from the peer.
pub(super) fn check_mode(mode: u32) -> Result<(), Error> {
    if mode <= 0o777 {
        return Ok(());
    }
    Err(ProtocolError::BadHeader("\"mode\" is above 511".into()).into())
}
