//! Connections that are not logged in yet.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{Penalties, Source};

/// Half-open connections from one source, other than this machine.
const FROM_SOURCE_MAX: usize = 16;

/// The half-open connections of a server. Cloning gives another handle to the same ones.
#[derive(Debug, Clone)]
pub struct Admission(Arc<Mutex<HalfOpenTable>>);

#[derive(Debug)]
struct HalfOpenTable {
    /// The oldest of each source first; no source without any.
    waiting: HashMap<Source, VecDeque<HalfOpen>>,
    /// All of them together.
    count: usize,
    count_max: usize,
    /// The number of the next one.
    next: u64,
    penalties: Penalties,
}

#[derive(Debug)]
struct HalfOpen {
    number: u64,
    evicted: Arc<Notify>,
}

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// How long its source is shut out still.
    pub remaining: Duration,
}

/// A half-open connection's place, until it is dropped: after the login, whatever came of it.
#[derive(Debug)]
pub struct Ticket {
    admission: Admission,
    source: Source,
    number: u64,
    evicted: Arc<Notify>,
}

impl Admission {
    /// Bounds the half-open connections to `count_max` in all, at least 1, and 16 from each source
    /// but this machine, where tunnels end.
    pub fn new(count_max: usize) -> Self {
        let (waiting, penalties) = (HashMap::new(), Penalties::default());
        Self(Arc::new(Mutex::new(HalfOpenTable {
            waiting,
            count: 0,
            count_max: count_max.max(1),
            next: 0,
            penalties,
        })))
    }

    /// Takes a newcomer, for whom the oldest of its own source, or of the heaviest one, may have to
    /// go.
    ///
    /// # Errors
    /// [`Refused`] while its source is shut out.
    pub fn arrive(&self, source: Source, now: Instant) -> Result<Ticket, Refused> {
        let mut table = self.table();
        if let Some(remaining) = table.penalties.remaining(source, now) {
            return Err(Refused { remaining });
        }
        let is_bounded = !source.is_this_machine();
        if is_bounded
            && table
                .waiting
                .get(&source)
                .is_some_and(|waiting| waiting.len() >= FROM_SOURCE_MAX)
        {
            table.evict(source);
        } else if table.count >= table.count_max {
            // Among equals the one whose oldest has had the most time.
            let weight = |waiting: &VecDeque<HalfOpen>| {
                (
                    waiting.len(),
                    waiting.front().map(|oldest| u64::MAX - oldest.number),
                )
            };
            let heaviest = table
                .waiting
                .iter()
                .max_by_key(|(_, waiting)| weight(waiting))
                .map(|(source, _)| *source);
            if let Some(heaviest) = heaviest {
                table.evict(heaviest);
            }
        }
        let (number, evicted) = (table.next, Arc::new(Notify::new()));
        table.next += 1;
        table.count += 1;
        table
            .waiting
            .entry(source)
            .or_default()
            .push_back(HalfOpen {
                number,
                evicted: evicted.clone(),
            });
        Ok(Ticket {
            admission: self.clone(),
            source,
            number,
            evicted,
        })
    }

    /// Notes that a login from there was refused.
    pub fn penalise(&self, source: Source, now: Instant) {
        self.table().penalties.add(source, now);
    }

    fn table(&self) -> MutexGuard<'_, HalfOpenTable> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HalfOpenTable {
    /// Lets the oldest of a source go.
    fn evict(&mut self, source: Source) {
        let Some(oldest) = self.waiting.get_mut(&source).and_then(VecDeque::pop_front) else {
            return;
        };
        oldest.evicted.notify_one();
        self.count -= 1;
        self.forget_if_empty(source);
    }

    fn remove(&mut self, source: Source, number: u64) {
        let Some(waiting) = self.waiting.get_mut(&source) else {
            return;
        };
        if let Ok(place) = waiting.binary_search_by_key(&number, |waiting| waiting.number) {
            waiting.remove(place);
            self.count -= 1;
        }
        self.forget_if_empty(source);
    }

    fn forget_if_empty(&mut self, source: Source) {
        if self.waiting.get(&source).is_some_and(VecDeque::is_empty) {
            self.waiting.remove(&source);
        }
    }
}

impl Ticket {
    /// Returns once the connection has to make room. Cancel-safe.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.table().remove(self.source, self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn source(number: u32) -> Source {
        Source::of(Ipv4Addr::from_bits(0x0a00_0000 + number).into())
    }

    /// Whether a ticket's connection has to make room.
    async fn has_to_go(ticket: &Ticket) -> bool {
        tokio::select! {
            biased;
            () = ticket.evicted() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn a_source_crowds_out_itself() {
        let admission = Admission::new(512);
        let now = Instant::now();
        let other = admission.arrive(source(2), now).unwrap();
        let tickets: Vec<Ticket> = (0..20)
            .map(|_| admission.arrive(source(1), now).unwrap())
            .collect();
        for (number, ticket) in tickets.iter().enumerate() {
            assert_eq!(has_to_go(ticket).await, number < 4, "{number}");
        }
        assert!(!has_to_go(&other).await);
    }

    /// Proves `login-lockout` in docs/faults.md.
    #[tokio::test]
    async fn the_oldest_of_the_heaviest_source_makes_room_for_a_newcomer() {
        let admission = Admission::new(10);
        let now = Instant::now();
        let heavy: Vec<Ticket> = (0..4)
            .map(|_| admission.arrive(source(1), now).unwrap())
            .collect();
        let light: Vec<Ticket> = (2..5)
            .flat_map(|number| [number; 2])
            .map(|number| admission.arrive(source(number), now).unwrap())
            .collect();
        let newcomer = admission.arrive(source(9), now).unwrap();
        assert!(has_to_go(&heavy[0]).await && !has_to_go(&newcomer).await);
        // Now three against two, then equals, of which the oldest goes.
        let _more = admission.arrive(source(9), now).unwrap();
        assert!(has_to_go(&heavy[1]).await);
        for ticket in light.iter().chain(&heavy[2..]) {
            assert!(!has_to_go(ticket).await);
        }
        let _third = admission.arrive(source(8), now).unwrap();
        assert!(has_to_go(&heavy[2]).await);
    }

    #[tokio::test]
    async fn whoever_leaves_makes_room_too() {
        let admission = Admission::new(2);
        let now = Instant::now();
        let first = admission.arrive(source(1), now).unwrap();
        drop(admission.arrive(source(1), now).unwrap());
        let _second = admission.arrive(source(2), now).unwrap();
        assert!(!has_to_go(&first).await);
    }

    #[test]
    fn a_source_that_is_shut_out_is_refused() {
        let admission = Admission::new(2);
        let now = Instant::now();
        for _ in 0..3 {
            admission.penalise(source(1), now);
        }
        assert_eq!(
            admission.arrive(source(1), now).unwrap_err().remaining,
            Duration::from_secs(15)
        );
        assert!(admission.arrive(source(2), now).is_ok());
        assert!(
            admission
                .arrive(source(1), now + Duration::from_secs(15))
                .is_ok()
        );
    }

    proptest! {
        /// Whatever comes and goes: newcomers get in, and the bounds and the count hold.
        #[test]
        fn the_bounds_hold(steps in prop::collection::vec((0u32..30, any::<bool>()), 0..400), count_max in 1usize..40) {
            let admission = Admission::new(count_max);
            let now = Instant::now();
            let mut tickets = Vec::new();
            for (number, leaves) in steps {
                if leaves && !tickets.is_empty() {
                    tickets.swap_remove(number as usize % tickets.len());
                } else {
                    tickets.push(admission.arrive(source(number % 7), now).unwrap());
                }
                let table = admission.table();
                prop_assert!(table.count <= count_max);
                prop_assert_eq!(table.count, table.waiting.values().map(VecDeque::len).sum::<usize>());
                prop_assert!(table.waiting.values().all(|waiting| !waiting.is_empty() && waiting.len() <= FROM_SOURCE_MAX));
            }
            drop(tickets);
            prop_assert!(admission.table().waiting.is_empty());
        }
    }
}
