//! Compares files by their digests, where their lengths and times do not tell enough.

use std::{ffi::OsStr, path::Path};

use super::{Problem, StorePlace, TreeReceiver, WantedFile};
use crate::{
    Error,
    files::{
        messages::Compare,
        page_buffer::PageBuffer,
        tree::{
            records::{ChangeDetails, ChangeKind, Hash, PIECE_BYTES, TreeEntry, hash_file},
            sender::unexpected,
        },
    },
    paths::{EntryStat, FileTime, Folder},
};

/// What a file that is kept should have.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeptProperties {
    /// The number of the entry.
    pub(super) entry: u32,
    pub(super) mode: u32,
    pub(super) modified: FileTime,
}

impl KeptProperties {
    pub(super) fn of(number: u32, entry: &TreeEntry) -> Self {
        Self {
            entry: number,
            mode: entry.mode.into(),
            modified: entry.modified,
        }
    }
}

impl TreeReceiver {
    /// Whether a file of the same length may have the same content, so that their digests decide.
    pub(super) fn is_comparable(&self, stat: &EntryStat, entry: &TreeEntry, length: u64) -> bool {
        // A digest tells the sender about the content.
        if self.options.compare == Compare::Nothing {
            return false;
        }
        let looks_same = entry.is_recent && stat.modified.is_same(entry.modified);
        stat.length == length && (self.options.checksum || looks_same)
    }

    /// Hashes a file that is there; `None` if it cannot be read.
    pub(super) fn hash_existing(
        &mut self,
        location: &StorePlace,
        name: &OsStr,
        length: u64,
    ) -> Result<Option<Hash>, Problem> {
        match self.hash_kept(location, name, length) {
            Ok(hashed) => Ok(hashed.map(|(_, digest)| digest)),
            Err(Problem::Entry(_)) => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// Hashes what an earlier attempt left of a file in its own folder.
    pub(super) fn hash_kept(
        &mut self,
        location: &StorePlace,
        name: &OsStr,
        kept: u64,
    ) -> Result<Option<(u64, Hash)>, Problem> {
        let folder = self.open(location).map_err(self.problem(location, name))?;
        let shown = self.shown(location, name);
        self.hash_first(&folder, name, &shown, kept)
    }

    /// Hashes what an earlier attempt left of a file of this length in the staging folder.
    pub(super) fn hash_leftover(
        &mut self,
        (location, name): (&StorePlace, &OsStr),
        staged: &OsStr,
        length: u64,
    ) -> Result<Option<(u64, Hash)>, Problem> {
        let left = self.leftover_length(staged);
        let Some(left) = left.filter(|&left| left <= length) else {
            return Ok(None);
        };
        let shown = self.shown(location, name);
        let folder = self.staging.folder.clone();
        match self.hash_first(&folder, staged, &shown, left) {
            // All of it is sent then.
            Err(Problem::Entry(_)) => Ok(None),
            hashed => hashed,
        }
    }

    /// Hashes the first `kept` bytes of a file; `None` if it is shorter.
    fn hash_first(
        &mut self,
        folder: &Folder,
        name: &OsStr,
        shown: &Path,
        kept: u64,
    ) -> Result<Option<(u64, Hash)>, Problem> {
        let source = match folder.open_source(name, shown.display()) {
            Ok(source) => source,
            Err(error) => return Err(Problem::of(error.into())),
        };
        let mut hasher = blake3::Hasher::new();
        let mut buffer = PageBuffer::new(PIECE_BYTES);
        let mut position = 0;
        while position < kept {
            let left = usize::try_from(kept - position).unwrap_or(usize::MAX);
            let piece = buffer.get_mut(..left.min(PIECE_BYTES)).unwrap_or_default();
            // All of a file that cannot be read is sent.
            let read = source.read_into(position, piece).unwrap_or(0);
            if read == 0 {
                return Ok(None);
            }
            hasher.update(buffer.get(..read).unwrap_or_default());
            position += read as u64;
            self.leave.spend(read as u64).map_err(Problem::Copy)?;
        }
        Ok(Some((kept, *hasher.finalize().as_bytes())))
    }

    /// Takes a wanted file whose content begins to arrive.
    ///
    /// # Errors
    /// [`Error::Protocol`] in a dry run.
    pub(super) fn take_content(&mut self, entry: u32) -> Result<WantedFile, Error> {
        if self.options.dry_run {
            return Err(unexpected("content in a dry run"));
        }
        self.take_wanted(entry)
    }

    /// The sender has compared a file, and sent nothing of it.
    ///
    /// # Errors
    /// [`Error::Protocol`] if it should have.
    pub(super) fn compared(
        &mut self,
        entry: u32,
        length: u64,
        digest: &Hash,
        own: &Hash,
    ) -> Result<(), Error> {
        let file = self.take_wanted(entry)?;
        let is_same = own == digest && length == file.kept;
        if !is_same && !self.options.dry_run {
            return Err(unexpected("no content of a file that differs"));
        }
        hash_file(&mut self.hasher, entry, length, digest);
        self.progress.add_kept(length);
        let numbers = if file.is_shared {
            self.numbers_of(&file.location, &file.name)
        } else {
            None
        };
        if is_same {
            let properties = KeptProperties {
                entry,
                mode: file.mode,
                modified: file.modified,
            };
            match self.keep_properties(&file, properties) {
                Ok(()) => {}
                Err(Problem::Copy(error)) => return Err(error),
                Err(Problem::Entry(error)) => self.fail(entry, &error),
            }
        } else {
            self.report_content(&file);
            self.count_planned(file.length);
        }
        self.release(file.record.as_ref());
        self.complete(file.location.parent);
        match (file.is_shared, is_same) {
            (false, _) => Ok(()),
            (true, true) => self.shared_is_there(entry, numbers),
            (true, false) => self.shared_is_planned(entry),
        }
    }

    fn keep_properties(
        &mut self,
        file: &WantedFile,
        properties: KeptProperties,
    ) -> Result<(), Problem> {
        match self.existing(&file.location, &file.name)? {
            Some(stat) => {
                let attributes = file.attributes.as_ref();
                self.keep(&file.location, &file.name, &stat, properties, attributes)
            }
            None => Ok(()),
        }
    }

    /// Reports that the content of a file changes, which was compared.
    pub(super) fn report_content(&mut self, file: &WantedFile) {
        let details = ChangeDetails {
            content: true,
            ..ChangeDetails::default()
        };
        self.report_change(&file.location, &file.name, ChangeKind::File, details);
    }

    /// Counts a file that would be copied.
    pub(super) fn count_planned(&mut self, length: u64) {
        self.summary.files = self.summary.files.saturating_add(1);
        self.summary.bytes = self.summary.bytes.saturating_add(length);
    }
}
