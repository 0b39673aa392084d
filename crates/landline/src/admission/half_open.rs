//! Limits the connections that are not logged in yet.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::Notify;

use super::{PeerNetwork, Penalties, Refused};

/// Half-open connections from one network, other than this machine.
const FROM_NETWORK_MAX: usize = 16;

/// The half-open connections of a server. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Admission(Arc<Mutex<HalfOpenTable>>);

#[derive(Debug)]
struct HalfOpenTable {
    /// The connections of each network, the oldest first; no network without any.
    waiting: HashMap<PeerNetwork, VecDeque<HalfOpen>>,
    /// All connections.
    count: usize,
    count_max: usize,
    /// The number of the next connection.
    next: u64,
    penalties: Penalties,
}

#[derive(Debug)]
struct HalfOpen {
    number: u64,
    evicted: Arc<Notify>,
}

/// The slot of a half-open connection, until it is dropped after the login.
#[derive(Debug)]
pub struct Ticket {
    admission: Admission,
    network: PeerNetwork,
    number: u64,
    evicted: Arc<Notify>,
}

impl Admission {
    /// Limits half-open connections to `count_max` (at least 1), and 16 per network.
    ///
    /// The limit per network does not apply to this machine, because all tunnels share its address.
    pub(crate) fn new(count_max: usize) -> Self {
        let waiting = HashMap::new();
        let penalties = Penalties::default();
        Self(Arc::new(Mutex::new(HalfOpenTable {
            waiting,
            count: 0,
            count_max: count_max.max(1),
            next: 0,
            penalties,
        })))
    }

    /// Takes a slot for a new connection.
    ///
    /// At a limit it evicts the oldest connection of the same network, or of the busiest one.
    ///
    /// # Errors
    /// [`Refused`] while the network is shut out.
    pub(crate) fn admit(&self, network: PeerNetwork, now: Instant) -> Result<Ticket, Refused> {
        let mut table = self.table();
        table.penalties.check(network, now)?;
        let is_limited = !network.is_this_machine();
        if is_limited
            && table
                .waiting
                .get(&network)
                .is_some_and(|waiting| waiting.len() >= FROM_NETWORK_MAX)
        {
            table.evict(network);
        } else if table.count >= table.count_max {
            // Of equally busy networks, take the one with the oldest connection.
            let weight = |waiting: &VecDeque<HalfOpen>| {
                (
                    waiting.len(),
                    waiting.front().map(|oldest| u64::MAX - oldest.number),
                )
            };
            let busiest = table
                .waiting
                .iter()
                .max_by_key(|(_, waiting)| weight(waiting))
                .map(|(network, _)| *network);
            if let Some(busiest) = busiest {
                table.evict(busiest);
            }
        }
        let number = table.next;
        let evicted = Arc::new(Notify::new());
        table.next += 1;
        table.count += 1;
        table
            .waiting
            .entry(network)
            .or_default()
            .push_back(HalfOpen {
                number,
                evicted: evicted.clone(),
            });
        Ok(Ticket {
            admission: self.clone(),
            network,
            number,
            evicted,
        })
    }

    /// Counts a rejected login of this network.
    pub(crate) fn penalize(&self, network: PeerNetwork, now: Instant) {
        self.table().penalties.add(network, now);
    }

    fn table(&self) -> MutexGuard<'_, HalfOpenTable> {
        // No code below panics halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HalfOpenTable {
    /// Evicts the oldest connection of a network.
    fn evict(&mut self, network: PeerNetwork) {
        let Some(oldest) = self.waiting.get_mut(&network).and_then(VecDeque::pop_front) else {
            return;
        };
        oldest.evicted.notify_one();
        self.count -= 1;
        self.remove_if_empty(network);
    }

    fn remove(&mut self, network: PeerNetwork, number: u64) {
        let Some(waiting) = self.waiting.get_mut(&network) else {
            return;
        };
        if let Ok(place) = waiting.binary_search_by_key(&number, |waiting| waiting.number) {
            waiting.remove(place);
            self.count -= 1;
        }
        self.remove_if_empty(network);
    }

    fn remove_if_empty(&mut self, network: PeerNetwork) {
        if self.waiting.get(&network).is_some_and(VecDeque::is_empty) {
            self.waiting.remove(&network);
        }
    }
}

impl Ticket {
    /// Returns once the connection is evicted.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.table().remove(self.network, self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use proptest::prelude::*;

    use super::*;

    fn network(number: u32) -> PeerNetwork {
        PeerNetwork::of(Ipv4Addr::from_bits(0x0a00_0000 + number).into())
    }

    /// Whether the connection of a ticket is evicted.
    async fn is_evicted(ticket: &Ticket) -> bool {
        tokio::select! {
            biased;
            () = ticket.evicted() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn network_evicts_own_connections() {
        let admission = Admission::new(512);
        let now = Instant::now();
        let other = admission.admit(network(2), now).unwrap();
        let tickets: Vec<Ticket> = (0..20)
            .map(|_| admission.admit(network(1), now).unwrap())
            .collect();
        for (number, ticket) in tickets.iter().enumerate() {
            assert_eq!(is_evicted(ticket).await, number < 4, "{number}");
        }
        assert!(!is_evicted(&other).await);
    }

    /// Proves `login-lockout` in docs/faults.md.
    #[tokio::test]
    async fn oldest_of_busiest_network_is_evicted() {
        let admission = Admission::new(10);
        let now = Instant::now();
        let heavy: Vec<Ticket> = (0..4)
            .map(|_| admission.admit(network(1), now).unwrap())
            .collect();
        let light: Vec<Ticket> = (2..5)
            .flat_map(|number| [number; 2])
            .map(|number| admission.admit(network(number), now).unwrap())
            .collect();
        let newcomer = admission.admit(network(9), now).unwrap();
        assert!(is_evicted(&heavy[0]).await && !is_evicted(&newcomer).await);
        // Now three against two, then equals, of which the oldest is evicted.
        let _more = admission.admit(network(9), now).unwrap();
        assert!(is_evicted(&heavy[1]).await);
        for ticket in light.iter().chain(&heavy[2..]) {
            assert!(!is_evicted(ticket).await);
        }
        let _third = admission.admit(network(8), now).unwrap();
        assert!(is_evicted(&heavy[2]).await);
    }

    #[tokio::test]
    async fn dropped_ticket_frees_slot() {
        let admission = Admission::new(2);
        let now = Instant::now();
        let first = admission.admit(network(1), now).unwrap();
        drop(admission.admit(network(1), now).unwrap());
        let _second = admission.admit(network(2), now).unwrap();
        assert!(!is_evicted(&first).await);
    }

    #[test]
    fn shut_out_network_is_rejected() {
        let admission = Admission::new(2);
        let now = Instant::now();
        for _ in 0..3 {
            admission.penalize(network(1), now);
        }
        assert_eq!(
            admission.admit(network(1), now).unwrap_err().remaining,
            Duration::from_secs(15)
        );
        assert!(admission.admit(network(2), now).is_ok());
        assert!(
            admission
                .admit(network(1), now + Duration::from_secs(15))
                .is_ok()
        );
    }

    proptest! {
        /// The limits and the count hold for any order of arrivals and departures.
        #[test]
        fn limits_hold_for_any_sequence(steps in prop::collection::vec((0u32..30, any::<bool>()), 0..400), count_max in 1usize..40) {
            let admission = Admission::new(count_max);
            let now = Instant::now();
            let mut tickets = Vec::new();
            for (number, leaves) in steps {
                if leaves && !tickets.is_empty() {
                    tickets.swap_remove(number as usize % tickets.len());
                } else {
                    tickets.push(admission.admit(network(number % 7), now).unwrap());
                }
                let table = admission.table();
                prop_assert!(table.count <= count_max);
                prop_assert_eq!(table.count, table.waiting.values().map(VecDeque::len).sum::<usize>());
                prop_assert!(table.waiting.values().all(|waiting| !waiting.is_empty() && waiting.len() <= FROM_NETWORK_MAX));
            }
            drop(tickets);
            prop_assert!(admission.table().waiting.is_empty());
        }
    }
}
