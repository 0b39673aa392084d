//! `list` and `space`: what is where.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
};

use landline_proto::Name;

use super::{
    messages::{ListEntries, Space},
    records::{EntryRecord, FileRecord, FolderRecord, SpaceRecord},
    task::Task,
};
use crate::{
    Error,
    activity::FileRead,
    paths::{
        self, EntryKind, EntryStat, Folder, FolderReader, TreeOrigin, TreeVisitor, Visit, walk_tree,
    },
};

/// The memory for names that are sorted, in bytes. Those of a larger folder come as they are.
const SORTED_BYTES_MAX: usize = 4 << 20;
/// How many names are sorted and sent before the others are sorted.
const FIRST_NAMES: usize = 256;

impl Task<'_> {
    /// Lists what a request names.
    ///
    /// # Errors
    /// `not-found`, `name-refused`, `denied`, `limit`, `io`; `ended`.
    pub(super) fn list(&mut self, list: &ListEntries) -> Result<(), Error> {
        let record = |task: &mut Self, path| task.record_read(FileRead::List, path);
        self.for_each(&list.path.0, list.pattern, record, |task, path, _| {
            task.list_one(list, path)
        })
    }

    fn list_one(&mut self, list: &ListEntries, path: &[u8]) -> Result<(), Error> {
        let entry = self.open_entry(path, false)?;
        self.record_read(FileRead::List, Name(entry.path_bytes()))?;
        if !list.itself {
            // A link at the end of the path is followed if it leads to a folder.
            let located = self.locate(path)?;
            let opened = self
                .context
                .root()
                .open_tree_source(self.grants(), &located);
            match opened {
                Ok((source, guard)) => {
                    if let TreeOrigin::Folder(folder, _) = source.origin {
                        let mut lister = Lister {
                            task: self,
                            list,
                            start: path,
                        };
                        let shown = &source.shown;
                        return walk_tree(folder, guard.start(), &guard, shown, &mut lister);
                    }
                }
                Err(error) => match entry.stat() {
                    Ok(stat) if stat.kind == EntryKind::Link => {}
                    _ => return Err(error.into()),
                },
            }
        }
        let stat = entry.stat()?;
        let target = match &entry.name {
            Some(name) => read_target(&entry.folder, name, &stat),
            None => None,
        };
        let record = EntryRecord::new(path.to_vec(), &stat, target);
        self.out.write(&FileRecord::Entry(record))
    }

    /// Tells the space of the file system where a path is.
    ///
    /// # Errors
    /// `not-found`, `name-refused`, `denied`, `io`.
    pub(super) fn space(&mut self, request: &Space) -> Result<(), Error> {
        let path = &request.path.0;
        let located = self.locate(path)?;
        let root = self.context.root();
        let (source, _) = root.open_tree_source(self.grants(), &located)?;
        let shown = source.shown.into_os_string();
        self.record_read(FileRead::Space, Name(shown.clone().into_vec()))?;
        let (TreeOrigin::Folder(folder, _) | TreeOrigin::Entry(folder, ..)) = source.origin;
        let space = folder.space().map_err(|error| {
            let shown = Path::new(&shown).display();
            Error::io(shown, &error)
        })?;
        self.out.write(&FileRecord::Space(SpaceRecord {
            path: Name(path.clone()),
            total: space.total,
            free: space.free,
            available: space.available,
            files: space.files,
            files_free: space.files_free,
        }))
    }
}

/// The target of an entry that is a link.
fn read_target(folder: &Folder, name: &OsStr, stat: &EntryStat) -> Option<Vec<u8>> {
    match stat.kind {
        EntryKind::Link => folder.read_link(name).ok(),
        _ => None,
    }
}

/// Writes a record for each folder of a tree and for each entry in it.
struct Lister<'a, 'b> {
    task: &'a mut Task<'b>,
    list: &'a ListEntries,
    /// The path of the start, in the words of the request.
    start: &'a [u8],
}

impl TreeVisitor for Lister<'_, '_> {
    type Error = Error;

    fn visit(&mut self, visit: Visit<'_>) -> Result<Vec<OsString>, Error> {
        let path = join(self.start, visit.path);
        let mut folders = Vec::new();
        let mut reader = match visit.folder.reader() {
            Ok(reader) => reader,
            Err(error) => {
                let failed = Error::io(String::from_utf8_lossy(&path), &error);
                self.task.out.fail(path, failed)?;
                return Ok(folders);
            }
        };
        let mut names =
            FolderNames::read(&mut reader, self.list.hidden, || self.task.unit.spend(1))?;
        self.task.out.write(&FileRecord::Folder(FolderRecord {
            path: Name(path.clone()),
            sorted: names.is_complete,
        }))?;
        let mut failed = names.error.take();
        names.in_order(|name| self.entry(&visit, name, &path, &mut folders))?;
        for entry in reader {
            match entry {
                Ok((name, _)) if self.list.hidden || !name.as_bytes().starts_with(b".") => {
                    self.entry(&visit, &name, &path, &mut folders)?;
                }
                Ok(_) => {}
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            let failed = Error::io(String::from_utf8_lossy(&path), &error);
            self.task.out.fail(path, failed)?;
        }
        Ok(folders)
    }

    fn leave(&mut self, _: Visit<'_>, _: &OsStr) -> Result<(), Error> {
        Ok(())
    }

    fn skip(&mut self, path: &Path, error: paths::Error) -> Result<(), Error> {
        self.task.out.fail(join(self.start, path), error.into())
    }
}

impl Lister<'_, '_> {
    /// Writes the record of an entry. One that has gone meanwhile has none.
    fn entry(
        &mut self,
        visit: &Visit<'_>,
        name: &OsStr,
        path: &[u8],
        folders: &mut Vec<OsString>,
    ) -> Result<(), Error> {
        self.task.unit.spend(1)?;
        match visit.folder.stat(name) {
            Ok(Some(stat)) => {
                if self.list.recursive && stat.kind == EntryKind::Folder {
                    folders.push(name.to_owned());
                }
                let target = read_target(visit.folder, name, &stat);
                let record = EntryRecord::new(name.as_bytes().to_vec(), &stat, target);
                self.task.out.write(&FileRecord::Entry(record))
            }
            Ok(None) => Ok(()),
            Err(error) => {
                let path = join(path, Path::new(name));
                let failed = Error::io(String::from_utf8_lossy(&path), &error);
                self.task.out.fail(path, failed)
            }
        }
    }
}

/// The path of something below a path of the request.
pub(super) fn join(start: &[u8], below: &Path) -> Vec<u8> {
    let below = below.as_os_str().as_bytes();
    if start == b"." && !below.is_empty() {
        return below.to_vec();
    }
    let slash: &[u8] = if below.is_empty() || start.ends_with(b"/") {
        b""
    } else {
        b"/"
    };
    [start, slash, below].concat()
}

/// The first names of a folder, in little memory.
struct FolderNames {
    bytes: Vec<u8>,
    /// The start and the length of each.
    spans: Vec<(u32, u16)>,
    /// Whether these are all names.
    is_complete: bool,
    /// What ended the folder early.
    error: Option<io::Error>,
}

impl FolderNames {
    fn read(
        reader: &mut FolderReader,
        with_hidden: bool,
        spend: impl Fn() -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut names = Self {
            bytes: Vec::new(),
            spans: Vec::new(),
            is_complete: false,
            error: None,
        };
        while names.bytes.len() + names.spans.len() * size_of::<(u32, u16)>() < SORTED_BYTES_MAX {
            let Some(entry) = reader.next() else {
                names.is_complete = true;
                break;
            };
            spend()?;
            let (name, _) = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    names.error = Some(error);
                    break;
                }
            };
            let name = name.as_bytes();
            if with_hidden || !name.starts_with(b".") {
                names.add(name);
            }
        }
        Ok(names)
    }

    fn add(&mut self, name: &[u8]) {
        let start = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
        self.spans.push((start, length));
        self.bytes.extend(name);
    }

    /// Calls `work` with each name, in order. The first names do not wait until all are sorted.
    ///
    /// # Errors
    /// Those of `work`.
    fn in_order(&mut self, mut work: impl FnMut(&OsStr) -> Result<(), Error>) -> Result<(), Error> {
        let bytes = &self.bytes;
        let compare = |one: &(u32, u16), other: &(u32, u16)| {
            let (one, other) = (slice(bytes, *one), slice(bytes, *other));
            one.cmp(other)
        };
        let count = FIRST_NAMES.min(self.spans.len());
        if count < self.spans.len() {
            self.spans.select_nth_unstable_by(count, compare);
        }
        let (first, rest) = self.spans.split_at_mut(count);
        for names in [first, rest] {
            names.sort_unstable_by(compare);
            for span in names {
                work(OsStr::from_bytes(slice(bytes, *span)))?;
            }
        }
        Ok(())
    }
}

fn slice(bytes: &[u8], (start, length): (u32, u16)) -> &[u8] {
    let start = start as usize;
    bytes
        .get(start..start + usize::from(length))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_order_however_many() {
        for count in [0, 1, FIRST_NAMES - 1, FIRST_NAMES, FIRST_NAMES + 1, 3000] {
            let mut names = FolderNames {
                bytes: Vec::new(),
                spans: Vec::new(),
                is_complete: true,
                error: None,
            };
            let mut expected: Vec<String> = (0..count)
                .map(|number| (number * 7919 % 100_003).to_string())
                .collect();
            expected.iter().for_each(|name| names.add(name.as_bytes()));
            expected.sort();
            let mut found = Vec::new();
            let ended = names.in_order(|name| {
                found.push(name.to_string_lossy().into_owned());
                Ok(())
            });
            assert!(ended.is_ok());
            assert_eq!(found, expected);
        }
    }
}
