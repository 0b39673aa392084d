//! The audit log: who did what, as one JSON object per line. Each line holds the hash of the line
//! before it (`docs/audit.md`).
//!
//! **The server does nothing that it cannot log.** Code that does something which has to be in the
//! log calls `Audit::record` *before* it acts, and acts only if that succeeds. The error has the
//! code `audit` or `audit-quota` and goes to the client as any other. In a blocking thread that is
//! [`Audit::record_blocking`]. [`Audit::note`] is for what has happened already: it does not wait.
//!
//! The [`Activity`] decides how safe its line is when `record` returns. A login, an admin change
//! and a stored file are on the disk, so that they survive a power cut. The others are in the file,
//! so that they survive the end of the process, and on the disk 100 ms later. Callers that wait at
//! the same time share a sync.
//!
//! Every activity is published once it is in the log: see [`Audit::subscribe`].
//!
//! To log something new, add a variant to [`Activity`] and a row to `docs/audit.md`.

mod aggregate;
mod budget;
mod checkpoint;
mod line;
mod log;
mod reader;
mod since;
mod verify;
mod writer;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError, TrySendError},
    },
    time::{Duration, Instant},
};

use aggregate::{Aggregator, Kind};
use landline_proto::ErrorCode;
pub use line::{ChainHead, LineHash, LogLine, encode_line};
use log::Log;
pub use reader::Reader;
pub use since::Since;
use tokio::sync::broadcast;
pub use verify::{ChainVerifier, Report, Violation};
use writer::{Entry, Refusal, Request};

use crate::{
    Error,
    activity::{Activity, Record},
    paths::PrivateFolder,
};

/// How many activities may wait to be written.
const QUEUE: usize = 4096;
/// How many published activities a subscriber may lag behind.
const PUBLISHED: usize = 4096;
/// How long a caller waits for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// The time between two looks for room in a full queue.
const RETRY_TIME: Duration = Duration::from_millis(10);

const MIB: u64 = 1 << 20;

/// The limits of the audit log.
#[derive(Debug, Clone, Copy)]
pub struct AuditOptions {
    /// The size of a file, in bytes. A larger one is closed and another one started.
    pub file_bytes_max: u64,
    /// The size of all files, in bytes. Older files are removed.
    pub total_bytes_max: u64,
    /// The lines that one user may cause in a day (UTC), in bytes. Further requests of the user
    /// are denied.
    pub user_day_bytes_max: u64,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self {
            file_bytes_max: 64 * MIB,
            total_bytes_max: 1024 * MIB,
            user_day_bytes_max: 64 * MIB,
        }
    }
}

/// Which limits apply to an activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// A user's: the daily limit applies, and nothing is written while the disk is full.
    Limited,
    /// An admin's: the daily limit applies. The reserve on the disk may be used.
    Admin,
    /// An owner's, or the server's own: no daily limit, and the reserve may be used.
    Exempt,
}

/// The audit log, open for writing. Clones write the same log.
#[derive(Clone)]
pub struct Audit {
    requests: mpsc::SyncSender<Request>,
    /// The counts of activities that found the queue full.
    overflow: Arc<Mutex<Aggregator>>,
    published: broadcast::WeakSender<Arc<Record>>,
}

impl Audit {
    /// Opens the log in the server's folder, or creates it.
    ///
    /// No other process may write to it meanwhile.
    ///
    /// A line that was cut off by a crash is removed. If anything else is wrong, the log continues
    /// in a new file. The problem is recorded there and returned.
    ///
    /// # Errors
    /// [`Error::State`] if it cannot be written.
    ///
    /// # Blocking
    /// Reads and writes files.
    pub fn open(
        server: &PrivateFolder,
        options: &AuditOptions,
    ) -> Result<(Self, Option<String>), Error> {
        let (log, problem) = Log::open(server, options)?;
        let audit = Self::start(log, options)?;
        if let Some(problem) = &problem {
            let problem = problem.clone();
            audit.record_blocking(Activity::Gap { problem }, Priority::Exempt)?;
        }
        Ok((audit, problem))
    }

    /// Opens the log for a command on the server's machine, while no server runs.
    ///
    /// # Errors
    /// [`Error::State`] if it cannot be written, or anything is wrong with it but a line that was
    /// cut off by a crash.
    ///
    /// # Blocking
    /// Reads and writes files.
    pub(crate) fn open_intact(server: &PrivateFolder) -> Result<Self, Error> {
        // The settings of the server are not known here, so lines are left for it to remove.
        let options = AuditOptions {
            total_bytes_max: u64::MAX,
            ..AuditOptions::default()
        };
        Self::start(Log::open_intact(server, &options)?, &options)
    }

    fn start(log: Log, options: &AuditOptions) -> Result<Self, Error> {
        let (requests, received) = mpsc::sync_channel(QUEUE);
        let overflow = Arc::new(Mutex::new(Aggregator::default()));
        let (publisher, _) = broadcast::channel(PUBLISHED);
        let audit = Self {
            requests,
            overflow: overflow.clone(),
            published: publisher.downgrade(),
        };
        let user_day_bytes_max = options.user_day_bytes_max;
        std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer::run(log, &received, &overflow, publisher, user_day_bytes_max))
            .map_err(|error| Error::state("the audit log", error))?;
        Ok(audit)
    }

    /// Subscribes to all activities from now on, in the order of the log. It ends with the log.
    ///
    /// A subscriber that reads too slowly loses the oldest ones, and learns how many. Services get
    /// what their user may see from
    /// [`ServiceContext::subscribe`](crate::session::ServiceContext::subscribe).
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Record>> {
        match self.published.upgrade() {
            Some(publisher) => publisher.subscribe(),
            // The writer has ended.
            None => broadcast::channel(1).1,
        }
    }

    /// Records what is about to be done, and returns once the line is as safe as it has to be, at
    /// most 5 s later.
    ///
    /// # Errors
    /// `audit` if it cannot be written; `audit-quota` if the user's lines of this day are used up.
    /// The caller must not act then.
    ///
    /// # Cancel safety
    /// None: the activity may be in the log or not.
    pub(crate) async fn record(&self, activity: Activity, priority: Priority) -> Result<(), Error> {
        let audit = self.clone();
        tokio::task::spawn_blocking(move || audit.record_blocking(activity, priority))
            .await
            .unwrap_or_else(|_| Err(ended()))
    }

    /// As `record`.
    ///
    /// # Errors
    /// As `record`.
    ///
    /// # Blocking
    /// Waits for the disk.
    pub fn record_blocking(&self, activity: Activity, priority: Priority) -> Result<(), Error> {
        self.ask(|answer| {
            Request::Write(Entry {
                activity,
                priority,
                answer: Some(answer),
            })
        })
    }

    /// Records what has happened, without waiting.
    ///
    /// An activity that cannot be written, or finds the queue full, is counted. The count is
    /// recorded as soon as possible.
    pub fn note(&self, activity: Activity, priority: Priority) {
        // Held meanwhile, so that the writer fetches this count after what fills the queue now.
        let mut overflow = self.overflow.lock().unwrap_or_else(PoisonError::into_inner);
        let request = Request::Write(Entry {
            activity,
            priority,
            answer: None,
        });
        if let Err(TrySendError::Full(Request::Write(entry))) = self.requests.try_send(request) {
            overflow.add(Kind::of(&entry.activity), 1, Instant::now());
        }
    }

    /// Records that the server stops, and all counts, durably.
    ///
    /// # Errors
    /// `audit` if they cannot be written.
    pub(crate) async fn close(&self) -> Result<(), Error> {
        self.note(Activity::Stopped {}, Priority::Exempt);
        let audit = self.clone();
        tokio::task::spawn_blocking(move || audit.flush())
            .await
            .unwrap_or_else(|_| Err(ended()))
    }

    /// Records all counts, and makes everything durable.
    ///
    /// # Errors
    /// `audit` if they cannot be written.
    ///
    /// # Blocking
    /// Waits for the disk.
    pub fn flush(&self) -> Result<(), Error> {
        self.ask(Request::Flush)
    }

    fn ask(&self, request: impl FnOnce(writer::Answer) -> Request) -> Result<(), Error> {
        let (answer, answered) = mpsc::sync_channel(1);
        let answer = Box::new(move |done| {
            let _ = answer.send(done);
        });
        let deadline = Instant::now() + ANSWER_TIME;
        let mut request = request(answer);
        while let Err(error) = self.requests.try_send(request) {
            match error {
                TrySendError::Disconnected(_) => return Err(ended()),
                TrySendError::Full(_) if Instant::now() >= deadline => return Err(late()),
                TrySendError::Full(returned) => request = returned,
            }
            std::thread::sleep(RETRY_TIME);
        }
        match answered.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(done) => done.map_err(|refusal| match refusal {
                Refusal::Unwritten(problem) => unwritten(&problem),
                Refusal::OverQuota => Error::here(
                    ErrorCode::AuditQuota,
                    "the user has used up the audit log's space for one day; it is free again at midnight UTC",
                ),
            }),
            Err(RecvTimeoutError::Timeout) => Err(late()),
            Err(RecvTimeoutError::Disconnected) => Err(ended()),
        }
    }
}

fn unwritten(problem: &str) -> Error {
    let message = format!("the server cannot write its audit log: {problem}");
    Error::here(ErrorCode::Audit, message)
}

fn late() -> Error {
    unwritten("the line was not written within 5 s")
}

fn ended() -> Error {
    unwritten("its thread has ended")
}

#[cfg(test)]
mod tests;
