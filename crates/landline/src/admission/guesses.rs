//! How often a password may be tried.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

use landline_proto::login::UserName;

use super::{Source, make_room};

/// One source's tries at one account: 50 at once and 50 in an hour, so at most 100 in any hour.
const FROM_SOURCE: Budget = Budget { at_once: 50, interval: Duration::from_secs(72) };
/// All unknown sources' tries at one account: 500 at once and 500 in an hour, so at most 1,000 in any hour.
const FROM_UNKNOWN: Budget = Budget { at_once: 500, interval: Duration::from_millis(7200) };

/// The tries at passwords, by account and source. Accounts that do not exist are treated as if they did. A source from which the account's
/// owner has logged in before has a budget of its own, which nobody else can use up.
#[derive(Debug, Default)]
pub struct Guesses {
    from_source: HashMap<(UserName, Source), Spent>,
    from_unknown: HashMap<UserName, Spent>,
}

/// A rate with a burst.
#[derive(Debug, Clone, Copy)]
struct Budget {
    at_once: u32,
    interval: Duration,
}

/// When what was spent will have come back (the theoretical arrival time of ITU-T I.371's algorithm).
#[derive(Debug, Clone, Copy)]
struct Spent(Instant);

impl Guesses {
    /// Takes one try, if there is one left. `is_known` says that the account's owner has logged in from there before.
    #[must_use]
    pub fn take(&mut self, user: &UserName, source: Source, is_known: bool, now: Instant) -> bool {
        let key = (user.clone(), source);
        let own = FROM_SOURCE.spend(self.from_source.get(&key), now);
        let shared = FROM_UNKNOWN.spend(self.from_unknown.get(user), now);
        let (Some(own), Some(shared)) = (own, if is_known { own } else { shared }) else { return false };
        note(&mut self.from_source, key, own, now);
        if !is_known {
            note(&mut self.from_unknown, user.clone(), shared, now);
        }
        true
    }
}

impl Budget {
    /// What will have been spent with one more; `None` where there is none left.
    fn spend(self, spent: Option<&Spent>, now: Instant) -> Option<Spent> {
        let spent = spent.map_or(now, |spent| spent.0.max(now));
        let ahead = spent.duration_since(now);
        (ahead <= self.interval * (self.at_once - 1)).then(|| Spent(spent + self.interval))
    }
}

/// Notes what was spent.
fn note<K: Eq + Hash>(entries: &mut HashMap<K, Spent>, key: K, spent: Spent, now: Instant) {
    if !entries.contains_key(&key) {
        make_room(entries, |spent| spent.0, now);
    }
    entries.insert(key, spent);
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{super::ENTRIES_MAX, *};

    fn source(number: u32) -> Source {
        Source::of(Ipv4Addr::from_bits(0x0a00_0000 + number).into())
    }

    /// How many of these tries are taken, spread over an hour.
    fn taken(guesses: &mut Guesses, start: Instant, tries: u32, mut from: impl FnMut(u32) -> (Source, bool)) -> u32 {
        let alice = "alice".parse().unwrap();
        let step = Duration::from_secs(3600) / tries;
        let mut count = 0;
        for number in 0..tries {
            let (source, is_known) = from(number);
            count += u32::from(guesses.take(&alice, source, is_known, start + step * number));
        }
        count
    }

    #[test]
    fn one_source_has_a_hundred_tries_in_an_hour() {
        let mut guesses = Guesses::default();
        let start = Instant::now();
        let count = taken(&mut guesses, start, 360_000, |_| (source(1), false));
        assert!((95..=100).contains(&count), "{count}");
    }

    #[test]
    fn many_sources_have_a_thousand_between_them_and_the_owner_keeps_hers() {
        let mut guesses = Guesses::default();
        let start = Instant::now();
        let count = taken(&mut guesses, start, 360_000, |number| (source(number % 250), false));
        assert!((990..=1000).contains(&count), "{count}");
        let end = start + Duration::from_secs(3599);
        let alice = "alice".parse().unwrap();
        assert!(!guesses.take(&alice, source(9_999), false, end), "strangers have used theirs up");
        assert!(guesses.take(&alice, source(9_999), true, end), "where she was before she still gets in");
        assert!(guesses.take(&"bob".parse().unwrap(), source(1), false, end), "and others are not meant");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut guesses = Guesses::default();
        let now = Instant::now();
        for number in 0..100_000u32 {
            assert!(guesses.take(&format!("user{number}").parse().unwrap(), source(number), false, now));
        }
        assert!(guesses.from_source.len() <= ENTRIES_MAX && guesses.from_unknown.len() <= ENTRIES_MAX);
    }
}
