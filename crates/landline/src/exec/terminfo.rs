//! The kind of terminal that a program finds in its environment.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// The kind that every system knows.
const FALLBACK: &str = "xterm-256color";
/// Folders with descriptions of terminals.
const FOLDERS: [&str; 4] = [
    "/etc/terminfo",
    "/lib/terminfo",
    "/usr/share/terminfo",
    "/usr/local/share/terminfo",
];

/// Says in `environment` which kind of terminal a program has. If this system has no description
/// of that kind, `TERM` names one that it has, and `LANDLINE_TERM` the real one. Blocking.
pub(super) fn set_terminal_kind(environment: &mut Vec<Vec<u8>>, home: &Path) {
    let wanted = value(environment, b"TERM").map(<[u8]>::to_vec);
    let folders = folders(environment, home);
    let kind = match wanted {
        Some(kind) if is_described(&kind, &folders) => return,
        kind => kind,
    };
    environment.retain(|entry| !entry.starts_with(b"TERM="));
    environment.push(format!("TERM={FALLBACK}").into_bytes());
    if let Some(kind) = kind.filter(|kind| !kind.is_empty()) {
        environment.push([b"LANDLINE_TERM=", kind.as_slice()].concat());
    }
}

/// The folders in which programs look for descriptions.
fn folders(environment: &[Vec<u8>], home: &Path) -> Vec<PathBuf> {
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let own = value(environment, b"TERMINFO").map(path);
    let further = value(environment, b"TERMINFO_DIRS").unwrap_or_default();
    let further = further.split(|byte| *byte == b':').map(path);
    own.into_iter()
        .chain([home.join(".terminfo")])
        .chain(further)
        .chain(FOLDERS.map(PathBuf::from))
        .filter(|folder| folder.is_absolute())
        .collect()
}

/// Whether one of the folders has a description of this kind of terminal.
fn is_described(kind: &[u8], folders: &[PathBuf]) -> bool {
    let Some(first) = kind.first().filter(|first| first.is_ascii_alphanumeric()) else {
        return false;
    };
    if kind.contains(&b'/') {
        return false;
    }
    let name = OsStr::from_bytes(kind);
    // Where the disk does not tell upper case from lower case, folders are numbers.
    let subfolders = [char::from(*first).to_string(), format!("{first:x}")];
    folders.iter().any(|folder| {
        subfolders.iter().any(|subfolder| {
            let file = folder.join(subfolder).join(name);
            rustix::fs::access(&file, rustix::fs::Access::READ_OK).is_ok()
        })
    })
}

/// The value of a variable.
fn value<'a>(environment: &'a [Vec<u8>], name: &[u8]) -> Option<&'a [u8]> {
    environment.iter().find_map(|entry| {
        let rest = entry.strip_prefix(name)?;
        rest.strip_prefix(b"=")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::{TempDir, local};

    fn kind(variables: &[&str], home: &Path) -> Vec<String> {
        let mut environment: Vec<Vec<u8>> = variables
            .iter()
            .map(|entry| entry.as_bytes().to_vec())
            .collect();
        set_terminal_kind(&mut environment, home);
        let text = |entry: Vec<u8>| String::from_utf8(entry).unwrap();
        environment.into_iter().map(text).collect()
    }

    #[test]
    fn unknown_terminal_is_replaced() {
        let folder = TempDir::create(&std::env::temp_dir()).unwrap();
        let home = folder.path();
        let other = format!("TERMINFO_DIRS=relative:{}", home.join("other").display());
        for path in [".terminfo", ".terminfo/m", "other", "other/6d"] {
            rustix::fs::mkdir(home.join(path), rustix::fs::Mode::RWXU).unwrap();
        }
        local::write(&home.join(".terminfo/m/mine"), b"x").unwrap();
        local::write(&home.join("other/6d/more"), b"x").unwrap();
        for (given, expected) in [
            (&["A=1", "TERM=mine"][..], &["A=1", "TERM=mine"][..]),
            (&[&other, "TERM=more"], &[&other, "TERM=more"]),
            (
                &["TERM=no-such-terminal"],
                &["TERM=xterm-256color", "LANDLINE_TERM=no-such-terminal"],
            ),
            (
                &["TERM=more"],
                &["TERM=xterm-256color", "LANDLINE_TERM=more"],
            ),
            (
                &["TERM=../m/mine"],
                &["TERM=xterm-256color", "LANDLINE_TERM=../m/mine"],
            ),
            (&["TERM="], &["TERM=xterm-256color"]),
            (&["A=1"], &["A=1", "TERM=xterm-256color"]),
        ] {
            assert_eq!(kind(given, home), expected);
        }
        folder.remove();
    }
}
