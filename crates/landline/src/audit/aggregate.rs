//! Counts activities of one kind instead of recording each, so that a flood cannot fill the disk.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use time::OffsetDateTime;

use super::line::time_text;
use crate::activity::Activity;

/// How long a window is, from its first activity on.
const WINDOW: Duration = Duration::from_secs(60);
/// How many of a kind are recorded one by one in a window.
const EACH_MAX: u64 = 5;
/// How many of all kinds of an activity are: a flood from strangers must not displace the failures
/// of users.
const ALL_MAX: u64 = 200;
/// How many kinds of an activity are told apart.
const KINDS_MAX: usize = 200;

/// What activities have in common that are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) source: String,
    pub(super) of: &'static str,
    pub(super) code: String,
}

impl Kind {
    pub(super) fn of(activity: &Activity) -> Self {
        let (source, code) = match activity {
            Activity::Refused { peer, code, .. } => (network(peer.ip()), code.clone()),
            Activity::Failed { user, code, .. } => (user.to_string(), code.clone()),
            other => {
                let user = other.user().map(ToString::to_string);
                (user.unwrap_or_else(|| "*".to_owned()), String::new())
            }
        };
        Self {
            source,
            of: activity.name(),
            code,
        }
    }
}

/// The addresses of one party: an IPv4 address, or a /64 of IPv6.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let network = Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64));
            format!("{network}/64")
        }
    }
}

/// Whether a peer can cause any number of it at no cost, so that only the first of many are
/// recorded one by one.
pub(super) fn is_cheap(activity: &Activity) -> bool {
    matches!(activity, Activity::Refused { .. } | Activity::Failed { .. })
}

/// The counts of the current window.
#[derive(Default)]
pub(super) struct Aggregator {
    window: Option<(Instant, OffsetDateTime)>,
    shares: HashMap<&'static str, Share>,
    kinds: HashMap<Kind, Count>,
}

/// What the kinds of one activity have used up.
#[derive(Default)]
struct Share {
    recorded: u64,
    kinds: usize,
}

#[derive(Default)]
struct Count {
    recorded: u64,
    suppressed: u64,
}

impl Aggregator {
    /// Whether one of this kind is recorded; otherwise it was counted.
    pub(super) fn admits(&mut self, kind: Kind, now: Instant) -> bool {
        let (count, share) = self.count_of(kind, now);
        if count.recorded < EACH_MAX && share.recorded < ALL_MAX {
            count.recorded += 1;
            share.recorded += 1;
            return true;
        }
        count.suppressed += 1;
        false
    }

    /// Counts activities that could not be recorded.
    pub(super) fn add(&mut self, kind: Kind, count: u64, now: Instant) {
        self.count_of(kind, now).0.suppressed += count;
    }

    /// Moves the counts of `other` here.
    pub(super) fn take(&mut self, other: &mut Self) {
        if let Some((begun, _)) = other.window.take() {
            other.shares.clear();
            for (kind, count) in other.kinds.drain() {
                self.add(kind, count.suppressed, begun);
            }
        }
    }

    fn count_of(&mut self, mut kind: Kind, now: Instant) -> (&mut Count, &mut Share) {
        self.window
            .get_or_insert_with(|| (now, OffsetDateTime::now_utc()));
        let share = self.shares.entry(kind.of).or_default();
        if !self.kinds.contains_key(&kind) {
            if share.kinds >= KINDS_MAX {
                // There are few names and codes, so these make some dozens more.
                kind.source = "*".to_owned();
            }
            share.kinds += 1;
        }
        (self.kinds.entry(kind).or_default(), share)
    }

    /// When the window ends.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.window.map(|(begun, _)| begun + WINDOW)
    }

    /// Ends the window and returns its counts, kind by kind, to be recorded. The caller adds what
    /// it cannot record.
    pub(super) fn end(&mut self) -> Vec<((Kind, u64), Activity)> {
        let since = self
            .window
            .take()
            .map(|(_, time)| time_text(time))
            .unwrap_or_default();
        self.shares.clear();
        let kinds = self.kinds.drain().filter(|(_, count)| count.suppressed > 0);
        kinds
            .map(|(kind, Count { suppressed, .. })| {
                let Kind { source, of, code } = kind.clone();
                let activity = Activity::Suppressed {
                    source,
                    of: of.to_owned(),
                    code,
                    count: suppressed,
                    since: since.clone(),
                };
                ((kind, suppressed), activity)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(source: usize) -> Kind {
        Kind {
            source: format!("192.0.2.{source}"),
            of: "refused",
            code: "tls".into(),
        }
    }

    #[test]
    fn network_is_an_address_or_a_64() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
    }

    #[test]
    fn flood_is_counted_exactly() {
        let mut aggregator = Aggregator::default();
        let now = Instant::now();
        let recorded = (0..10_000)
            .filter(|_| aggregator.admits(kind(1), now))
            .count() as u64;
        assert_eq!(recorded, EACH_MAX);
        assert!(
            aggregator.admits(kind(2), now),
            "another source has its own share"
        );
        assert_eq!(aggregator.deadline(), Some(now + WINDOW));
        let ended = aggregator.end();
        let [
            (
                (_, 9_995),
                Activity::Suppressed {
                    source,
                    count: 9_995,
                    ..
                },
            ),
        ] = &ended[..]
        else {
            panic!("{ended:?}")
        };
        assert_eq!(source, "192.0.2.1");
        assert_eq!(aggregator.deadline(), None);
        assert!(aggregator.end().is_empty());
        assert!(aggregator.admits(kind(1), now), "a new window");
    }

    #[test]
    fn strangers_do_not_displace_failures_of_users() {
        let mut aggregator = Aggregator::default();
        let now = Instant::now();
        for n in 0..100_000 {
            aggregator.admits(kind(n), now);
        }
        let failed = Kind {
            source: "alice".into(),
            of: "failed",
            code: "denied".into(),
        };
        assert!(
            aggregator.admits(failed.clone(), now),
            "failures have their own share"
        );
        aggregator.add(failed.clone(), 1, now);
        assert!(
            aggregator
                .end()
                .iter()
                .any(|((kind, count), _)| (kind, *count) == (&failed, 1)),
            "under its own name"
        );
    }

    #[test]
    fn many_sources_are_a_few_lines() {
        let mut aggregator = Aggregator::default();
        let now = Instant::now();
        let recorded = (0..100_000)
            .filter(|&n| aggregator.admits(kind(n), now))
            .count() as u64;
        let ended = aggregator.end();
        let suppressed: u64 = ended.iter().map(|((_, count), _)| count).sum();
        assert!(
            recorded <= ALL_MAX && ended.len() <= KINDS_MAX + 1,
            "{recorded} and {}",
            ended.len()
        );
        assert_eq!(recorded + suppressed, 100_000);
    }
}
