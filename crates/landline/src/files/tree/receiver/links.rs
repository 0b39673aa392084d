//! Links of the tree.

use std::ffi::{OsStr, OsString};

use landline_proto::ErrorCode;

use super::{
    ArrivingEntry, Problem, StorePlace, TreeReceiver,
    replace::{FormerEntry, NewEntry, Replacement},
};
use crate::{
    Error,
    files::tree::records::{ChangeDetails, ChangeKind},
    paths::{EntryKind, EntryStat, staging_name},
};

impl TreeReceiver {
    /// Makes a link, which must lead to a place within the tree.
    pub(super) fn link(
        &mut self,
        arriving: &ArrivingEntry<'_>,
        target: &[u8],
    ) -> Result<(), Problem> {
        let ArrivingEntry {
            location,
            name,
            entry,
            ..
        } = arriving;
        let depth = location.depth.saturating_sub(1);
        let may_be_made = self.options.all_links || stays_within(target, depth);
        if location.parent.is_none() || !may_be_made {
            let message = format!(
                "{} is a link that may lead out of the tree, to {}",
                self.shown(location, name).display(),
                String::from_utf8_lossy(target)
            );
            return Err(Problem::Entry(Error::here(ErrorCode::NameRefused, message)));
        }
        let existing = self.existing(location, name)?;
        let mut replaced = None;
        match existing {
            Some(stat) if self.was_stored(location, &stat) => {
                return Err(self.collision(location, name));
            }
            Some(stat) if stat.kind == EntryKind::Link => {
                let folder = self.open(location).map_err(self.problem(location, name))?;
                let now = folder
                    .read_link(name)
                    .map_err(self.problem(location, name))?;
                if now == target {
                    return Ok(());
                }
            }
            Some(stat) if stat.kind == EntryKind::File => {}
            Some(stat) if self.options.deletes() && !location.is_staged => {
                replaced = Some(self.check_replaceable(location, name, &stat)?);
            }
            Some(_) => {
                let shown = self.shown(location, name);
                let message = format!("{} exists and is not a link", shown.display());
                return Err(Problem::Entry(Error::here(ErrorCode::Exists, message)));
            }
            None => {}
        }
        if existing.is_some() && !self.options.replace && !location.is_staged {
            return Ok(());
        }
        self.check_writable(location, name)?;
        if let Some(stat) = existing {
            self.check_unprotected(location, name, &stat)?;
        }
        self.summary.others += 1;
        if let Some(former) = replaced {
            return self.replace_by_link(arriving, target, former);
        }
        self.report_link(location, name, existing.as_ref());
        if self.options.dry_run {
            return Ok(());
        }
        let folder = self.open(location).map_err(self.problem(location, name))?;
        let made = if existing.is_some() {
            // In the same folder, which may be on another file system than the staging folder.
            let staged = OsString::from(staging_name());
            let made = folder.create_link(target, &staged);
            let made = made
                .and_then(|()| self.back_up(&folder, location, name))
                .and_then(|()| folder.rename(&staged, name, true));
            if made.is_err() {
                let _ = folder.remove(&staged);
            }
            made
        } else {
            folder.create_link(target, name)
        };
        made.and_then(|()| {
            if self.options.times {
                folder.set_modified(name, entry.modified)
            } else {
                Ok(())
            }
        })
        .map_err(self.problem(location, name))?;
        self.note_stored(location, name);
        Ok(())
    }

    /// Makes a link that will replace something of another kind.
    fn replace_by_link(
        &mut self,
        arriving: &ArrivingEntry<'_>,
        target: &[u8],
        former: FormerEntry,
    ) -> Result<(), Problem> {
        let ArrivingEntry {
            number,
            location,
            name,
            entry,
        } = arriving;
        let new = if self.options.dry_run {
            NewEntry::Planned(ChangeKind::Link)
        } else {
            let staged = OsString::from(format!("link-{number}"));
            let staging = &self.staging.folder;
            staging
                .create_link(target, &staged)
                .and_then(|()| {
                    if self.options.times {
                        staging.set_modified(&staged, entry.modified)
                    } else {
                        Ok(())
                    }
                })
                .map_err(self.problem(location, name))?;
            NewEntry::Link(staged)
        };
        self.replace_later(Replacement {
            location: location.clone(),
            name: name.to_owned(),
            entry: *number,
            former,
            new,
        });
        Ok(())
    }

    fn report_link(&mut self, location: &StorePlace, name: &OsStr, existing: Option<&EntryStat>) {
        let Some(stat) = existing.filter(|_| !location.is_staged) else {
            return self.report_new(location, name, ChangeKind::Link);
        };
        let details = ChangeDetails {
            content: true,
            kind: stat.kind != EntryKind::Link,
            ..ChangeDetails::default()
        };
        self.report_change(location, name, ChangeKind::Link, details);
    }
}

/// Whether the target of a link stays within a tree, for a link with `depth` folders above it in
/// the tree.
///
/// `..` is allowed only at the beginning: behind a name it could follow another link.
pub(super) fn stays_within(target: &[u8], depth: usize) -> bool {
    if target.starts_with(b"/") {
        return false;
    }
    let mut ups = 0;
    let mut has_name = false;
    for component in target.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." if has_name => return false,
            b".." => ups += 1,
            _ => has_name = true,
        }
    }
    ups <= depth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_within_the_tree() {
        for (target, depth, stays) in [
            ("file", 0, true),
            ("folder/file", 0, true),
            ("./file", 0, true),
            ("../file", 0, false),
            ("../file", 1, true),
            ("../../file", 1, false),
            ("folder/../file", 1, false),
            ("folder/..", 5, false),
            ("/etc/passwd", 5, false),
            ("..", 1, true),
            ("a//b", 0, true),
            ("..x", 0, true),
        ] {
            assert_eq!(
                stays_within(target.as_bytes(), depth),
                stays,
                "{target:?} at {depth}"
            );
        }
    }
}
