//! The audit log: who did what, one JSON object a line, each holding the hash of the line before it (`docs/audit.md`).
//!
//! **What is not written down is not done.** Whoever does something that has to be in the log calls
//! [`Audit::record`] *before it is done* (in a service: `account.record(|user, session| Entry::...)`), and does it only where that
//! succeeds; the error has the code `audit` and is told to the client as any other. In a blocking thread that is
//! [`Audit::record_blocking`]. For what is over or was refused anyway, and so cannot be prevented any more, there is
//! [`Audit::note`], which waits for nothing.
//!
//! How safe an entry is when `record` returns is the entry's own matter ([`Entry`] says it): a login, an admin change and a stored
//! file are on the disk, so that a power cut does not take the line of what was acknowledged; others are in the file, so that no end of
//! this process takes them, and on the disk 100 ms later. Syncs are shared by all who wait at the time.
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

use std::sync::mpsc;

use landline_proto::ErrorCode;

pub use entry::Entry;
pub use line::{Hash, LINE_BYTES_MAX, Line, Tip};
pub use reading::Reader;
pub use since::Since;
pub use walk::{Flaw, Report, Walk};

use crate::{Error, paths::PrivateFolder};
use log::Log;
use writer::Request;

/// How the audit log is kept.
#[derive(Debug, Clone, Copy)]
pub struct AuditOptions {
    /// A file that would grow past this many bytes is left as it is, and another one begun.
    pub file_bytes_max: u64,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self { file_bytes_max: 64 << 20 }
    }
}

/// The audit log, open to be written. Clones write the same log.
#[derive(Clone)]
pub struct Audit {
    requests: mpsc::Sender<Request>,
}

impl Audit {
    /// Opens the log in the server's own folder, making it on first use, and puts its end in order. What is wrong with it
    /// otherwise, if anything is, is returned, and is in the log too. A command that changes something on the server's machine may
    /// open it while the server runs. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where it cannot be written.
    pub fn open(server: &PrivateFolder, options: &AuditOptions) -> Result<(Self, Option<String>), Error> {
        let (log, problem) = Log::open(server, options.file_bytes_max)?;
        let (requests, asked) = mpsc::channel();
        std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer::run(log, &asked))
            .map_err(|error| Error::state("the audit log", error))?;
        let audit = Self { requests };
        if let Some(problem) = &problem {
            audit.record_blocking(Entry::Gap { problem: problem.clone() })?;
        }
        Ok((audit, problem))
    }

    /// Writes down what is about to be done, and returns once that is as safe as the entry has to be.
    /// Not cancel-safe: when this is dropped, the entry may be in the log or not.
    ///
    /// # Errors
    /// `audit` where it cannot be written. Then it must not be done.
    pub async fn record(&self, entry: Entry) -> Result<(), Error> {
        let audit = self.clone();
        tokio::task::spawn_blocking(move || audit.record_blocking(entry)).await.unwrap_or_else(|_| Err(gone()))
    }

    /// The same, in a thread that may block.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub fn record_blocking(&self, entry: Entry) -> Result<(), Error> {
        self.ask(|answer| Request::Write(entry, Some(answer)))
    }

    /// Writes down what has happened, soon. What cannot be written is counted, and the count written once that is possible.
    pub fn note(&self, entry: Entry) {
        // The thread is there as long as this is.
        let _ = self.requests.send(Request::Write(entry, None));
    }

    /// Writes that the server ends, and what was only counted so far, durably.
    ///
    /// # Errors
    /// `audit` where it cannot be written.
    pub async fn close(&self) -> Result<(), Error> {
        self.note(Entry::Stopped {});
        let audit = self.clone();
        tokio::task::spawn_blocking(move || audit.flush()).await.unwrap_or_else(|_| Err(gone()))
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
        self.requests.send(request(answer)).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?.map_err(|problem: String| unwritten(&problem))
    }
}

fn unwritten(problem: &str) -> Error {
    let message = format!("the server cannot write its audit log, and does nothing without it: {problem}");
    Error::here(ErrorCode::Audit, message)
}

fn gone() -> Error {
    unwritten("its thread has ended")
}
