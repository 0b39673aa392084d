//! The system errors that files can cause: their names, kinds and words.

use std::io;

use crate::ErrorKind;

/// A system error with words of its own.
struct Cause {
    number: i32,
    name: &'static str,
    kind: ErrorKind,
    words: &'static str,
}

macro_rules! causes {
    ($($(#[$attribute:meta])* $name:ident, $kind:ident, $words:literal;)+) => {
        &[$($(#[$attribute])* Cause {
            number: libc::$name,
            name: stringify!($name),
            kind: ErrorKind::$kind,
            words: $words,
        }),+]
    };
}

const CAUSES: &[Cause] = causes! {
    ENOENT, NotFound, "no such file or folder";
    ENOTDIR, NotAFile, "a part of the path is not a folder";
    EISDIR, NotAFile, "is a folder";
    EEXIST, Exists, "already exists";
    ENOTEMPTY, NotEmpty, "the folder is not empty";
    EACCES, Denied, "permission denied";
    EPERM, Denied, "operation not permitted";
    EROFS, Denied, "the file system is read-only";
    #[cfg(target_os = "linux")]
    ENOKEY, Denied, "the folder is encrypted, and locked";
    ENOSPC, NoSpace, "no space left on the disk";
    EDQUOT, NoSpace, "the disk quota is used up";
    EFBIG, NoSpace, "larger than a file may be";
    ENAMETOOLONG, NameRefused, "the name is too long for the file system";
    ELOOP, NameRefused, "a symbolic link that is not followed, or too many of them";
    EILSEQ, NameRefused, "the file system does not allow these characters in a name";
    EINVAL, Io, "the file system does not accept this";
    EBUSY, Io, "in use by the system";
    ETXTBSY, Io, "a program that is running";
    EXDEV, Io, "the path leads to another file system";
    EMLINK, Io, "the file has too many names";
    EMFILE, Io, "too many open files in the process";
    ENFILE, Io, "too many open files on the machine";
    ENOMEM, Io, "not enough memory";
    ENOLCK, Io, "the file system has no file locks";
    ENOSYS, Io, "the system does not know this operation";
    EOPNOTSUPP, Io, "the file system does not support this operation";
    EIO, Io, "the disk reported an error";
    #[cfg(target_os = "linux")]
    EUCLEAN, Io, "the file system is damaged";
    ENODEV, Io, "the device is gone";
    ENXIO, NotAFile, "a socket, or a device without a driver";
    ESTALE, Io, "the file server no longer has it";
    ENOTCONN, Io, "the program that provides the file system has ended";
    ETIMEDOUT, Io, "the file server did not answer";
    EAGAIN, Io, "there is nothing to read now";
    EPIPE, Io, "the reader is gone";
};

fn find(error: &io::Error) -> Option<&'static Cause> {
    let number = error.raw_os_error()?;
    CAUSES.iter().find(|cause| cause.number == number)
}

/// The kind of a system error that has words of its own.
pub(super) fn kind_of(error: &io::Error) -> Option<ErrorKind> {
    find(error).map(|cause| cause.kind)
}

/// The words of a system error that has its own.
pub(super) fn words_of(error: &io::Error) -> Option<&'static str> {
    find(error).map(|cause| cause.words)
}

/// Replaces the system's own texts of errors, such as `Permission denied (os error 13)`.
///
/// Libraries have them in their messages. Errors without words of their own lose the number.
pub fn replace_system_texts(text: &str) -> String {
    const NUMBER: &str = " (os error ";
    let mut text = text.to_owned();
    if !text.contains(NUMBER) {
        return text;
    }
    for cause in CAUSES {
        let system = io::Error::from_raw_os_error(cause.number).to_string();
        text = text.replace(&system, cause.words);
    }
    while let Some(start) = text.find(NUMBER) {
        let end = text[start..]
            .find(')')
            .map_or(text.len(), |end| start + end + 1);
        text.replace_range(start..end, "");
    }
    text
}

/// The name of a system error that has words of its own, such as `ENOSPC`.
pub fn cause_of(error: &io::Error) -> Option<&'static str> {
    find(error).map(|cause| cause.name)
}

/// This name of a system error, if it is one of [`cause_names`].
pub fn cause_named(name: &str) -> Option<&'static str> {
    cause_names().find(|known| *known == name)
}

/// The names of all system errors that have words of their own.
pub fn cause_names() -> impl Iterator<Item = &'static str> {
    CAUSES.iter().map(|cause| cause.name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::describe;

    /// Proves `useless-advice` in docs/faults.md.
    #[test]
    fn texts_of_the_system_are_replaced() {
        let text = |number| io::Error::from_raw_os_error(number).to_string();
        let (denied, refused) = (text(libc::EACCES), text(libc::ECONNREFUSED));
        let shown = replace_system_texts(&format!("/a: {denied}, /b: {denied}; {refused}"));
        assert!(shown.starts_with("/a: permission denied, /b: permission denied; "));
        assert!(!shown.contains("os error"), "{shown}");
        for same in ["", "no error", "(os error"] {
            assert_eq!(replace_system_texts(same), same);
        }
        assert_eq!(replace_system_texts("a (os error 7"), "a");
    }

    /// Proves `useless-advice` in docs/faults.md.
    #[test]
    fn each_system_error_has_words_of_its_own() {
        let mut seen = BTreeSet::new();
        for cause in CAUSES {
            let error = io::Error::from_raw_os_error(cause.number);
            assert_eq!(describe(&error), cause.words);
            assert!(!describe(&error).contains("os error"), "{}", cause.name);
            assert!(seen.insert(cause.words), "{}", cause.name);
            assert_eq!(cause_named(cause.name), cause_of(&error));
        }
        assert_eq!(cause_named("ENONSENSE"), None);
    }
}
