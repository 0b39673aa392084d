//! `cargo xtask picture`: the picture of a terminal in the README.

use std::path::Path;

use crate::{package, process};

/// Builds the binary that is shipped, and draws `docs/session.svg` from a session with it.
pub(crate) fn draw(root: &Path) -> Result<(), String> {
    let binary = package::build_binary(root)?;
    let mut script = process::command("python3", &["docs/session.py"], root);
    script.arg(binary);
    process::run(script)
}
