//! The records about summaries of folders.

use super::{
    FromSender, NO_PARENT, RecordError,
    codec::{ContentReader, put},
};

/// The kind of a summary.
pub(super) const SUMMARY: u8 = 13;
const SAME: u8 = 9;
const EXPAND: u8 = 10;

/// The digest of the files and links of a folder: the first half of BLAKE3.
pub(crate) type SummaryDigest = [u8; 16];

/// What a receiver says about summaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderAnswer {
    /// A folder has exactly the files and links of its summary.
    Same {
        /// The number of the folder.
        folder: u32,
        /// How many files it has.
        files: u32,
        /// How many bytes these have.
        bytes: u64,
    },
    /// The entries of a folder are to be sent.
    Expand {
        /// The number of the folder.
        folder: u32,
    },
    /// The entries of all folders are to be sent, without further summaries.
    ExpandAll,
}

/// Whether records of this kind are about summaries.
pub(super) fn is_folder_answer(kind: u8) -> bool {
    matches!(kind, SAME | EXPAND)
}

impl FolderAnswer {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Same {
                folder,
                files,
                bytes,
            } => put(out, SAME, |out| {
                out.extend_from_slice(&folder.to_le_bytes());
                out.extend_from_slice(&files.to_le_bytes());
                out.extend_from_slice(&bytes.to_le_bytes());
            }),
            Self::Expand { folder } => put(out, EXPAND, |out| {
                out.extend_from_slice(&folder.to_le_bytes());
            }),
            Self::ExpandAll => put(out, EXPAND, |out| {
                out.extend_from_slice(&NO_PARENT.to_le_bytes());
            }),
        }
    }

    pub(super) fn read(mut reader: ContentReader<'_>) -> Result<Self, RecordError> {
        let folder = reader.u32()?;
        match (reader.kind, folder) {
            (EXPAND, NO_PARENT) => reader.finish(Self::ExpandAll),
            (EXPAND, _) => reader.finish(Self::Expand { folder }),
            (_, NO_PARENT) => reader.invalid(),
            _ => {
                let (files, bytes) = (reader.u32()?, reader.u64()?);
                reader.finish(Self::Same {
                    folder,
                    files,
                    bytes,
                })
            }
        }
    }
}

pub(super) fn write_summary(folder: u32, digest: &SummaryDigest, out: &mut Vec<u8>) {
    put(out, SUMMARY, |out| {
        out.extend_from_slice(&folder.to_le_bytes());
        out.extend_from_slice(digest);
    });
}

pub(super) fn read_summary(
    mut reader: ContentReader<'_>,
) -> Result<FromSender<'static>, RecordError> {
    let (folder, digest) = (reader.u32()?, reader.array()?);
    if folder == NO_PARENT {
        return reader.invalid();
    }
    reader.finish(FromSender::Summary { folder, digest })
}

/// Adds a summary to the digest of its tree.
pub(crate) fn hash_summary(hasher: &mut blake3::Hasher, folder: u32, digest: &SummaryDigest) {
    let mut bytes = Vec::new();
    write_summary(folder, digest, &mut bytes);
    hasher.update(&bytes);
}
