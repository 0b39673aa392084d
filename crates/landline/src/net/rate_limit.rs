//! How fast content may flow.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use landline_proto::login::UserName;
use tokio::time::Instant;

/// What a line that was quiet may send at once, in time at the allowed rate.
const BURST_TIME: Duration = Duration::from_secs(1);

/// A limit to the content of all connections of a user, both ways together. What flows is paid for
/// with time: whoever has spent more waits before the next part.
pub(crate) struct RateLimiter {
    /// Bytes per second now; `None` for no limit.
    rate: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    /// When all that has flowed is paid for.
    paid: Mutex<Option<Instant>>,
}

/// The limit of each user, however many connections there are, and whether one of them has ended
/// meanwhile.
#[derive(Default)]
pub(crate) struct RateLimiters(Mutex<HashMap<UserName, Arc<RateLimiter>>>);

impl RateLimiters {
    /// The limit of this user; where there is none yet, one of this many bytes per second, asked
    /// for anew with each part.
    pub(crate) fn of(
        &self,
        user: &UserName,
        rate: impl Fn() -> Option<u64> + Send + Sync + 'static,
    ) -> Arc<RateLimiter> {
        let mut rate_limiters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What has flowed stays to be paid for: a new connection is no new second at once.
        rate_limiters.retain(|_, rate_limiter| {
            Arc::strong_count(rate_limiter) > 1 || !rate_limiter.is_rested()
        });
        rate_limiters
            .entry(user.clone())
            .or_insert_with(|| Arc::new(RateLimiter::new(rate)))
            .clone()
    }
}

impl RateLimiter {
    /// A limit that is asked for anew with each part, in bytes per second.
    pub(crate) fn new(rate: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self {
            rate: Box::new(rate),
            paid: Mutex::new(None),
        }
    }

    /// Whether all that is saved up by a rest is saved up, so that a new one would be no other.
    fn is_rested(&self) -> bool {
        let paid = *self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        paid.is_none_or(|paid| paid + BURST_TIME <= Instant::now())
    }

    /// Returns once the next part may flow. Cancel-safe.
    pub(crate) async fn ready(&self) {
        let paid = *self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(paid) = paid.filter(|paid| *paid > Instant::now()) {
            tokio::time::sleep_until(paid).await;
        }
    }

    /// How long it takes until all that has flowed is paid for.
    fn debt(&self) -> Duration {
        let paid = *self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        paid.map_or(Duration::ZERO, |paid| {
            paid.saturating_duration_since(Instant::now())
        })
    }

    /// So much has flowed.
    pub(crate) fn spend(&self, bytes: usize) {
        let Some(rate) = (self.rate)() else { return };
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let earliest = now.checked_sub(BURST_TIME).unwrap_or(now);
        let cost = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        *paid = Some(paid.unwrap_or(earliest).max(earliest) + cost);
    }
}

/// How fast the audit log may grow by what one user does, in bytes per second: some 500 copies, or
/// logins. Whoever may only read cannot fill the disk with lines about it.
const LOG_RATE: u64 = 512 * 1024;
/// What the lines about one request or login take besides its path, at most, in bytes.
const LOG_BYTES: usize = 600;
/// Whoever is so far behind logs in no more for a while: what a login writes cannot wait.
const LOG_DEBT_MAX: Duration = Duration::from_secs(10);

/// Limits how fast a user may do what is recorded.
#[derive(Clone)]
pub(crate) struct LogPace(Arc<RateLimiter>);

/// Those of all users.
#[derive(Default)]
pub(crate) struct LogPaces(RateLimiters);

impl LogPaces {
    /// That of this user.
    pub(crate) fn of(&self, user: &UserName) -> LogPace {
        LogPace(self.0.of(user, || Some(LOG_RATE)))
    }
}

impl LogPace {
    /// A login; false where the user has done too much that had to be written down.
    pub(crate) fn log_in(&self) -> bool {
        let is_behind = self.0.debt() > LOG_DEBT_MAX;
        if !is_behind {
            self.0.spend(LOG_BYTES);
        }
        !is_behind
    }

    /// Returns once a request about a path of this length may be written down, twice. Cancel-safe.
    pub(crate) async fn wait_to_log(&self, path_length: usize) {
        self.0.ready().await;
        self.0.spend(2 * path_length + LOG_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By a clock that moves only when nothing else can.
    #[tokio::test(start_paused = true)]
    async fn content_flows_at_the_rate_behind_a_burst() {
        tokio::time::advance(Duration::from_secs(10)).await;
        let rate_limiter = RateLimiter::new(|| Some(1000));
        let start = Instant::now();
        for _ in 0..50 {
            rate_limiter.ready().await;
            rate_limiter.spend(100);
        }
        rate_limiter.ready().await;
        assert_eq!(
            start.elapsed().as_millis(),
            4000,
            "5000 bytes at 1000 a second, one second of them at once"
        );

        tokio::time::sleep(Duration::from_secs(100)).await;
        let start = Instant::now();
        rate_limiter.spend(3000);
        rate_limiter.ready().await;
        assert_eq!(
            start.elapsed().as_millis(),
            2000,
            "a long rest saves up no more than one second"
        );

        let free = RateLimiter::new(|| None);
        free.spend(usize::MAX);
        free.ready().await;
        assert_eq!(start.elapsed().as_millis(), 2000);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_down_has_a_pace_and_logins_end_when_it_is_far_behind() {
        tokio::time::advance(Duration::from_secs(10)).await;
        let (rate_limiters, alice) = (LogPaces::default(), "alice".parse::<UserName>().unwrap());
        let start = Instant::now();
        for _ in 0..1000 {
            rate_limiters.of(&alice).wait_to_log(4096).await;
        }
        let spent = 1000 * (2 * 4096 + LOG_BYTES) as u64;
        let expected = spent / LOG_RATE - 1;
        assert!(
            (expected - 1..=expected + 1).contains(&start.elapsed().as_secs()),
            "{:?}",
            start.elapsed()
        );
        let logins = (0..100_000)
            .take_while(|_| rate_limiters.of(&alice).log_in())
            .count();
        assert!((1000..20_000).contains(&logins), "{logins}");
        assert!(
            rate_limiters.of(&"bob".parse().unwrap()).log_in(),
            "nobody else is behind"
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(rate_limiters.of(&alice).log_in());
    }

    #[tokio::test(start_paused = true)]
    async fn all_connections_of_a_user_share_one_rate() {
        tokio::time::advance(Duration::from_secs(10)).await;
        let (rate_limiters, [alice, bob]) = (
            RateLimiters::default(),
            ["alice", "bob"].map(|name| name.parse::<UserName>().unwrap()),
        );
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
            rate_limiter.spend(100);
        }
        rate_limiter(&bob).ready().await;
        several[0].ready().await;
        assert_eq!(
            start.elapsed().as_millis(),
            2000,
            "3000 bytes at 1000 a second, one second of them at once"
        );

        // Whoever hangs up and comes again has not rested.
        rate_limiter(&alice).spend(5000);
        drop(several);
        rate_limiter(&bob).ready().await;
        rate_limiter(&alice).ready().await;
        assert_eq!(start.elapsed().as_millis(), 7000);
        tokio::time::sleep(Duration::from_secs(1)).await;
        rate_limiter(&bob).spend(1);
        assert_eq!(
            rate_limiters.0.lock().unwrap().len(),
            1,
            "whoever is gone and owes nothing is forgotten"
        );
    }
}
