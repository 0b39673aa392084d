//! Copies of trees (`docs/protocol.md` section 8): many files and folders in one exchange.
//!
//! The sender walks and numbers the entries. The receiver says which files it wants, stores them,
//! and makes them durable in batches. Both sides speak at the same time, and no entry waits for a
//! round trip.

pub(in crate::files) mod bodies;
pub mod client;
mod compression;
mod known_files;
pub(crate) mod messages;
mod open_folders;
mod progress;
mod receiver;
pub mod records;
pub mod relay;
mod selection;
pub(in crate::files) mod sender;
pub(crate) mod server;
mod staging;
mod summaries;
mod walk;
pub(in crate::files) mod worker;

use std::{fmt, sync::Arc};

use bodies::Bodies;
use landline_proto::{ErrorCode, Message, ProtocolState, limits::LINGER_TIME_MAX};
pub use messages::{GetTree, Placement, PutTree};
pub use progress::TreeProgress;
pub use receiver::{StoreOptions, SyncOptions};
pub use records::{
    ChangeAction, ChangeDetails, ChangeKind, EntryFailure, Hash, TreeChange, TreeSummary,
};
pub use selection::TreeSelection;
use serde::de::DeserializeOwned;
pub use walk::{WalkOptions, WalkedLinks};

use crate::{
    Error,
    net::Channel,
    paths::{Folder, TreePlace, TreeTarget},
};

/// How many folders of a tree may be within each other.
const DEPTH_MAX: usize = 500;
/// How many files with several names are known at once. Each takes memory at both sides.
const SHARED_FILES_MAX: usize = 100_000;
/// What a peer that ends its body early is reported as, until its error message is read.
const ENDED_EARLY: &str = "the other side ended the copy early";

/// Who gets to know what happens during a copy.
#[derive(Clone, Default)]
pub struct TreeEvents {
    failed: Option<Arc<dyn Fn(EntryFailure) + Send + Sync>>,
    changed: Option<Arc<dyn Fn(TreeChange) + Send + Sync>>,
    grown: Option<Arc<dyn Fn(String) + Send + Sync>>,
}

impl TreeEvents {
    /// `failed` is called for each entry that is not copied, on any thread.
    pub fn new(failed: impl Fn(EntryFailure) + Send + Sync + 'static) -> Self {
        Self {
            failed: Some(Arc::new(failed)),
            ..Self::default()
        }
    }

    /// `grown` is called for each file of which only the beginning is copied, because it grew while
    /// it was read. It gets a text for people, on any thread.
    #[must_use]
    pub fn with_grown(self, grown: impl Fn(String) + Send + Sync + 'static) -> Self {
        Self {
            grown: Some(Arc::new(grown)),
            ..self
        }
    }

    /// `changed` is called for each change, on any thread, if [`StoreOptions::changes`] is set.
    #[must_use]
    pub fn with_changes(self, changed: impl Fn(TreeChange) + Send + Sync + 'static) -> Self {
        Self {
            changed: Some(Arc::new(changed)),
            ..self
        }
    }

    fn changed(&self, change: TreeChange) {
        if let Some(changed) = &self.changed {
            changed(change);
        }
    }

    fn grown(&self, message: String) {
        if let Some(grown) = &self.grown {
            grown(message);
        }
    }

    fn failed(&self, failure: EntryFailure) {
        if let Some(failed) = &self.failed {
            failed(failure);
        }
    }
}

impl fmt::Debug for TreeEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeEvents").finish_non_exhaustive()
    }
}

/// Runs a thread and both bodies until the copy is complete.
///
/// # Errors
/// The thread's, or what the peer says.
pub(in crate::files) async fn run_exchange<T, M: Message + DeserializeOwned>(
    channel: &mut Channel,
    connection: Bodies,
    state: &'static ProtocolState,
    work: impl Future<Output = Result<T, Error>>,
    on_header: impl FnOnce(M),
) -> Result<T, Error> {
    let done = {
        let work = std::pin::pin!(work);
        let flow = std::pin::pin!(connection.run(channel, state, on_header));
        match select(work, flow).await {
            First::Work(Ok(done), flow) => flow.await.map(|()| done),
            First::Work(Err(error), _) => Err(error),
            First::Flow(Ok(()), work) => work.await,
            First::Flow(Err(error), _) => Err(error),
        }
    };
    match done {
        // The peer has ended its body to say why it cannot continue.
        Err(Error::Lost(what)) if what == ENDED_EARLY => Err(interruption(channel, state).await),
        done => done,
    }
}

/// Reads why a peer has ended its body early.
async fn interruption(channel: &mut Channel, state: &'static ProtocolState) -> Error {
    let reason = channel.reader.interruption(state);
    match tokio::time::timeout(LINGER_TIME_MAX, reason).await {
        Ok(reason @ Error::Failed { .. }) => reason,
        _ => sender::unexpected("an end before everything was sent"),
    }
}

/// Which of two futures was ready first, with the other one.
enum First<T, W, F> {
    Work(Result<T, Error>, F),
    Flow(Result<(), Error>, W),
}

async fn select<T, W, F>(mut work: W, mut flow: F) -> First<T, W, F>
where
    W: Future<Output = Result<T, Error>> + Unpin,
    F: Future<Output = Result<(), Error>> + Unpin,
{
    tokio::select! {
        biased;
        done = &mut work => First::Work(done, flow),
        done = &mut flow => First::Flow(done, work),
    }
}

/// Checks that a sync does not remove from a home, or from a folder that contains it, unless it is
/// forced to.
///
/// # Errors
/// `target-home`; `io`.
pub fn check_not_home(
    target: &TreeTarget,
    home: &Folder,
    sync: Option<SyncOptions>,
) -> Result<(), Error> {
    let shown = target.shown.display();
    let may_remove = sync.is_some_and(|sync| sync.delete && !sync.force);
    let failed = |error: std::io::Error| Error::io(&shown, &error);
    if may_remove && target.place.is_or_contains(home).map_err(failed)? {
        let message = format!("{shown} is or contains the home: nothing was copied or deleted");
        return Err(Error::here(ErrorCode::TargetHome, message));
    }
    Ok(())
}

/// Checks that several sources go into a folder.
///
/// # Errors
/// `not-found`.
pub fn check_place(target: &TreeTarget, placement: Placement) -> Result<(), Error> {
    if placement == Placement::Into && matches!(target.place, TreePlace::As(..)) {
        let message = format!("{}: no such folder", target.shown.display());
        return Err(Error::here(ErrorCode::NotFound, message));
    }
    Ok(())
}
