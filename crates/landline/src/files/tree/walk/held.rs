//! Folders whose files and links are held back while the receiver compares a summary of them.

use std::{ffi::OsStr, vec};

use super::{Listing, Names, PendingFolder, Walk, WalkStep, WalkedLinks};
use crate::{
    files::tree::{
        records::{SummaryDigest, TARGET_BYTES_MAX},
        summaries::{FolderSummary, SUMMED_MAX, SummedEntry, sum_up},
    },
    paths::{EntryKind, EntryStat},
};

/// A single entry costs about as much as a summary and its answer.
const SUMMED_MIN: usize = 2;

/// A folder whose files and links have no numbers yet.
pub(in crate::files::tree) struct HeldFolder {
    due: PendingFolder,
    entries: Vec<SummedEntry>,
    summary: FolderSummary,
}

impl HeldFolder {
    /// The number of the folder.
    pub(in crate::files::tree) fn number(&self) -> u32 {
        self.due.number
    }

    pub(in crate::files::tree) fn digest(&self) -> SummaryDigest {
        self.summary.digest
    }

    /// How many files and links are held.
    pub(in crate::files::tree) fn entries(&self) -> usize {
        self.entries.len()
    }

    /// How many files are held, and their bytes.
    pub(in crate::files::tree) fn counts(&self) -> (u32, u64) {
        (self.summary.files, self.summary.bytes)
    }
}

/// A folder whose files and links get their numbers now.
pub(super) struct ReleasedFolder {
    due: PendingFolder,
    entries: vec::IntoIter<SummedEntry>,
    is_incomplete: bool,
}

impl Walk {
    /// Says whether the files and links of the next folders are held back.
    pub(in crate::files::tree) fn set_holds(&mut self, holds: bool) {
        self.holds = holds;
    }

    /// Whether entries are due that were held back.
    pub(in crate::files::tree) fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    /// Numbers what is held of the folder that is being listed.
    pub(in crate::files::tree) fn release_listing(&mut self) {
        if let Some(mut listing) = self.listing.take() {
            self.end_holding(&mut listing);
            self.listing = Some(listing);
        }
    }

    /// Sends the files and links of a folder after all.
    pub(in crate::files::tree) fn release(&mut self, held: HeldFolder) {
        self.released.push_back(ReleasedFolder {
            due: held.due,
            entries: held.entries.into_iter(),
            is_incomplete: false,
        });
    }

    /// Whether a folder is held back that is about to be listed.
    pub(super) fn begins_to_hold(&self, names: &Names) -> bool {
        let options = &self.options;
        let is_possible = !options.hard_links
            && !options.attributes
            && !options.acls
            && options.links == WalkedLinks::Keep;
        self.holds && is_possible && matches!(names, Names::All(_))
    }

    /// Holds a file or link back, if its folder is held. One that no summary can stand for
    /// releases the folder.
    pub(super) fn hold(&mut self, listing: &mut Listing, name: &OsStr, stat: &EntryStat) -> bool {
        let Some(held) = &mut listing.held else {
            return false;
        };
        let target = match stat.kind {
            EntryKind::File => {
                let is_plain = stat.modified < self.recent && stat.links == 1;
                is_plain.then(Vec::new)
            }
            EntryKind::Link => {
                let target = listing.folder.read_link(name).ok();
                target.filter(|target| target.len() <= TARGET_BYTES_MAX)
            }
            // It is left out.
            EntryKind::Special | EntryKind::Folder => return false,
        };
        match target.filter(|_| held.len() < SUMMED_MAX) {
            Some(target) => {
                held.push(SummedEntry {
                    name: name.to_owned(),
                    stat: *stat,
                    target,
                });
                true
            }
            None => {
                self.end_holding(listing);
                false
            }
        }
    }

    /// Numbers what was held of a folder that is being listed.
    fn end_holding(&mut self, listing: &mut Listing) {
        for SummedEntry { name, stat, .. } in listing.held.take().unwrap_or_default() {
            listing.is_incomplete |= self.entry_of(&listing.due, &name, &stat, None);
        }
    }

    /// Sums up a folder that was listed. If there is no summary, returns false.
    pub(super) fn end_held(&mut self, listing: &mut Listing) -> bool {
        let held = listing.held.as_ref().map_or(0, Vec::len);
        if listing.is_incomplete || held < SUMMED_MIN {
            self.end_holding(listing);
            return false;
        }
        let mut entries = listing.held.take().unwrap_or_default();
        let summary = sum_up(&mut entries, self.options.exact_mode);
        for entry in &mut entries {
            entry.target = Vec::new();
        }
        self.found.push_back(WalkStep::Summary(HeldFolder {
            due: PendingFolder {
                source: listing.due.source,
                number: listing.due.number,
                place: listing.due.place.clone(),
                depth: listing.due.depth,
                listed: None,
            },
            entries,
            summary,
        }));
        true
    }

    /// Numbers the next entry of a folder that was held back.
    pub(super) fn number_released(&mut self, mut released: ReleasedFolder) {
        if let Some(SummedEntry { name, stat, .. }) = released.entries.next() {
            released.is_incomplete |= self.entry_of(&released.due, &name, &stat, None);
            self.released.push_front(released);
        } else {
            self.found.push_back(WalkStep::FolderEnd {
                folder: released.due.number,
                is_incomplete: released.is_incomplete,
            });
        }
    }
}
