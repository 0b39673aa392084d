//! The copies of this process that hold a manifest, so that one whose line is dead makes way for
//! its own next try.

use std::{
    collections::HashMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// A copy that has not moved for this long makes way for another try at the same.
const STALL_TIME: Duration = Duration::from_secs(2);
/// How long one that moves is waited for, which is left alone: what it still takes may be all that
/// a killed client has left on the way.
const MOVING_TIME: Duration = Duration::from_secs(5);
/// How often movement is looked for meanwhile.
const LOOK_TIME: Duration = Duration::from_millis(50);

/// The copies that are running, by the name of their manifest.
#[derive(Debug, Default)]
pub(super) struct Running {
    copies: Mutex<HashMap<String, Arc<Pulse>>>,
    ended: Condvar,
}

/// The sign of life of one copy.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    moves: AtomicU64,
    give_way: Notify,
}

impl Pulse {
    /// Something has arrived.
    pub(super) fn beat(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns once the copy has to make way. Cancel-safe.
    pub(crate) async fn give_way(&self) {
        self.give_way.notified().await;
    }
}

impl Running {
    /// A copy begins.
    pub(super) fn begin(&self, name: &str) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse::default());
        self.copies().insert(name.to_owned(), pulse.clone());
        pulse
    }

    /// A copy has ended, and its manifest is free.
    pub(super) fn end(&self, name: &str) {
        self.copies().remove(name);
        self.ended.notify_all();
    }

    /// Waits until a copy has ended, telling it to make way if it does not move. False if it goes
    /// on, or is none of this process. Blocking, for some seconds at most.
    pub(super) fn outlast(&self, name: &str) -> bool {
        let mut copies = self.copies();
        let Some(pulse) = copies.get(name).cloned() else {
            return false;
        };
        let start = Instant::now();
        let mut moved = (pulse.moves.load(Ordering::Relaxed), start);
        let mut told_at: Option<Instant> = None;
        while copies
            .get(name)
            .is_some_and(|running| Arc::ptr_eq(running, &pulse))
        {
            let moves = pulse.moves.load(Ordering::Relaxed);
            if moves != moved.0 {
                moved = (moves, Instant::now());
            }
            if told_at.is_none() && moved.1.elapsed() >= STALL_TIME {
                pulse.give_way.notify_one();
                told_at = Some(Instant::now());
            }
            // One that has just moved goes on; one that was told ends at its next chance.
            let goes_on = start.elapsed() >= MOVING_TIME && moved.1.elapsed() < STALL_TIME / 2;
            if goes_on || told_at.is_some_and(|told| told.elapsed() >= STALL_TIME) {
                return false;
            }
            copies = self
                .ended
                .wait_timeout(copies, LOOK_TIME)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    fn copies(&self) -> MutexGuard<'_, HashMap<String, Arc<Pulse>>> {
        // Nothing that holds the lock can leave the map half changed.
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stalled_copy_is_told_and_a_moving_one_is_left_alone() {
        let running = Running::default();
        assert!(!running.outlast("none"));
        let pulse = running.begin("copy");
        std::thread::scope(|scope| {
            let mover = scope.spawn(|| running.outlast("copy"));
            while !mover.is_finished() {
                pulse.beat();
                std::thread::yield_now();
            }
            assert!(!mover.join().unwrap());
        });
        // One that moves to its end is waited for.
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| running.outlast("copy"));
            for _ in 0..20 {
                pulse.beat();
                std::thread::sleep(LOOK_TIME);
            }
            running.end("copy");
            assert!(waiter.join().unwrap());
        });
        let pulse = running.begin("copy");
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| running.outlast("copy"));
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(pulse.give_way());
            running.end("copy");
            assert!(waiter.join().unwrap());
        });
    }
}
