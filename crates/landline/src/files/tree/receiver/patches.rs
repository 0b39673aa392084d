//! Files of the tree that are built from those that they replace.

use std::{collections::VecDeque, ffi::OsString};

use landline_proto::ErrorCode;

use super::{Problem, StorePlace, TreeReceiver, WantedFile};
use crate::{
    Error,
    files::{
        delta::{Applied, COMPARED_BYTES_MIN, Change, Known, Patcher, PatcherParts, VALUES_MAX},
        messages::Compare,
        tree::{
            records::{FromReceiver, Hash, hash_file},
            sender::{ended_early, unexpected},
        },
    },
    paths::{EntryStat, File, check_space},
};

/// The shortest file that is compared, unless the user asks for it, and the part of the new length
/// that the replaced file must have at least.
const LENGTH_MIN: u64 = 1 << 20;
const REPLACED_PART: u64 = 64;
/// How many files are compared ahead of their changes. Each has two open files.
const AHEAD_MAX: usize = 8;
/// How many bytes of answers are collected before they are sent.
const ANSWER_BYTES: usize = 64 * 1024;

/// The files that are compared with those that they replace.
#[derive(Default)]
pub(super) struct Patches {
    /// Those of which nothing was told yet, in the order in which they are wanted.
    waiting: VecDeque<u32>,
    /// Those whose changes are due, the next one first.
    active: VecDeque<PatchedFile>,
}

struct PatchedFile {
    entry: u32,
    /// `None` if it cannot be stored; its changes are then dropped.
    built: Option<BuiltFile>,
    /// Whether the replaced file has changed, so that all of the content is wanted.
    is_wanted_again: bool,
}

struct BuiltFile {
    file: File,
    staged: OsString,
    patcher: Patcher,
}

impl Patches {
    fn find(&mut self, entry: u32) -> Option<&mut PatchedFile> {
        self.active.iter_mut().find(|patch| patch.entry == entry)
    }

    fn take(&mut self, entry: u32) -> Option<PatchedFile> {
        let place = self.active.iter().position(|patch| patch.entry == entry)?;
        self.active.remove(place)
    }
}

impl TreeReceiver {
    /// Whether a file is compared with the one that it replaces.
    pub(super) fn is_compared(
        &self,
        location: &StorePlace,
        replaced: &EntryStat,
        length: u64,
    ) -> bool {
        let length_min = match self.options.compare {
            Compare::Always => COMPARED_BYTES_MIN,
            Compare::Replaced => LENGTH_MIN,
            Compare::Nothing | Compare::Earlier => return false,
        };
        let is_long = length >= length_min && replaced.length >= length_min;
        is_long && replaced.length >= length / REPLACED_PART && !location.is_staged
    }

    /// Asks for the changes of a file.
    pub(super) fn want_changes(&mut self, entry: u32) {
        self.write_want();
        FromReceiver::WantChanges { entry }.write(&mut self.out);
        self.patches.waiting.push_back(entry);
    }

    /// Waits for input. Meanwhile, tells the sender more of what is there.
    pub(super) fn next_input(&mut self) -> Result<Vec<u8>, Error> {
        loop {
            match self.ends.try_receive() {
                Some(bytes) => return bytes.ok_or_else(ended_early),
                None if self.tell_more()? => {
                    self.staging.tick();
                    self.ends.send(std::mem::take(&mut self.out))?;
                }
                None => return self.ends.receive().ok_or_else(ended_early),
            }
        }
    }

    /// Tells the sender more of what is there. Returns whether there was anything to tell.
    ///
    /// # Errors
    /// `no-space` or `io`.
    fn tell_more(&mut self) -> Result<bool, Error> {
        let mut active = self.patches.active.iter_mut();
        let next = active.find_map(|patch| {
            let built = patch.built.as_mut()?;
            built.patcher.can_compare().then_some((patch.entry, built))
        });
        if let Some((entry, built)) = next {
            let (known, bytes) = built.patcher.compare_some()?;
            FromReceiver::Known { entry, known }.write(&mut self.out);
            self.leave.spend(bytes)?;
            return Ok(true);
        }
        let ahead = self.patches.active.iter();
        let values: usize = ahead
            .filter_map(|patch| Some(patch.built.as_ref()?.patcher.values()))
            .sum();
        if self.patches.active.len() >= AHEAD_MAX || values as u64 >= VALUES_MAX {
            return Ok(false);
        }
        let Some(entry) = self.patches.waiting.pop_front() else {
            return Ok(false);
        };
        self.begin_patch(entry)?;
        Ok(true)
    }

    fn begin_patch(&mut self, entry: u32) -> Result<(), Error> {
        // It may have failed, or have changed so that all of it is sent.
        let Some(file) = self.wanted.remove(&entry) else {
            return Ok(());
        };
        let shown = self.shown(&file.location, &file.name).display().to_string();
        let replaced = self
            .open(&file.location)
            .ok()
            .and_then(|folder| folder.open_source(&file.name, &shown).ok());
        let built = self.create_or_continue(&file);
        let built = built.and_then(|(created, staged, staged_length)| {
            let place = self.shown(&file.location, &file.name);
            let missing = file.length.saturating_sub(staged_length);
            check_space(&created, file.length, missing, &place)
                .map_err(|error| Problem::of(error.into()))?;
            let parts = PatcherParts {
                staged: created
                    .try_clone()
                    .map_err(self.problem(&file.location, &file.name))?,
                direct: None,
                staged_length,
                replaced: replaced.map(|source| source.file),
                length: file.length,
                sparse: self.options.sparse,
                shown,
            };
            Ok(BuiltFile {
                patcher: Patcher::new(parts).map_err(Problem::of)?,
                file: created,
                staged,
            })
        });
        self.wanted.insert(entry, file);
        let built = match built {
            Ok(built) => Some(built),
            Err(Problem::Copy(error)) => return Err(error),
            Err(Problem::Entry(error)) => {
                self.fail(entry, &error);
                None
            }
        };
        let known = match &built {
            Some(built) => built.patcher.basis(),
            None => Known::Basis {
                length: 0,
                replaced: 0,
            },
        };
        FromReceiver::Known { entry, known }.write(&mut self.out);
        self.patches.active.push_back(PatchedFile {
            entry,
            built,
            is_wanted_again: false,
        });
        Ok(())
    }

    /// Opens the file to build: what an earlier attempt left of it, with its length, or a new one.
    fn create_or_continue(&mut self, file: &WantedFile) -> Result<(File, OsString, u64), Problem> {
        if let Some(length) = self.leftover_length(&file.staged) {
            if let Some(opened) = self.open_leftover(&file.staged) {
                return Ok((opened, file.staged.clone(), length));
            }
            let _ = self.staging.folder.remove(&file.staged);
        }
        let (created, staged) = self.create(file)?;
        Ok((created, staged, 0))
    }

    /// Applies a change of a file.
    pub(super) fn apply_change(&mut self, entry: u32, change: &Change<'_>) -> Result<(), Error> {
        let Some(patch) = self.patches.find(entry) else {
            return Err(unexpected("changes of a file that is not compared"));
        };
        let Some(built) = &mut patch.built else {
            return Ok(());
        };
        let applied = match built.patcher.apply(change) {
            Ok(applied) => applied,
            // The replaced file has changed meanwhile.
            Err(error) if error.code_str() == ErrorCode::DigestMismatch.as_str() => {
                patch.built = None;
                patch.is_wanted_again = true;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.leave.spend(applied.cost())?;
        match applied {
            Applied::Sent(length) => {
                self.progress.add_bytes(length);
                Ok(())
            }
            Applied::Kept(length) | Applied::Written(length) => {
                self.progress.add_kept_part(length);
                Ok(())
            }
            Applied::Search => {
                let (out, ends, leave) = (&mut self.out, &mut self.ends, &self.leave);
                built.patcher.sums(&mut |known, bytes| {
                    leave.spend(bytes)?;
                    if let Some(known) = known {
                        let known = known.clone();
                        FromReceiver::Known { entry, known }.write(out);
                    }
                    if out.len() >= ANSWER_BYTES {
                        ends.send(std::mem::take(out))?;
                    }
                    Ok(())
                })
            }
            Applied::Whole => Ok(()),
        }
    }

    /// Ends a file if it was compared. Returns whether it was.
    pub(super) fn end_patch(
        &mut self,
        entry: u32,
        length: u64,
        digest: &Hash,
    ) -> Result<bool, Error> {
        let Some(mut patch) = self.patches.take(entry) else {
            return Ok(false);
        };
        let file = self.take_wanted(entry)?;
        if file.length != length {
            return Err(unexpected("a file of another length than announced"));
        }
        hash_file(&mut self.hasher, entry, length, digest);
        let is_same = match &mut patch.built {
            Some(built) => Some(built.patcher.digest()?.as_bytes() == digest),
            None => None,
        };
        let is_wanted_again = patch.is_wanted_again || is_same == Some(false);
        self.write_want();
        FromReceiver::Compared {
            entry,
            is_wanted_again,
        }
        .write(&mut self.out);
        if is_wanted_again {
            // The replaced file has changed meanwhile.
            self.remove_begun(&file);
            self.wanted.insert(entry, file);
            return Ok(true);
        }
        let Some(built) = patch.built else {
            self.release(file.record.as_ref());
            self.complete(file.location.parent);
            self.shared_is_there(entry, None)?;
            return Ok(true);
        };
        let stored = self.complete_file(entry, &built.file, &file);
        self.settle(entry, file, stored.map(|()| built.staged))?;
        Ok(true)
    }

    /// Compares a file no longer: all of it comes, or nothing.
    pub(super) fn drop_patch(&mut self, entry: u32) {
        self.patches.waiting.retain(|&waiting| waiting != entry);
        if self.patches.take(entry).is_some()
            && let Some(file) = self.wanted.remove(&entry)
        {
            self.remove_begun(&file);
            self.wanted.insert(entry, file);
        }
    }
}
