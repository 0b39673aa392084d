//! How often an account's password may be tried.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use landline_proto::login::UserName;

use super::{Source, bounded::make_room};

/// Tries at one account from one source: so many at once, and so many more in each hour. Together
/// they are what an hour can see at most.
const FROM_SOURCE: Share = Share {
    at_once: 50,
    interval: Duration::from_secs(3600 / 50),
};
/// Tries at one account from all sources that it has not logged in from before.
const FROM_STRANGERS: Share = Share {
    at_once: 500,
    interval: Duration::from_millis(3_600_000 / 500),
};
/// Accounts and sources that are remembered: a flood cannot take more memory than that.
const REMEMBERED_MAX: usize = 65_536;

/// The tries at passwords, by account and source. A source from which the account has logged in
/// before has a share of its own, which the tries of strangers cannot use up: whoever guesses locks
/// out nobody but other strangers. For strangers nothing depends on whether there is such an
/// account.
#[derive(Debug, Default)]
pub struct Guesses(Mutex<GuessTable>);

#[derive(Debug, Default)]
struct GuessTable {
    /// Until when each share is used in part: tries are spread over time, `interval` apart, and
    /// this is where the next one falls.
    from_sources: HashMap<(UserName, Source), Instant>,
    from_strangers: HashMap<UserName, Instant>,
}

/// How many tries there are.
#[derive(Debug, Clone, Copy)]
struct Share {
    at_once: u32,
    interval: Duration,
}

/// A try that counts, unless it is taken back.
#[derive(Debug)]
pub struct Guess {
    user: UserName,
    source: Source,
    is_known: bool,
}

/// Why a try is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany {
    /// How long it takes until there is another.
    pub remaining: Duration,
}

impl Guesses {
    /// Counts a try at the password of `user` from there, which `is_known` says the account has
    /// logged in from before.
    ///
    /// # Errors
    /// [`TooMany`]; the try is then not counted.
    pub fn count(
        &self,
        user: &UserName,
        source: Source,
        is_known: bool,
        now: Instant,
    ) -> Result<Guess, TooMany> {
        let mut table = self.table();
        let GuessTable {
            from_sources,
            from_strangers,
        } = &mut *table;
        let pair = (user.clone(), source);
        if !from_sources.contains_key(&pair) {
            make_room(from_sources, REMEMBERED_MAX, now, |end| *end);
        }
        if !from_strangers.contains_key(user) {
            make_room(from_strangers, REMEMBERED_MAX, now, |end| *end);
        }
        let own = FROM_SOURCE.next(from_sources.get(&pair), now)?;
        if !is_known {
            let all = FROM_STRANGERS.next(from_strangers.get(user), now)?;
            from_strangers.insert(user.clone(), all);
        }
        from_sources.insert(pair, own);
        Ok(Guess {
            user: user.clone(),
            source,
            is_known,
        })
    }

    /// It was no guess: the password was right.
    pub fn take_back(&self, guess: Guess) {
        let Guess {
            user,
            source,
            is_known,
        } = guess;
        let mut table = self.table();
        if !is_known {
            FROM_STRANGERS.take_back(table.from_strangers.get_mut(&user));
        }
        FROM_SOURCE.take_back(table.from_sources.get_mut(&(user, source)));
    }

    fn table(&self) -> MutexGuard<'_, GuessTable> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Where the try after this one falls, if this one may be now (the generic cell rate
    /// algorithm).
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

    fn take_back(self, used: Option<&mut Instant>) {
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

    fn source(number: u32) -> Source {
        Source::of(Ipv4Addr::from_bits(0x0a00_0000 + number).into())
    }

    fn user(name: &str) -> UserName {
        name.parse().unwrap()
    }

    /// Tries once a second for this many hours; how many are looked at.
    fn tried(
        guesses: &Guesses,
        from: impl Fn(u64) -> u32,
        is_known: bool,
        start: Instant,
        hours: u64,
    ) -> usize {
        let tries = (0..hours * 3600).map(|second| {
            let now = start + Duration::from_secs(second);
            guesses
                .count(&user("alice"), source(from(second)), is_known, now)
                .is_ok()
        });
        tries.filter(|looked_at| *looked_at).count()
    }

    /// Proves `guessing` in docs/faults.md.
    #[test]
    fn a_source_has_a_hundred_tries_in_an_hour() {
        let guesses = Guesses::default();
        let start = Instant::now();
        assert_eq!(tried(&guesses, |_| 1, false, start, 1), 99);
        let second_hour = tried(&guesses, |_| 1, false, start + Duration::from_secs(3600), 1);
        assert_eq!(second_hour, 50, "and no fresh hundred with the next hour");
        // Somebody else's password from there, and this one from elsewhere, are another matter.
        let later = start + Duration::from_secs(7200);
        assert!(guesses.count(&user("bob"), source(1), false, later).is_ok());
        assert!(
            guesses
                .count(&user("alice"), source(2), false, later)
                .is_ok()
        );
    }

    /// Proves `guessing` in docs/faults.md.
    #[test]
    fn strangers_have_a_thousand_in_an_hour_and_take_nothing_from_who_is_known() {
        let guesses = Guesses::default();
        let start = Instant::now();
        let many = tried(
            &guesses,
            |second| u32::try_from(second).unwrap(),
            false,
            start,
            1,
        );
        assert_eq!(many, 999);
        let end = start + Duration::from_secs(3599);
        let refused = guesses
            .count(&user("alice"), source(1_000_000), false, end)
            .unwrap_err();
        assert!(refused.remaining <= FROM_STRANGERS.interval, "{refused:?}");
        assert!(
            guesses
                .count(&user("alice"), source(7_000_000), true, end)
                .is_ok(),
            "the owner's own place"
        );
        // What is known has no more than its own share either.
        assert_eq!(tried(&guesses, |_| 8_000_000, true, end, 1), 99);
    }

    #[test]
    fn what_was_no_guess_does_not_count() {
        let guesses = Guesses::default();
        let now = Instant::now();
        for is_known in [false, true] {
            for _ in 0..10_000 {
                let guess = guesses
                    .count(&user("alice"), source(1), is_known, now)
                    .unwrap();
                guesses.take_back(guess);
            }
        }
    }

    #[test]
    fn a_flood_of_names_takes_bounded_memory_and_makes_nobody_forgotten_who_is_being_guessed() {
        let guesses = Guesses::default();
        let now = Instant::now();
        while guesses.count(&user("alice"), source(1), false, now).is_ok() {}
        for number in 0..200_000 {
            let _ = guesses.count(&user(&format!("u{number}")), source(number), false, now);
        }
        assert!(guesses.table().from_sources.len() <= REMEMBERED_MAX);
        assert!(guesses.table().from_strangers.len() <= REMEMBERED_MAX);
        assert!(
            guesses
                .count(&user("alice"), source(1), false, now)
                .is_err()
        );
    }
}
