//! Shuts out networks after rejected logins.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{PeerNetwork, bounded::make_room};

/// The penalty for a rejected login.
const REFUSED: Duration = Duration::from_secs(5);
/// A shorter penalty has no effect, because anybody may be mistaken twice.
///
/// The third rejection within 5 s exceeds it.
const EFFECT_MIN: Duration = Duration::from_secs(10);
/// The longest penalty.
const PENALTY_MAX: Duration = Duration::from_secs(600);
/// How many networks are tracked, so that memory stays bounded.
const NETWORKS_MAX: usize = 65_536;
/// The interval of notices to a network that it is shut out, in the long run. Each costs a TLS
/// handshake.
const NOTICE_INTERVAL: Duration = Duration::from_millis(200);
/// How far ahead notices may be used up.
const NOTICE_BURST: Duration = Duration::from_secs(2);

/// The network is shut out, so the connection is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// How long the network stays shut out.
    pub remaining: Duration,
    /// Whether the client may be told, because its network was not told just before.
    pub may_tell: bool,
}

/// Penalties by network, modeled on OpenSSH's `PerSourcePenalties`.
///
/// Each rejected login adds 5 s. After three within 5 s the network is shut out until the penalties
/// have passed, for at most 600 s. A slow connection adds nothing: it may share its address with
/// others, and the limits of half-open connections handle it.
#[derive(Debug, Default)]
pub(crate) struct Penalties {
    until: HashMap<PeerNetwork, Penalty>,
}

#[derive(Debug, Clone, Copy)]
struct Penalty {
    end: Instant,
    /// Whether the penalty has taken effect; it then does until its end.
    is_active: bool,
    /// When the next notice is due. Those before it were used.
    next_notice: Instant,
}

impl Penalty {
    fn new(now: Instant) -> Self {
        Self {
            end: now,
            is_active: false,
            next_notice: now,
        }
    }
}

impl Penalties {
    /// Counts a rejected login.
    pub(crate) fn add(&mut self, network: PeerNetwork, now: Instant) {
        if network.is_this_machine() {
            return;
        }
        if !self.until.contains_key(&network) {
            make_room(&mut self.until, NETWORKS_MAX, now, |penalty| penalty.end);
        }
        let penalty = self
            .until
            .entry(network)
            .or_insert_with(|| Penalty::new(now));
        if penalty.end <= now {
            *penalty = Penalty::new(now);
        }
        penalty.end = (penalty.end + REFUSED).min(now + PENALTY_MAX);
        penalty.is_active |= penalty.end.duration_since(now) > EFFECT_MIN;
    }

    /// Refuses a connection from the network, if that is shut out.
    pub(crate) fn check(&mut self, network: PeerNetwork, now: Instant) -> Result<(), Refused> {
        let Some(remaining) = self.remaining(network, now) else {
            return Ok(());
        };
        let penalty = self.until.get_mut(&network);
        let may_tell = penalty.is_some_and(|penalty| {
            let next = penalty.next_notice.max(now) + NOTICE_INTERVAL;
            let may_tell = next <= now + NOTICE_BURST;
            if may_tell {
                penalty.next_notice = next;
            }
            may_tell
        });
        Err(Refused {
            remaining,
            may_tell,
        })
    }

    /// How long the network stays shut out; `None` if it is not shut out.
    fn remaining(&self, network: PeerNetwork, now: Instant) -> Option<Duration> {
        let penalty = self
            .until
            .get(&network)
            .filter(|penalty| penalty.is_active)?;
        penalty
            .end
            .checked_duration_since(now)
            .filter(|remaining| !remaining.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn network(number: u32) -> PeerNetwork {
        PeerNetwork::of(Ipv4Addr::from_bits(0x0a00_0000 + number).into())
    }

    #[test]
    fn third_rejection_shuts_out_until_it_expires() {
        let mut penalties = Penalties::default();
        let now = Instant::now();
        for _ in 0..2 {
            penalties.add(network(1), now);
            assert_eq!(penalties.remaining(network(1), now), None);
        }
        penalties.add(network(1), now);
        assert_eq!(
            penalties.remaining(network(1), now),
            Some(Duration::from_secs(15))
        );
        assert_eq!(
            penalties.remaining(network(2), now),
            None,
            "other networks are unaffected"
        );
        let later = now + Duration::from_secs(14);
        assert_eq!(
            penalties.remaining(network(1), later),
            Some(Duration::from_secs(1)),
            "it stays active to its end"
        );
        assert_eq!(
            penalties.remaining(network(1), now + Duration::from_secs(15)),
            None
        );
        penalties.add(network(1), now + Duration::from_secs(20));
        assert_eq!(
            penalties.remaining(network(1), now + Duration::from_secs(20)),
            None,
            "an expired penalty starts over"
        );
    }

    #[test]
    fn refusals_are_explained_five_times_a_second() {
        let mut penalties = Penalties::default();
        let now = Instant::now();
        for _ in 0..100 {
            penalties.add(network(1), now);
        }
        let mut told_until = |milliseconds| {
            let now = now + Duration::from_millis(milliseconds);
            let told = |_: &u32| penalties.check(network(1), now).unwrap_err().may_tell;
            (0..100).filter(told).count()
        };
        assert_eq!(told_until(0), 10, "a burst");
        assert_eq!(told_until(100), 0);
        assert_eq!(told_until(1000), 5);
        assert_eq!(penalties.check(network(2), now), Ok(()));
    }

    #[test]
    fn penalties_and_their_count_are_limited() {
        let mut penalties = Penalties::default();
        let now = Instant::now();
        for _ in 0..1000 {
            penalties.add(network(1), now);
        }
        assert_eq!(penalties.remaining(network(1), now), Some(PENALTY_MAX));
        for number in 0..200_000 {
            penalties.add(network(number), now);
        }
        assert!(penalties.until.len() <= NETWORKS_MAX);
        assert_eq!(
            penalties.remaining(network(1), now),
            Some(PENALTY_MAX),
            "the longest are kept"
        );
    }

    #[test]
    fn this_machine_is_never_shut_out() {
        let mut penalties = Penalties::default();
        let now = Instant::now();
        let here = PeerNetwork::of(Ipv4Addr::LOCALHOST.into());
        for _ in 0..100 {
            penalties.add(here, now);
        }
        assert_eq!(penalties.remaining(here, now), None);
    }
}
