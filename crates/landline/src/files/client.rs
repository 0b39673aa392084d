//! The client's part of `put` and `get`.

use std::{io::Write, os::unix::ffi::OsStringExt, sync::Arc};

use landline_proto::{ErrorCode, Message, Name, ProtocolError};

use super::{
    Algorithm, ContentHasher, Copied, Input, Progress,
    delta::{SUBTREE_BYTES, receive_changes, send_changes},
    early::Early,
    manifests::{Manifest, ManifestStore},
    messages::{
        Compare, EARLY_FEATURE, FILE_INFO, FileInfo, Get, Put, READY, Ready, SERVICE, SourceId,
    },
    receiver::{self, Sink},
    sender,
    staging::{self, Plan, Resume, Staging},
    tree::worker::Worker,
};
use crate::{Error, crypto::Fingerprint, login::FirstRequest, net::Channel, paths::Destination};

/// The shortest file whose transfer can be resumed.
const RESUMABLE_BYTES_MIN: u64 = 8 << 20;

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
    /// With what the content may be compared.
    pub compare: Compare,
}

/// What an earlier attempt to fetch a file left, if there was one.
///
/// Locked against other processes until it is dropped. The default is none: a transfer with it
/// cannot be resumed.
#[derive(Default)]
pub struct EarlierAttempt {
    manifest: Option<Manifest>,
    is_named: bool,
    has_content: bool,
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
                let has_content = staging::has_resumable(destination, &manifest)?;
                Ok(Self {
                    manifest: Some(manifest),
                    is_named: true,
                    has_content,
                })
            }
            None => Ok(Self {
                manifest: manifests.anonymous()?,
                is_named: false,
                has_content: false,
            }),
        }
    }

    /// Drops what the attempt left, so that the transfer starts over.
    pub fn forget(&mut self) {
        self.has_content = false;
    }
}

/// Makes the request that stores `input`.
///
/// With `restart`, the transfer starts over and nothing is compared.
pub fn put_request(
    input: &Input,
    path: Name,
    name: Option<Name>,
    replace: bool,
    restart: bool,
    compare: Compare,
) -> Put {
    let source = input.source();
    let source = source.filter(|source| source.length > RESUMABLE_BYTES_MIN);
    let compare = match input.source() {
        Some(_) if !restart => compare,
        _ => Compare::Nothing,
    };
    let holes = input.has_holes();
    let source = source.map(|source| SourceId::of(source));
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
        compare,
        digest: None,
        holes,
    }
}

/// A request that stores a file, with the beginning of the content.
pub struct PutFlight {
    /// What is sent.
    pub first: FirstRequest,
    early: Option<Early>,
    compare: Compare,
    holes: bool,
}

impl PutFlight {
    /// The request, with `is_early` and the beginning of a file. So the content arrives one round
    /// trip earlier.
    ///
    /// The server drops the content if it refuses the request or has something to compare. A server
    /// that does not take content so early gets the request alone.
    ///
    /// # Errors
    /// `io`, and [`Error::Protocol`] if the request is too long for a header.
    ///
    /// # Blocking
    /// Reads the disk.
    pub fn new(request: &Put, input: &Input, is_early: bool) -> Result<Self, Error> {
        let alone = Self {
            first: FirstRequest::new(SERVICE, request)?,
            early: None,
            compare: request.compare,
            holes: request.holes,
        };
        // With this comparison, there is nearly always something to compare. Holes are sent as
        // changed parts.
        if !is_early || request.compare == Compare::Always || request.holes {
            return Ok(alone);
        }
        let Some(early) = Early::read(input)? else {
            return Ok(alone);
        };
        let request = Put {
            digest: early.digest,
            ..request.clone()
        };
        let first = FirstRequest::with_body(SERVICE, &request, &early.content)?;
        Ok(Self {
            first: first.or_without(EARLY_FEATURE, alone.first),
            early: Some(early),
            compare: alone.compare,
            holes: alone.holes,
        })
    }
}

/// Stores a file, after `sent` was sent. Returns also the path on the server.
///
/// # Errors
/// `source-changed` and `io` for the input, errors of the server, [`Error::Protocol`],
/// [`Error::Lost`]. The caller then has to report the error to the server ([`Error::to_peer`])
/// and close.
pub async fn put(
    channel: &mut Channel,
    input: Input,
    sent: PutFlight,
    progress: &Arc<Progress>,
) -> Result<(Copied, Vec<u8>), Error> {
    let PutFlight {
        early,
        compare,
        holes,
        ..
    } = sent;
    let ready: Ready = channel.receive(&READY).await?.read()?;
    let early = early
        .filter(|early| !ready.compare && ready.offset == early.content.len() as u64)
        .unwrap_or_default();
    let mut hasher = ContentHasher::new(Algorithm::Blake3);
    hasher.update(&early.content);
    if early.content.is_empty() {
        check_offset(Ready::TYPE, ready.offset, input.length())?;
        progress.begin(input.length(), ready.offset);
    } else {
        progress.begin(input.length(), 0);
        progress.add(early.content.len());
    }
    if let Some(digest) = early.digest {
        let length = hasher.length();
        let sent = Copied { length, digest };
        sender::receive_done(channel, &sent).await?;
        return Ok((sent, ready.path.0));
    }
    if ready.compare {
        let was_offered = compare != Compare::Nothing || holes;
        let Some(source) = input.source().filter(|_| was_offered) else {
            return Err(not_compared(Ready::TYPE));
        };
        progress.set_compared();
        let (source, may_stop) = (source.clone(), compare != Compare::Always);
        let worker = Worker::Client;
        let sent = send_changes(channel, source, &worker, progress, ready.offset, may_stop).await?;
        return Ok((sent, ready.path.0));
    }
    let sent = sender::send(channel, input, ready.offset, hasher, progress).await?;
    Ok((sent, ready.path.0))
}

/// Makes the request that fetches `path` to `output`.
pub fn get_request(path: Name, output: &Output) -> Get {
    let compare = match output {
        Output::File(place) => place.compare(),
        Output::Stream(..) => Compare::Nothing,
    };
    Get {
        path,
        have: None,
        algorithm: Algorithm::Blake3,
        compare,
        holes: matches!(output, Output::File(_)),
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
    if file.offset > 0 {
        return Err(bad_offset(FileInfo::TYPE));
    }
    let (length, algorithm) = (file.length, Algorithm::Blake3);
    let sink = match output {
        Output::Stream(..) if file.compare => return Err(not_compared(FileInfo::TYPE)),
        Output::Stream(stream, name) => Sink::Stream(stream, name),
        Output::File(place) => {
            let compare = place.compare();
            let Place {
                destination,
                replace,
                earlier,
                compare: allowed,
            } = *place;
            let plan = Plan {
                length: Some(file.length),
                mode: file.mode,
                replace,
                manifest: earlier.manifest,
                source: earlier.is_named.then_some(file.source),
                resume: if file.compare && earlier.has_content {
                    Resume::Compare
                } else {
                    Resume::Never
                },
                may_read_replaced: allowed.uses_replaced(),
                uses_replaced: file.compare && compare.uses_replaced(),
            };
            let staging =
                tokio::task::spawn_blocking(move || Staging::open(destination, plan)).await;
            let staging =
                staging.map_err(|error| Error::here(ErrorCode::Io, error.to_string()))??;
            progress.begin(Some(length), staging.arrived());
            if file.compare {
                progress.set_compared();
                let worker = Worker::Client;
                let (staging, copied) =
                    receive_changes(channel, staging, length, &worker, progress).await?;
                let sink = Sink::File(Box::new(staging));
                let copied = receiver::commit(sink, copied, |_| Ok(())).await?;
                receiver::acknowledge(channel, &copied).await?;
                return Ok(copied);
            }
            Sink::File(Box::new(staging))
        }
    };
    progress.begin(Some(length), 0);
    let early = Early::default();
    let record = |_: &Copied| Ok(());
    let received = receiver::receive(
        channel,
        Some(length),
        sink,
        algorithm,
        early,
        progress,
        record,
    );
    let copied = received.await?;
    receiver::acknowledge(channel, &copied).await?;
    Ok(copied)
}

impl Place {
    /// With what this transfer compares the content, as the request says it.
    fn compare(&self) -> Compare {
        let has_replaced = self.destination.replaced_mode.is_some();
        match self.compare {
            Compare::Replaced | Compare::Always if has_replaced => self.compare,
            Compare::Nothing => Compare::Nothing,
            _ if self.earlier.has_content => Compare::Earlier,
            _ => Compare::Nothing,
        }
    }
}

impl Compare {
    /// Whether the content of the file that is replaced may be compared.
    pub(super) fn uses_replaced(self) -> bool {
        matches!(self, Self::Replaced | Self::Always)
    }
}

fn not_compared(kind: &str) -> Error {
    let problem = format!("in {kind:?}: \"compare\", which was not offered");
    ProtocolError::BadHeader(problem).into()
}

/// Checks an offset to resume at: whole subtrees, and less than the whole file.
pub(super) fn check_offset(kind: &str, offset: u64, length: Option<u64>) -> Result<(), Error> {
    let is_valid = offset == 0
        || offset.is_multiple_of(SUBTREE_BYTES) && length.is_some_and(|length| offset < length);
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
