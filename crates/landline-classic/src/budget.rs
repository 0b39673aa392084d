//! Limits for answers to datagrams, whose sources can be forged.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Lower ports belong to services, which answer answers forever (CVE-2024-2169).
pub(super) const SERVICE_PORTS: u16 = 1024;
/// Answers to one address in a second.
const PEER_RATE: f64 = 200.0;
/// Answers to all addresses in a second.
const TOTAL_RATE: f64 = 2000.0;
/// Answers to one address after a rest.
const PEER_BURST: f64 = 400.0;
/// Answers to all addresses after a rest.
const TOTAL_BURST: f64 = 4000.0;
/// How often the same datagram of one address is answered without a rest.
///
/// So a loop of two servers that are 10 ms apart ends within a second.
const REPEATS_MAX: u32 = 100;
/// The rest after which the same datagram counts as new.
const REST: Duration = Duration::from_secs(1);
/// The addresses and datagrams that are remembered.
const ENTRIES_MAX: usize = 4096;

/// A token bucket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket that gets `rate` tokens in a second, up to `burst`.
    pub(super) fn new(now: Instant, rate: f64, burst: f64) -> Self {
        Self {
            rate,
            burst,
            tokens: burst,
            at: now,
        }
    }

    /// Whether there is a token.
    pub(super) fn has_token(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.tokens >= 1.0
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let has_token = self.has_token(now);
        if has_token {
            self.tokens -= 1.0;
        }
        has_token
    }

    /// The time until there is a token.
    pub(super) fn wait_time(&mut self, now: Instant) -> Duration {
        self.fill(now);
        // A little more, since a time is rounded down.
        let seconds = (1.0 - self.tokens).max(0.0) / self.rate;
        Duration::from_secs_f64(seconds + if seconds > 0.0 { 1e-6 } else { 0.0 })
    }

    fn fill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + seconds * self.rate).min(self.burst);
        self.at = self.at.max(now);
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.tokens >= self.burst
    }
}

/// Counts how often each datagram comes without a rest of a second.
#[derive(Debug, Clone)]
pub(super) struct Repeats<K> {
    limit: u32,
    /// The count of each datagram, and the time of the latest.
    counts: HashMap<K, (u32, Instant)>,
}

impl<K: Hash + Eq> Repeats<K> {
    /// Accepts each datagram up to `limit` times.
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit,
            counts: HashMap::new(),
        }
    }

    /// Counts a datagram. `false` if it came too often.
    pub(super) fn count(&mut self, now: Instant, datagram: K) -> bool {
        if self.counts.len() >= ENTRIES_MAX {
            self.counts
                .retain(|_, (_, latest)| now.saturating_duration_since(*latest) < REST);
        }
        // A flood of different datagrams must not fill the memory.
        if self.counts.len() >= 2 * ENTRIES_MAX {
            self.counts.clear();
        }
        let (count, latest) = self.counts.entry(datagram).or_insert((0, now));
        if now.saturating_duration_since(*latest) >= REST {
            *count = 0;
        }
        *latest = now;
        *count = count.saturating_add(1);
        *count <= self.limit
    }
}

/// The reason why a datagram is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    /// The same datagram came too often. Two servers may answer each other.
    Repeats,
    /// Too many datagrams came from the address, or from all of them.
    Rate,
}

/// The budget for the answers of a server of datagrams.
///
/// A loop of two servers that answer each other ends, since each of them stops.
#[derive(Debug, Clone)]
pub(super) struct AnswerBudget {
    peers: HashMap<SocketAddr, Bucket>,
    total: Bucket,
    /// Counts by a hash of the address and the datagram.
    repeats: Repeats<u64>,
}

impl AnswerBudget {
    /// A full budget.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            peers: HashMap::new(),
            total: Bucket::new(now, TOTAL_RATE, TOTAL_BURST),
            repeats: Repeats::new(REPEATS_MAX),
        }
    }

    /// Takes one answer to this datagram out of the budget.
    ///
    /// # Errors
    /// The limit that is reached. Then there is no answer.
    pub(super) fn take(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), Excess> {
        self.forget(now);
        let mut hasher = DefaultHasher::new();
        (from, datagram).hash(&mut hasher);
        if !self.repeats.count(now, hasher.finish()) {
            return Err(Excess::Repeats);
        }
        let peer = self
            .peers
            .entry(from)
            .or_insert_with(|| Bucket::new(now, PEER_RATE, PEER_BURST));
        if peer.take(now) && self.total.take(now) {
            Ok(())
        } else {
            Err(Excess::Rate)
        }
    }

    /// Forgets addresses that no longer matter, once there are many.
    fn forget(&mut self, now: Instant) {
        if self.peers.len() >= ENTRIES_MAX {
            self.peers.retain(|_, bucket| !bucket.is_full(now));
        }
        // A flood from many addresses must not fill the memory.
        if self.peers.len() >= 2 * ENTRIES_MAX {
            self.peers.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// Proves `datagram-loop` in docs/faults.md.
    #[test]
    fn loop_of_answers_ends_at_any_speed() {
        for pause in [0, 1, 10, 100, 900].map(Duration::from_millis) {
            let mut now = Instant::now();
            let mut budget = AnswerBudget::new(now);
            let mut answers = 0;
            while budget.take(now, peer(1), b"x").is_ok() {
                answers += 1;
                now += pause;
                assert!(answers < 1000, "{pause:?}");
            }
        }
    }

    /// Proves `datagram-loop` in docs/faults.md.
    #[test]
    fn answers_have_a_budget_for_each_address_and_all() {
        let now = Instant::now();
        let mut budget = AnswerBudget::new(now);
        let mut count = |port: u16| {
            (0u32..)
                .take_while(|number| budget.take(now, peer(port), &number.to_be_bytes()).is_ok())
                .count()
        };
        assert_eq!(count(1), 400);
        let others: usize = (2..100).map(count).sum();
        assert_eq!(others, 3600);
        assert_eq!(
            budget.take(now + Duration::from_secs(9), peer(1), b"new"),
            Ok(())
        );
    }

    #[test]
    fn same_text_now_and_then_is_always_answered() {
        let mut now = Instant::now();
        let mut budget = AnswerBudget::new(now);
        for _ in 0..1000 {
            assert_eq!(budget.take(now, peer(1), b"ping"), Ok(()));
            now += REST;
        }
    }

    #[test]
    fn flood_from_many_addresses_costs_little_memory() {
        let now = Instant::now();
        let mut budget = AnswerBudget::new(now);
        for number in 0..100_000u32 {
            let from = SocketAddr::from((number.to_be_bytes(), 1));
            let _ = budget.take(now, from, &number.to_be_bytes());
        }
        assert!(budget.peers.len() + budget.repeats.counts.len() <= 4 * ENTRIES_MAX);
    }
}
