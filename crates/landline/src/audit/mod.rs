//! The audit log: who did what, one JSON object a line, each holding the hash of the line before it
//! (`docs/audit.md`).
//!
//! **What is not written down is not done.** Whoever does something that has to be in the log calls
//! [`Audit::record`] *before it is done* (in a service: `account.record(|user, session|
//! Entry::...)`), and does it only where that succeeds; the error has the code `audit` and is told
//! to the client as any other. In a blocking thread that is [`Audit::record_blocking`]. For what is
//! over or was refused anyway, and so cannot be prevented any more, there is [`Audit::note`], which
//! waits for nothing.
//!
//! How safe an entry is when `record` returns is the entry's own matter ([`Entry`] says it): a
//! login, an admin change and a stored file are on the disk, so that a power cut does not take the
//! line of what was acknowledged; others are in the file, so that no end of this process takes
//! them, and on the disk 100 ms later. Syncs are shared by all who wait at the time.
//!
//! To log something new: a variant of [`Entry`], its [need](Entry), a row in `docs/audit.md`.

mod crowd;
mod entry;
mod head;
mod line;
mod log;
mod reading;
mod since;
mod walk;
mod writer;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError, TrySendError},
    },
    time::{Duration, Instant},
};

use crowd::Crowd;
pub use entry::Entry;
use landline_proto::ErrorCode;
pub use line::{Hash, LINE_BYTES_MAX, Line, Tip};
use log::Log;
pub use reading::Reader;
pub use since::Since;
pub use walk::{Flaw, Report, Walk};
use writer::Request;

use crate::{Error, paths::PrivateFolder};

/// How many entries may wait to be written.
const QUEUE: usize = 4096;
/// How long anybody waits for an answer, in all.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// How often it is looked whether there is room in the queue again, or the lock is free.
const LOOK_TIME: Duration = Duration::from_millis(10);

/// How the audit log is kept.
#[derive(Debug, Clone, Copy)]
pub struct AuditOptions {
    /// A file that would grow past this many bytes is left as it is, and another one begun.
    pub file_bytes_max: u64,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self {
            file_bytes_max: 64 << 20,
        }
    }
}

/// The audit log, open to be written. Clones write the same log.
#[derive(Clone)]
pub struct Audit {
    requests: mpsc::SyncSender<Request>,
    /// What there was no room for in the queue.
    overflow: Arc<Mutex<Crowd>>,
}

impl Audit {
    /// Opens the log in the server's own folder, making it on first use, and puts its end in order.
    /// What is wrong with it otherwise, if anything is, is returned, and is in the log too.
    /// Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where it cannot be written.
    pub fn open(
        server: &PrivateFolder,
        options: &AuditOptions,
    ) -> Result<(Self, Option<String>), Error> {
        let (log, problem) = Log::open(server, options.file_bytes_max)?;
        let audit = Self::write(log)?;
        if let Some(problem) = &problem {
            audit.record_blocking(Entry::Gap {
                problem: problem.clone(),
            })?;
        }
        Ok((audit, problem))
    }

    /// Opens the log for a command that changes something on the server's machine, while the server
    /// runs or not. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where it cannot be written, or something is wrong with it.
    pub(crate) fn follow(server: &PrivateFolder) -> Result<Self, Error> {
        Self::write(Log::follow_up(
            server,
            AuditOptions::default().file_bytes_max,
        )?)
    }

    fn write(log: Log) -> Result<Self, Error> {
        let (requests, asked) = mpsc::sync_channel(QUEUE);
        let overflow = Arc::new(Mutex::new(Crowd::default()));
        let overflowed = overflow.clone();
        std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer::run(log, &asked, &overflowed))
            .map_err(|error| Error::state("the audit log", error))?;
        Ok(Self { requests, overflow })
    }

    /// Writes down what is about to be done, and returns once that is as safe as the entry has to
    /// be, or after 5 s. Not cancel-safe: when this is dropped, the entry may be in the log or
    /// not.
    ///
    /// # Errors
    /// `audit` where it cannot be written, or was not in time. Then it must not be done.
    pub async fn record(&self, entry: Entry) -> Result<(), Error> {
        let audit = self.clone();
        tokio::task::spawn_blocking(move || audit.record_blocking(entry))
            .await
            .unwrap_or_else(|_| Err(gone()))
    }

    /// The same, in a thread that may block.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub fn record_blocking(&self, entry: Entry) -> Result<(), Error> {
        self.ask(|answer| Request::Write(entry, Some(answer)))
    }

    /// Writes down what has happened, soon, and waits for nothing. What cannot be written, or finds
    /// the queue full, is counted, and the count written once that is possible.
    pub fn note(&self, entry: Entry) {
        // Held while it is tried: what is counted here is fetched only after what fills the queue
        // now.
        let mut overflow = self.overflow.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(TrySendError::Full(Request::Write(entry, _))) =
            self.requests.try_send(Request::Write(entry, None))
        {
            overflow.add(entry.kind(), 1, Instant::now());
        }
    }

    /// Writes that the server ends, and what was only counted so far, durably.
    ///
    /// # Errors
    /// `audit` where it cannot be written.
    pub async fn close(&self) -> Result<(), Error> {
        self.note(Entry::Stopped {});
        let audit = self.clone();
        tokio::task::spawn_blocking(move || audit.flush())
            .await
            .unwrap_or_else(|_| Err(gone()))
    }

    /// Writes what was only counted so far, and makes everything durable. Blocking.
    ///
    /// # Errors
    /// `audit` where it cannot be written.
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
                TrySendError::Disconnected(_) => return Err(gone()),
                TrySendError::Full(_) if Instant::now() >= deadline => return Err(late()),
                TrySendError::Full(returned) => request = returned,
            }
            std::thread::sleep(LOOK_TIME);
        }
        match answered.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(done) => done.map_err(|problem: String| unwritten(&problem)),
            Err(RecvTimeoutError::Timeout) => Err(late()),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }
}

fn unwritten(problem: &str) -> Error {
    let message =
        format!("the server cannot write its audit log, and does nothing without it: {problem}");
    Error::here(ErrorCode::Audit, message)
}

fn late() -> Error {
    unwritten("it was not written within 5 s")
}

fn gone() -> Error {
    unwritten("its thread has ended")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overflows_the_queue_is_counted_and_a_lock_that_is_held_is_no_wait_for_ever() {
        let scratch = crate::paths::TempDir::create(&std::env::temp_dir()).unwrap();
        let folder = scratch.create_folder("state").unwrap();
        let server = PrivateFolder::open_or_create(&folder)
            .unwrap()
            .subfolder("server")
            .unwrap();
        let (audit, _) = Audit::open(&server, &AuditOptions::default()).unwrap();
        let logout = || Entry::Logout {
            user: "alice".into(),
            session: "1".into(),
        };
        audit.record_blocking(logout()).unwrap();
        let held = server.lock("audit-lock").unwrap();
        let noted = 3 * QUEUE as u64;
        for _ in 0..noted {
            audit.note(logout());
        }
        let refused = audit.record_blocking(logout()).unwrap_err();
        assert!(refused.to_string().contains("audit log"), "{refused}");
        drop(held);
        while audit.flush().is_err() {}
        let (mut lines, mut counted) = (0, 0);
        let bytes = server
            .subfolder("audit")
            .unwrap()
            .read(&reading::file_name(1), 64 << 20)
            .unwrap()
            .unwrap();
        for line in std::str::from_utf8(&bytes).unwrap().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            match line["event"].as_str() {
                Some("logout") => lines += 1,
                Some("more") => counted += line["count"].as_u64().unwrap(),
                _ => {}
            }
        }
        assert!(counted > 0);
        // The one that was refused may have been written when there was nobody left to tell.
        assert!(
            (noted + 1..=noted + 2).contains(&(lines + counted)),
            "{lines} lines and {counted} more of {noted}"
        );
    }
}
