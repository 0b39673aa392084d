//! Registry of the active transfers of this process that hold a manifest.
//!
//! When a client reconnects, its new attempt preempts the old one, whose connection is dead.
//! A client that runs a copy again preempts its own earlier attempt.

use std::{
    collections::HashMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// A transfer without progress for this long is preempted by another attempt.
const STALL_TIME: Duration = Duration::from_secs(2);
/// How long an attempt waits for a transfer that makes progress.
///
/// That may still be receiving what a killed client had sent.
const WAIT_TIME: Duration = Duration::from_secs(5);
/// How long an attempt waits for a preempted transfer, which may be writing or getting its name.
const END_TIME: Duration = Duration::from_secs(5);
/// How often a waiting attempt looks for progress.
const POLL_TIME: Duration = Duration::from_millis(50);

/// The active transfers, by the names of their manifests.
#[derive(Debug, Default)]
pub(super) struct ActiveTransfers {
    transfers: Mutex<HashMap<String, Arc<Heartbeat>>>,
    ended: Condvar,
}

/// What an attempt learned about the transfer that it waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitResult {
    /// It has ended.
    Ended,
    /// It is another copy that makes progress, or ignores the preemption.
    Active,
    /// This process has no such transfer. One may be about to begin or to end.
    Unknown,
}

/// Tells whether a transfer makes progress, and lets another attempt preempt it.
#[derive(Debug, Default)]
pub(crate) struct Heartbeat {
    ticks: AtomicU64,
    preempted: Notify,
}

impl Heartbeat {
    /// Records progress.
    pub(super) fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until another attempt preempts the transfer.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub(crate) async fn preempted(&self) {
        self.preempted.notified().await;
    }
}

impl ActiveTransfers {
    /// Adds a transfer.
    pub(super) fn register(&self, name: &str) -> Arc<Heartbeat> {
        let heartbeat = Arc::new(Heartbeat::default());
        self.transfers().insert(name.to_owned(), heartbeat.clone());
        heartbeat
    }

    /// Removes a transfer that ends.
    pub(super) fn deregister(&self, name: &str, heartbeat: &Arc<Heartbeat>) {
        let mut transfers = self.transfers();
        // The next transfer may have this name already.
        if transfers
            .get(name)
            .is_some_and(|active| Arc::ptr_eq(active, heartbeat))
        {
            transfers.remove(name);
        }
        self.ended.notify_all();
    }

    /// Waits until a transfer has ended, and preempts it if it stalls.
    ///
    /// A transfer that makes progress is preempted after some time if it is the same copy.
    ///
    /// # Blocking
    /// For some seconds at most.
    pub(super) fn wait_or_preempt(
        &self,
        name: &str,
        is_same_copy: impl FnOnce() -> bool,
    ) -> WaitResult {
        let mut transfers = self.transfers();
        let Some(heartbeat) = transfers.get(name).cloned() else {
            return WaitResult::Unknown;
        };
        let start = Instant::now();
        let mut last_progress = (heartbeat.ticks.load(Ordering::Relaxed), start);
        let mut is_same_copy = Some(is_same_copy);
        let mut preempted_at: Option<Instant> = None;
        while transfers
            .get(name)
            .is_some_and(|active| Arc::ptr_eq(active, &heartbeat))
        {
            let ticks = heartbeat.ticks.load(Ordering::Relaxed);
            if ticks != last_progress.0 {
                last_progress = (ticks, Instant::now());
            }
            match preempted_at {
                Some(at) if at.elapsed() >= END_TIME => return WaitResult::Active,
                Some(_) => {}
                None => {
                    let is_stalled = last_progress.1.elapsed() >= STALL_TIME;
                    let is_late = start.elapsed() >= WAIT_TIME;
                    if is_late && !is_stalled && !is_same_copy.take().is_some_and(|check| check()) {
                        return WaitResult::Active;
                    }
                    if is_stalled || is_late {
                        heartbeat.preempted.notify_one();
                        preempted_at = Some(Instant::now());
                    }
                }
            }
            transfers = self
                .ended
                .wait_timeout(transfers, POLL_TIME)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        WaitResult::Ended
    }

    fn transfers(&self) -> MutexGuard<'_, HashMap<String, Arc<Heartbeat>>> {
        // A panic cannot leave the map half changed.
        self.transfers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for the transfer "copy" while `work` is done.
    fn wait_during(
        active: &ActiveTransfers,
        is_same: bool,
        work: impl FnOnce(&dyn Fn() -> bool),
    ) -> WaitResult {
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| active.wait_or_preempt("copy", || is_same));
            work(&|| waiter.is_finished());
            waiter.join().unwrap()
        })
    }

    /// Returns once another attempt has preempted the transfer.
    fn wait_until_preempted(heartbeat: &Heartbeat, tick: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let ticking = async {
                loop {
                    if tick {
                        heartbeat.tick();
                    }
                    tokio::time::sleep(POLL_TIME).await;
                }
            };
            tokio::select! {
                () = heartbeat.preempted() => {}
                () = ticking => {}
            }
        });
    }

    #[test]
    fn stalled_transfer_and_same_copy_are_preempted() {
        let active = ActiveTransfers::default();
        let wait = active.wait_or_preempt("none", || true);
        assert_eq!(wait, WaitResult::Unknown);
        let heartbeat = active.register("copy");
        let other_copy = wait_during(&active, false, |is_finished| {
            while !is_finished() {
                heartbeat.tick();
                std::thread::yield_now();
            }
        });
        assert_eq!(other_copy, WaitResult::Active);
        // The attempt waits for a transfer that makes progress until it ends.
        let ending = wait_during(&active, false, |_| {
            for _ in 0..20 {
                heartbeat.tick();
                std::thread::sleep(POLL_TIME);
            }
            active.deregister("copy", &heartbeat);
        });
        assert_eq!(ending, WaitResult::Ended);
        for (tick, is_same) in [(false, false), (true, true)] {
            let heartbeat = active.register("copy");
            let preempted = wait_during(&active, is_same, |_| {
                wait_until_preempted(&heartbeat, tick);
                active.deregister("copy", &heartbeat);
            });
            assert_eq!(preempted, WaitResult::Ended);
        }
    }

    #[test]
    fn transfer_that_ends_leaves_the_next_registered() {
        let active = ActiveTransfers::default();
        let earlier = active.register("copy");
        let _next = active.register("copy");
        active.deregister("copy", &earlier);
        assert!(active.transfers().contains_key("copy"));
    }
}
