//! How fast content may flow.

use std::sync::{Mutex, PoisonError};

use std::time::Duration;
use tokio::time::Instant;

/// What a line that was quiet may send at once, in time at the allowed rate.
const BURST_TIME: Duration = Duration::from_secs(1);

/// A limit to the content of a session, both ways together. What flows is paid for with time: whoever has spent more waits before the
/// next part.
pub(crate) struct Pace {
    /// Bytes per second now; `None` for no limit.
    rate: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    /// When all that has flowed is paid for.
    paid: Mutex<Option<Instant>>,
}

impl Pace {
    /// A limit that is asked for anew with each part, in bytes per second.
    pub(crate) fn new(rate: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self { rate: Box::new(rate), paid: Mutex::new(None) }
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
}
