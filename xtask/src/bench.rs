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
    let build = |target: &[&str]| {
        let words = [&["build", "--locked"], target].concat();
        process::run(process::cargo(&words, root))
    };
    build(target)?;
    if name == "run" {
        build(&[
            "--profile",
            "dist",
            "-p",
            "landline",
            "--example",
            "run_load",
        ])?;
    }
    let mut script = process::command("python3", &[&format!("bench/{name}_bench.py")], root);
    script.args(arguments);
    process::run(script)
}
