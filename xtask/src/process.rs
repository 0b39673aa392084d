//! Running other programs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where system programs live that a plain user's PATH often leaves out.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A command to be run in `folder`.
pub(crate) fn command(program: &str, arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder);
    command
}

/// The cargo that runs this program, so that a `+toolchain` chosen outside holds for what is
/// started here.
pub(crate) fn cargo(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(folder);
    command
}

/// Runs `command` on this terminal, saying first what is run; anything but success is an error.
pub(crate) fn run(mut command: Command) -> Result<(), String> {
    let shown = show(&command);
    println!("xtask: {shown}");
    let status = command
        .status()
        .map_err(|why| format!("`{shown}` did not start ({why}): is it installed?"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!(
            "`{shown}` failed ({status}): its own output says why"
        ))
    }
}

/// Whether `command` starts and succeeds; what it prints is dropped.
pub(crate) fn succeeds(mut command: Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|done| done.success())
}

/// Runs `command` and returns what it wrote to its standard output.
pub(crate) fn output(mut command: Command) -> Result<Vec<u8>, String> {
    let shown = show(&command);
    let done = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|why| format!("`{shown}` did not start ({why}): is it installed?"))?;
    if done.status.success() {
        Ok(done.stdout)
    } else {
        Err(format!(
            "`{shown}` failed ({}): its own output says why",
            done.status
        ))
    }
}

/// The path of `program`, looked for along PATH and in the system folders.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let name = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(&name))
        .find(|candidate| candidate.is_file())
}

/// The command as one would type it, for messages.
fn show(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_shown_as_typed() {
        assert_eq!(
            show(&command(
                "/usr/bin/git",
                &["ls-files", "-z"],
                Path::new(".")
            )),
            "git ls-files -z"
        );
    }

    #[test]
    fn missing_program_is_not_found() {
        assert_eq!(find("landline-no-such-program"), None);
    }
}
