//! `cargo xtask dist` and `cargo xtask deb`: what is shipped.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::process;

/// What the binary may take: 14 MiB, and 3 MiB for running commands.
const BINARY_BYTES_MAX: u64 = (14 + 3) * 1024 * 1024;

/// Builds the binary of profile `dist` and returns its path.
pub(crate) fn build_binary(root: &Path) -> Result<PathBuf, String> {
    process::run(process::cargo(
        &[
            "build",
            "--profile",
            "dist",
            "--locked",
            "-p",
            "landline-cli",
        ],
        root,
    ))?;
    let name = format!("landline{}", std::env::consts::EXE_SUFFIX);
    Ok(target()?.join("dist").join(name))
}

/// Builds the binary of profile `dist`. The binary writes the other files of a package.
pub(crate) fn build(root: &Path) -> Result<(), String> {
    let binary = build_binary(root)?;
    let bytes = fs::metadata(&binary)
        .map_err(|why| format!("{}: {why}", binary.display()))?
        .len();
    let shown = format!("{} has {} KiB", binary.display(), bytes / 1024);
    if bytes > BINARY_BYTES_MAX {
        return Err(format!(
            "{shown}, more than {}: leave out a dependency or a feature of one",
            BINARY_BYTES_MAX / 1024
        ));
    }
    println!("xtask: {shown}");
    let files = binary.with_file_name("package");
    // It may have pages of commands that are gone.
    if files.exists() {
        fs::remove_dir_all(&files).map_err(|why| format!("{}: {why}", files.display()))?;
    }
    let mut command = process::command(&binary.to_string_lossy(), &["package-files"], root);
    command.arg(&files);
    process::run(command)
}

/// Packs what [`build`] built.
pub(crate) fn build_deb(root: &Path) -> Result<(), String> {
    // A cargo subcommand is found along PATH and in cargo's own folder.
    if !process::succeeds(process::cargo(&["deb", "--version"], root)) {
        return Err(
            "cargo-deb is not installed: run `cargo install cargo-deb --locked`".to_owned(),
        );
    }
    build(root)?;
    process::run(process::cargo(
        &["deb", "--package", "landline-cli", "--no-build", "--locked"],
        root,
    ))
}

/// The target folder: cargo puts this program into `debug` there.
pub(crate) fn target() -> Result<PathBuf, String> {
    let program =
        std::env::current_exe().map_err(|why| format!("the path of this program: {why}"))?;
    program
        .ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .ok_or_else(|| format!("{} is in no target folder", program.display()))
}
