//! Who may knock: the defence before login. Nothing in here reads or writes; the time is an argument.
//!
//! - [`Admission`] bounds the connections that are not logged in yet, in all and from each source. At a bound the oldest of the heaviest source
//!   goes, never the newcomer: a flood can only crowd out itself, and the owner gets in.
//! - [`Penalties`] shut out a source that has had logins refused, as OpenSSH's `PerSourcePenalties` do.
//! - [`Guesses`] bound how often a password may be tried for one account, in a way that a guesser cannot use up for its owner.

mod guesses;
mod half_open;
mod penalties;
mod source;

pub use guesses::Guesses;
pub use half_open::{Admission, Refused, Ticket};
pub use penalties::Penalties;
pub use source::Source;

use std::{collections::HashMap, time::Instant};

/// Entries that are remembered of any kind: a flood cannot take more memory than that.
const ENTRIES_MAX: usize = 65_536;

/// Makes room where there are too many entries, each of which matters until a time: those go for which it is over, and else the half for
/// which it is over soonest, so that this is rarely done.
fn make_room<K, V>(entries: &mut HashMap<K, V>, until: impl Fn(&V) -> Instant, now: Instant) {
    if entries.len() < ENTRIES_MAX {
        return;
    }
    entries.retain(|_, entry| until(entry) > now);
    if entries.len() >= ENTRIES_MAX {
        let mut times: Vec<Instant> = entries.values().map(&until).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        entries.retain(|_, entry| until(entry) > median);
    }
}
