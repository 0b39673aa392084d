//! The reasons why a path cannot be used.

use std::{fmt, io};

use rustix::io::Errno;

use crate::cause;

/// The reason why a path cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder cannot be used as asked.
    #[error("{message}")]
    Path {
        /// The kind of failure.
        kind: ErrorKind,
        /// The path and the problem.
        message: String,
        /// The system's error, if a system call failed.
        source: Option<io::Error>,
    },
    /// A private folder, or a file in it, is damaged or open to other users.
    #[error("{path}: {problem}")]
    State {
        /// The folder or file.
        path: String,
        /// The problem.
        problem: String,
    },
}

/// The kinds of [`Error::Path`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file, or the folder that should hold it, does not exist.
    NotFound,
    /// The path does not lead to a regular file.
    NotAFile,
    /// The name is taken.
    Exists,
    /// The name breaks a rule of [`crate::name`], or a link leads out of the folder.
    NameRefused,
    /// The operating system or a grant does not allow it.
    Denied,
    /// The disk or a disk quota is full.
    NoSpace,
    /// The folder is not empty.
    NotEmpty,
    /// More is asked for than one request may do.
    Limit,
    /// Any other input or output error.
    Io,
}

impl Error {
    /// A failure whose message names the path and the problem.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Path {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// An I/O error. `what` names the file or stream.
    pub fn io(what: impl fmt::Display, error: io::Error) -> Self {
        Self::Path {
            kind: ErrorKind::of(&error),
            message: format!("{what}: {}", describe(&error)),
            source: Some(error),
        }
    }

    /// The failure for something else than a regular file, where one is needed.
    pub(crate) fn not_regular(what: impl fmt::Display, is_folder: bool, is_link: bool) -> Self {
        let (kind, error) = match (is_folder, is_link) {
            (true, _) => ("a folder", Some(Errno::ISDIR)),
            (false, true) => ("a symbolic link", Some(Errno::LOOP)),
            (false, false) => ("a device, FIFO or socket", None),
        };
        Self::Path {
            kind: ErrorKind::NotAFile,
            message: format!("{what} is {kind}, not a regular file"),
            source: error.map(Into::into),
        }
    }

    /// A failure that the system would report later, with words of its own.
    pub(crate) fn early(what: impl fmt::Display, problem: &str, number: i32) -> Self {
        let error = io::Error::from_raw_os_error(number);
        Self::Path {
            kind: ErrorKind::of(&error),
            message: format!("{what}: {problem}"),
            source: Some(error),
        }
    }

    /// The name of the system's error, such as `ENOSPC`; see [`cause_of`](crate::cause_of).
    pub fn cause(&self) -> Option<&'static str> {
        match self {
            Self::Path {
                source: Some(source),
                ..
            } => cause::cause_of(source),
            _ => None,
        }
    }

    /// A private folder, or a file in it, that cannot be used.
    pub fn state(path: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self::State {
            path: path.to_string(),
            problem: problem.to_string(),
        }
    }
}

impl ErrorKind {
    /// The kind that matches a system error.
    pub fn of(error: &io::Error) -> Self {
        use io::ErrorKind as K;
        if let Some(kind) = cause::kind_of(error) {
            return kind;
        }
        match error.kind() {
            K::NotFound => Self::NotFound,
            K::PermissionDenied => Self::NameRefused,
            K::AlreadyExists => Self::Exists,
            K::IsADirectory | K::NotADirectory => Self::NotAFile,
            K::StorageFull | K::QuotaExceeded | K::FileTooLarge => Self::NoSpace,
            K::InvalidFilename => Self::NameRefused,
            _ => Self::Io,
        }
    }
}

/// A system error in a few words.
pub fn describe(error: &io::Error) -> String {
    use io::ErrorKind as K;
    if let Some(words) = cause::words_of(error) {
        return words.into();
    }
    match error.kind() {
        K::NotFound => "no such file or folder".into(),
        K::PermissionDenied => "leads out of the folder it must stay in".into(),
        K::AlreadyExists => "already exists".into(),
        K::StorageFull => "no space left on the disk".into(),
        _ => error.to_string(),
    }
}
