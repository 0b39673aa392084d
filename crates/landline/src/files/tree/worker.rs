//! The thread on which one side of a tree's copy reads or writes the disk.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use landline_proto::ErrorCode;

use crate::{
    Error,
    session::{ServiceContext, WorkUnit},
};

/// Who the work is done for.
pub(in crate::files) enum Worker<'a> {
    /// A user of the server, in whose name the work is counted.
    Server(&'a ServiceContext, &'static str),
    /// The user of this process.
    Client,
}

/// Tells work that it was cancelled.
#[derive(Debug, Clone)]
pub(in crate::files) enum Leave {
    Unit(WorkUnit),
    Flag(Arc<AtomicBool>),
}

impl Leave {
    /// Counts what was done since the last call, in bytes.
    ///
    /// # Errors
    /// `ended` once the result is not wanted any more.
    pub(in crate::files) fn spend(&self, cost: u64) -> Result<(), Error> {
        match self {
            Self::Unit(unit) => unit.spend(cost),
            Self::Flag(flag) if flag.load(Ordering::Relaxed) => {
                Err(Error::here(ErrorCode::Ended, "the copy was cancelled"))
            }
            Self::Flag(_) => Ok(()),
        }
    }
}

/// Sets the flag when it is dropped.
struct Cancel(Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Worker<'_> {
    /// Whether the work is done for a user of the server.
    pub(in crate::files) fn is_server(&self) -> bool {
        matches!(self, Self::Server(..))
    }

    /// Runs `work` on a thread of its own. It is cancelled when this is dropped.
    ///
    /// # Errors
    /// What the work returns; `io` where it panicked.
    pub(in crate::files) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Leave) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        match self {
            Self::Server(context, kind) => {
                context
                    .blocking(kind, move |unit: &WorkUnit| {
                        work(&Leave::Unit(unit.clone()))
                    })
                    .await
            }
            Self::Client => {
                let cancel = Cancel(Arc::default());
                let leave = Leave::Flag(cancel.0.clone());
                tokio::task::spawn_blocking(move || work(&leave))
                    .await
                    .map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?
            }
        }
    }
}
