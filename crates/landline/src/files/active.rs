//! Registry of the active transfers of this process that hold a manifest.
//!
//! When a client reconnects, its new attempt preempts the old one, whose connection is dead.

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
/// Such a transfer is not preempted. It may still be receiving what a killed client had sent.
const WAIT_TIME: Duration = Duration::from_secs(5);
/// How often a waiting attempt looks for progress.
const POLL_TIME: Duration = Duration::from_millis(50);

/// The active transfers, by the names of their manifests.
#[derive(Debug, Default)]
pub(super) struct ActiveTransfers {
    transfers: Mutex<HashMap<String, Arc<Heartbeat>>>,
    ended: Condvar,
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

    /// Removes a transfer whose manifest is no longer in use.
    pub(super) fn deregister(&self, name: &str) {
        self.transfers().remove(name);
        self.ended.notify_all();
    }

    /// Waits until a transfer has ended, and preempts it if it stalls.
    ///
    /// Returns false if the transfer is still active, or does not belong to this process.
    ///
    /// # Blocking
    /// For some seconds at most.
    pub(super) fn wait_or_preempt(&self, name: &str) -> bool {
        let mut transfers = self.transfers();
        let Some(heartbeat) = transfers.get(name).cloned() else {
            return false;
        };
        let start = Instant::now();
        let mut last_progress = (heartbeat.ticks.load(Ordering::Relaxed), start);
        let mut preempted_at: Option<Instant> = None;
        while transfers
            .get(name)
            .is_some_and(|active| Arc::ptr_eq(active, &heartbeat))
        {
            let ticks = heartbeat.ticks.load(Ordering::Relaxed);
            if ticks != last_progress.0 {
                last_progress = (ticks, Instant::now());
            }
            if preempted_at.is_none() && last_progress.1.elapsed() >= STALL_TIME {
                heartbeat.preempted.notify_one();
                preempted_at = Some(Instant::now());
            }
            // Give up on a transfer that makes progress, or that ignores the preemption.
            let is_alive =
                start.elapsed() >= WAIT_TIME && last_progress.1.elapsed() < STALL_TIME / 2;
            if is_alive || preempted_at.is_some_and(|at| at.elapsed() >= STALL_TIME) {
                return false;
            }
            transfers = self
                .ended
                .wait_timeout(transfers, POLL_TIME)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
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

    #[test]
    fn only_stalled_transfer_is_preempted() {
        let active = ActiveTransfers::default();
        assert!(!active.wait_or_preempt("none"));
        let heartbeat = active.register("copy");
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| active.wait_or_preempt("copy"));
            while !waiter.is_finished() {
                heartbeat.tick();
                std::thread::yield_now();
            }
            assert!(!waiter.join().unwrap());
        });
        // The attempt waits for a transfer that makes progress until it ends.
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| active.wait_or_preempt("copy"));
            for _ in 0..20 {
                heartbeat.tick();
                std::thread::sleep(POLL_TIME);
            }
            active.deregister("copy");
            assert!(waiter.join().unwrap());
        });
        let heartbeat = active.register("copy");
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| active.wait_or_preempt("copy"));
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(heartbeat.preempted());
            active.deregister("copy");
            assert!(waiter.join().unwrap());
        });
    }
}
