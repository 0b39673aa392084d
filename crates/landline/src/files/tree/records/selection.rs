//! The records that say which entries are copied.

use super::{
    RecordError,
    codec::{ContentReader, put},
};
use crate::paths::name::PATH_BYTES_MAX;

const PATTERN: u8 = 16;
const PATH: u8 = 17;
const END: u8 = 18;

/// A part of what a client says about the entries to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelectionRecord {
    /// A pattern as in a gitignore file, which excludes entries or, with `!`, includes them again.
    Pattern(Vec<u8>),
    /// The path of an entry below the source. Only such entries are copied.
    Path(Vec<u8>),
    /// There are no further patterns and paths.
    End,
}

/// Whether records of this kind are of the selection.
pub(super) fn is_selection(kind: u8) -> bool {
    matches!(kind, PATTERN | PATH | END)
}

impl SelectionRecord {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let (kind, text) = match self {
            Self::Pattern(pattern) => (PATTERN, &pattern[..]),
            Self::Path(path) => (PATH, &path[..]),
            Self::End => (END, &[][..]),
        };
        put(out, kind, |out| out.extend_from_slice(text));
    }

    pub(super) fn read(mut reader: ContentReader<'_>) -> Result<Self, RecordError> {
        let text = reader.rest();
        let is_text = !text.is_empty() && text.len() <= PATH_BYTES_MAX && !text.contains(&0);
        match reader.kind {
            PATTERN if is_text => Ok(Self::Pattern(text.to_vec())),
            PATH if is_text => Ok(Self::Path(text.to_vec())),
            END if text.is_empty() => Ok(Self::End),
            _ => reader.invalid(),
        }
    }
}
