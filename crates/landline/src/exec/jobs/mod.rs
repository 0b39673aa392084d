//! Detached jobs: they go on without a client and without a server.
//!
//! Each job has a folder, which holds its record, its output and its end. The folders are the only
//! list of jobs: a server that starts reads them, and takes up those whose supervisor holds the
//! lock. A supervisor and its server never trust a process id.

mod attach;
mod job;
mod log;
mod record;
mod requests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use landline_proto::{ErrorCode, Name, login::UserName};
use landline_supervisor::protocol::Order;
use tokio::task::JoinSet;

use self::{
    job::{Fate, Job, Orders, Phase},
    record::{JobRecord, boot_id, now},
};
pub(super) use self::{
    record::{COMMAND_BYTES_MAX as JOB_COMMAND_BYTES_MAX, RecordedWords, check_name},
    requests::{serve_attach, serve_request},
};
use super::{
    command::Words,
    server::describe,
    start::{self, action},
    supervisor::Supervisor,
};
use crate::{
    Error,
    activity::Activity,
    audit::Audit,
    keys::CredentialId,
    paths::{PrivateFolder, Root},
    rights::{RightsFile, Role},
    session::Session,
    store::Store,
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
pub(super) const ADOPTION_TIME: Duration = Duration::from_secs(1);
/// How long a job may take to end when its right is taken back.
const REVOCATION_GRACE: Duration = Duration::from_millis(500);
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

/// What [`JobTable::begin`] has found or made.
pub(super) enum Begun {
    /// A new job, to be started.
    New(NewJob),
    /// The user has this job already.
    Existing(Arc<Job>),
}

/// A job that has a folder and a record, and was not started yet. Dropping it removes the job.
pub(super) struct NewJob {
    table: JobTable,
    entry: Arc<JobEntry>,
    orders: Option<Orders>,
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
        for id in folder.names()? {
            // A folder that cannot be read is left alone, for people to look at.
            let Ok(job_folder) = folder.subfolder(&id) else {
                continue;
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
                _ => {}
            }
        }
        let shared = Jobs {
            folder,
            parts,
            jobs: Mutex::new(jobs),
            found: Mutex::new(found),
        };
        Ok(Self(Arc::new(shared)))
    }

    /// Takes up the jobs that were found: connects to those that run, and finds out how the others
    /// ended. Those that do not answer in a second are taken up later.
    pub(crate) async fn adopt(&self) {
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

    /// Ends jobs whose right was taken back, and removes old ones. Never returns.
    pub(crate) async fn watch(self) {
        let mut rules = self.0.parts.rights.watch();
        let mut changes = self.0.parts.store.subscribe();
        let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
        loop {
            tokio::select! {
                Ok(()) = rules.changed() => {}
                Ok(()) = changes.changed() => {}
                _ = expiry.tick() => {
                    let table = self.clone();
                    let _ = tokio::task::spawn_blocking(move || table.expire()).await;
                    continue;
                }
            }
            while !self.end_without_right().await {
                tokio::time::sleep(RETRY_TIME).await;
            }
        }
    }

    /// Makes a job of this user with a durable record, or finds the one of this name.
    ///
    /// # Errors
    /// `exists` if the job of this name has another command; `too-many-jobs`; [`Error::State`].
    ///
    /// # Blocking
    /// Waits for the disk.
    pub(super) fn begin(
        &self,
        session: &Session,
        name: Option<&str>,
        request: &str,
        words: &Words,
        prepared: &start::Prepared,
    ) -> Result<Begun, Error> {
        let record = JobRecord {
            id: prepared.id.clone(),
            name: name.map(str::to_owned),
            user: session.user.clone(),
            credential: session.credential.to_string(),
            session: session.id.clone(),
            words: RecordedWords::from(words),
            request: request.to_owned(),
            folder: Name(prepared.start.folder.clone()),
            terminal: prepared.start.terminal.is_some(),
            input: prepared.start.has_input,
            started: now(),
            boot: boot_id(),
        };
        if let Some(existing) = check_new(&lock(&self.0.jobs), &record)? {
            return Ok(Begun::Existing(existing));
        }
        let folder = self.0.folder.subfolder(&record.id)?;
        record.write(&folder)?;
        self.0.folder.sync()?;
        let mut jobs = lock(&self.0.jobs);
        // Another request may have been faster.
        let checked = check_new(&jobs, &record);
        let (job, orders) = Job::new(record, folder, Phase::Starting);
        let entry = Arc::new(JobEntry::new(job));
        match checked {
            Ok(None) => {}
            Ok(Some(existing)) => {
                self.remove_folders(&[entry]);
                return Ok(Begun::Existing(existing));
            }
            Err(error) => {
                self.remove_folders(&[entry]);
                return Err(error);
            }
        }
        jobs.insert(prepared.id.clone(), entry.clone());
        let old = surplus(&jobs, &session.user);
        let old: Vec<_> = old.iter().filter_map(|id| jobs.remove(id)).collect();
        drop(jobs);
        self.remove_folders(&old);
        Ok(Begun::New(NewJob {
            table: self.clone(),
            entry,
            orders: Some(orders),
        }))
    }

    /// The job of this user with this id or name.
    ///
    /// # Errors
    /// `not-found`, also for the job of another user.
    pub(super) fn find(&self, user: &UserName, job: &str) -> Result<Arc<Job>, Error> {
        let jobs = lock(&self.0.jobs);
        let mut own = jobs.values().filter(|entry| entry.job.record.user == *user);
        let found = own.find(|entry| entry.job.id() == job || entry.job.is_called(job));
        found.map(|entry| entry.job.clone()).ok_or_else(|| {
            let shown: String = job.chars().take(64).collect();
            let message = format!("you have no job {shown:?} here");
            Error::here(ErrorCode::NotFound, message)
        })
    }

    /// The jobs of a user, the oldest first.
    pub(super) fn list(&self, user: &UserName) -> Vec<Arc<Job>> {
        let jobs = lock(&self.0.jobs);
        let mut own: Vec<_> = jobs
            .values()
            .filter(|entry| entry.job.record.user == *user)
            .map(|entry| entry.job.clone())
            .collect();
        own.sort_by_key(|job| job.record.started);
        own
    }

    /// Removes a job that is over, with its output.
    ///
    /// # Errors
    /// `not-found`; `denied` while it runs.
    ///
    /// # Blocking
    /// Removes files.
    pub(super) fn forget(&self, user: &UserName, job: &str) -> Result<(), Error> {
        let job = self.find(user, job)?;
        if !job.is_over() {
            let message = "the job runs; end it first, or wait until it has ended";
            return Err(Error::here(ErrorCode::Denied, message));
        }
        let removed = lock(&self.0.jobs).remove(job.id());
        self.remove_folders(removed.as_slice());
        Ok(())
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

    /// Finds out what became of a job without a connection. If it is over, that is noted.
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

    /// Ends the running jobs whose account, credential or right is gone. Whether all could be
    /// checked.
    async fn end_without_right(&self) -> bool {
        let table = self.clone();
        let checking = tokio::task::spawn_blocking(move || {
            let entries: Vec<_> = lock(&table.0.jobs).values().cloned().collect();
            let mut is_complete = true;
            for entry in entries.iter().filter(|entry| !entry.job.is_over()) {
                is_complete &= table.end_if_not_allowed(&entry.job).is_ok();
            }
            is_complete
        });
        checking.await.unwrap_or(false)
    }

    /// Ends a running job whose account, credential or right is gone. Blocking.
    fn end_if_not_allowed(&self, job: &Job) -> Result<(), Error> {
        if !self.still_allowed(job)? {
            job.order(Order::End {
                grace: REVOCATION_GRACE,
            });
        }
        Ok(())
    }

    /// Looks at the rights of a job that was just started: they may have been taken back after they
    /// were checked, and before the job was in the table.
    pub(super) async fn check_started(&self, job: &Arc<Job>) {
        let (table, job) = (self.clone(), job.clone());
        let checking = tokio::task::spawn_blocking(move || {
            if table.end_if_not_allowed(&job).is_err() {
                // What cannot be checked is not kept.
                job.order(Order::End {
                    grace: REVOCATION_GRACE,
                });
            }
        });
        let _ = checking.await;
    }

    /// Returns once this user may not run this by the rules and credentials in force.
    pub(super) async fn wait_until_forbidden(
        self,
        user: UserName,
        credential: CredentialId,
        words: Words,
    ) {
        let mut rules = self.0.parts.rights.watch();
        let mut changes = self.0.parts.store.subscribe();
        rules.mark_changed();
        loop {
            tokio::select! {
                Ok(()) = rules.changed() => {}
                Ok(()) = changes.changed() => {}
            }
            let table = self.clone();
            let (user, credential, words) = (user.clone(), credential.clone(), words.clone());
            let checking = tokio::task::spawn_blocking(move || {
                Ok::<_, Error>(table.is_valid(&user, &credential)? && table.may_run(&user, &words))
            });
            // What cannot be checked is not kept.
            if !matches!(checking.await, Ok(Ok(true))) {
                return;
            }
        }
    }

    /// Whether the user could still start the job by the rules and credentials of now. Blocking.
    fn still_allowed(&self, job: &Job) -> Result<bool, Error> {
        let Some(words) = job.words() else {
            return Ok(true);
        };
        let Some(credential) = job.record.credential() else {
            return Ok(false);
        };
        let (user, store) = (&job.record.user, &self.0.parts.store);
        Ok(
            (store.keeps_jobs(user, &credential)? || self.is_valid(user, &credential)?)
                && self.may_run(user, &words),
        )
    }

    /// Whether a credential could still log in. A key that has expired meanwhile does not count.
    /// Blocking.
    fn is_valid(&self, user: &UserName, credential: &CredentialId) -> Result<bool, Error> {
        let revoked = self.0.parts.store.revocation_reason(user, credential)?;
        Ok(revoked.is_none())
    }

    /// Whether a user may run this by the rules of now. Blocking.
    fn may_run(&self, user: &UserName, words: &Words) -> bool {
        let parts = &self.0.parts;
        let rules = parts.rights.rules();
        (parts.share_uid || rules.role(user) >= Role::Owner)
            && rules.check(user, &action(words), &parts.root).allowed
    }

    /// Removes jobs that ended long ago. Blocking.
    fn expire(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let oldest = now
            .unwrap_or_default()
            .saturating_sub(KEPT_TIME)
            .as_millis();
        let mut jobs = lock(&self.0.jobs);
        let is_old = |entry: &JobEntry| {
            let info = entry.job.info();
            entry.job.is_over() && info.ended.is_some_and(|ended| u128::from(ended) < oldest)
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

impl NewJob {
    /// The absolute path of the job's folder.
    pub(super) fn folder(&self) -> std::path::PathBuf {
        self.entry.job.folder.path_of("")
    }

    /// Says that the program runs, and has its supervisor followed.
    pub(super) fn started(mut self, supervisor: Supervisor) -> Arc<Job> {
        let job = self.entry.job.clone();
        job.set_phase(Phase::Running);
        if let Some(orders) = self.orders.take() {
            self.table
                .follow(self.entry.clone(), Some(supervisor), orders);
        }
        job
    }
}

impl Drop for NewJob {
    fn drop(&mut self) {
        if self.orders.is_some() {
            lock(&self.table.0.jobs).remove(self.entry.job.id());
            self.table.remove_folders(std::slice::from_ref(&self.entry));
        }
    }
}

impl JobEntry {
    fn new(job: Job) -> Self {
        Self {
            job: Arc::new(job),
            bytes: Mutex::new(0),
        }
    }
}

/// Checks that a user may have this further job. Returns the one of its name if it is the same.
///
/// # Errors
/// `exists`, `too-many-jobs`.
fn check_new(
    jobs: &BTreeMap<String, Arc<JobEntry>>,
    record: &JobRecord,
) -> Result<Option<Arc<Job>>, Error> {
    let own = || {
        jobs.values()
            .map(|entry| &entry.job)
            .filter(|job| job.record.user == record.user)
    };
    if let Some(name) = &record.name
        && let Some(existing) = own().find(|job| job.is_called(name))
    {
        return if existing.record.request == record.request {
            Ok(Some(existing.clone()))
        } else {
            let message = format!("your job {name} has another command; choose another name");
            Err(Error::here(ErrorCode::Exists, message))
        };
    }
    if own().filter(|job| !job.is_over()).count() >= RUNNING_MAX {
        let message = format!("{RUNNING_MAX} of your jobs run already, which is the most");
        return Err(Error::here(ErrorCode::TooManyJobs, message));
    }
    Ok(None)
}

/// The ids of the ended jobs of a user for which there is no room any more, the oldest first.
fn surplus(jobs: &BTreeMap<String, Arc<JobEntry>>, user: &UserName) -> Vec<String> {
    let own = || jobs.values().filter(|entry| entry.job.record.user == *user);
    let running = own().filter(|entry| !entry.job.is_over()).count() as u64;
    let mut ended: Vec<_> = own().filter(|entry| entry.job.is_over()).collect();
    ended.sort_by_key(|entry| std::cmp::Reverse(entry.job.record.started));
    let mut used = running * OUTPUT_BYTES_MAX;
    let mut surplus: Vec<String> = Vec::new();
    for (count, entry) in ended.into_iter().enumerate() {
        used += *lock(&entry.bytes);
        if used > USER_BYTES_MAX || count >= ENDED_MAX {
            surplus.push(entry.job.id().to_owned());
        }
    }
    surplus
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
