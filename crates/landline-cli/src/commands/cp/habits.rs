//! Answers to what users of cp, scp and rsync type.

use std::path::{Component, Path};

use clap::Args;
use landline::{net::Location, paths::local};

use crate::{
    arguments::{Access, TypedLocation},
    failure::Failure,
    terminal::shell_word,
};

/// The options of scp and cp that landline answers, though it does not have them.
#[derive(Debug, Args)]
pub(super) struct Habits {
    // Without a folder among the sources it changes nothing.
    #[arg(short = 'r', visible_short_alias = 'R', long, hide = true)]
    recursive: bool,
    #[arg(short = 'a', long, hide = true)]
    archive: bool,
    #[arg(short = 'p', long, hide = true)]
    preserve: bool,
    #[arg(short = 'C', long, hide = true)]
    compress: bool,
    #[arg(short = 'J', hide = true, value_name = "HOST")]
    jump: Option<String>,
}

impl Habits {
    /// Checks that no option asks for what landline does not do.
    ///
    /// # Errors
    /// The option, and what to write instead.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let (option, what, advice) = match self {
            Self {
                jump: Some(host), ..
            } => {
                let advice = format!("write --via-ssh {}", shell_word(host));
                ("-J", "jump hosts have another option", advice)
            }
            Self { preserve: true, .. } => (
                "-p",
                "times and owners are not kept",
                "leave it out; a new file gets the permission bits of the source".to_owned(),
            ),
            Self { archive: true, .. } => (
                "-a",
                "times, owners and folders are not copied",
                "leave it out; a new file gets the permission bits of the source".to_owned(),
            ),
            Self { compress: true, .. } => (
                "-C",
                "landline does not compress",
                "leave it out, or compress first: zstd -c FILE | landline cp - HOST:FILE.zst"
                    .to_owned(),
            ),
            _ => return Ok(()),
        };
        Err(Failure::usage(format!("{option}: {what}")).with_advice(&advice))
    }
}

/// Whether a path has characters that a shell would expand.
pub(super) fn is_pattern(path: &[u8]) -> bool {
    path.iter().any(|byte| b"*?[".contains(byte))
}

/// The failure for a local folder as a source, with the command that copies it.
pub(super) fn folder_failure(
    folder: &Path,
    destination: &TypedLocation,
    access: &Access,
) -> Failure {
    let shown = folder.display();
    let failure = Failure::new(
        "not-a-file",
        format!("{shown} is a folder, not a regular file"),
    );
    let Some(advice) = archive_command(folder, &destination.location, access) else {
        return failure.with_advice("copy an archive of it: tar -cf - FOLDER | landline cp - DST");
    };
    failure.with_advice(&format!("copy an archive of it: {advice}"))
}

/// The command that copies a folder as an archive.
fn archive_command(folder: &Path, destination: &Location, access: &Access) -> Option<String> {
    let Location::Remote { target, path } = destination else {
        return None;
    };
    let is_named = matches!(folder.components().next_back(), Some(Component::Normal(_)));
    let full = if is_named {
        folder.to_owned()
    } else {
        local::resolve_folder(folder)?
    };
    let name = full.file_name()?.to_string_lossy().into_owned();
    let mut path = path.clone();
    if path.is_empty() || path.ends_with(b"/") {
        path.extend_from_slice(name.as_bytes());
    }
    path.extend_from_slice(b".tar");
    let destination = Location::Remote {
        target: target.clone(),
        path,
    };
    let port = access.port.map(|port| format!("-P {port} "));
    let parent = full
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.map(|parent| format!("-C {} ", shell_word(&parent.to_string_lossy())));
    Some(format!(
        "tar {}-cf - {} | landline cp {}- {}",
        parent.unwrap_or_default(),
        shell_word(&name),
        port.unwrap_or_default(),
        shell_word(&destination.to_string()),
    ))
}

/// What to write instead of a local source that cannot be read.
pub(super) fn source_advice(path: &Path, failure: Failure) -> Failure {
    let pattern = is_pattern(path.as_os_str().as_encoded_bytes());
    match failure.code.as_str() {
        "not-a-file" if is_descriptor(path) => {
            failure.with_advice("write - for standard input: COMMAND | landline cp - DST")
        }
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
