//! Beginning a detached job: its record, its folder, and the limits of its user.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use landline_proto::{ErrorCode, Name};

use super::{
    super::{command::Words, messages::Run, start::Prepared, supervisor::Supervisor},
    ENDED_MAX, JobEntry, JobTable, OUTPUT_BYTES_MAX, RUNNING_MAX, USER_BYTES_MAX,
    job::{Job, Orders, Phase},
    lock,
    record::{JobRecord, RecordedWords, now},
};
use crate::{Error, paths::boot_id, session::Session};

/// What [`JobTable::begin`] has found or made.
pub(in super::super) enum Begun {
    /// A new job, to be started.
    New(NewJob),
    /// The user has this job already.
    Existing(Arc<Job>),
}

/// A job that has a folder and a record, and was not started yet. Dropping it removes the job.
pub(in super::super) struct NewJob {
    table: JobTable,
    entry: Arc<JobEntry>,
    orders: Option<Orders>,
}

impl JobTable {
    /// Makes a job of this user with a durable record, or finds the one of this name.
    ///
    /// # Errors
    /// `exists` if the job of this name has another command; `too-many-jobs`; [`Error::State`].
    ///
    /// # Blocking
    /// Waits for the disk.
    pub(in super::super) fn begin(
        &self,
        session: &Session,
        run: &Run,
        request: &str,
        words: &Words,
        prepared: &Prepared,
    ) -> Result<Begun, Error> {
        let record = JobRecord {
            id: prepared.id.clone(),
            name: run.name.clone(),
            user: session.user.clone(),
            account: session.account,
            credential: session.credential.to_string(),
            session: session.id.clone(),
            words: RecordedWords::from(words),
            request: request.to_owned(),
            folder: Name(prepared.start.folder.clone()),
            terminal: prepared.start.terminal.is_some(),
            input: prepared.start.has_input,
            forget: run.forget,
            started: now(),
            boot: boot_id(),
        };
        if *words == Words::Login {
            self.forget_ended_shell(&record);
        }
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
        job.change_input(|input| input.size = prepared.start.terminal);
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
        let old = surplus(&jobs, session);
        let old: Vec<_> = old.iter().filter_map(|id| jobs.remove(id)).collect();
        drop(jobs);
        self.remove_folders(&old);
        Ok(Begun::New(NewJob {
            table: self.clone(),
            entry,
            orders: Some(orders),
        }))
    }

    /// Removes a shell of this name that has ended: another one takes its place.
    fn forget_ended_shell(&self, record: &JobRecord) {
        let mut jobs = lock(&self.0.jobs);
        let is_ended_shell = |entry: &&Arc<JobEntry>| {
            let job = &entry.job;
            job.is_over()
                && job.record.is_of(&record.user, record.account)
                && job.record.name.is_some()
                && job.record.name == record.name
                && job.record.request == record.request
        };
        let ended = jobs.values().find(is_ended_shell).cloned();
        if let Some(ended) = ended {
            jobs.remove(ended.job.id());
            drop(jobs);
            self.remove_folders(&[ended]);
        }
    }
}

impl NewJob {
    /// The absolute path of the job's folder.
    pub(in super::super) fn folder(&self) -> PathBuf {
        self.entry.job.folder.path_of("")
    }

    /// Says that the program runs, and has its supervisor followed.
    pub(in super::super) fn started(mut self, supervisor: Supervisor) -> Arc<Job> {
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
            .filter(|job| job.record.is_of(&record.user, record.account))
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
        let message = format!("{RUNNING_MAX} of your jobs are running, which is the limit");
        return Err(Error::here(ErrorCode::TooManyJobs, message));
    }
    Ok(None)
}

/// The ids of the ended jobs of a user for which there is no room any more, the oldest first.
fn surplus(jobs: &BTreeMap<String, Arc<JobEntry>>, session: &Session) -> Vec<String> {
    let own = || {
        let is_own =
            |entry: &&Arc<JobEntry>| entry.job.record.is_of(&session.user, session.account);
        jobs.values().filter(is_own)
    };
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
