//! `cargo xtask bench`: measurements.

use std::path::Path;

use crate::process;

/// Builds the binary that is shipped (for `echo` the example that is measured), then runs
/// `bench/NAME_bench.py` with `arguments`.
pub(crate) fn run(root: &Path, name: &str, arguments: &[&str]) -> Result<(), String> {
    let target: &[&str] = match name {
        "echo" => &[
            "--release",
            "-p",
            "landline-socketserver",
            "--example",
            "benchmark",
        ],
        _ => &["--profile", "dist", "-p", "landline-cli"],
    };
    process::run(process::cargo(
        &[&["build", "--locked"], target].concat(),
        root,
    ))?;
    let mut script = process::command("python3", &[&format!("bench/{name}_bench.py")], root);
    script.args(arguments);
    process::run(script)
}
