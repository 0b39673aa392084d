//! Rate limits for content.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use landline_proto::login::UserName;
use tokio::time::Instant;

/// What an idle user of a server may send at once, as a time at the allowed rate.
const BURST_TIME: Duration = Duration::from_secs(1);
/// The same for a limit that a client sets itself: no second may have much more than its share.
const BURST_TIME_OF_CLIENT: Duration = Duration::from_millis(50);
/// How much the peer may be ahead of a client with a limit, as a time at the allowed rate. It is
/// more over a long round trip, so that the rate is reached.
const AHEAD_TIME: Duration = Duration::from_millis(50);
/// The least that the peer may be ahead.
const AHEAD_BYTES_MIN: usize = 16 * 1024;
/// The longest buffer that Linux gives to any process by default (`net.core.rmem_max`).
const AHEAD_BYTES_MAX: usize = 212_992;
/// The fewest bytes that are sent at once.
const PIECE_BYTES_MIN: usize = 4 * 1024;

/// Limits the content of several connections, both directions together.
///
/// It is a token bucket. A caller that has exceeded the rate waits before the next part.
pub struct RateLimiter {
    /// Bytes per second, read for every part; `None` for no limit.
    rate: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    /// How long an idle bucket takes to fill.
    burst: Duration,
    /// When the next part may flow; `None` before the first one.
    available_at: Mutex<Option<Instant>>,
    /// Held by the one whose part is next, so that connections take turns.
    turn: tokio::sync::Mutex<()>,
}

/// The rate limiters of all users.
///
/// All connections of a user share one limiter. It outlives them while it has a backlog.
#[derive(Default)]
pub(crate) struct RateLimiters(Mutex<HashMap<UserName, Arc<RateLimiter>>>);

impl RateLimiters {
    /// The limiter of this user, created with `rate` (bytes per second) if there is none.
    pub(crate) fn of(
        &self,
        user: &UserName,
        rate: impl Fn() -> Option<u64> + Send + Sync + 'static,
    ) -> Arc<RateLimiter> {
        let mut rate_limiters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A limiter with a backlog stays: a client must not get a new burst by reconnecting.
        rate_limiters.retain(|_, rate_limiter| {
            Arc::strong_count(rate_limiter) > 1 || !rate_limiter.is_idle()
        });
        rate_limiters
            .entry(user.clone())
            .or_insert_with(|| Arc::new(RateLimiter::new(rate)))
            .clone()
    }
}

impl std::fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimiter").finish_non_exhaustive()
    }
}

impl RateLimiter {
    /// A limiter that calls `rate` for every part, in bytes per second.
    pub(crate) fn new(rate: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self {
            rate: Box::new(rate),
            burst: BURST_TIME,
            available_at: Mutex::new(None),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// A limiter for the connections of a client, with a rate in bytes per second.
    pub fn of_client(rate: u64) -> Self {
        Self {
            burst: BURST_TIME_OF_CLIENT,
            ..Self::new(move || Some(rate))
        }
    }

    /// How many bytes may flow at once after [`ready`](Self::ready).
    pub(crate) fn piece_bytes(&self) -> usize {
        let Some(rate) = (self.rate)() else {
            return usize::MAX;
        };
        let bytes = rate as f64 * self.burst.as_secs_f64();
        (bytes as usize).max(PIECE_BYTES_MIN)
    }

    /// How many bytes the peer may be ahead of what is read, over this round trip; `None` without a
    /// limit, and if the rate needs more than a process can ask for.
    pub(crate) fn ahead_bytes(&self, round_trip: Duration) -> Option<usize> {
        let rate = (self.rate)()? as f64;
        // In a round trip at most this much arrives.
        let needed = rate * 2.0 * round_trip.as_secs_f64();
        if needed > AHEAD_BYTES_MAX as f64 {
            return None;
        }
        let bytes = (rate * AHEAD_TIME.as_secs_f64()).max(needed) as usize;
        Some(bytes.clamp(AHEAD_BYTES_MIN, AHEAD_BYTES_MAX))
    }

    /// Whether the bucket is full, so that a new limiter would behave alike.
    fn is_idle(&self) -> bool {
        self.available_at()
            .is_none_or(|available_at| available_at + self.burst <= Instant::now())
    }

    /// Returns once the next part may flow.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn ready(&self) {
        let _turn = self.turn.lock().await;
        // Another connection may have used the bucket meanwhile.
        while let Some(available_at) = self.available_at().filter(|at| *at > Instant::now()) {
            tokio::time::sleep_until(available_at).await;
        }
    }

    /// Counts bytes that have flowed.
    pub(crate) fn consume(&self, bytes: usize) {
        let Some(rate) = (self.rate)() else { return };
        let mut available_at = self
            .available_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let earliest = now.checked_sub(self.burst).unwrap_or(now);
        let cost = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        *available_at = Some(available_at.unwrap_or(earliest).max(earliest) + cost);
    }

    fn available_at(&self) -> Option<Instant> {
        *self
            .available_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses a paused clock, which advances only when every task waits.
    #[tokio::test(start_paused = true)]
    async fn content_after_burst_is_limited_to_rate() {
        tokio::time::advance(Duration::from_secs(10)).await;
        let rate_limiter = RateLimiter::new(|| Some(1000));
        let start = Instant::now();
        for _ in 0..50 {
            rate_limiter.ready().await;
            rate_limiter.consume(100);
        }
        rate_limiter.ready().await;
        assert_eq!(
            start.elapsed().as_millis(),
            4000,
            "5000 bytes at 1000 a second, one second of them at once"
        );

        tokio::time::sleep(Duration::from_secs(100)).await;
        let start = Instant::now();
        rate_limiter.consume(3000);
        rate_limiter.ready().await;
        assert_eq!(
            start.elapsed().as_millis(),
            2000,
            "the burst is limited to one second"
        );

        let free = RateLimiter::new(|| None);
        free.consume(usize::MAX);
        free.ready().await;
        assert_eq!(start.elapsed().as_millis(), 2000);
    }

    /// Proves `rate-limit` in docs/faults.md.
    #[tokio::test(start_paused = true)]
    async fn second_of_client_has_little_more_than_its_share() {
        const RATE: u64 = 2 << 20;
        tokio::time::advance(Duration::from_secs(10)).await;
        let limiter = RateLimiter::of_client(RATE);
        let start = Instant::now();
        let mut flowed = Vec::new();
        while start.elapsed() < Duration::from_secs(10) {
            limiter.ready().await;
            // The bucket may be full again in the middle of a second.
            if flowed.len() == 30 {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            let piece = limiter.piece_bytes();
            limiter.consume(piece);
            flowed.push((start.elapsed(), piece as u64));
        }
        for (begin, _) in &flowed {
            let end = *begin + Duration::from_secs(1);
            let within = flowed.iter().filter(|(at, _)| at >= begin && *at < end);
            let bytes: u64 = within.map(|(_, bytes)| bytes).sum();
            assert!(bytes * 10 <= RATE * 12, "{bytes} bytes from {begin:?} on");
        }
        let all: u64 = flowed.iter().map(|(_, bytes)| bytes).sum();
        assert!(all >= RATE * 9, "{all} bytes in ten seconds");
    }

    #[test]
    fn peer_may_be_ahead_by_two_round_trips() {
        let limiter = RateLimiter::of_client(1_000_000);
        for (milliseconds, expected) in [
            (0, Some(50_000)),
            (1, Some(50_000)),
            (25, Some(50_000)),
            (100, Some(200_000)),
            (200, None),
        ] {
            let ahead = limiter.ahead_bytes(Duration::from_millis(milliseconds));
            assert_eq!(ahead, expected, "{milliseconds} ms");
        }
        let (slow, fast) = (RateLimiter::of_client(1), RateLimiter::of_client(1 << 30));
        let round_trip = Duration::from_micros(50);
        assert_eq!(slow.ahead_bytes(round_trip), Some(AHEAD_BYTES_MIN));
        assert_eq!(fast.ahead_bytes(round_trip), Some(AHEAD_BYTES_MAX));
        assert_eq!(RateLimiter::new(|| None).ahead_bytes(round_trip), None);
    }

    #[tokio::test(start_paused = true)]
    async fn connections_take_turns() {
        tokio::time::advance(Duration::from_secs(10)).await;
        let limiter = Arc::new(RateLimiter::of_client(1 << 20));
        let counts = Arc::new(Mutex::new([0; 3]));
        let senders = [0, 1, 2].map(|number| {
            let (limiter, counts) = (limiter.clone(), counts.clone());
            tokio::spawn(async move {
                loop {
                    limiter.ready().await;
                    limiter.consume(limiter.piece_bytes());
                    counts.lock().unwrap()[number] += 1;
                }
            })
        });
        tokio::time::sleep(Duration::from_secs(10)).await;
        for sender in senders {
            sender.abort();
        }
        let counts = *counts.lock().unwrap();
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least <= 5 && *least > 60, "{counts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn connections_of_user_share_one_rate() {
        tokio::time::advance(Duration::from_secs(10)).await;
        let rate_limiters = RateLimiters::default();
        let [alice, bob] = ["alice", "bob"].map(|name| name.parse::<UserName>().unwrap());
        let rate_limiter = |user: &UserName| rate_limiters.of(user, || Some(1000));
        let start = Instant::now();
        let several = [
            rate_limiter(&alice),
            rate_limiter(&alice),
            rate_limiter(&alice),
        ];
        for part in 0..30 {
            let rate_limiter = &several[part % several.len()];
            rate_limiter.ready().await;
            rate_limiter.consume(100);
        }
        rate_limiter(&bob).ready().await;
        several[0].ready().await;
        assert_eq!(
            start.elapsed().as_millis(),
            2000,
            "3000 bytes at 1000 a second, one second of them at once"
        );

        // Reconnecting does not clear the backlog.
        rate_limiter(&alice).consume(5000);
        drop(several);
        rate_limiter(&bob).ready().await;
        rate_limiter(&alice).ready().await;
        assert_eq!(start.elapsed().as_millis(), 7000);
        tokio::time::sleep(Duration::from_secs(1)).await;
        rate_limiter(&bob).consume(1);
        assert_eq!(
            rate_limiters.0.lock().unwrap().len(),
            1,
            "an idle limiter of a disconnected user is dropped"
        );
    }
}
