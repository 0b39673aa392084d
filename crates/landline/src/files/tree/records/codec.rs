//! The bytes of the records.

use landline_proto::ErrorCode;

use super::{
    AclRecord, CODE_BYTES_MAX, EntryContent, EntryFailure, FromReceiver, FromSender, Hash,
    LENGTH_BYTES, MESSAGE_BYTES_MAX, NO_PARENT, PIECE_BYTES, RecordError, SelectionRecord,
    TARGET_BYTES_MAX, TreeChange, TreeEntry, TreeSummary,
    acl::ACL,
    changes::CHANGE,
    selection::is_selection,
    summaries::{FolderAnswer, SUMMARY, is_folder_answer, read_summary, write_summary},
};
use crate::{
    files::delta::{Change, Known, RUN_BYTES_MAX},
    paths::{Attribute, FileTime, name::check_component},
};

/// Reads and writes the values in a record.
pub(super) struct ContentReader<'a> {
    pub(super) kind: u8,
    bytes: &'a [u8],
}

impl<'a> ContentReader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(count)
            .ok_or(RecordError::Content(self.kind))?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        self.take(N)?
            .try_into()
            .map_err(|_| RecordError::Content(self.kind))
    }

    pub(super) fn u8(&mut self) -> Result<u8, RecordError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn flag(&mut self) -> Result<bool, RecordError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => self.invalid(),
        }
    }

    fn u16(&mut self) -> Result<u16, RecordError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, RecordError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, RecordError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    pub(super) fn invalid<T>(&self) -> Result<T, RecordError> {
        Err(RecordError::Content(self.kind))
    }

    /// Reads the last value with `read`; nothing may follow it.
    pub(super) fn finish<T>(self, value: T) -> Result<T, RecordError> {
        if self.bytes.is_empty() {
            Ok(value)
        } else {
            Err(RecordError::Content(self.kind))
        }
    }
}

/// Appends a record with the content that `write` appends.
pub(super) fn put(out: &mut Vec<u8>, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    out.push(kind);
    write(out);
    let length = u32::try_from(out.len() - start - LENGTH_BYTES).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..start + LENGTH_BYTES) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

impl TreeEntry {
    /// Whether the entry is what a sender may name.
    fn is_valid(&self) -> bool {
        let is_nameless_source = self.parent.is_none() && self.name.is_empty();
        let has_name = check_component(&self.name).is_ok() || is_nameless_source;
        let has_target = match &self.content {
            EntryContent::Link(target) => {
                !target.is_empty() && target.len() <= TARGET_BYTES_MAX && !target.contains(&0)
            }
            _ => true,
        };
        let is_file = matches!(
            self.content,
            EntryContent::File(_) | EntryContent::SameFile(_)
        );
        let has_names = is_file || !self.has_other_names;
        has_name
            && has_target
            && has_names
            && self.mode <= 0o777
            && self.modified.nanoseconds < 1_000_000_000
    }

    fn write(&self, out: &mut Vec<u8>) {
        let (kind, number) = match &self.content {
            EntryContent::Folder => (1u8, 0),
            EntryContent::File(length) => (2, *length),
            EntryContent::Link(_) => (3, 0),
            EntryContent::SameFile(first) => (4, u64::from(*first)),
        };
        put(out, 1, |out| {
            out.push(kind);
            out.push(u8::from(self.is_recent) | u8::from(self.has_other_names) << 1);
            out.push(u8::try_from(self.name.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(&self.mode.to_le_bytes());
            out.extend_from_slice(&self.parent.unwrap_or(NO_PARENT).to_le_bytes());
            out.extend_from_slice(&self.modified.seconds.to_le_bytes());
            out.extend_from_slice(&self.modified.nanoseconds.to_le_bytes());
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&self.name);
            if let EntryContent::Link(target) = &self.content {
                out.extend_from_slice(target);
            }
        });
    }

    fn read(mut reader: ContentReader<'_>) -> Result<Self, RecordError> {
        let kind = reader.u8()?;
        let flags = reader.u8()?;
        let name_length = usize::from(reader.u8()?);
        let mode = reader.u16()?;
        let parent = reader.u32()?;
        let seconds = reader.array().map(i64::from_le_bytes)?;
        let nanoseconds = reader.u32()?;
        let number = reader.u64()?;
        let name = reader.take(name_length)?.to_vec();
        let content = match (kind, number) {
            (1, 0) => EntryContent::Folder,
            (2, length) => EntryContent::File(length),
            (3, 0) => EntryContent::Link(reader.rest().to_vec()),
            (4, first) => match u32::try_from(first) {
                Ok(first) => EntryContent::SameFile(first),
                Err(_) => return reader.invalid(),
            },
            _ => return reader.invalid(),
        };
        let entry = Self {
            parent: (parent != NO_PARENT).then_some(parent),
            name,
            content,
            mode,
            modified: FileTime {
                seconds,
                nanoseconds,
            },
            is_recent: flags & 1 != 0,
            has_other_names: flags & 2 != 0,
        };
        if flags <= 3 && entry.is_valid() {
            reader.finish(entry)
        } else {
            reader.invalid()
        }
    }

    /// Adds the entry to the digest of its tree.
    pub(crate) fn hash(&self, hasher: &mut blake3::Hasher) {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        hasher.update(&bytes);
    }
}

/// Adds the content of a file to the digest of its tree.
pub(crate) fn hash_file(hasher: &mut blake3::Hasher, entry: u32, length: u64, digest: &Hash) {
    hasher.update(&entry.to_le_bytes());
    hasher.update(&length.to_le_bytes());
    hasher.update(digest);
}

fn write_attribute(attribute: &Attribute, out: &mut Vec<u8>) {
    let (name, value) = (attribute.name(), attribute.value());
    put(out, 11, |out| {
        out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    });
}

/// Adds an attribute of the next entry to the digest of its tree.
pub(crate) fn hash_attribute(hasher: &mut blake3::Hasher, attribute: &Attribute) {
    let mut bytes = Vec::new();
    write_attribute(attribute, &mut bytes);
    hasher.update(&bytes);
}

/// The beginning of a text that fits into a record.
fn shorten(text: &str) -> &str {
    let mut end = text.len().min(MESSAGE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

fn read_attribute(mut reader: ContentReader<'_>) -> Result<Attribute, RecordError> {
    let length = usize::from(reader.u8()?);
    let name = reader.take(length)?.to_vec();
    let value = reader.rest().to_vec();
    match Attribute::new(name, value) {
        Some(attribute) => Ok(attribute),
        None => reader.invalid(),
    }
}

/// Reads a text that is the rest of a record.
fn read_text(reader: &mut ContentReader<'_>) -> Result<String, RecordError> {
    match std::str::from_utf8(reader.rest()) {
        Ok(text) if text.len() <= MESSAGE_BYTES_MAX => Ok(text.to_owned()),
        _ => reader.invalid(),
    }
}

impl EntryFailure {
    fn write(&self, kind: u8, out: &mut Vec<u8>) {
        let code = self.code.as_str().as_bytes();
        let code = code.get(..code.len().min(CODE_BYTES_MAX)).unwrap_or(code);
        let message = shorten(&self.message);
        put(out, kind, |out| {
            out.extend_from_slice(&self.entry.to_le_bytes());
            out.push(u8::try_from(code.len()).unwrap_or(0));
            out.extend_from_slice(code);
            out.extend_from_slice(message.as_bytes());
        });
    }

    fn read(mut reader: ContentReader<'_>) -> Result<Self, RecordError> {
        let entry = reader.u32()?;
        let code_length = usize::from(reader.u8()?);
        let code = reader.take(code_length)?;
        let message = read_text(&mut reader)?;
        match std::str::from_utf8(code) {
            Ok(code) if code.len() <= CODE_BYTES_MAX => Ok(Self {
                entry,
                code: ErrorCode::from_wire(code),
                message,
            }),
            _ => reader.invalid(),
        }
    }
}

impl<'a> FromSender<'a> {
    /// Appends the record to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Entry(entry) => entry.write(out),
            Self::FolderEnd {
                folder,
                is_incomplete,
            } => put(out, 2, |out| {
                out.extend_from_slice(&folder.to_le_bytes());
                out.push(u8::from(*is_incomplete));
            }),
            Self::File {
                entry,
                digest,
                content,
            } => put(out, 3, |out| {
                out.extend_from_slice(&entry.to_le_bytes());
                out.extend_from_slice(digest);
                out.extend_from_slice(content);
            }),
            Self::Piece {
                entry,
                offset,
                content,
            } => put(out, 4, |out| {
                out.extend_from_slice(&entry.to_le_bytes());
                out.extend_from_slice(&offset.to_le_bytes());
                out.extend_from_slice(content);
            }),
            Self::Hole {
                entry,
                offset,
                length,
            } => put(out, 10, |out| {
                out.extend_from_slice(&entry.to_le_bytes());
                out.extend_from_slice(&offset.to_le_bytes());
                out.extend_from_slice(&length.to_le_bytes());
            }),
            Self::FileEnd {
                entry,
                length,
                digest,
            } => put(out, 5, |out| {
                out.extend_from_slice(&entry.to_le_bytes());
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(digest);
            }),
            Self::Changed {
                entry,
                length,
                modified,
            } => put(out, 8, |out| {
                out.extend_from_slice(&entry.to_le_bytes());
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(&modified.seconds.to_le_bytes());
                out.extend_from_slice(&modified.nanoseconds.to_le_bytes());
            }),
            Self::Change { entry, change } => put(out, 9, |out| {
                out.extend_from_slice(&entry.to_le_bytes());
                change.write(out);
            }),
            Self::Failed(failure) => failure.write(6, out),
            Self::Grown { entry, message } => put(out, 14, |out| {
                out.extend_from_slice(&entry.to_le_bytes());
                out.extend_from_slice(shorten(message).as_bytes());
            }),
            Self::Skipped => put(out, 15, |_| ()),
            Self::Attribute(attribute) => write_attribute(attribute, out),
            Self::Acl(record) => record.write(out),
            Self::Selection(record) => record.write(out),
            Self::Summary { folder, digest } => write_summary(*folder, digest, out),
            Self::End { entries, digest } => put(out, 7, |out| {
                out.extend_from_slice(&entries.to_le_bytes());
                out.extend_from_slice(digest);
            }),
        }
    }

    /// Reads a record without its length.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn read(record: &'a [u8]) -> Result<Self, RecordError> {
        let (kind, mut reader) = open(record)?;
        match kind {
            1 => TreeEntry::read(reader).map(Self::Entry),
            2 => {
                let folder = reader.u32()?;
                let is_incomplete = reader.flag()?;
                reader.finish(Self::FolderEnd {
                    folder,
                    is_incomplete,
                })
            }
            3 => {
                let (entry, digest) = (reader.u32()?, reader.array()?);
                let content = reader.rest();
                if content.len() > PIECE_BYTES {
                    return reader.invalid();
                }
                Ok(Self::File {
                    entry,
                    digest,
                    content,
                })
            }
            4 => {
                let (entry, offset) = (reader.u32()?, reader.u64()?);
                let content = reader.rest();
                if content.is_empty() || content.len() > PIECE_BYTES {
                    return reader.invalid();
                }
                Ok(Self::Piece {
                    entry,
                    offset,
                    content,
                })
            }
            5 => {
                let (entry, length, digest) = (reader.u32()?, reader.u64()?, reader.array()?);
                reader.finish(Self::FileEnd {
                    entry,
                    length,
                    digest,
                })
            }
            6 => EntryFailure::read(reader).map(Self::Failed),
            7 => {
                let (entries, digest) = (reader.u32()?, reader.array()?);
                reader.finish(Self::End { entries, digest })
            }
            kind if is_selection(kind) => SelectionRecord::read(reader).map(Self::Selection),
            ACL => AclRecord::read(reader).map(Self::Acl),
            SUMMARY => read_summary(reader),
            8 => {
                let (entry, length) = (reader.u32()?, reader.u64()?);
                let modified = FileTime {
                    seconds: reader.array().map(i64::from_le_bytes)?,
                    nanoseconds: reader.u32()?,
                };
                if modified.nanoseconds >= 1_000_000_000 {
                    return reader.invalid();
                }
                reader.finish(Self::Changed {
                    entry,
                    length,
                    modified,
                })
            }
            9 => {
                let entry = reader.u32()?;
                match Change::read(reader.rest()) {
                    Ok(Change::End(_) | Change::Grown) | Err(_) => reader.invalid(),
                    Ok(change) => Ok(Self::Change { entry, change }),
                }
            }
            15 => reader.finish(Self::Skipped),
            14 => {
                let entry = reader.u32()?;
                let message = read_text(&mut reader)?;
                Ok(Self::Grown { entry, message })
            }
            11 => read_attribute(reader).map(Self::Attribute),
            10 => {
                let (entry, offset, length) = (reader.u32()?, reader.u64()?, reader.u64()?);
                if length == 0 || length > RUN_BYTES_MAX {
                    return reader.invalid();
                }
                reader.finish(Self::Hole {
                    entry,
                    offset,
                    length,
                })
            }
            kind => Err(RecordError::Kind(kind)),
        }
    }
}

impl FromReceiver {
    /// Appends the record to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Want { first, count } => put(out, 1, |out| {
                out.extend_from_slice(&first.to_le_bytes());
                out.extend_from_slice(&count.to_le_bytes());
            }),
            Self::WantRest {
                entry,
                offset,
                digest,
            } => put(out, 2, |out| {
                out.extend_from_slice(&entry.to_le_bytes());
                out.extend_from_slice(&offset.to_le_bytes());
                out.extend_from_slice(digest);
            }),
            Self::WantChanges { entry } => put(out, 6, |out| {
                out.extend_from_slice(&entry.to_le_bytes());
            }),
            Self::Known { entry, known } => put(out, 7, |out| {
                out.extend_from_slice(&entry.to_le_bytes());
                known.write(out);
            }),
            Self::Compared {
                entry,
                is_wanted_again,
            } => put(out, 8, |out| {
                out.extend_from_slice(&entry.to_le_bytes());
                out.push(u8::from(*is_wanted_again));
            }),
            Self::Decided { entries } => put(out, 3, |out| {
                out.extend_from_slice(&entries.to_le_bytes());
            }),
            Self::Failed(failure) => failure.write(4, out),
            Self::Selection(record) => record.write(out),
            Self::Change(change) => change.write(out),
            Self::Folder(answer) => answer.write(out),
            Self::Done(summary) => put(out, 5, |out| {
                for number in [
                    summary.entries,
                    summary.files,
                    summary.others,
                    summary.removed,
                    summary.failures,
                ] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
                out.extend_from_slice(&summary.bytes.to_le_bytes());
                out.extend_from_slice(&summary.digest);
            }),
        }
    }

    /// Reads a record without its length.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn read(record: &[u8]) -> Result<Self, RecordError> {
        let (kind, mut reader) = open(record)?;
        match kind {
            1 => {
                let (first, count) = (reader.u32()?, reader.u32()?);
                if count == 0 || first.checked_add(count).is_none() {
                    return reader.invalid();
                }
                reader.finish(Self::Want { first, count })
            }
            2 => {
                let (entry, offset, digest) = (reader.u32()?, reader.u64()?, reader.array()?);
                reader.finish(Self::WantRest {
                    entry,
                    offset,
                    digest,
                })
            }
            3 => {
                let entries = reader.u32()?;
                reader.finish(Self::Decided { entries })
            }
            4 => EntryFailure::read(reader).map(Self::Failed),
            kind if is_selection(kind) => SelectionRecord::read(reader).map(Self::Selection),
            CHANGE => TreeChange::read(reader).map(Self::Change),
            kind if is_folder_answer(kind) => FolderAnswer::read(reader).map(Self::Folder),
            5 => {
                let summary = TreeSummary {
                    entries: reader.u32()?,
                    files: reader.u32()?,
                    others: reader.u32()?,
                    removed: reader.u32()?,
                    failures: reader.u32()?,
                    bytes: reader.u64()?,
                    digest: reader.array()?,
                };
                reader.finish(Self::Done(summary))
            }
            6 => {
                let entry = reader.u32()?;
                reader.finish(Self::WantChanges { entry })
            }
            7 => {
                let entry = reader.u32()?;
                match Known::read(reader.rest()) {
                    Ok(known) => Ok(Self::Known { entry, known }),
                    Err(_) => reader.invalid(),
                }
            }
            8 => {
                let (entry, is_wanted_again) = (reader.u32()?, reader.flag()?);
                reader.finish(Self::Compared {
                    entry,
                    is_wanted_again,
                })
            }
            kind => Err(RecordError::Kind(kind)),
        }
    }
}

fn open(record: &[u8]) -> Result<(u8, ContentReader<'_>), RecordError> {
    let (&kind, bytes) = record.split_first().ok_or(RecordError::Length(0))?;
    Ok((kind, ContentReader { kind, bytes }))
}
