//! Blocking work: what runs for users, in a table with a limit per user, and a few threads for the
//! server's own work, which never waits for that of users.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use landline_proto::{ErrorCode, login::UserName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::Error;

/// How many units of blocking work one user may have at a time. Further ones wait.
pub(crate) const UNITS_PER_USER_MAX: usize = 64;

/// All blocking work that runs for users. Cloning gives another handle to the same table.
#[derive(Debug, Clone, Default)]
pub struct WorkTable(Arc<Mutex<Units>>);

#[derive(Debug, Default)]
struct Units {
    running: BTreeMap<u64, WorkInfo>,
    permits: HashMap<UserName, Arc<Semaphore>>,
    /// The number of the next unit.
    next: u64,
}

impl Units {
    fn insert(&mut self, info: WorkInfo) -> u64 {
        let number = self.next;
        self.next += 1;
        self.running.insert(number, info);
        number
    }
}

/// How many units of one kind there may be at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WorkLimits {
    /// Those of one user.
    pub(crate) user: usize,
    /// Those of all users together.
    pub(crate) all: usize,
}

/// A unit of work that is not blocking. It is in the table until it is dropped.
#[derive(Debug)]
pub(crate) struct CountedUnit(RunningUnit);

impl CountedUnit {
    /// Counts what it has cost, in bytes.
    pub(crate) fn spend(&self, cost: u64) {
        self.0.shared.cost.fetch_add(cost, Ordering::Relaxed);
    }
}

/// A unit of work that runs.
#[derive(Debug, Clone)]
pub struct WorkInfo {
    /// The user for whom it runs.
    pub user: UserName,
    /// The session by which it was asked for.
    pub session: String,
    /// What it does: the service and the request.
    pub kind: &'static str,
    shared: Arc<UnitState>,
}

#[derive(Debug, Default)]
struct UnitState {
    is_cancelled: AtomicBool,
    cost: AtomicU64,
}

impl WorkInfo {
    /// What it has cost so far, in bytes read, written or hashed.
    pub fn cost(&self) -> u64 {
        self.shared.cost.load(Ordering::Relaxed)
    }
}

/// What blocking work gets to know about itself.
#[derive(Debug, Clone)]
pub struct WorkUnit(Arc<UnitState>);

impl WorkUnit {
    /// Counts what was done since the last call, in bytes, and stops work that was cancelled. To be
    /// called for every buffer.
    ///
    /// # Errors
    /// `ended` once the session or the right has ended, or the caller no longer waits.
    pub fn spend(&self, cost: u64) -> Result<(), Error> {
        self.0.cost.fetch_add(cost, Ordering::Relaxed);
        if self.0.is_cancelled.load(Ordering::Relaxed) {
            return Err(Error::here(ErrorCode::Ended, "the work was cancelled"));
        }
        Ok(())
    }
}

impl WorkTable {
    /// The units that run, the oldest first.
    pub fn running(&self) -> Vec<WorkInfo> {
        self.units().running.values().cloned().collect()
    }

    /// Waits until the user may have one more unit, and enters it.
    pub(super) async fn enter(
        &self,
        user: &UserName,
        session: &str,
        kind: &'static str,
    ) -> RunningUnit {
        let permits = self
            .units()
            .permits
            .entry(user.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(UNITS_PER_USER_MAX)))
            .clone();
        // It is never closed.
        let permit = permits.acquire_owned().await.ok();
        let shared = Arc::new(UnitState::default());
        let info = WorkInfo {
            user: user.clone(),
            session: session.to_owned(),
            kind,
            shared: shared.clone(),
        };
        let number = self.units().insert(info);
        RunningUnit {
            table: self.clone(),
            number,
            shared,
            _permit: permit,
        }
    }

    /// Enters a unit of work that is not blocking; `None` where there are too many of this kind.
    pub(super) fn count(
        &self,
        user: &UserName,
        session: &str,
        kind: &'static str,
        limits: WorkLimits,
    ) -> Option<CountedUnit> {
        let mut units = self.units();
        let same = units.running.values().filter(|unit| unit.kind == kind);
        let (mut all, mut own) = (0, 0);
        for unit in same {
            all += 1;
            own += usize::from(unit.user == *user);
        }
        if own >= limits.user || all >= limits.all {
            return None;
        }
        let shared = Arc::new(UnitState::default());
        let number = units.insert(WorkInfo {
            user: user.clone(),
            session: session.to_owned(),
            kind,
            shared: shared.clone(),
        });
        Some(CountedUnit(RunningUnit {
            table: self.clone(),
            number,
            shared,
            _permit: None,
        }))
    }

    fn units(&self) -> MutexGuard<'_, Units> {
        // Every change is a single step, so that a panic leaves the table whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A unit's place in the table, which goes with the thread that works.
#[derive(Debug)]
pub(super) struct RunningUnit {
    table: WorkTable,
    number: u64,
    shared: Arc<UnitState>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl RunningUnit {
    pub(super) fn unit(&self) -> WorkUnit {
        WorkUnit(self.shared.clone())
    }

    /// Cancels the work when it is dropped.
    pub(super) fn canceler(&self) -> Canceler {
        Canceler(self.shared.clone())
    }
}

impl Drop for RunningUnit {
    fn drop(&mut self) {
        let mut units = self.table.units();
        if let Some(info) = units.running.remove(&self.number) {
            let is_last = units.running.values().all(|other| other.user != info.user);
            let is_unused = units
                .permits
                .get(&info.user)
                .is_some_and(|permits| Arc::strong_count(permits) <= 2);
            // This unit's permit and the table hold it: no other unit runs or waits.
            if is_last && is_unused {
                units.permits.remove(&info.user);
            }
        }
    }
}

/// Cancels a unit of work when it is dropped.
#[derive(Debug)]
pub(super) struct Canceler(Arc<UnitState>);

impl Canceler {
    pub(super) fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::Relaxed);
    }
}

impl Drop for Canceler {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// A few threads of their own for logins or revocation. They end when this is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Threads(mpsc::Sender<Job>);

type Job = Box<dyn FnOnce() + Send>;

impl Threads {
    /// Starts so many threads with this name.
    ///
    /// # Errors
    /// `io` where the system starts no more threads.
    pub(crate) fn start(name: &str, count: usize) -> Result<Self, Error> {
        let (sender, receiver) = mpsc::channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..count {
            let receiver = receiver.clone();
            let work = move || {
                loop {
                    let job = receiver
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .recv();
                    match job {
                        // A panic is reported to the caller that waits for the job.
                        Ok(job) => {
                            drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)))
                        }
                        Err(_) => return,
                    }
                }
            };
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(work)
                .map_err(|error| Error::io("a thread", &error))?;
        }
        Ok(Self(sender))
    }

    /// Runs `work` on one of the threads, once those before it are done.
    ///
    /// # Errors
    /// What `work` returns; `io` where it panicked.
    ///
    /// # Cancel safety
    /// The work continues, and its result is lost.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (done, result) = oneshot::channel();
        let job = move || {
            let _ = done.send(work());
        };
        let failed = || Error::here(ErrorCode::Io, "a task of the server failed");
        self.0.send(Box::new(job)).map_err(|_| failed())?;
        result.await.unwrap_or_else(|_| Err(failed()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn alice() -> UserName {
        "alice".parse().unwrap()
    }

    #[tokio::test]
    async fn units_beyond_the_limit_wait() {
        let table = WorkTable::default();
        let mut units = Vec::new();
        for _ in 0..UNITS_PER_USER_MAX {
            units.push(table.enter(&alice(), "1", "test").await);
        }
        let user = alice();
        let next = table.enter(&user, "1", "test");
        tokio::pin!(next);
        let early = tokio::time::timeout(Duration::from_millis(50), &mut next).await;
        assert!(early.is_err(), "it did not wait");
        let bob = "bob".parse().unwrap();
        drop(table.enter(&bob, "2", "test").await);
        drop(units.pop());
        let last = next.await;
        assert_eq!(table.running().len(), UNITS_PER_USER_MAX);
        drop((units, last));
        assert!(table.running().is_empty());
        assert!(table.units().permits.is_empty());
    }

    #[test]
    fn counted_units_are_limited_by_kind() {
        let table = WorkTable::default();
        let (alice, bob) = (alice(), "bob".parse().unwrap());
        let limits = WorkLimits { user: 2, all: 3 };
        let count = |user: &UserName, kind| table.count(user, "1", kind, limits);
        let own = [count(&alice, "a"), count(&alice, "a")];
        assert!(own.iter().all(Option::is_some));
        assert!(count(&alice, "a").is_none(), "the user's limit");
        let other = count(&bob, "a");
        assert!(
            other.is_some() && count(&bob, "a").is_none(),
            "the limit of all"
        );
        assert!(count(&alice, "b").is_some());
        drop(own);
        assert!(count(&alice, "a").is_some());
    }

    #[tokio::test]
    async fn cancelled_unit_stops_at_its_next_buffer() {
        let running = WorkTable::default().enter(&alice(), "1", "test").await;
        let unit = running.unit();
        assert!(unit.spend(10).is_ok());
        drop(running.canceler());
        let stopped = unit.spend(10);
        assert!(matches!(
            stopped,
            Err(Error::Failed {
                code: ErrorCode::Ended,
                ..
            })
        ));
    }

    #[tokio::test]
    async fn threads_survive_a_panic() {
        let threads = Threads::start("test", 1).unwrap();
        #[allow(clippy::panic, reason = "what is tested")]
        let failed = threads
            .run(|| -> Result<(), Error> { panic!("a bug") })
            .await;
        assert!(failed.is_err());
        assert_eq!(threads.run(|| Ok(7)).await.unwrap(), 7);
    }
}
