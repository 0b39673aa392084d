//! Loops and times at full length, for `cargo xtask soak`.

use std::time::Duration;

/// Whether loops run at full length and times are checked: only in `cargo xtask soak`.
pub fn is_soak() -> bool {
    std::env::var_os("LANDLINE_SOAK").is_some()
}

/// How long something may take that has `limit` on a machine at rest.
///
/// Other runs than `cargo xtask soak` wait ten times as long.
pub fn time_limit(limit: Duration) -> Duration {
    if is_soak() { limit } else { limit * 10 }
}
