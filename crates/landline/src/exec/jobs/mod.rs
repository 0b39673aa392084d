//! Detached jobs: they continue without a client and without a server.
//!
//! Each job has a folder, which holds its record, its output and its end. The folders are the only
//! list of jobs: a server that starts reads them, and adopts those whose supervisor holds the
//! lock. A supervisor and its server never trust a process id.

mod allowed;
mod attach;
mod begin;
mod beginning;
mod input;
mod job;
mod keyboard;
mod log;
mod overview;
mod record;
mod requests;
mod resizer;
mod screen;
mod watch;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use landline_proto::{ErrorCode, login::UserName};
use tokio::task::JoinSet;

pub(super) use self::{
    begin::Begun,
    job::Job,
    keyboard::OfferedKeyboard,
    record::{COMMAND_BYTES_MAX as JOB_COMMAND_BYTES_MAX, RecordedWords, check_name, now},
    requests::{admit_attach, find_to_attach, serve_attach, serve_request, serve_watch},
};
use self::{
    job::{Fate, Orders, Phase},
    record::JobRecord,
};
use super::{server::describe, supervisor::Supervisor};
use crate::{
    Error,
    activity::Activity,
    audit::{Audit, Priority},
    paths::{PrivateFolder, Root},
    rights::RightsFile,
    session::{ServiceContext, Session},
    store::{AccountId, AccountRecord, Store},
};

/// The folder of all jobs in the server's state.
const FOLDER: &str = "jobs";
/// How many jobs of one user may run at a time.
const RUNNING_MAX: usize = 32;
/// How many jobs of one user that have ended are kept.
const ENDED_MAX: usize = 1000;
/// What one job may keep of its output, in bytes.
pub(super) const OUTPUT_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// What all jobs of one user may keep, in bytes: as many as may run have room.
const USER_BYTES_MAX: u64 = RUNNING_MAX as u64 * OUTPUT_BYTES_MAX;
/// How long a job that has ended is kept.
const KEPT_TIME: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// How often old jobs are removed.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// How long a server that starts waits for the supervisors to answer.
pub(super) const ADOPTION_TIME: Duration = Duration::from_millis(400);
/// How long a program may take to end whose right is gone, before the server ends it without its
/// supervisor.
pub(super) const END_TIME_MAX: Duration = Duration::from_millis(1200);
/// The time until rights are looked at again after that failed.
const RETRY_TIME: Duration = Duration::from_secs(1);

/// The detached jobs of a server. Cloning gives another handle to the same.
#[derive(Clone)]
pub(crate) struct JobTable(Arc<Jobs>);

struct Jobs {
    folder: PrivateFolder,
    parts: JobTableParts,
    /// By id.
    jobs: Mutex<BTreeMap<String, Arc<JobEntry>>>,
    /// Those that the adoption takes up.
    found: Mutex<Vec<(Arc<JobEntry>, Orders)>>,
    /// The folders that cannot be used, and why.
    unreadable: Mutex<Vec<(String, String)>>,
}

/// A job in the table.
struct JobEntry {
    job: Arc<Job>,
    /// The bytes on disk once it is over.
    bytes: Mutex<u64>,
}

/// What the table works with.
pub(crate) struct JobTableParts {
    pub(crate) store: Arc<Store>,
    pub(crate) rights: Arc<RightsFile>,
    pub(crate) root: Arc<Root>,
    pub(crate) audit: Audit,
    /// Whether users who are no owners may run commands.
    pub(crate) share_uid: bool,
}

impl JobTable {
    /// Reads the jobs in the server's state.
    ///
    /// # Errors
    /// [`Error::State`].
    ///
    /// # Blocking
    /// Reads the disk.
    pub(crate) fn open(state: &PrivateFolder, parts: JobTableParts) -> Result<Self, Error> {
        let folder = state.subfolder(FOLDER)?;
        let (mut jobs, mut found) = (BTreeMap::new(), Vec::new());
        let mut unreadable = Vec::new();
        for id in folder.names()? {
            // A folder that cannot be read is left alone, for people to look at.
            let job_folder = match folder.subfolder(&id) {
                Ok(job_folder) => job_folder,
                Err(error) => {
                    unreadable.push((id, error.to_string()));
                    continue;
                }
            };
            match JobRecord::read(&job_folder) {
                Some(record) if record.id == id => {
                    let (job, orders) = Job::new(record, job_folder, Phase::Silent);
                    let entry = Arc::new(JobEntry::new(job));
                    jobs.insert(id, entry.clone());
                    found.push((entry, orders));
                }
                // The server ended before the record was written, so nothing was started.
                None if job_folder.names().is_ok_and(|names| names.is_empty()) => {
                    let _ = folder.remove_subfolder(&id);
                }
                _ => unreadable.push((id, "its record cannot be read".to_owned())),
            }
        }
        let shared = Jobs {
            folder,
            parts,
            jobs: Mutex::new(jobs),
            found: Mutex::new(found),
            unreadable: Mutex::new(unreadable),
        };
        Ok(Self(Arc::new(shared)))
    }

    /// Adopts the jobs that were found: connects to those that run, and finds out how the others
    /// ended. Those that do not answer soon are adopted later.
    pub(crate) async fn adopt(&self) {
        for (job, message) in std::mem::take(&mut *lock(&self.0.unreadable)) {
            self.note_unreadable(&job, message);
        }
        let found = std::mem::take(&mut *lock(&self.0.found));
        let mut waiting = JoinSet::new();
        for (entry, orders) in found {
            let mut progress = entry.job.watch();
            self.follow(entry, None, orders);
            waiting.spawn(async move {
                let is_known =
                    |progress: &job::JobProgress| !matches!(progress.phase, Phase::Silent);
                let _ = progress.wait_for(is_known).await;
            });
        }
        let all = async { while waiting.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(ADOPTION_TIME, all).await;
        self.end_without_right().await;
    }

    /// Ends jobs whose right was revoked, and removes old ones. Never returns.
    pub(crate) async fn watch(self) {
        let mut rules = self.0.parts.rights.watch();
        let mut changes = self.0.parts.store.subscribe();
        let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
        loop {
            let is_change = tokio::select! {
                Ok(()) = rules.changed() => true,
                Ok(()) = changes.changed() => true,
                _ = expiry.tick() => false,
            };
            let table = self.clone();
            let _ = tokio::task::spawn_blocking(move || table.expire()).await;
            while is_change && !self.end_without_right().await {
                tokio::time::sleep(RETRY_TIME).await;
            }
        }
    }

    /// The job of this account with this id or name.
    ///
    /// # Errors
    /// `not-found`, also for the job of another account.
    pub(super) fn find(
        &self,
        user: &UserName,
        account: AccountId,
        job: &str,
    ) -> Result<Arc<Job>, Error> {
        let jobs = lock(&self.0.jobs);
        let mut own = jobs
            .values()
            .filter(|entry| entry.job.record.is_of(user, account));
        let found = own.find(|entry| entry.job.id() == job || entry.job.is_called(job));
        found
            .map(|entry| entry.job.clone())
            .ok_or_else(|| no_job(job))
    }

    /// The job of the user of this session with this id or name.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub(super) fn find_own(&self, session: &Session, job: &str) -> Result<Arc<Job>, Error> {
        self.find(&session.user, session.account, job)
    }

    /// The jobs of the user of this session, the oldest first.
    pub(super) fn list(&self, session: &Session) -> Vec<Arc<Job>> {
        let jobs = lock(&self.0.jobs);
        let mut own: Vec<_> = jobs
            .values()
            .filter(|entry| entry.job.record.is_of(&session.user, session.account))
            .map(|entry| entry.job.clone())
            .collect();
        own.sort_by_key(|job| job.record.started);
        own
    }

    /// Records that a job that is over is removed, and removes it with its output.
    ///
    /// # Errors
    /// `not-found`; `denied` while it runs; `audit`, `audit-quota`.
    ///
    /// # Blocking
    /// Removes files.
    pub(super) fn forget(&self, context: &ServiceContext, job: &str) -> Result<(), Error> {
        let job = self.find_own(context.session(), job)?;
        if !job.is_over() {
            let message = "the job runs; end it first, or wait until it has ended";
            return Err(Error::here(ErrorCode::Denied, message));
        }
        context.record_blocking(|user, session| Activity::JobForget {
            user,
            session,
            job: job.id().to_owned(),
        })?;
        self.remove(job.id());
        Ok(())
    }

    /// Removes a job that is over, with its output. Blocking.
    fn remove(&self, id: &str) {
        let removed = lock(&self.0.jobs).remove(id);
        self.remove_folders(removed.as_slice());
    }

    /// Removes a job whose end a client has, if it was started so.
    pub(super) async fn forget_delivered(&self, job: &Job) {
        if !job.record.forget {
            return;
        }
        let (table, id) = (self.clone(), job.id().to_owned());
        // One that stays is removed in time.
        let _ = tokio::task::spawn_blocking(move || table.remove(&id)).await;
    }

    /// Whether users who are no owners may run commands.
    pub(super) fn shares_uid(&self) -> bool {
        self.0.parts.share_uid
    }

    /// Follows a job until it is over. Without a supervisor, it connects to one.
    fn follow(&self, entry: Arc<JobEntry>, supervisor: Option<Supervisor>, mut orders: Orders) {
        let table = self.clone();
        tokio::spawn(async move {
            let mut next = supervisor;
            loop {
                if let Some(mut supervisor) = next.take() {
                    entry.job.follow(&mut supervisor, &mut orders).await;
                }
                match table.find_out(&entry).await {
                    Ok(Fate::Ended(_) | Fate::Lost(_)) => return,
                    Ok(Fate::Alive) => next = entry.job.connect().await.ok(),
                    Err(_) => {}
                }
                if next.is_none() {
                    Job::pause().await;
                }
            }
        });
    }

    /// Finds out what happened to a job without a connection. If it is over, that is recorded.
    async fn find_out(&self, entry: &Arc<JobEntry>) -> Result<Fate, Error> {
        let (table, entry) = (self.clone(), entry.clone());
        let finding = tokio::task::spawn_blocking(move || {
            let job = &entry.job;
            let found = match job.progress().phase {
                // The supervisor said so. On a full disk it may not have recorded it.
                Phase::Ended(exit) => Fate::Ended(exit),
                _ => job.find_out()?,
            };
            match &found {
                Fate::Ended(exit) => job.set_phase(Phase::Ended(*exit)),
                Fate::Lost(reason) => {
                    job.set_stored(job.find_stored()?);
                    job.write_lost(reason)?;
                    landline_supervisor::kill_remains(job.id());
                    job.set_phase(Phase::Lost(reason.clone()));
                }
                Fate::Alive => return Ok(found),
            }
            let bytes = job.open_files().ok().and_then(|files| files.bytes().ok());
            *lock(&entry.bytes) = bytes.unwrap_or(0);
            if !job.is_logged() {
                table.note_end(job, &found);
                job.set_logged();
            }
            Ok(found)
        });
        finding
            .await
            .map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?
    }

    fn note_end(&self, job: &Job, found: &Fate) {
        let progress = job.progress();
        let [stdout, stderr] = progress.stored;
        let record = &job.record;
        let activity = Activity::RunEnd {
            user: record.user.clone(),
            session: record.session.clone(),
            job: record.id.clone(),
            status: match found {
                Fate::Ended(exit) => Some(describe(exit.status)),
                Fate::Lost(_) => Some("lost".to_owned()),
                Fate::Alive => None,
            },
            stdout,
            stderr,
        };
        self.note(&record.user, activity);
    }

    /// Records what was done for a user without a session.
    pub(super) fn note(&self, user: &UserName, activity: Activity) {
        let priority = self.0.parts.rights.role(user).log_priority();
        self.0.parts.audit.note(activity, priority);
    }

    /// Records that the folder of a job or command cannot be used.
    pub(super) fn note_unreadable(&self, job: &str, message: String) {
        let job = job.to_owned();
        let activity = Activity::JobUnreadable { job, message };
        self.0.parts.audit.note(activity, Priority::Exempt);
    }

    /// Removes jobs that ended long ago, or whose account was removed. Blocking.
    fn expire(&self) {
        let accounts = self.0.parts.store.accounts();
        let is_orphan = |job: &Job| {
            let is_own = |account: &AccountRecord| job.record.is_of(&account.name, account.id);
            accounts
                .as_ref()
                .is_ok_and(|accounts| !accounts.iter().any(is_own))
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let oldest = now
            .unwrap_or_default()
            .saturating_sub(KEPT_TIME)
            .as_millis();
        let mut jobs = lock(&self.0.jobs);
        let is_old = |entry: &JobEntry| {
            let info = entry.job.info();
            let is_late = info.ended.is_some_and(|ended| u128::from(ended) < oldest);
            entry.job.is_over() && (is_late || is_orphan(&entry.job))
        };
        let old: Vec<String> = jobs
            .iter()
            .filter(|(_, entry)| is_old(entry))
            .map(|(id, _)| id.clone())
            .collect();
        let old: Vec<_> = old.iter().filter_map(|id| jobs.remove(id)).collect();
        drop(jobs);
        self.remove_folders(&old);
    }

    /// Removes the folders of jobs that are in the table no more. What cannot be removed is found
    /// at the next start.
    fn remove_folders(&self, entries: &[Arc<JobEntry>]) {
        for entry in entries {
            let _ = self.0.folder.remove_subfolder(entry.job.id());
        }
    }
}

fn no_job(job: &str) -> Error {
    let shown: String = job.chars().take(64).collect();
    let message = format!("you have no job {shown:?}");
    Error::here(ErrorCode::NotFound, message)
}

impl JobEntry {
    fn new(job: Job) -> Self {
        Self {
            job: Arc::new(job),
            bytes: Mutex::new(0),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
