//! Limits how often the password of an account may be tried.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use landline_proto::login::UserName;

use super::{PeerNetwork, bounded::make_room};

/// Attempts at one account from one network: a burst, and a rate per hour.
///
/// Together they limit an hour to twice the burst.
const FROM_NETWORK: GuessShare = GuessShare {
    at_once: 50,
    interval: Duration::from_secs(3600 / 50),
};
/// Attempts at one account from all networks that it has not logged in from.
const FROM_UNKNOWN_NETWORKS: GuessShare = GuessShare {
    at_once: 500,
    interval: Duration::from_millis(3_600_000 / 500),
};
/// How many accounts and networks are tracked, so that memory stays bounded.
const TRACKED_MAX: usize = 65_536;

/// The attempts at passwords, by account and network.
///
/// A network from which the account has logged in has its own share, which others cannot use up. So
/// an attacker can lock out only unknown networks. For those the limit does not depend on whether
/// the account exists.
#[derive(Debug, Default)]
pub(crate) struct Guesses(Mutex<GuessTable>);

#[derive(Debug, Default)]
struct GuessTable {
    /// When the next attempt of each share falls (generic cell rate algorithm).
    from_networks: HashMap<(UserName, PeerNetwork), Instant>,
    from_unknown_networks: HashMap<UserName, Instant>,
}

/// A burst of attempts, and the interval at which further ones become available.
#[derive(Debug, Clone, Copy)]
struct GuessShare {
    at_once: u32,
    interval: Duration,
}

/// A counted attempt, which can be refunded.
#[derive(Debug)]
pub(crate) struct Guess {
    user: UserName,
    network: PeerNetwork,
    is_known: bool,
}

/// The attempt exceeds the limit, so the password is not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// How long it takes until the next attempt is allowed.
    pub remaining: Duration,
}

impl Guesses {
    /// Counts an attempt at the password of `user`.
    ///
    /// `is_known` says whether the account has logged in from this network before.
    ///
    /// # Errors
    /// [`TooMany`]; the attempt is then not counted.
    pub(crate) fn count(
        &self,
        user: &UserName,
        network: PeerNetwork,
        is_known: bool,
        now: Instant,
    ) -> Result<Guess, TooMany> {
        let mut table = self.table();
        let GuessTable {
            from_networks,
            from_unknown_networks,
        } = &mut *table;
        let pair = (user.clone(), network);
        if !from_networks.contains_key(&pair) {
            make_room(from_networks, TRACKED_MAX, now, |end| *end);
        }
        if !from_unknown_networks.contains_key(user) {
            make_room(from_unknown_networks, TRACKED_MAX, now, |end| *end);
        }
        let own = FROM_NETWORK.next(from_networks.get(&pair), now)?;
        if !is_known {
            let all = FROM_UNKNOWN_NETWORKS.next(from_unknown_networks.get(user), now)?;
            from_unknown_networks.insert(user.clone(), all);
        }
        from_networks.insert(pair, own);
        Ok(Guess {
            user: user.clone(),
            network,
            is_known,
        })
    }

    /// Removes an attempt from the count, because the password was right.
    pub(crate) fn refund(&self, guess: Guess) {
        let Guess {
            user,
            network,
            is_known,
        } = guess;
        let mut table = self.table();
        if !is_known {
            FROM_UNKNOWN_NETWORKS.refund(table.from_unknown_networks.get_mut(&user));
        }
        FROM_NETWORK.refund(table.from_networks.get_mut(&(user, network)));
    }

    fn table(&self) -> MutexGuard<'_, GuessTable> {
        // No code below panics halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GuessShare {
    /// When the attempt after this one falls, if this one is allowed.
    fn next(self, used: Option<&Instant>, now: Instant) -> Result<Instant, TooMany> {
        let next = used.copied().unwrap_or(now).max(now) + self.interval;
        match next
            .duration_since(now)
            .checked_sub(self.interval * self.at_once)
        {
            None | Some(Duration::ZERO) => Ok(next),
            Some(remaining) => Err(TooMany { remaining }),
        }
    }

    fn refund(self, used: Option<&mut Instant>) {
        if let Some(used) = used
            && let Some(before) = used.checked_sub(self.interval)
        {
            *used = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn network(number: u32) -> PeerNetwork {
        PeerNetwork::of(Ipv4Addr::from_bits(0x0a00_0000 + number).into())
    }

    fn user(name: &str) -> UserName {
        name.parse().unwrap()
    }

    /// Attempts once a second for this many hours; returns how many are allowed.
    fn count_allowed(
        guesses: &Guesses,
        from: impl Fn(u64) -> u32,
        is_known: bool,
        start: Instant,
        hours: u64,
    ) -> usize {
        let tries = (0..hours * 3600).map(|second| {
            let now = start + Duration::from_secs(second);
            guesses
                .count(&user("alice"), network(from(second)), is_known, now)
                .is_ok()
        });
        tries.filter(|looked_at| *looked_at).count()
    }

    /// Proves `guessing` in docs/faults.md.
    #[test]
    fn network_has_100_attempts_per_hour() {
        let guesses = Guesses::default();
        let start = Instant::now();
        assert_eq!(count_allowed(&guesses, |_| 1, false, start, 1), 99);
        let second_hour =
            count_allowed(&guesses, |_| 1, false, start + Duration::from_secs(3600), 1);
        assert_eq!(second_hour, 50, "no new burst in the next hour");
        // Other passwords from this network, and this one from other networks, are unaffected.
        let later = start + Duration::from_secs(7200);
        assert!(
            guesses
                .count(&user("bob"), network(1), false, later)
                .is_ok()
        );
        assert!(
            guesses
                .count(&user("alice"), network(2), false, later)
                .is_ok()
        );
    }

    /// Proves `guessing` in docs/faults.md.
    #[test]
    fn unknown_networks_share_1000_attempts_per_hour() {
        let guesses = Guesses::default();
        let start = Instant::now();
        let many = count_allowed(
            &guesses,
            |second| u32::try_from(second).unwrap(),
            false,
            start,
            1,
        );
        assert_eq!(many, 999);
        let end = start + Duration::from_secs(3599);
        let refused = guesses
            .count(&user("alice"), network(1_000_000), false, end)
            .unwrap_err();
        assert!(
            refused.remaining <= FROM_UNKNOWN_NETWORKS.interval,
            "{refused:?}"
        );
        assert!(
            guesses
                .count(&user("alice"), network(7_000_000), true, end)
                .is_ok(),
            "the owner's known network"
        );
        // A known network has no more than its own share either.
        assert_eq!(count_allowed(&guesses, |_| 8_000_000, true, end, 1), 99);
    }

    #[test]
    fn refunded_attempts_do_not_count() {
        let guesses = Guesses::default();
        let now = Instant::now();
        for is_known in [false, true] {
            for _ in 0..10_000 {
                let guess = guesses
                    .count(&user("alice"), network(1), is_known, now)
                    .unwrap();
                guesses.refund(guess);
            }
        }
    }

    #[test]
    fn flood_of_names_is_bounded_and_keeps_heavy_entries() {
        let guesses = Guesses::default();
        let now = Instant::now();
        while guesses
            .count(&user("alice"), network(1), false, now)
            .is_ok()
        {}
        for number in 0..200_000 {
            let _ = guesses.count(&user(&format!("u{number}")), network(number), false, now);
        }
        assert!(guesses.table().from_networks.len() <= TRACKED_MAX);
        assert!(guesses.table().from_unknown_networks.len() <= TRACKED_MAX);
        assert!(
            guesses
                .count(&user("alice"), network(1), false, now)
                .is_err()
        );
    }
}
