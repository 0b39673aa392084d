//! `cargo xtask fuzz`: runs one fuzz target for a while.

use std::{path::Path, process::Command};

use crate::process;

/// How long a target is fuzzed when no time is given.
pub(crate) const DEFAULT_SECONDS: u64 = 60;

/// Reads the number of seconds from the command line.
pub(crate) fn seconds(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| {
        format!("{word:?} is not a number of seconds: write for example `fuzz TARGET 60`")
    })
}

/// Fuzzes `target` for `seconds` (0: until stopped).
pub(crate) fn run(root: &Path, target: &str, seconds: u64) -> Result<(), String> {
    let folder = root.join("fuzz");
    if !folder.is_dir() {
        return Err(format!(
            "{} is not there: nothing to fuzz",
            folder.display()
        ));
    }
    if !process::succeeds(process::cargo(&["fuzz", "--version"], &folder)) {
        return Err(
            "cargo-fuzz is not installed: run `cargo install --locked cargo-fuzz`, then this again"
                .to_owned(),
        );
    }
    let limit = format!("-max_total_time={seconds}");
    let mut fuzz = process::cargo(&["fuzz", "run", target, "--", &limit], &folder);
    if !is_nightly(&folder)? {
        // The sanitizers are behind an unstable flag; this opens it on a stable compiler.
        fuzz.env("RUSTC_BOOTSTRAP", "1");
    }
    process::run(fuzz)
}

/// Whether the compiler in use takes unstable flags by itself.
fn is_nightly(folder: &Path) -> Result<bool, String> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.arg("--version").current_dir(folder);
    Ok(names_nightly(&String::from_utf8_lossy(&process::output(
        rustc,
    )?)))
}

/// Whether a `rustc --version` line is that of a nightly or self-built compiler.
fn names_nightly(version: &str) -> bool {
    version.contains("-nightly") || version.contains("-dev")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_and_nightly_are_told_apart() {
        assert!(!names_nightly("rustc 1.95.0 (59807616e 2026-04-14)"));
        assert!(names_nightly("rustc 1.97.0-nightly (000000000 2026-04-14)"));
    }

    #[test]
    fn seconds_are_a_whole_number() {
        assert_eq!(seconds("90"), Ok(90));
        assert!(seconds("1m").is_err());
    }
}
