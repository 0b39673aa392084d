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

/// A limit to the content of all connections of a user, both ways together. What flows is paid for with time: whoever has spent more waits before the
/// next part.
pub(crate) struct Pace {
    /// Bytes per second now; `None` for no limit.
    rate: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    /// When all that has flowed is paid for.
    paid: Mutex<Option<Instant>>,
}

/// The limit of each user, however many connections there are, and whether one of them has ended meanwhile.
#[derive(Default)]
pub(crate) struct Paces(Mutex<HashMap<UserName, Arc<Pace>>>);

impl Paces {
    /// The limit of this user; where there is none yet, one of this many bytes per second, asked for anew with each part.
    pub(crate) fn of(&self, user: &UserName, rate: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Arc<Pace> {
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What has flowed stays to be paid for: a new connection is no new second at once.
        paces.retain(|_, pace| Arc::strong_count(pace) > 1 || !pace.is_rested());
        paces.entry(user.clone()).or_insert_with(|| Arc::new(Pace::new(rate))).clone()
    }
}

impl Pace {
    /// A limit that is asked for anew with each part, in bytes per second.
    pub(crate) fn new(rate: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self { rate: Box::new(rate), paid: Mutex::new(None) }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// By a clock that moves only when nothing else can.
    #[tokio::test(start_paused = true)]
    async fn content_flows_at_the_rate_behind_a_burst() {
        tokio::time::advance(Duration::from_secs(10)).await;
        let pace = Pace::new(|| Some(1000));
        let start = Instant::now();
        for _ in 0..50 {
            pace.ready().await;
            pace.spend(100);
        }
        pace.ready().await;
        assert_eq!(start.elapsed().as_millis(), 4000, "5000 bytes at 1000 a second, one second of them at once");

        tokio::time::sleep(Duration::from_secs(100)).await;
        let start = Instant::now();
        pace.spend(3000);
        pace.ready().await;
        assert_eq!(start.elapsed().as_millis(), 2000, "a long rest saves up no more than one second");

        let free = Pace::new(|| None);
        free.spend(usize::MAX);
        free.ready().await;
        assert_eq!(start.elapsed().as_millis(), 2000);
    }
    #[tokio::test(start_paused = true)]
    async fn all_connections_of_a_user_share_one_rate() {
        tokio::time::advance(Duration::from_secs(10)).await;
        let (paces, [alice, bob]) = (Paces::default(), ["alice", "bob"].map(|name| name.parse::<UserName>().unwrap()));
        let pace = |user: &UserName| paces.of(user, || Some(1000));
        let start = Instant::now();
        let several = [pace(&alice), pace(&alice), pace(&alice)];
        for part in 0..30 {
            let pace = &several[part % several.len()];
            pace.ready().await;
            pace.spend(100);
        }
        pace(&bob).ready().await;
        several[0].ready().await;
        assert_eq!(start.elapsed().as_millis(), 2000, "3000 bytes at 1000 a second, one second of them at once");

        // Whoever hangs up and comes again has not rested.
        pace(&alice).spend(5000);
        drop(several);
        pace(&bob).ready().await;
        pace(&alice).ready().await;
        assert_eq!(start.elapsed().as_millis(), 7000);
        tokio::time::sleep(Duration::from_secs(1)).await;
        pace(&bob).spend(1);
        assert_eq!(paces.0.lock().unwrap().len(), 1, "whoever is gone and owes nothing is forgotten");
    }
}
