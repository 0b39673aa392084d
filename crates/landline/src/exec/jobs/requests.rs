//! Requests about detached jobs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use landline_proto::{ErrorCode, Header, Message, login::UserName};
use landline_supervisor::{protocol::Order, signals};

use super::{
    super::messages::{
        AttachToJob, Finished, ForgetJob, KillJob, ListJobs, ReadLog, Run, SERVICE, WaitForJob,
        WatchJob,
    },
    JobTable,
    attach::attach,
    job::Job,
    keyboard::{OfferedKeyboard, check_guest, may_type},
    log::{answer_probes_until, send_log},
    no_job,
    watch::watch,
};
use crate::{
    Error,
    activity::Activity,
    keys::Facility,
    net::Channel,
    rights::{Action, EXEC, Right, Rights, WATCH},
    session::ServiceContext,
};

/// How long a job may take to end by itself when all of it is ended.
const TREE_GRACE: Duration = Duration::from_secs(5);

/// Serves a request about detached jobs, other than `attach`.
///
/// # Errors
/// Those of the request, after which the channel continues; `ended` where the session is being
/// ended, [`Error::Lost`], [`Error::Protocol`].
pub(in super::super) async fn serve_request(
    channel: &mut Channel,
    context: &ServiceContext,
    jobs: &JobTable,
    header: &Header,
) -> Result<(), Error> {
    let session = context.session();
    match header.kind() {
        ListJobs::TYPE => {
            for job in jobs.list(session) {
                channel.send(&job.info())?;
                channel.flush().await?;
            }
            channel.send(&Finished {})?;
        }
        ReadLog::TYPE => {
            let request: ReadLog = header.read()?;
            let job = jobs.find_own(session, &request.job)?;
            let sent = while_allowed(context, send_log(channel, &job, &request)).await;
            sent?;
            channel.send(&job.info())?;
        }
        WaitForJob::TYPE => {
            let request: WaitForJob = header.read()?;
            let job = jobs.find_own(session, &request.job)?;
            let mut progress = job.watch();
            channel.reader.set_notes_probes(true);
            let over = async {
                // The table holds the other end.
                let _ = progress.wait_for(|progress| progress.is_over()).await;
            };
            while_allowed(context, answer_probes_until(channel, over)).await?;
            channel.send(&job.info())?;
        }
        KillJob::TYPE => {
            let request: KillJob = header.read()?;
            let job = jobs.find_own(session, &request.job)?;
            let Some(signal) = signals::number(&request.signal) else {
                let message = "the system of the server has no such signal";
                return Err(Error::here(ErrorCode::NotFound, message));
            };
            if job.is_over() {
                let message = "the job has ended already";
                return Err(Error::here(ErrorCode::NotFound, message));
            }
            context
                .record(|user, session| Activity::JobSignal {
                    user,
                    session,
                    job: job.id().to_owned(),
                    signal: request.signal.clone(),
                    tree: request.tree,
                })
                .await?;
            // When this is answered, the program has the signal.
            job.order_and_wait(Order::Signal { signal }).await?;
            if request.tree {
                let is_kill = request.signal == "KILL";
                let grace = if is_kill { Duration::ZERO } else { TREE_GRACE };
                let order = Order::End { grace };
                match job.order_and_wait(order).await {
                    Err(error) if !job.is_over() => return Err(error),
                    _ => {}
                }
            }
            channel.send(&Finished {})?;
        }
        _ => {
            let request: ForgetJob = header.read()?;
            let (jobs, work_context) = (jobs.clone(), context.clone());
            context
                .blocking("exec forget", move |_| {
                    jobs.forget(&work_context, &request.job)
                })
                .await?;
            channel.send(&Finished {})?;
        }
    }
    channel.flush().await
}

/// The job of a request to attach, and the offer of its keyboard if it is another user's.
///
/// # Errors
/// `not-found`; `denied` if the keyboard of another user's job is not offered.
pub(in super::super) async fn find_to_attach(
    context: &ServiceContext,
    jobs: &JobTable,
    request: &AttachToJob,
) -> Result<(Arc<Job>, Option<OfferedKeyboard>), Error> {
    let user = context.user();
    let Some(owner) = other_user(context, request.user.as_ref()) else {
        return Ok((jobs.find_own(context.session(), &request.job)?, None));
    };
    let found = find_of_user(context, jobs, owner, &request.job).await;
    let offered = request.offer.map(|number| OfferedKeyboard {
        number,
        user: user.clone(),
        is_lent: AtomicBool::new(false),
    });
    match (found, offered) {
        (Ok(job), Some(offered)) if offered.is_open(&job) => {
            check_guest(context, job.user(), jobs.shares_uid()).await?;
            Ok((job, Some(offered)))
        }
        _ => {
            let message = format!("{owner} offers you no keyboard of this job");
            Err(Error::here(ErrorCode::Denied, message))
        }
    }
}

/// The user of a request, if that is not the user of the session.
fn other_user<'a>(context: &ServiceContext, user: Option<&'a UserName>) -> Option<&'a UserName> {
    user.filter(|user| user.folded() != context.user().folded())
}

/// The job of a user with this id or name.
async fn find_of_user(
    context: &ServiceContext,
    jobs: &JobTable,
    owner: &UserName,
    job: &str,
) -> Result<Arc<Job>, Error> {
    let (jobs, store, owner) = (jobs.clone(), context.store().clone(), owner.clone());
    let job = job.to_owned();
    let finding = context.blocking("exec watch", move |_| match store.account_id(&owner)? {
        Some(account) => jobs.find(&owner, account, &job),
        None => Err(no_job(&job)),
    });
    finding.await
}

/// Checks that the credential may attach to the job, and records that it does.
///
/// The input of a job may be that of a shell, so a client that gives it can run anything. That
/// needs what running a command needs. Only a job without input is just read.
///
/// # Errors
/// `credential-limited`, `denied`, `audit`, `audit-quota`.
pub(in super::super) async fn admit_attach(
    context: &ServiceContext,
    job: &Arc<Job>,
    offered: Option<&OfferedKeyboard>,
) -> Result<(), Error> {
    if job.has_input() {
        context.admit(Run::TYPE)?;
    }
    if job.has_terminal() && context.session().limits.forbidden.contains(&Facility::Pty) {
        let message = "the key of this session may have no terminal (no-pty)";
        return Err(Error::here(ErrorCode::CredentialLimited, message));
    }
    context
        .record(|user, session| Activity::JobAttach {
            user,
            session,
            job: job.id().to_owned(),
            owner: offered.is_some().then(|| job.user().clone()),
        })
        .await
}

/// Serves a client that attaches to a job. Returns whether the channel can carry a further request.
///
/// # Errors
/// As [`attach`](super::attach::attach), and `ended` where the session is being ended. The channel
/// has to end then.
pub(in super::super) async fn serve_attach(
    channel: &mut Channel,
    context: &ServiceContext,
    jobs: &JobTable,
    job: &Arc<Job>,
    request: &AttachToJob,
    offered: Option<&OfferedKeyboard>,
) -> Result<bool, Error> {
    let attaching = attach(channel, context, jobs, job, request, offered);
    let attached = if let Some(offered) = offered {
        let (name, owner) = (job.shown_name(), job.user());
        context.set_activity(&format!("typing at {name} of {owner}"));
        let attached = while_guest(context, jobs, owner, attaching).await;
        if offered.is_lent.load(Ordering::Relaxed) {
            let (job, to) = (job.id().to_owned(), owner.clone());
            context.note(|user, session| Activity::JobHandOver {
                user,
                session,
                job,
                to,
            });
        }
        attached
    } else {
        context.set_activity(&format!("attached to {}", job.shown_name()));
        while_allowed(context, attaching).await
    };
    context.set_activity(SERVICE);
    attached
}

/// Serves a client that watches the terminal of a job, its own or another user's. Returns whether
/// the channel can carry a further request.
///
/// # Errors
/// `denied`, `not-found`, after which the channel continues. Once it is served, the errors of
/// [`watch`](super::watch::watch) are in the inner result, and `ended` where the session is being
/// ended. The channel has to end then.
pub(in super::super) async fn serve_watch(
    channel: &mut Channel,
    context: &ServiceContext,
    jobs: &JobTable,
    request: &WatchJob,
) -> Result<Result<bool, Error>, Error> {
    let owner = request.user.as_ref().unwrap_or(context.user()).clone();
    let (user, root) = (context.user().clone(), context.root().clone());
    let may_watch = {
        let owner = owner.clone();
        move |rules: &Rights| {
            let action = Action::Word {
                name: WATCH.name.to_owned(),
                arguments: vec![owner.as_str().as_bytes().to_vec()],
            };
            let verdict = rules.check(&user, &action, &root);
            if owner.folded() == user.folded() || verdict.allowed {
                Ok(())
            } else {
                let message = format!("you may not watch {owner}: {}", verdict.reason);
                Err(Error::here(ErrorCode::Denied, message))
            }
        }
    };
    may_watch(&context.rights().rules())?;
    let job = find_of_user(context, jobs, &owner, &request.job).await?;
    if !job.has_terminal() || job.is_over() {
        let message = "the job has no terminal to watch, or has ended; read its output";
        return Err(Error::here(ErrorCode::NotFound, message));
    }
    context
        .record(|user, session| Activity::JobWatch {
            user,
            session,
            job: job.id().to_owned(),
            owner: owner.clone(),
        })
        .await?;
    let entry = job.enter_watcher(context);
    context.set_activity(&format!("watching {} of {owner}", job.shown_name()));
    let mut rules = context.rights().watch();
    // They may have changed since they were looked at.
    rules.mark_changed();
    let still = move |rules: &Rights| may_watch(rules).is_ok();
    let watched = tokio::select! {
        biased;
        error = context.connection().terminated() => Err(error),
        never = context.terminate_on_revocation(&mut rules, "watch this job", still) => match never {},
        done = watch(channel, &job, entry.number, request.terminal) => done,
    };
    context.set_activity(SERVICE);
    Ok(watched)
}

/// Serves a guest, as long as the session lives and the user may type at the terminals of `owner`.
async fn while_guest<T>(
    context: &ServiceContext,
    jobs: &JobTable,
    owner: &UserName,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut rules = context.rights().watch();
    // They may have changed since the request was admitted.
    rules.mark_changed();
    let (user, root, owner) = (
        context.user().clone(),
        context.root().clone(),
        owner.clone(),
    );
    let share_uid = jobs.shares_uid();
    let still = move |rules: &Rights| may_type(rules, &user, &owner, &root, share_uid);
    tokio::select! {
        biased;
        error = context.connection().terminated() => Err(error),
        never = context.terminate_on_revocation(&mut rules, "type at this job", still) => match never {},
        done = work => done,
    }
}

/// Does something that may take long, as long as the session lives and the user may run commands.
async fn while_allowed<T>(
    context: &ServiceContext,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut rules = context.rights().watch();
    // They may have changed since the request was admitted.
    rules.mark_changed();
    let user = context.user().clone();
    let still = move |rules: &Rights| rules.has(&user, Right::Word(EXEC.name));
    tokio::select! {
        biased;
        error = context.connection().terminated() => Err(error),
        never = context.terminate_on_revocation(&mut rules, "run commands", still) => match never {},
        done = work => done,
    }
}
