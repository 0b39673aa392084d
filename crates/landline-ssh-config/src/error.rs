//! Why the configuration cannot be used.

use std::{io, path::PathBuf};

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read, or another user may write to it.
    #[error("{} line 0: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system or the check of the file's owner and mode reported.
        source: io::Error,
    },
    /// Files include one another in a circle, or there are more of them than the limit.
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
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// A text that names no host to jump through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no host to go through")]
pub struct InvalidHop {
    /// The text.
    pub text: String,
}
