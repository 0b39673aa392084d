//! Puts the rights into force again when their file changes.

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::Notify,
    task::spawn_blocking,
};

use crate::{
    activity::Activity,
    audit::{Audit, Priority},
    paths::FileWatch,
    rights::RightsFile,
};

/// How often the file is looked at where the system does not report its changes.
const LOOK_TIME: Duration = Duration::from_millis(500);
/// The time until the next attempt to put a change into force that waits for the audit log, or for
/// the file to be readable.
const RETRY_TIME: Duration = Duration::from_millis(500);
/// How often a change that waits is reported.
const WAITING_REPORTED_TIME: Duration = Duration::from_secs(60);

/// Follows the file: reads it when it has changed, and at every notice of `reload`. Never returns.
pub(super) async fn follow(rights: Arc<RightsFile>, reload: Arc<Notify>, audit: Audit) {
    let mut changes = Changes::of(&rights).await;
    let mut waiting_reported: Option<Instant> = None;
    let mut is_waiting = rights.has_changed();
    loop {
        let is_asked = tokio::select! {
            biased;
            () = reload.notified() => true,
            () = changes.next(&rights) => false,
            () = tokio::time::sleep(RETRY_TIME), if is_waiting => false,
        };
        let file = rights.clone();
        let read = spawn_blocking(move || {
            if !is_asked && file.has_changed() {
                // An editor may be in the middle of writing it.
                file.wait_for_rest();
            }
            (is_asked || file.has_changed()).then(|| file.reload())
        });
        let read = read.await;
        is_waiting = rights.has_changed();
        match read {
            Ok(Some(Ok(_))) => waiting_reported = None,
            Ok(Some(Err(error))) => {
                if is_waiting {
                    let is_recent = waiting_reported
                        .is_some_and(|reported| reported.elapsed() < WAITING_REPORTED_TIME);
                    if !is_asked && is_recent {
                        continue;
                    }
                    waiting_reported = Some(Instant::now());
                }
                let message = error.to_string();
                audit.note(Activity::RightsRefused { message }, Priority::Exempt);
            }
            Ok(None) | Err(_) => {}
        }
    }
}

/// Tells when the file may have changed.
enum Changes {
    /// The system reports it.
    Reported(AsyncFd<FileWatch>),
    /// It has to be looked at again and again.
    Polled,
}

impl Changes {
    async fn of(rights: &Arc<RightsFile>) -> Self {
        let rights = rights.clone();
        let watch = spawn_blocking(move || rights.watch_file()).await;
        let registered = watch.ok().and_then(Result::ok).and_then(|watch| {
            // SAFETY: the watch owns its descriptor, and keeps it open and the same while it lives.
            unsafe { AsyncFd::register_with_interest(watch, Interest::READABLE) }.ok()
        });
        registered.map_or(Self::Polled, Self::Reported)
    }

    /// Waits for the next change. It may have been reported to others before.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    async fn next(&mut self, rights: &RightsFile) {
        loop {
            let taken = match self {
                Self::Polled => {
                    tokio::time::sleep(LOOK_TIME).await;
                    Ok(rights.has_changed())
                }
                Self::Reported(watch) => match watch.readable_mut().await {
                    Ok(mut ready) => {
                        let taken = ready.get_inner_mut().take_changes();
                        ready.clear_ready();
                        taken
                    }
                    // The runtime is shutting down.
                    Err(_) => return pending().await,
                },
            };
            match taken {
                Ok(true) => return,
                Ok(false) => {}
                Err(_) => *self = Self::Polled,
            }
        }
    }
}
