//! Sources that are shut out for a while.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{Source, bounded::make_room};

/// What a refused login costs.
const REFUSED: Duration = Duration::from_secs(5);
/// Up to this nothing happens yet: anybody may be mistaken twice. The third refusal within 5 s
/// exceeds it.
const EFFECT_MIN: Duration = Duration::from_secs(10);
/// Nobody is shut out for longer than this.
const PENALTY_MAX: Duration = Duration::from_secs(600);
/// Sources that are remembered: a flood cannot take more memory than that.
const SOURCES_MAX: usize = 65_536;

/// Penalties by source: each refused login adds 5 s; once three within 5 s have added up the source
/// is shut out until they are over, at most 600 s. This is modelled on `PerSourcePenalties` of
/// OpenSSH. A connection that only takes its time adds nothing: the bounds on half-open connections
/// deal with it, and others may share its address.
#[derive(Debug, Default)]
pub struct Penalties {
    until: HashMap<Source, Penalty>,
}

#[derive(Debug, Clone, Copy)]
struct Penalty {
    end: Instant,
    /// Whether it has come to the effect, which it then has to its end.
    is_felt: bool,
}

impl Penalties {
    /// Notes a refused login.
    pub fn add(&mut self, source: Source, now: Instant) {
        if source.is_this_machine() {
            return;
        }
        if !self.until.contains_key(&source) {
            make_room(&mut self.until, SOURCES_MAX, now, |penalty| penalty.end);
        }
        let penalty = self.until.entry(source).or_insert(Penalty {
            end: now,
            is_felt: false,
        });
        if penalty.end <= now {
            *penalty = Penalty {
                end: now,
                is_felt: false,
            };
        }
        penalty.end = (penalty.end + REFUSED).min(now + PENALTY_MAX);
        penalty.is_felt |= penalty.end.duration_since(now) > EFFECT_MIN;
    }

    /// How long the source is shut out still; `None` if it is not.
    pub fn remaining(&self, source: Source, now: Instant) -> Option<Duration> {
        let penalty = self.until.get(&source).filter(|penalty| penalty.is_felt)?;
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

    fn source(number: u32) -> Source {
        Source::of(Ipv4Addr::from_bits(0x0a00_0000 + number).into())
    }

    #[test]
    fn the_third_refusal_in_a_row_shuts_out_and_time_lets_in_again() {
        let mut penalties = Penalties::default();
        let now = Instant::now();
        for _ in 0..2 {
            penalties.add(source(1), now);
            assert_eq!(penalties.remaining(source(1), now), None);
        }
        penalties.add(source(1), now);
        assert_eq!(
            penalties.remaining(source(1), now),
            Some(Duration::from_secs(15))
        );
        assert_eq!(
            penalties.remaining(source(2), now),
            None,
            "others are not meant"
        );
        let later = now + Duration::from_secs(14);
        assert_eq!(
            penalties.remaining(source(1), later),
            Some(Duration::from_secs(1)),
            "it is felt to its end"
        );
        assert_eq!(
            penalties.remaining(source(1), now + Duration::from_secs(15)),
            None
        );
        penalties.add(source(1), now + Duration::from_secs(20));
        assert_eq!(
            penalties.remaining(source(1), now + Duration::from_secs(20)),
            None,
            "it begins anew"
        );
    }

    #[test]
    fn penalties_end_and_are_bounded_in_number() {
        let mut penalties = Penalties::default();
        let now = Instant::now();
        for _ in 0..1000 {
            penalties.add(source(1), now);
        }
        assert_eq!(penalties.remaining(source(1), now), Some(PENALTY_MAX));
        for number in 0..200_000 {
            penalties.add(source(number), now);
        }
        assert!(penalties.until.len() <= SOURCES_MAX);
        assert_eq!(
            penalties.remaining(source(1), now),
            Some(PENALTY_MAX),
            "the longest are kept"
        );
    }

    #[test]
    fn this_machine_is_never_shut_out() {
        let mut penalties = Penalties::default();
        let now = Instant::now();
        let here = Source::of(Ipv4Addr::LOCALHOST.into());
        for _ in 0..100 {
            penalties.add(here, now);
        }
        assert_eq!(penalties.remaining(here, now), None);
    }
}
