//! The reasons why the configuration cannot be used.

use std::{io, path::PathBuf};

/// The reason why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read, or another user may write to it.
    #[error("{} line 0: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system, or of the check of owner and mode.
        source: io::Error,
    },
    /// Files include one another without end, or there are more than 1024 of them.
    #[error("{} line 0: files include one another without end", path.display())]
    TooManyIncludes {
        /// The file at which the limit was reached.
        path: PathBuf,
    },
    /// A line with one of the keywords that this crate reads is malformed.
    #[error("{} line {line}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The problem.
        problem: String,
    },
}

/// A text that is not a jump host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no host to go through")]
pub struct InvalidHop {
    /// The text.
    pub text: String,
}
