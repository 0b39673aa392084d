//! The memory of a process and its children.

use landline_paths::read_proc;

/// The memory of a process and its children, in bytes (PSS).
///
/// Shared memory is divided among the processes that share it. `None` if the system does not report
/// it.
pub(super) fn family_memory(process: u32) -> Option<u64> {
    let children = read_proc(&format!("{process}/task/{process}/children")).unwrap_or_default();
    let own = process_memory(process)?;
    let theirs = children
        .split_ascii_whitespace()
        .filter_map(|child| child.parse().ok())
        .filter_map(process_memory);
    Some(own + theirs.sum::<u64>())
}

fn process_memory(process: u32) -> Option<u64> {
    parse_pss(&read_proc(&format!("{process}/smaps_rollup"))?)
}

/// Parses the sum of shares in the format of `/proc/PID/smaps_rollup`.
fn parse_pss(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pss_is_parsed_in_bytes() {
        let text = "5581-7ffc ---p 00000000 00:00 0    [rollup]\nRss:     884 kB\nPss:     385 kB\nPss_Dirty: 68 kB\n";
        assert_eq!(parse_pss(text), Some(385 * 1024));
        assert_eq!(
            [
                parse_pss(""),
                parse_pss("Pss: many kB"),
                parse_pss("Pss: 5")
            ],
            [None; 3]
        );
    }

    #[test]
    fn own_memory_is_reported_where_available() {
        let own = family_memory(std::process::id());
        assert!(own.is_none_or(|bytes| bytes > 100_000), "{own:?}");
    }
}
