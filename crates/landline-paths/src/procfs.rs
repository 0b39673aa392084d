//! Text files in `/proc`.

use std::{fs::File, io::Read};

/// A longer text is cut. The lab searches for a few lines of its own.
const BYTES_MAX: u64 = 16 << 20;

/// Reads `/proc/NAME`; `None` if this system has no such file, or does not show it.
///
/// Only the first 16 MiB are read.
pub fn read_proc(name: &str) -> Option<String> {
    let mut text = String::new();
    File::open(format!("/proc/{name}"))
        .ok()?
        .take(BYTES_MAX)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}

/// What tells this start of the machine from others; empty where the system has no such thing.
pub fn boot_id() -> String {
    let id = read_proc("sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}
