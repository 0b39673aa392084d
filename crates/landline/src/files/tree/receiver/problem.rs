//! Why something of a tree is not stored.

use std::path::Path;

use landline_proto::ErrorCode;

use crate::Error;

/// Why something is not stored.
pub(super) enum Problem {
    /// Something about this entry. The copy continues.
    Entry(Error),
    /// The copy cannot continue.
    Copy(Error),
}

impl Problem {
    /// These codes concern one entry. Everything else, such as a full disk, ends the copy.
    pub(super) fn of(error: Error) -> Self {
        match &error {
            Error::Failed {
                code:
                    ErrorCode::Denied
                    | ErrorCode::NotFound
                    | ErrorCode::Exists
                    | ErrorCode::NotAFile
                    | ErrorCode::NotEmpty
                    | ErrorCode::TargetChanged
                    | ErrorCode::NameRefused,
                ..
            } => Self::Entry(error),
            _ => Self::Copy(error),
        }
    }
}

/// The error for a file whose content is not what its digest says.
pub(super) fn mismatch(shown: &Path) -> Error {
    let message = format!("{} arrived with another content", shown.display());
    Error::here(ErrorCode::DigestMismatch, message)
}
