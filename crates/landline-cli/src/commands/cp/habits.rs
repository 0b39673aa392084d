//! Answers to what users of cp, scp and rsync type.

use std::path::Path;

use clap::Args;
use landline::{Error, net::Location, paths::local};

use crate::{
    arguments::TypedLocation,
    failure::Failure,
    terminal::{shell_word, shown_line},
};

/// What to do about a folder where a file is needed.
pub(super) const FOLDER_ADVICE: &str = "add -r to copy it with all that is in it";

/// The options of scp and cp that landline answers, though it does not have them.
#[derive(Debug, Args)]
pub(super) struct Habits {
    #[arg(short = 'J', hide = true, value_name = "HOST")]
    jump: Option<String>,
}

impl Habits {
    /// Checks that no option asks for what landline does not do.
    ///
    /// # Errors
    /// The option, and what to write instead.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let Some(host) = &self.jump else {
            return Ok(());
        };
        let advice = format!("write --via-ssh {}", shell_word(host));
        Err(Failure::usage("-J: jump hosts have another option").with_advice(&advice))
    }
}

/// Whether a path has characters that a shell would expand.
pub(super) fn is_pattern(path: &[u8]) -> bool {
    path.iter().any(|byte| b"*?[".contains(byte))
}

/// The failure for a folder as a source of a copy that is not of trees.
pub(super) fn folder_failure(folder: impl std::fmt::Display) -> Failure {
    let what = format!("{folder} is a folder, not a regular file");
    Failure::new("not-a-file", what).with_advice(FOLDER_ADVICE)
}

/// Whether an error says that a folder is where a file is needed.
pub(super) fn is_of_folder(error: &Error) -> bool {
    matches!(error, Error::Failed { cause: Some(cause), .. } if *cause == "EISDIR")
}

/// Asks about a local file if a path was taken for one on an unknown server.
pub(in crate::commands) fn local_name_advice(failure: Failure, paths: &[TypedLocation]) -> Failure {
    let is_local = |path: &&TypedLocation| {
        matches!(path.location, Location::Remote { .. }) && local::exists(Path::new(&path.text))
    };
    match (failure.code.as_str(), paths.iter().find(is_local)) {
        ("unknown-server" | "connect", Some(path)) => {
            let word = shown_line(&shell_word(&format!("./{}", path.text)));
            failure.with_advice(&format!("if you mean the local file, write {word}"))
        }
        _ => failure,
    }
}

/// The failure for a source whose name an earlier one has, where all go into one folder.
pub(super) fn same_name_failure(source: &str) -> Failure {
    let what = format!("{source}: two sources have this name");
    Failure::usage(what).with_advice("copy one of them on its own")
}

/// What to write instead of a local source that cannot be read.
pub(super) fn source_advice(path: &Path, failure: Failure) -> Failure {
    let pattern = is_pattern(path.as_os_str().as_encoded_bytes());
    match failure.code.as_str() {
        "not-a-file" if is_descriptor(path) => {
            failure.with_advice("write - for standard input: COMMAND | landline cp - DST")
        }
        // A file has the name of a folder in the path.
        "not-a-file" if !local::exists(path) => failure,
        "not-a-file" => failure.with_advice("read it through a pipe: cat FILE | landline cp - DST"),
        "not-found" if pattern => failure.with_advice("no file matches this pattern"),
        _ => failure,
    }
}

/// What to write instead of a local destination that cannot be written.
pub(super) fn destination_advice(path: &Path, failure: Failure) -> Failure {
    if is_descriptor(path) {
        let what = format!("{} is not a regular file", path.display());
        Failure::new("not-a-file", what)
            .with_advice("write - for standard output: landline cp SRC - | COMMAND")
    } else {
        failure
    }
}

/// Whether a path names a descriptor of the process, such as `<(...)` of a shell.
fn is_descriptor(path: &Path) -> bool {
    const PREFIXES: [&str; 5] = [
        "/dev/stdin",
        "/dev/stdout",
        "/dev/stderr",
        "/dev/fd",
        "/proc/self/fd",
    ];
    PREFIXES.iter().any(|prefix| path.starts_with(prefix))
}
