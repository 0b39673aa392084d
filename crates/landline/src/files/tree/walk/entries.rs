//! Entries that are no folders, and what is sent of all entries beside their content.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, sync::Arc};

use landline_proto::ErrorCode;

use super::{
    PendingFolder, Walk, WalkStep, WalkedFile, WalkedLinks,
    attributes::FoundAttributes,
    followed::Followed,
    shared_names::FoundName,
    steps::{entry, failed},
};
use crate::{
    Error,
    files::tree::{
        SHARED_FILES_MAX,
        open_folders::FolderPlace,
        records::{EntryContent, TARGET_BYTES_MAX},
    },
    paths::{EntryKind, EntryStat},
};

/// An entry that a walk has found, and that is no folder.
pub(super) struct FoundEntry<'a> {
    pub(super) source: usize,
    /// The number of its folder.
    pub(super) parent: Option<u32>,
    pub(super) folder: &'a Arc<FolderPlace>,
    pub(super) name: &'a OsStr,
    /// The name that is sent.
    pub(super) own_name: Vec<u8>,
    pub(super) stat: &'a EntryStat,
    /// What it is, if it is a link that is followed.
    pub(super) followed: Option<&'a Followed>,
}

impl Walk {
    /// Numbers an entry of a folder that is no folder. Returns whether it was left out.
    pub(super) fn entry_of(
        &mut self,
        due: &PendingFolder,
        name: &OsStr,
        stat: &EntryStat,
        followed: Option<&Followed>,
    ) -> bool {
        self.entry(FoundEntry {
            source: due.source,
            parent: Some(due.number),
            folder: &due.place,
            name,
            own_name: name.as_bytes().to_vec(),
            stat,
            followed,
        });
        std::mem::take(&mut self.has_left_out)
    }

    /// Numbers an entry that is no folder.
    pub(super) fn entry(&mut self, found: FoundEntry<'_>) {
        let FoundEntry {
            source,
            parent,
            folder,
            name,
            own_name,
            stat,
            followed,
        } = found;
        let shown = |walk: &Self| walk.shown(source, folder, name);
        let (mut has_other_names, mut sent_as) = (false, *stat);
        let (content, file) = match stat.kind {
            EntryKind::File => {
                // Before the name is noted, because it gets no number if this fails.
                let attributes = match followed {
                    Some(Followed {
                        folder,
                        name: Some(name),
                        ..
                    }) => FoundAttributes::of(folder, name, &self.options),
                    _ => self.find_attributes(source, folder, name),
                };
                let attributes = match attributes {
                    Ok(attributes) => attributes,
                    Err(error) => {
                        let error = Error::io(shown(self).display(), &error);
                        self.leave_out(parent, &error);
                        return;
                    }
                };
                let found = match followed {
                    // What a link leads to is a file of its own.
                    Some(_) => FoundName::default(),
                    None => self.note_name(parent, stat),
                };
                has_other_names = found.has_others;
                match found.first {
                    Some(first) => (EntryContent::SameFile(first), None),
                    None => {
                        sent_as = attributes.limit(stat);
                        let shown = shown(self);
                        let attribute_bytes = self.found_attributes(attributes, parent, &shown);
                        let file = WalkedFile {
                            is_shared: has_other_names && self.options.hard_links,
                            attribute_bytes,
                            source,
                            folder: folder.clone(),
                            name: name.to_owned(),
                            stat: *stat,
                            link: followed.map(Followed::link),
                        };
                        (EntryContent::File(stat.length), Some(file))
                    }
                }
            }
            EntryKind::Link if self.options.links == WalkedLinks::Skip => return,
            EntryKind::Link => {
                let target = self.base(source).and_then(|base| {
                    let opened = self.open.get(&base, folder);
                    opened
                        .and_then(|folder| folder.read_link(name))
                        .map_err(|error| Error::io(shown(self).display(), &error))
                });
                match target {
                    Ok(target) if target.len() <= TARGET_BYTES_MAX => {
                        (EntryContent::Link(target), None)
                    }
                    Ok(_) => {
                        let message =
                            format!("{}: the link's target is too long", shown(self).display());
                        self.leave_out(parent, &Error::here(ErrorCode::NameRefused, message));
                        return;
                    }
                    Err(error) => {
                        self.leave_out(parent, &error);
                        return;
                    }
                }
            }
            EntryKind::Special if self.options.skip_special => return,
            EntryKind::Special | EntryKind::Folder => {
                let message = format!(
                    "{} is a device, FIFO or socket, which is not copied",
                    shown(self).display()
                );
                self.leave_out(parent, &Error::here(ErrorCode::NotAFile, message));
                return;
            }
        };
        let _ = self.number();
        let mut found = entry(parent, own_name, content, &sent_as);
        found.is_recent = file.is_some() && stat.modified >= self.recent;
        found.has_other_names = has_other_names;
        self.found.push_back(WalkStep::Entry(found, file));
    }

    /// Notes a name of a file, which is the next entry.
    fn note_name(&mut self, parent: Option<u32>, stat: &EntryStat) -> FoundName {
        if self.options.hard_links {
            let was_full = self.shared.is_full();
            let found = self.shared.note(stat, self.next);
            if self.shared.is_full() && !was_full {
                let message = format!(
                    "more than {SHARED_FILES_MAX} files have names that were not found; the names \
                     of others become files of their own"
                );
                let error = Error::here(ErrorCode::Limit, message);
                self.found
                    .push_back(failed(parent.unwrap_or(u32::MAX), &error));
            }
            return found;
        }
        FoundName {
            first: None,
            has_others: stat.links > 1,
        }
    }
}
