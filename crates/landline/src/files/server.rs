//! The server's part of `put` and `get`, and the definition of the service.

use std::sync::Arc;

use landline_proto::{ErrorCode, Header, Message, Name, login::UserName};

use super::{
    Algorithm, ContentHasher, Copied, Input, ManifestStore, Progress, QuotaReservation,
    client::{check_mode, check_offset},
    delta::{COMPARED_BYTES_MIN, receive_changes, send_changes},
    early::{AnnouncedEarly, Early},
    entries::{self, messages::WORKING},
    messages::{
        Compare, DELTA, EARLY_FEATURE, FileInfo, Get, Put, RECEIVER_DATA, RECEIVER_FINISH,
        REQUESTS, Ready, SENDER, SERVICE, SourceId, TYPES,
    },
    receiver::{self, Sink},
    sender,
    staging::{Plan, Resume, Staging},
    tree::{
        self,
        messages::{GetTree, PutTree, TREE},
        worker::Worker,
    },
};
use crate::{
    Error,
    activity::{Activity, Direction},
    net::Channel,
    paths::SourceFile,
    rights::{Right, Rights},
    session::{Service, ServiceContext, ServiceDefinition, ServiceFuture, WorkUnit},
};

pub(crate) static DEFINITION: ServiceDefinition = ServiceDefinition {
    name: SERVICE,
    features: &[
        "files.put",
        "files.get",
        "files.resume",
        EARLY_FEATURE,
        "files.delta",
        "files.list",
        "files.change",
        "files.tree",
    ],
    types: TYPES,
    requests: &REQUESTS,
    other_states: &[
        &RECEIVER_DATA,
        &RECEIVER_FINISH,
        &SENDER,
        &DELTA,
        &WORKING,
        &TREE,
    ],
    // A transfer needs the right of its request until it ends.
    rights: &[
        ("put", Right::Write),
        ("get", Right::Read),
        ("data", Right::Write),
        ("finish", Right::Write),
        ("done", Right::Read),
        ("delta", Right::Read),
        ("list", Right::Read),
        ("sum", Right::Read),
        ("usage", Right::Read),
        ("space", Right::Read),
        ("make-folder", Right::Write),
        ("move", Right::Write),
        ("remove", Right::Write),
        ("put-tree", Right::Write),
        ("get-tree", Right::Read),
        ("tree", Right::Read),
        ("error", Right::Account),
    ],
    words: &[],
    // A digest tells about content, as `get` does.
    request_features: &[
        ("put", "files.put"),
        ("get", "files.get"),
        ("sum", "files.get"),
        ("list", "files.list"),
        ("usage", "files.list"),
        ("space", "files.list"),
        ("make-folder", "files.change"),
        ("move", "files.change"),
        ("remove", "files.change"),
        ("put-tree", "files.put"),
        ("get-tree", "files.get"),
    ],
    kept_by: Right::Read,
};

/// The server's part of the service `files`.
pub(crate) struct FilesService {
    pub(crate) manifests: ManifestStore,
}

impl Service for FilesService {
    fn definition(&self) -> &'static ServiceDefinition {
        &DEFINITION
    }

    fn serve<'a>(
        &'a self,
        channel: &'a mut Channel,
        context: &'a ServiceContext,
    ) -> ServiceFuture<'a> {
        Box::pin(async move {
            while let Some(header) = context.next_request(channel).await? {
                match header.kind() {
                    Put::TYPE => self.put(channel, context, &header).await?,
                    Get::TYPE => get(channel, context, &header).await?,
                    PutTree::TYPE => {
                        let manifests = &self.manifests;
                        tree::server::put_tree(channel, context, manifests, &header).await?;
                    }
                    GetTree::TYPE => tree::server::get_tree(channel, context, &header).await?,
                    _ => entries::server::serve(channel, context, &header).await?,
                }
                context.set_activity(SERVICE);
            }
            Ok(())
        })
    }
}

/// Makes the activity of a complete transfer.
fn transfer(
    user: UserName,
    session: String,
    direction: Direction,
    path: Vec<u8>,
    copied: &Copied,
) -> Activity {
    Activity::Transfer {
        user,
        session,
        direction,
        path: Name(path),
        length: copied.length,
        digest: copied.digest.to_string(),
    }
}

impl FilesService {
    async fn put(
        &self,
        channel: &mut Channel,
        context: &ServiceContext,
        header: &Header,
    ) -> Result<(), Error> {
        let put: Put = header.read()?;
        check_mode(put.mode)?;
        let mut announced = AnnouncedEarly::of(header, &put)?;
        let (length, algorithm) = (put.length, put.algorithm);
        let (can_compare, has_holes) = (put.can_compare(), put.has_holes());
        // Watched before the request is checked, so that no change of the rules is missed.
        let mut rules = context.rights().watch();
        let now = rules.borrow_and_update().clone();
        let manifests = self.manifests.clone();
        let preparing = context.clone();
        let prepare = move |_: &WorkUnit| prepare_put(&manifests, &preparing, put, &now);
        let staging = match context.blocking("files put", prepare).await {
            Ok(staging) => staging,
            Err(error) => {
                context.answer_failure(channel, error).await?;
                return context.receive_body(channel, header).await.map(drop);
            }
        };
        let path = staging.destination().path_bytes();
        context.set_activity(&format!("files put {}", String::from_utf8_lossy(&path)));
        let compared = length.filter(|_| has_holes || can_compare && staging.can_compare());
        if staging.position() > 0 {
            // What an earlier attempt left is more.
            announced = AnnouncedEarly::default();
        }
        // The answer does not wait for the body, so that the client continues at once.
        channel.send(&Ready {
            path: Name(path.clone()),
            offset: match compared {
                Some(_) => staging.arrived(),
                None => staging.position() + announced.length,
            },
            compare: compared.is_some(),
        })?;
        channel.flush().await?;
        let heartbeat = staging.heartbeat();
        let progress = Arc::new(Progress::default());
        let still = still_may(context, path.clone(), true);
        let (recording, still_then, stored) = (context.clone(), still.clone(), path.clone());
        // Just before the file gets its name: no file is stored without its line in the log.
        let record = move |copied: &Copied| {
            check_still_allowed(&recording, still_then)?;
            recording.record_blocking(|user, session| {
                transfer(user, session, Direction::Put, stored, copied)
            })
        };
        let receiving = async {
            let mut content = context.receive_body(channel, header).await?;
            if let Some(length) = compared {
                drop(content);
                let worker = Worker::Server(context, "files put");
                let received = receive_changes(channel, staging, length, &worker, &progress);
                let (staging, copied) = received.await?;
                return receiver::commit(Sink::File(Box::new(staging)), copied, record).await;
            }
            let AnnouncedEarly {
                length: taken,
                digest,
            } = announced;
            content.truncate(usize::try_from(taken).unwrap_or(usize::MAX));
            let early = Early { content, digest };
            let sink = Sink::File(Box::new(staging));
            receiver::receive(channel, length, sink, algorithm, early, &progress, record).await
        };
        let copied = tokio::select! {
            biased;
            never = context.terminate_on_revocation(&mut rules, "write this file", still) => {
                match never {}
            }
            copied = receiving => copied?,
            () = heartbeat.preempted() => {
                let message = "another attempt at the same transfer has taken over";
                return Err(Error::here(ErrorCode::Superseded, message));
            }
        };
        receiver::acknowledge(channel, &copied).await
    }
}

/// Prepares to store a file, before its first byte arrives.
///
/// # Blocking
/// Writes to the disk and the database.
fn prepare_put(
    manifests: &ManifestStore,
    context: &ServiceContext,
    put: Put,
    now: &Rights,
) -> Result<Staging, Error> {
    let user = context.user();
    let path = now.locate(user, &put.path.0)?;
    let destination = context.root().open_destination(
        now.files(user),
        &path,
        put.name.as_ref().map(|name| &name.0[..]),
    )?;
    record_start(
        context,
        Direction::Put,
        destination.path_bytes(),
        put.length,
    )?;
    let resume = if put.restart {
        Resume::Never
    } else if put.can_compare() || put.has_holes() {
        Resume::Compare
    } else {
        Resume::At(u64::MAX)
    };
    let uses_replaced = put.can_compare() && put.compare.uses_replaced();
    let source = put.source;
    // A user cannot resume the transfer of another user to the same name.
    let named = match &source {
        Some(source) => manifests.lock(
            &[b"put", user.as_str().as_bytes(), &destination.path_bytes()],
            |header| {
                put.length
                    .is_some_and(|length| header.has_source(source, length))
            },
        )?,
        None => None,
    };
    // Another attempt may still be receiving what a disconnected client had sent.
    let has_other_attempt = named.is_none() && source.is_some();
    let (manifest, source) = match named {
        Some(manifest) => (Some(manifest), source),
        None => (manifests.anonymous()?, None),
    };
    // What is compared tells the client about the content.
    let place = destination.path_bytes();
    let may_read_replaced = context.admit(Get::TYPE).is_ok()
        && now.check_place(user, &place, false, context.root()).allowed;
    let plan = Plan {
        length: put.length,
        mode: put.mode,
        replace: put.replace,
        manifest,
        source,
        resume,
        may_read_replaced,
        uses_replaced,
    };
    let mut staging = Staging::open(destination, plan)?;
    let quota = context.rights().quota(user);
    if let Some(reservation) = QuotaReservation::for_user(context.work_store(), user, quota) {
        staging
            .count_against(reservation, put.length)
            .map_err(|error| match error {
                Error::Failed {
                    code: ErrorCode::NoSpace,
                    ..
                } if has_other_attempt => Error::here(
                    ErrorCode::TooManySessions,
                    "another attempt at the same transfer is still active, and the quota has no space for both",
                ),
                error => error,
            })?;
    }
    Ok(staging)
}

impl Put {
    /// Whether the content can be compared with what is there.
    fn can_compare(&self) -> bool {
        let is_asked = self.compare != Compare::Nothing && !self.restart;
        is_asked && self.can_send_parts()
    }

    /// Whether the content has holes, which are sent as such.
    fn has_holes(&self) -> bool {
        self.holes && self.can_send_parts()
    }

    fn can_send_parts(&self) -> bool {
        let is_long = |length| length >= COMPARED_BYTES_MIN;
        self.length.is_some_and(is_long) && self.algorithm == Algorithm::Blake3
    }
}

async fn get(
    channel: &mut Channel,
    context: &ServiceContext,
    header: &Header,
) -> Result<(), Error> {
    let get: Get = header.read()?;
    let mut rules = context.rights().watch();
    let now = rules.borrow_and_update().clone();
    let located = now.locate(context.user(), &get.path.0);
    let path = match located {
        Ok(path) => path.into_owned(),
        Err(error) => {
            context.answer_failure(channel, error).await?;
            return Ok(());
        }
    };
    let still = still_may(context, path.clone(), false);
    let preparing = context.clone();
    let takes_holes = get.holes;
    let prepare = move |_: &WorkUnit| -> Result<(SourceFile, bool), Error> {
        let source = preparing
            .root()
            .open_source(now.files(preparing.user()), &path)?;
        let name = source.name.clone().into_bytes();
        record_start(&preparing, Direction::Get, name, Some(source.length))?;
        let sends_holes = takes_holes && source.has_holes();
        Ok((source, sends_holes))
    };
    let (source, sends_holes) = match context.blocking("files get", prepare).await {
        Ok(prepared) => prepared,
        Err(error) => {
            context.answer_failure(channel, error).await?;
            return Ok(());
        }
    };
    let path = source.name.clone().into_bytes();
    context.set_activity(&format!("files get {}", source.name));
    let source_id = SourceId::of(&source);
    // Bytes of another version of the file are of no use.
    let offset = match get.have {
        Some(have) if have.source == source_id && get.compare == Compare::Nothing => {
            check_offset(Get::TYPE, have.offset, Some(source.length))?;
            have.offset
        }
        _ => 0,
    };
    let is_compared = (get.compare != Compare::Nothing || sends_holes)
        && get.algorithm == Algorithm::Blake3
        && source.length >= COMPARED_BYTES_MIN;
    channel.send(&FileInfo {
        length: source.length,
        mode: source.mode,
        source: source_id,
        offset: if is_compared { 0 } else { offset },
        compare: is_compared,
    })?;
    let source = Arc::new(source);
    let progress = Arc::new(Progress::default());
    let sending = async {
        if is_compared {
            let worker = Worker::Server(context, "files get");
            let may_stop = get.compare != Compare::Always;
            return send_changes(channel, source, &worker, &progress, 0, may_stop).await;
        }
        let input = Input::File(source);
        let hasher = ContentHasher::new(get.algorithm);
        sender::send(channel, input, offset, hasher, &progress).await
    };
    let copied = tokio::select! {
        biased;
        never = context.terminate_on_revocation(&mut rules, "read this file", still) => {
            match never {}
        }
        copied = sending => copied?,
    };
    // Not durable: the client has the content already.
    context.note(|user, session| transfer(user, session, Direction::Get, path, &copied));
    Ok(())
}

/// Records that a transfer begins.
///
/// # Blocking
/// Waits for the audit log.
pub(super) fn record_start(
    context: &ServiceContext,
    direction: Direction,
    path: Vec<u8>,
    length: Option<u64>,
) -> Result<(), Error> {
    context.record_blocking(|user, session| Activity::TransferStart {
        user,
        session,
        direction,
        path: Name(path),
        length,
    })
}

/// Makes a check whether given rules still let the user read or write this path.
pub(super) fn still_may(
    context: &ServiceContext,
    place: Vec<u8>,
    is_write: bool,
) -> impl Fn(&Rights) -> bool + Clone + Send + use<> {
    let context = context.clone();
    move |rules| {
        let verdict = rules.check_place(context.user(), &place, is_write, context.root());
        verdict.allowed
    }
}

/// Checks the account and its rights once more, just before the commit.
///
/// They may have been revoked while the last bytes arrived.
///
/// # Blocking
/// Reads the database.
pub(super) fn check_still_allowed(
    context: &ServiceContext,
    still: impl Fn(&Rights) -> bool,
) -> Result<(), Error> {
    let ended = |reason: &str| Err(Error::here(ErrorCode::Ended, reason));
    let reason = context
        .store()
        .revocation_reason(context.user(), &context.session().credential)?;
    match reason {
        Some(reason) => ended(reason),
        None if !still(&context.rights().rules()) => {
            ended("the right to write this file was revoked")
        }
        None => Ok(()),
    }
}
