//! Over how many connections content is copied.

use std::{num::NonZeroUsize, time::Duration};

use clap::Args;
use landline::{
    ClientSession,
    client::Widening,
    files::{Observed, ProgressState},
    net::Route,
    proto::bundle::BUNDLE_CONNECTIONS_MAX,
};

/// What is left of a copy uses one connection if it is not longer.
const LENGTH_MIN: u64 = 8 << 20;
/// How often a copy is looked at, until much is left.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The option that says over how many connections content is copied.
#[derive(Debug, Clone, Copy, Args)]
pub(in crate::commands) struct ParallelOption {
    /// Connections that carry the content: auto, or 1 to 8
    ///
    /// With auto, landline uses several where a round trip takes 10 ms or more: four if this
    /// machine controls congestion with BBR, else eight. They are faster on a long line that loses
    /// packets. One is used for at most 8 MiB, through ssh and with --limit-rate.
    #[arg(long, value_name = "N", default_value = "auto", value_parser = parse_count)]
    parallel: Parallel,
}

#[derive(Debug, Clone, Copy)]
enum Parallel {
    Auto,
    Count(NonZeroUsize),
}

impl ParallelOption {
    /// Tells the session how many connections to use.
    pub(in crate::commands) fn set(self, session: &mut ClientSession) {
        if let Parallel::Count(count) = self.parallel {
            session.set_further_connections(move |route| match route {
                Route::Tcp { .. } => count.get() - 1,
                // Each connection would be a login of ssh.
                Route::Ssh { .. } => 0,
            });
        }
    }
}

/// Copies with `work`, and adds connections to its channel once much content is left.
pub(super) async fn widen_during<T>(
    session: &ClientSession,
    widening: Option<Widening>,
    observed: &impl Observed,
    work: impl Future<Output = T>,
) -> T {
    let widening = async {
        if let Some(widening) = widening {
            until_much_is_left(observed).await;
            session.widen(&widening).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        biased;
        done = work => done,
        never = widening => never,
    }
}

async fn until_much_is_left(observed: &impl Observed) {
    while !is_much_left(&observed.state()) {
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

fn is_much_left(state: &ProgressState) -> bool {
    match state.total {
        Some(total) => total.saturating_sub(state.done) > LENGTH_MIN,
        // A tree that is still being listed, or a stream.
        None => state.moved > LENGTH_MIN,
    }
}

fn parse_count(text: &str) -> Result<Parallel, String> {
    if text == "auto" {
        return Ok(Parallel::Auto);
    }
    match text.parse::<NonZeroUsize>() {
        Ok(count) if count.get() <= BUNDLE_CONNECTIONS_MAX => Ok(Parallel::Count(count)),
        _ => Err(format!("write auto, or 1 to {BUNDLE_CONNECTIONS_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_much_content_gets_further_connections() {
        let left = |total, moved| {
            is_much_left(&ProgressState {
                total,
                done: 100,
                moved,
                ..ProgressState::default()
            })
        };
        assert!(!left(Some(100 + LENGTH_MIN), LENGTH_MIN));
        assert!(left(Some(101 + LENGTH_MIN), 0));
        assert!(!left(None, LENGTH_MIN));
        assert!(left(None, LENGTH_MIN + 1));
    }

    #[test]
    fn counts_up_to_eight_and_auto_are_taken() {
        assert!(matches!(parse_count("auto"), Ok(Parallel::Auto)));
        for count in ["1", "8"] {
            assert!(matches!(parse_count(count), Ok(Parallel::Count(_))));
        }
    }

    #[test]
    fn other_counts_are_refused() {
        for text in ["0", "9", "-1", "x", ""] {
            assert!(parse_count(text).is_err(), "{text}");
        }
    }
}
