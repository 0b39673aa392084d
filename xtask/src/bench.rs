//! `cargo xtask bench`: measurements.

use crate::process;
use std::path::Path;

/// Builds the release binary, then runs `bench/NAME_bench.py` with `arguments`.
pub(crate) fn run(root: &Path, name: &str, arguments: &[&str]) -> Result<(), String> {
    process::run(process::cargo(&["build", "--release", "--locked", "-p", "landline-cli"], root))?;
    let mut script = process::command("python3", &[&format!("bench/{name}_bench.py")], root);
    script.args(arguments);
    process::run(script)
}
