//! Summaries of folders: one digest in place of the files and links of a folder.
//!
//! Where a round trip takes long, most of the time of a copy that changes little goes into the
//! entries. A sender holds those of a folder back and sends a summary. A receiver whose folder has
//! the same summary needs no more of it.

use std::{ffi::OsString, os::unix::ffi::OsStrExt};

use super::records::SummaryDigest;
use crate::paths::{EntryKind, EntryStat};

/// The most files and links that a summary stands for.
pub(super) const SUMMED_MAX: usize = 16_384;

/// A file or link of a folder.
#[derive(Debug)]
pub(super) struct SummedEntry {
    pub(super) name: OsString,
    pub(super) stat: EntryStat,
    /// The target of a link.
    pub(super) target: Vec<u8>,
}

/// What the files and links of a folder are together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FolderSummary {
    pub(super) digest: SummaryDigest,
    /// How many files there are.
    pub(super) files: u32,
    /// How many bytes these have.
    pub(super) bytes: u64,
}

/// Sorts the files and links of a folder and sums them up. Permission bits count only `with_modes`.
pub(super) fn sum_up(entries: &mut [SummedEntry], with_modes: bool) -> FolderSummary {
    entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let mut hasher = blake3::Hasher::new();
    let (mut files, mut bytes) = (0, 0u64);
    let mut record = Vec::new();
    for SummedEntry { name, stat, target } in entries {
        let name = name.as_bytes();
        record.clear();
        let is_link = stat.kind == EntryKind::Link;
        record.push(if is_link { 3 } else { 2 });
        record.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        record.extend_from_slice(name);
        if is_link {
            let length = u16::try_from(target.len()).unwrap_or(u16::MAX);
            record.extend_from_slice(&length.to_le_bytes());
            record.extend_from_slice(target);
        } else {
            let mode = if with_modes { stat.mode } else { 0 };
            record.extend_from_slice(&u16::try_from(mode).unwrap_or(u16::MAX).to_le_bytes());
            record.extend_from_slice(&stat.modified.seconds.to_le_bytes());
            record.extend_from_slice(&stat.modified.nanoseconds.to_le_bytes());
            record.extend_from_slice(&stat.length.to_le_bytes());
            files += 1;
            bytes = bytes.saturating_add(stat.length);
        }
        hasher.update(&record);
    }
    let mut digest = SummaryDigest::default();
    hasher.finalize_xof().fill(&mut digest);
    FolderSummary {
        digest,
        files,
        bytes,
    }
}

#[cfg(test)]
mod tests;
