//! Compares summaries of folders with what is there.

use std::{ffi::OsString, io, os::unix::ffi::OsStrExt};

use super::{Base, StorePlace, TreeReceiver, links::stays_within, parts::Filling};
use crate::{
    Error,
    files::tree::{
        records::{FolderAnswer, FromReceiver, SummaryDigest, TARGET_BYTES_MAX, hash_summary},
        sender::unexpected,
        summaries::{SUMMED_MAX, SummedEntry, sum_up},
    },
    paths::{EntryKind, Folder, name::check_component},
};

/// How many names are read before the staging folder is kept fresh.
const NAMES_AT_ONCE: usize = 256;

/// What a receiver does with summaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::files::tree) enum TakenSummaries {
    /// None was announced.
    Refused,
    /// It asks for all entries: the sender may not know what is there.
    Expanded,
    /// It compares them with what is there.
    Compared,
}

/// The summaries so far.
#[derive(Debug)]
pub(super) struct ReceivedSummaries {
    taken: TakenSummaries,
    /// Whether the sender was asked for all entries.
    are_all_wanted: bool,
    /// How many entries did not arrive, because their folders are the same.
    pub(super) same_entries: u32,
}

impl ReceivedSummaries {
    pub(super) fn new(taken: TakenSummaries) -> Self {
        Self {
            taken,
            are_all_wanted: false,
            same_entries: 0,
        }
    }
}

impl TreeReceiver {
    /// Asks for all entries before the first one if no summary can help.
    pub(super) fn begin_summaries(&mut self) {
        let options = &self.options;
        // A summary has no digests of content, further names, attributes or ACLs.
        let is_plain =
            !options.checksum && !options.hard_links && !options.attributes && !options.acls;
        let is_useful = self.summaries.taken == TakenSummaries::Compared
            && is_plain
            && self.has_target().unwrap_or(false);
        if !is_useful {
            self.expand_all();
        }
    }

    /// Whether all folders are there that are copied to, as far as their names are known.
    fn has_target(&self) -> io::Result<bool> {
        match &self.place {
            Base::As(folder, name) => Ok(folder.stat(name)?.is_some()),
            Base::Content(folder) => {
                for entry in folder.reader()? {
                    // Staging files, also those of this copy.
                    if check_component(entry?.0.as_bytes()).is_ok() {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Base::Into(_) => Ok(true),
        }
    }

    /// Asks for all entries.
    pub(super) fn expand_all(&mut self) {
        let summaries = &mut self.summaries;
        if summaries.taken == TakenSummaries::Refused || summaries.are_all_wanted {
            return;
        }
        summaries.are_all_wanted = true;
        FromReceiver::Folder(FolderAnswer::ExpandAll).write(&mut self.out);
    }

    /// Answers a summary.
    ///
    /// # Errors
    /// [`Error::Protocol`] for one that is not due; `ended`.
    pub(super) fn summary(&mut self, number: u32, digest: &SummaryDigest) -> Result<(), Error> {
        let folder = self.folders.get_mut(&number).filter(|folder| {
            self.summaries.taken != TakenSummaries::Refused
                && !folder.has_ended
                && folder.filling == Filling::Empty
        });
        let Some(folder) = folder else {
            return Err(unexpected("a summary that is not due"));
        };
        folder.filling = Filling::Expanded;
        let location = folder.location.clone();
        let is_there = !folder.is_skipped && !location.is_staged && !location.is_new;
        let stored = folder.stored.clone();
        hash_summary(&mut self.hasher, number, digest);
        if self.summaries.are_all_wanted {
            return Ok(());
        }
        self.staging.tick();
        let mut same = None;
        if is_there {
            same = self.list_to_sum(&location)?.and_then(|mut entries| {
                let summary = sum_up(&mut entries, self.options.exact_mode);
                // A folder of the copy may have the same name on this file system.
                let is_own = |entry: &SummedEntry| stored.contains(&entry.stat.numbers());
                let is_same = summary.digest == *digest && !entries.iter().any(is_own);
                is_same.then_some((entries, summary))
            });
        }
        let Some((entries, summary)) = same else {
            let answer = FolderAnswer::Expand { folder: number };
            FromReceiver::Folder(answer).write(&mut self.out);
            return Ok(());
        };
        for entry in &entries {
            self.note_name(number, entry.name.as_bytes());
        }
        let answer = FolderAnswer::Same {
            folder: number,
            files: summary.files,
            bytes: summary.bytes,
        };
        FromReceiver::Folder(answer).write(&mut self.out);
        self.progress.add_same(summary.files, summary.bytes);
        let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let same_entries = &mut self.summaries.same_entries;
        *same_entries = same_entries.saturating_add(count);
        self.folder_end(number, false)
    }

    /// The files and links of a folder that the selection takes; `None` if no summary stands for
    /// them.
    ///
    /// # Errors
    /// `ended`.
    fn list_to_sum(&mut self, location: &StorePlace) -> Result<Option<Vec<SummedEntry>>, Error> {
        // The entries tell what is wrong.
        let Ok(folder) = self.open(location) else {
            return Ok(None);
        };
        let Ok(reader) = folder.reader() else {
            return Ok(None);
        };
        let mut entries = Vec::new();
        for (at, entry) in reader.enumerate() {
            self.leave.spend(1)?;
            if at % NAMES_AT_ONCE == 0 {
                self.staging.tick();
            }
            let summed = entry.and_then(|(name, _)| self.sum_entry(location, &folder, name));
            match summed {
                Ok(Listed::Nothing) => {}
                Ok(Listed::Entry(entry)) if entries.len() < SUMMED_MAX => entries.push(entry),
                Ok(Listed::Entry(_) | Listed::Other) | Err(_) => return Ok(None),
            }
        }
        Ok(Some(entries))
    }

    /// What a name in a folder is for its summary.
    fn sum_entry(
        &self,
        location: &StorePlace,
        folder: &Folder,
        name: OsString,
    ) -> io::Result<Listed> {
        if check_component(name.as_bytes()).is_err() {
            return Ok(Listed::Nothing);
        }
        let below = || self.below_source(&location.folder.path_of(&name));
        if !self.selection.takes_all() && self.selection.excludes(&below(), false) {
            return Ok(Listed::Nothing);
        }
        let Some(stat) = folder.stat(&name)? else {
            return Ok(Listed::Nothing);
        };
        let target = match stat.kind {
            EntryKind::Folder => return Ok(Listed::Nothing),
            EntryKind::Special => return Ok(Listed::Other),
            EntryKind::File => Vec::new(),
            EntryKind::Link => folder.read_link(&name)?,
        };
        let depth = location.depth.saturating_sub(1);
        let may_be_made = self.options.all_links || stays_within(&target, depth);
        let is_refused = stat.kind == EntryKind::Link && !may_be_made;
        Ok(if is_refused || target.len() > TARGET_BYTES_MAX {
            Listed::Other
        } else {
            Listed::Entry(SummedEntry { name, stat, target })
        })
    }
}

/// What a name in a folder is for its summary.
enum Listed {
    /// It does not count.
    Nothing,
    /// It counts.
    Entry(SummedEntry),
    /// No summary stands for it.
    Other,
}
