//! The reasons why the configuration cannot be used.

use std::{io, path::PathBuf};

/// The reason why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read, or another user may write to it.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system, or of the check of owner and mode.
        source: io::Error,
    },
    /// Files include one another without end, or there are more than 1024 of them.
    #[error("{}: files include one another without end", path.display())]
    TooManyIncludes {
        /// The file at which the limit was reached.
        path: PathBuf,
    },
    /// ssh rejects a line.
    #[error("{} line {line}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The problem.
        problem: String,
    },
    /// ssh reads a line, but this crate cannot read it like every version of ssh.
    #[error("{} line {line}: {problem}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The problem.
        problem: String,
    },
}

/// The problem of a line.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) text: String,
    /// Whether ssh reads the line.
    pub(super) is_unsupported: bool,
}

impl Problem {
    /// A problem of a line that ssh reads.
    pub(super) fn unsupported(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_unsupported: true,
        }
    }
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Self {
            text,
            is_unsupported: false,
        }
    }
}

impl From<&str> for Problem {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// A text that is not a jump host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid jump host")]
pub struct InvalidHop {
    /// The text.
    pub text: String,
}
