//! The record that says what a copy changes.

use super::{
    RecordError,
    codec::{ContentReader, put},
};
use crate::paths::{EntryKind, WALK_PATH_BYTES_MAX};

/// The kind of the record.
pub(super) const CHANGE: u8 = 19;

/// What a copy does with an entry of its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeAction {
    /// Makes it.
    New,
    /// Changes or replaces it.
    Change,
    /// Removes it.
    Delete,
}

/// What an entry is: after the copy, or before it if it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// A folder.
    Folder,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A device, FIFO or socket.
    Special,
}

impl From<EntryKind> for ChangeKind {
    fn from(kind: EntryKind) -> Self {
        match kind {
            EntryKind::Folder => Self::Folder,
            EntryKind::File => Self::File,
            EntryKind::Link => Self::Link,
            EntryKind::Special => Self::Special,
        }
    }
}

/// What changes in an entry that existed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChangeDetails {
    /// The content of a file or the target of a link.
    pub content: bool,
    /// The permission bits.
    pub mode: bool,
    /// The time of modification.
    pub time: bool,
    /// What it is: a folder becomes a file, or the other way around.
    pub kind: bool,
    /// Of which file it is a name.
    pub name: bool,
    /// The extended attributes.
    pub attributes: bool,
    /// The ACLs.
    pub acl: bool,
}

impl ChangeDetails {
    fn bits(self) -> u8 {
        u8::from(self.content)
            | u8::from(self.mode) << 1
            | u8::from(self.time) << 2
            | u8::from(self.kind) << 3
            | u8::from(self.name) << 4
            | u8::from(self.attributes) << 5
            | u8::from(self.acl) << 6
    }

    fn of_bits(bits: u8) -> Self {
        Self {
            content: bits & 1 != 0,
            mode: bits & 2 != 0,
            time: bits & 4 != 0,
            kind: bits & 8 != 0,
            name: bits & 16 != 0,
            attributes: bits & 32 != 0,
            acl: bits & 64 != 0,
        }
    }
}

/// A change that a copy makes in its destination, or would make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeChange {
    /// What is done.
    pub action: ChangeAction,
    /// With what.
    pub kind: ChangeKind,
    /// What changes in an entry that existed.
    pub details: ChangeDetails,
    /// The path below the destination; empty for the destination itself.
    pub path: Vec<u8>,
}

impl TreeChange {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let action = match self.action {
            ChangeAction::New => 1,
            ChangeAction::Change => 2,
            ChangeAction::Delete => 3,
        };
        let kind = match self.kind {
            ChangeKind::Folder => 1,
            ChangeKind::File => 2,
            ChangeKind::Link => 3,
            ChangeKind::Special => 4,
        };
        put(out, CHANGE, |out| {
            out.extend_from_slice(&[action, kind, self.details.bits()]);
            out.extend_from_slice(&self.path);
        });
    }

    pub(super) fn read(mut reader: ContentReader<'_>) -> Result<Self, RecordError> {
        let action = match reader.u8()? {
            1 => ChangeAction::New,
            2 => ChangeAction::Change,
            3 => ChangeAction::Delete,
            _ => return reader.invalid(),
        };
        let kind = match reader.u8()? {
            1 => ChangeKind::Folder,
            2 => ChangeKind::File,
            3 => ChangeKind::Link,
            4 => ChangeKind::Special,
            _ => return reader.invalid(),
        };
        let bits = reader.u8()?;
        let path = reader.rest();
        if bits > 127 || path.len() > WALK_PATH_BYTES_MAX || path.contains(&0) {
            return reader.invalid();
        }
        Ok(Self {
            action,
            kind,
            details: ChangeDetails::of_bits(bits),
            path: path.to_vec(),
        })
    }
}
