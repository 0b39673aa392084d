//! Rate limits for content.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use landline_proto::login::UserName;
use tokio::time::Instant;

/// What an idle connection may send at once, as a time at the allowed rate.
const BURST_TIME: Duration = Duration::from_secs(1);

/// Limits the content of all connections of a user, both directions together.
///
/// It is a token bucket that holds one second of content. A caller that has exceeded the rate waits
/// before the next part.
pub(crate) struct RateLimiter {
    /// Bytes per second, read for every part; `None` for no limit.
    rate: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    /// When the next part may flow; `None` before the first one.
    available_at: Mutex<Option<Instant>>,
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

impl RateLimiter {
    /// A limiter that calls `rate` for every part, in bytes per second.
    pub(crate) fn new(rate: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self {
            rate: Box::new(rate),
            available_at: Mutex::new(None),
        }
    }

    /// Whether the bucket is full, so that a new limiter would behave alike.
    fn is_idle(&self) -> bool {
        self.available_at()
            .is_none_or(|available_at| available_at + BURST_TIME <= Instant::now())
    }

    /// Returns once the next part may flow.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn ready(&self) {
        if let Some(available_at) = self.available_at().filter(|at| *at > Instant::now()) {
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
        let earliest = now.checked_sub(BURST_TIME).unwrap_or(now);
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
