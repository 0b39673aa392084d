//! Tables that a flood cannot make grow without bound.

use std::{collections::HashMap, hash::Hash, time::Instant};

/// Makes room in a table of what is over at some time, where it holds `count_max`: what is over
/// goes, and else the half that is over soonest, so that this is rarely done. What weighs most is
/// kept longest.
pub(super) fn make_room<K: Eq + Hash, V>(
    table: &mut HashMap<K, V>,
    count_max: usize,
    now: Instant,
    end: impl Fn(&V) -> Instant,
) {
    if table.len() < count_max {
        return;
    }
    table.retain(|_, value| end(value) > now);
    if table.len() >= count_max {
        let mut ends: Vec<Instant> = table.values().map(&end).collect();
        let middle = ends.len() / 2;
        let (_, median, _) = ends.select_nth_unstable(middle);
        let median = *median;
        table.retain(|_, value| end(value) > median);
    }
}
