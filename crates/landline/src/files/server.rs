//! The server's half of `put` and `get`.

use std::sync::Arc;

use landline_proto::{ErrorCode, Header, Message, Name, messages::ErrorMessage, order::State};
use tokio::sync::watch;

use super::{
    Algorithm, Copied, Input, Progress,
    client::{check_mode, check_offset},
    messages::{FileInfo, Get, Put, Ready, SERVICE, SourceId},
    receiver::{self, Sink},
    sender,
    staging::{Plan, Staging},
};
use crate::{
    Error, Event,
    audit::Entry,
    net::Channel,
    rights::{Action, Right, Rights},
    session::{Drain, ServiceContext, draining_error},
};

/// The rules in force, and those that come into force while a file is on its way.
type Rules = watch::Receiver<Arc<Rights>>;

/// Serves one `files` channel until the client finishes or the server drains.
pub(crate) async fn serve(
    channel: &mut Channel,
    account: &ServiceContext,
    drain: &mut Drain,
) -> Result<(), Error> {
    let mut rules = account.rights.watch();
    let mut had_files = false;
    loop {
        let header = tokio::select! {
            biased;
            () = drain.begun() => return Err(draining_error()),
            never = account.end_without(&mut rules, Right::Read, &mut had_files) => match never {},
            header = channel.receive_or_end(State::ServerFiles) => header?,
        };
        let Some(header) = header else { return Ok(()) };
        let transfer = match header.kind() {
            Put::TYPE => put(channel, account, &header, &mut rules).await?,
            _ => get(channel, account, &header, &mut rules).await?,
        };
        account.connection.is_doing(SERVICE);
        if let Some(Transfer {
            direction,
            path,
            copied,
        }) = transfer
        {
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

impl Transfer {
    fn entry(&self, user: String, session: String) -> Entry {
        let Copied { length, digest } = self.copied;
        let (direction, path) = (self.direction, Name(self.path.clone()));
        Entry::Transfer {
            user,
            session,
            direction,
            path,
            length,
            digest: digest.to_string(),
        }
    }
}

async fn put(
    channel: &mut Channel,
    account: &ServiceContext,
    header: &Header,
    rules: &mut Rules,
) -> Result<Option<Transfer>, Error> {
    let put: Put = header.read()?;
    check_mode(put.mode)?;
    let (length, algorithm) = (put.length, put.algorithm);
    let now = rules.borrow_and_update().clone();
    account.log_pace.wait_to_log(put.path.0.len()).await;
    let prepare = prepare_put(account, put, now);
    let Some(staging) = prepared(channel, account, prepare).await? else {
        return Ok(None);
    };
    let path = staging.destination().path_bytes();
    account
        .connection
        .is_doing(&format!("files put {}", String::from_utf8_lossy(&path)));
    channel.send(&Ready {
        path: Name(path.clone()),
        offset: staging.position(),
    })?;
    channel.flush().await?;
    let pulse = staging.pulse();
    let progress = Arc::new(Progress::default());
    let still = still_may(account, Action::Write(path.clone()));
    let objection = objection(account, still.clone());
    let (audit, user, session) = (
        account.audit.clone(),
        account.user().to_string(),
        account.session.id.clone(),
    );
    let stored = path.clone();
    // Beside the commit: whatever ends the session meanwhile, what is stored is in the log.
    let record = move |copied: &Copied| {
        let transfer = Transfer {
            direction: Put::TYPE,
            path: stored,
            copied: *copied,
        };
        audit.record_blocking(transfer.entry(user, session))
    };
    let sink = Sink::File(Box::new(staging));
    let receiving = receiver::receive(
        channel, length, sink, algorithm, &progress, objection, record,
    );
    let copied = tokio::select! {
        biased;
        never = account.end_unless(rules, "write this file", still) => match never {},
        copied = receiving => copied?,
        () = pulse.give_way() => {
            let message = "nothing has come for a while, and another try at the same copy has begun";
            return Err(Error::here(ErrorCode::Superseded, message));
        }
    };
    receiver::acknowledge(channel, &copied).await?;
    Ok(Some(Transfer {
        direction: Put::TYPE,
        path,
        copied,
    }))
}

/// What has to be done before the first byte of a file that is to be stored, in a thread that may
/// block.
fn prepare_put(
    account: &ServiceContext,
    put: Put,
    now: Arc<Rights>,
) -> impl FnOnce() -> Result<Staging, Error> + Send + use<> {
    let (root, partials, user) = (
        account.root.clone(),
        account.partials.clone(),
        account.user().clone(),
    );
    let (begins, allowance) = (begins(account, Put::TYPE), account.allowance());
    move || {
        now.admit(&user, State::ServerFiles, Put::TYPE)?;
        let destination = root.destination(
            now.files(&user),
            &put.path.0,
            put.name.as_ref().map(|name| &name.0[..]),
        )?;
        begins(destination.path_bytes(), put.length)?;
        let Put {
            length,
            mode,
            replace,
            source,
            restart,
            algorithm,
            ..
        } = put;
        let source = source.filter(|_| algorithm == Algorithm::Blake3);
        // One user's copies are nothing to another, whatever the name.
        let named = match &source {
            Some(_) => {
                partials.claim(&[b"put", user.as_str().as_bytes(), &destination.path_bytes()])?
            }
            None => None,
        };
        // It may be all that a client that is gone has sent, which is still on its way.
        let is_tried_already = named.is_none() && source.is_some();
        let (manifest, source) = match named {
            Some(manifest) => (Some(manifest), source),
            None => (partials.unnamed()?, None),
        };
        let offset_max = if restart { 0 } else { u64::MAX };
        let plan = Plan {
            length,
            mode,
            replace,
            manifest,
            source,
            offset_max,
        };
        let mut staging = Staging::open(destination, plan)?;
        if let Some(allowance) = allowance {
            staging.count_against(allowance, length).map_err(|error| match error {
                Error::Failed { code: ErrorCode::NoSpace, .. } if is_tried_already => {
                    let message = "another try at the same copy is still busy, and the quota has no room for both";
                    Error::here(ErrorCode::TooManySessions, message)
                }
                error => error,
            })?;
        }
        Ok(staging)
    }
}

async fn get(
    channel: &mut Channel,
    account: &ServiceContext,
    header: &Header,
    rules: &mut Rules,
) -> Result<Option<Transfer>, Error> {
    let get: Get = header.read()?;
    account.log_pace.wait_to_log(get.path.0.len()).await;
    let (root, user, now) = (
        account.root.clone(),
        account.user().clone(),
        rules.borrow_and_update().clone(),
    );
    let still = still_may(account, Action::Read(get.path.0.clone()));
    let path = get.path.0;
    let begins = begins(account, Get::TYPE);
    let prepare = move || {
        now.admit(&user, State::ServerFiles, Get::TYPE)?;
        let source = root.source(now.files(&user), &path)?;
        begins(source.name.clone().into_bytes(), Some(source.length))?;
        Ok(source)
    };
    let Some(source) = prepared(channel, account, prepare).await? else {
        return Ok(None);
    };
    let path = source.name.clone().into_bytes();
    account
        .connection
        .is_doing(&format!("files get {}", source.name));
    let source_id = SourceId::of(&source);
    // What the client has is of use only if it is of this very file.
    let offset = match get.have {
        Some(have) if have.source == source_id => {
            check_offset(Get::TYPE, have.offset, Some(source.length))?;
            have.offset
        }
        _ => 0,
    };
    channel.send(&FileInfo {
        length: source.length,
        mode: source.mode,
        source: source_id,
        offset,
    })?;
    let input = Input::File(Arc::new(source));
    let progress = Arc::new(Progress::default());
    let copied = tokio::select! {
        biased;
        never = account.end_unless(rules, "read this file", still) => match never {},
        copied = sender::send(channel, input, offset, &progress) => copied?,
    };
    let transfer = Transfer {
        direction: Get::TYPE,
        path,
        copied,
    };
    // The client has it: nothing can be held back any more.
    account.note(|user, session| transfer.entry(user, session));
    Ok(Some(transfer))
}

/// What writes down that a copy begins, in a thread that may block.
fn begins(
    account: &ServiceContext,
    direction: &'static str,
) -> impl FnOnce(Vec<u8>, Option<u64>) -> Result<(), Error> + use<> {
    let (audit, user, session) = (
        account.audit.clone(),
        account.user().to_string(),
        account.session.id.clone(),
    );
    move |path, length| {
        audit.record_blocking(Entry::TransferStart {
            user,
            session,
            direction,
            path: Name(path),
            length,
        })
    }
}

/// Whether by some rules the user may still do what is being done.
fn still_may(
    account: &ServiceContext,
    action: Action,
) -> impl Fn(&Rights) -> bool + Clone + Send + 'static {
    let (root, user) = (account.root.clone(), account.user().clone());
    move |rules| rules.check(&user, &action, &root).allowed
}

/// Looks once more, at the last moment, in a thread that may block: what was taken back while the
/// last bytes came ends the copy, too.
fn objection<S: Fn(&Rights) -> bool + Send + 'static>(
    account: &ServiceContext,
    still: S,
) -> impl FnOnce() -> Result<(), Error> + use<S> {
    let (rights, store) = (account.rights.clone(), account.store.clone());
    let (user, key) = (account.user().clone(), account.session.key.clone());
    move || {
        let ended = |reason: &str| Err(Error::here(ErrorCode::Ended, reason));
        match store.objection(&user, &key)? {
            Some(reason) => ended(reason),
            None if !still(&rights.rules()) => ended("the right to write this file was taken back"),
            None => Ok(()),
        }
    }
}

/// Does what has to be done before the first byte. What fails here is told to the client, and the
/// channel goes on.
async fn prepared<T: Send + 'static>(
    channel: &mut Channel,
    account: &ServiceContext,
    prepare: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<Option<T>, Error> {
    let result = tokio::task::spawn_blocking(prepare).await;
    match result.map_err(|error| Error::here(ErrorCode::Io, error.to_string()))? {
        Ok(ready) => Ok(Some(ready)),
        Err(error) => {
            account.report_failure(&error);
            let reason = error
                .to_peer()
                .unwrap_or_else(|| ErrorMessage::new(ErrorCode::Io, "it failed"));
            channel.send(&reason)?;
            channel.flush().await?;
            Ok(None)
        }
    }
}
