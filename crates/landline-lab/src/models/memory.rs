//! The memory of a process and those it has made.

use landline_paths::read_proc;

/// The memory of a process and its children in bytes, what several processes share counted in equal
/// parts (PSS); `None` where the system does not tell.
pub(super) fn of_family(process: u32) -> Option<u64> {
    let children = read_proc(&format!("{process}/task/{process}/children")).unwrap_or_default();
    let own = of_process(process)?;
    let theirs = children
        .split_ascii_whitespace()
        .filter_map(|child| child.parse().ok())
        .filter_map(of_process);
    Some(own + theirs.sum::<u64>())
}

fn of_process(process: u32) -> Option<u64> {
    pss(&read_proc(&format!("{process}/smaps_rollup"))?)
}

/// The sum of shares in a text of the form of `/proc/PID/smaps_rollup`.
fn pss(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_in_bytes() {
        let text = "5581-7ffc ---p 00000000 00:00 0    [rollup]\nRss:     884 kB\nPss:     385 kB\nPss_Dirty: 68 kB\n";
        assert_eq!(pss(text), Some(385 * 1024));
        assert_eq!([pss(""), pss("Pss: many kB"), pss("Pss: 5")], [None; 3]);
    }

    #[test]
    fn this_process_has_memory_where_the_system_tells() {
        let own = of_family(std::process::id());
        assert!(own.is_none_or(|bytes| bytes > 100_000), "{own:?}");
    }
}
