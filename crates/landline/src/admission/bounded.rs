//! Hash tables with a size limit that a flood cannot exceed.

use std::{collections::HashMap, hash::Hash, time::Instant};

/// Makes room in a table whose entries expire, if it holds `count_max` entries.
///
/// It removes expired entries. If that is not enough, it removes the half that expires soonest, so
/// that this runs rarely.
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
