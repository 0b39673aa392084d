//! Folders whose entries are held back until the receiver has compared their summaries.

use std::{collections::BTreeMap, time::Duration};

use super::{TreeSender, unexpected};
use crate::{
    Error,
    files::tree::{
        records::FolderAnswer,
        summaries::SUMMED_MAX,
        walk::{HeldFolder, WalkOptions},
    },
    net::Channel,
};

/// Shorter round trips are not worth a wait for an answer.
const LONG_ROUND_TRIP_MIN: Duration = Duration::from_millis(10);
/// How many entries are sent before one is held back. They fill the first round trip, in which the
/// receiver says whether it has anything.
const PLAIN_ENTRIES: u32 = 256;
/// How many entries are held at once. Each takes memory.
const HELD_ENTRIES_MAX: usize = 65_536;
/// How many folders are held at once. The answers about them wait in memory.
const HELD_FOLDERS_MAX: usize = 8_192;

/// Whether a sender may send summaries, and does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::files::tree) enum Summaries {
    /// They were not announced.
    #[default]
    Off,
    /// They may be sent, and are not worth it.
    Allowed,
    /// Entries are held back after so many were sent.
    SentAfter(u32),
}

impl Summaries {
    /// What pays on this channel.
    pub(in crate::files::tree) fn over(channel: &Channel, options: &WalkOptions) -> Self {
        let is_long = |channel: &Channel| {
            let line = channel.line();
            line.is_some_and(|line| line.round_trip >= LONG_ROUND_TRIP_MIN)
        };
        match options.summaries {
            true if is_long(channel) => Self::SentAfter(PLAIN_ENTRIES),
            true => Self::Allowed,
            false => Self::Off,
        }
    }
}

/// The folders that are held back.
#[derive(Default)]
pub(super) struct HeldFolders {
    summaries: Summaries,
    /// Whether the receiver wants the entries of all folders.
    are_all_wanted: bool,
    folders: BTreeMap<u32, HeldFolder>,
    entries: usize,
}

impl HeldFolders {
    pub(super) fn is_empty(&self) -> bool {
        self.folders.is_empty()
    }

    /// Whether another folder can be held.
    fn has_room(&self) -> bool {
        self.entries + SUMMED_MAX <= HELD_ENTRIES_MAX && self.folders.len() < HELD_FOLDERS_MAX
    }

    /// Whether the next folder is held back, after so many entries were sent.
    pub(super) fn may_hold(&self, sent: u32) -> bool {
        match self.summaries {
            Summaries::SentAfter(plain) => !self.are_all_wanted && sent >= plain,
            Summaries::Off | Summaries::Allowed => false,
        }
    }

    fn add(&mut self, folder: HeldFolder) {
        self.entries += folder.entries();
        self.folders.insert(folder.number(), folder);
    }

    fn take(&mut self, number: u32) -> Result<HeldFolder, Error> {
        let Some(folder) = self.folders.remove(&number) else {
            return Err(unexpected("an answer to a summary that was not sent"));
        };
        self.entries -= folder.entries();
        Ok(folder)
    }

    fn take_all(&mut self) -> Result<BTreeMap<u32, HeldFolder>, Error> {
        if self.summaries == Summaries::Off || self.are_all_wanted {
            return Err(unexpected("a wish for all folders"));
        }
        self.are_all_wanted = true;
        self.entries = 0;
        Ok(std::mem::take(&mut self.folders))
    }
}

impl TreeSender {
    /// The same sender, which sends summaries if they pay.
    pub(in crate::files::tree) fn summing(mut self, summaries: Summaries) -> Self {
        self.held.summaries = summaries;
        self
    }

    /// Whether what the walk finds next has room.
    pub(super) fn may_walk(&self) -> bool {
        self.held.has_room() || self.walk.has_released()
    }

    /// Tells once that the number of files is known.
    pub(super) fn check_listed(&self) {
        if self.is_walked && self.held.is_empty() {
            self.progress.set_listed();
        }
    }

    /// Takes an answer to summaries.
    pub(super) fn folder_answer(&mut self, answer: FolderAnswer) -> Result<(), Error> {
        match answer {
            FolderAnswer::Same {
                folder,
                files,
                bytes,
            } => {
                let held = self.held.take(folder)?;
                if held.counts() != (files, bytes) {
                    return Err(unexpected("other files than those of the summary"));
                }
                self.progress.add_same(files, bytes);
                self.check_listed();
            }
            FolderAnswer::Expand { folder } => {
                let held = self.held.take(folder)?;
                self.release(held);
            }
            FolderAnswer::ExpandAll => {
                self.walk.release_listing();
                for held in self.held.take_all()?.into_values() {
                    self.release(held);
                }
            }
        }
        Ok(())
    }

    /// Holds a folder back whose summary was sent.
    pub(super) fn hold(&mut self, held: HeldFolder) {
        if self.held.are_all_wanted {
            // The receiver does not answer it any more.
            self.release(held);
        } else {
            self.held.add(held);
        }
    }

    fn release(&mut self, held: HeldFolder) {
        self.walk.release(held);
        self.is_walked = false;
        self.void_end();
    }
}
