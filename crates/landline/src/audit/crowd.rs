//! Many of one kind: the first of them are written one by one, the others are counted, so that
//! nobody can fill the disk.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use time::OffsetDateTime;

use super::{Entry, entry::Kind, line::time_text};

/// For how long is counted, from the first one on.
const WINDOW: Duration = Duration::from_secs(60);
/// How many of a kind are written one by one in a window.
const EACH_MAX: u64 = 5;
/// How many of all kinds of an event together are: strangers cannot use up what is for users.
const ALL_MAX: u64 = 200;
/// How many kinds of an event are told apart.
const KINDS_MAX: usize = 200;

/// What is counted in the current window.
#[derive(Default)]
pub(super) struct Crowd {
    window: Option<(Instant, OffsetDateTime)>,
    shares: HashMap<&'static str, Share>,
    kinds: HashMap<Kind, Count>,
}

/// What an event has used up.
#[derive(Default)]
struct Share {
    written: u64,
    kinds: usize,
}

#[derive(Default)]
struct Count {
    written: u64,
    more: u64,
}

impl Crowd {
    /// Whether one of this kind is to be written; otherwise it was counted.
    pub(super) fn admits(&mut self, kind: Kind, now: Instant) -> bool {
        let (count, share) = self.count_of(kind, now);
        if count.written < EACH_MAX && share.written < ALL_MAX {
            count.written += 1;
            share.written += 1;
            return true;
        }
        count.more += 1;
        false
    }

    /// Counts so many that could not be written.
    pub(super) fn add(&mut self, kind: Kind, count: u64, now: Instant) {
        self.count_of(kind, now).0.more += count;
    }

    /// Counts what was counted elsewhere, and nothing twice.
    pub(super) fn take(&mut self, other: &mut Self) {
        if let Some((begun, _)) = other.window.take() {
            other.shares.clear();
            for (kind, count) in other.kinds.drain() {
                self.add(kind, count.more, begun);
            }
        }
    }

    fn count_of(&mut self, mut kind: Kind, now: Instant) -> (&mut Count, &mut Share) {
        self.window
            .get_or_insert_with(|| (now, OffsetDateTime::now_utc()));
        let share = self.shares.entry(kind.of).or_default();
        if !self.kinds.contains_key(&kind) {
            if share.kinds >= KINDS_MAX {
                // Events have few names and codes few texts: of these there are some dozens.
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

    /// Ends the window: what was counted in it, kind by kind, to be written. What then cannot be
    /// has to be given back.
    pub(super) fn end(&mut self) -> Vec<((Kind, u64), Entry)> {
        let since = self
            .window
            .take()
            .map(|(_, time)| time_text(time))
            .unwrap_or_default();
        self.shares.clear();
        let kinds = self.kinds.drain().filter(|(_, count)| count.more > 0);
        kinds
            .map(|(kind, Count { more, .. })| {
                let Kind { source, of, code } = kind.clone();
                let entry = Entry::More {
                    source,
                    of: of.to_owned(),
                    code,
                    count: more,
                    since: since.clone(),
                };
                ((kind, more), entry)
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
    fn a_flood_is_a_few_lines_and_its_count_is_exact() {
        let mut crowd = Crowd::default();
        let now = Instant::now();
        let written = (0..10_000).filter(|_| crowd.admits(kind(1), now)).count() as u64;
        assert_eq!(written, EACH_MAX);
        assert!(
            crowd.admits(kind(2), now),
            "another source has its own share"
        );
        assert_eq!(crowd.deadline(), Some(now + WINDOW));
        let ended = crowd.end();
        let [
            (
                (_, 9_995),
                Entry::More {
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
        assert_eq!(crowd.deadline(), None);
        assert!(crowd.end().is_empty());
        assert!(crowd.admits(kind(1), now), "a new window");
    }

    #[test]
    fn strangers_do_not_blot_out_what_users_fail_at() {
        let mut crowd = Crowd::default();
        let now = Instant::now();
        for n in 0..100_000 {
            crowd.admits(kind(n), now);
        }
        let failed = Kind {
            source: "alice".into(),
            of: "failed",
            code: "denied".into(),
        };
        assert!(
            crowd.admits(failed.clone(), now),
            "a user's has its own share"
        );
        crowd.add(failed.clone(), 1, now);
        assert!(
            crowd
                .end()
                .iter()
                .any(|((kind, count), _)| (kind, *count) == (&failed, 1)),
            "under its own name"
        );
    }

    #[test]
    fn many_sources_are_a_few_lines_too() {
        let mut crowd = Crowd::default();
        let now = Instant::now();
        let written = (0..100_000).filter(|&n| crowd.admits(kind(n), now)).count() as u64;
        let ended = crowd.end();
        let more: u64 = ended.iter().map(|((_, count), _)| count).sum();
        assert!(
            written <= ALL_MAX && ended.len() <= KINDS_MAX + 1,
            "{written} and {}",
            ended.len()
        );
        assert_eq!(written + more, 100_000);
    }
}
