//! The records of a tree's copy, which the bodies of both `tree` messages consist of.
//!
//! `docs/protocol.md` section 8 defines them. A record is its length (`u32`), its kind (`u8`) and
//! its content; the length counts kind and content. Integers are little-endian.

mod acl;
mod changes;
mod codec;
mod packed;
mod selection;
mod summaries;
#[cfg(test)]
mod tests;

pub use acl::AclRecord;
pub use changes::{ChangeAction, ChangeDetails, ChangeKind, TreeChange};
pub(crate) use codec::{hash_attribute, hash_file};
use landline_proto::ErrorCode;
pub(crate) use packed::Packer;
pub use selection::SelectionRecord;
pub use summaries::FolderAnswer;
pub(crate) use summaries::{SummaryDigest, hash_summary};

use crate::{
    files::delta::{Change, Known},
    paths::{Attribute, FileTime},
};

/// The longest record, its length not counted.
pub(crate) const RECORD_BYTES_MAX: usize = 192 * 1024;
/// The most bytes of a file in one record. A file that is not longer travels in one record.
pub(crate) const PIECE_BYTES: usize = 128 * 1024;
/// The most bytes of a link's target.
pub(crate) const TARGET_BYTES_MAX: usize = 4096;
/// The most bytes of an error's code, and of its text.
const CODE_BYTES_MAX: usize = 64;
const MESSAGE_BYTES_MAX: usize = 1024;
/// The number that says that an entry has no parent.
pub(crate) const NO_PARENT: u32 = u32::MAX;

const LENGTH_BYTES: usize = 4;

/// Why the bytes of a `tree` body are not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A record is empty or longer than allowed.
    #[error("a record of {0} bytes")]
    Length(usize),
    /// The kind of a record means nothing.
    #[error("a record of the unknown kind {0}")]
    Kind(u8),
    /// The content of a record is too short, too long, or means nothing.
    #[error("the content of a record of kind {0} is not valid")]
    Content(u8),
}

/// An entry of a tree. Entries are numbered in the order in which they are sent, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// The number of the folder that has the entry; `None` for a source that the user named.
    pub parent: Option<u32>,
    /// The name, one component. A source that the user named may be renamed by the receiver.
    pub name: Vec<u8>,
    /// What it is.
    pub content: EntryContent,
    /// The permission bits, at most 0o777.
    pub mode: u16,
    /// When it was modified.
    pub modified: FileTime,
    /// Whether it was modified so recently that its length and time do not tell its content.
    pub is_recent: bool,
    /// Whether a file has further names, which may follow.
    pub has_other_names: bool,
}

/// What an entry of a tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryContent {
    /// A folder, whose entries follow.
    Folder,
    /// A file of this length.
    File(u64),
    /// A symbolic link with this target.
    Link(Vec<u8>),
    /// Another name of the file whose first entry has this number.
    SameFile(u32),
}

/// The digest of bytes: BLAKE3.
pub type Hash = [u8; 32];

/// Why an entry, or what is below it, is not copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryFailure {
    /// The number of the entry.
    pub entry: u32,
    /// The code.
    pub code: ErrorCode,
    /// The text for people, with the path at the side that reports it.
    pub message: String,
}

/// What the sender of a tree says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromSender<'a> {
    /// The next entry.
    Entry(TreeEntry),
    /// A folder has no further entries.
    FolderEnd {
        /// The number of the folder.
        folder: u32,
        /// Whether entries may be missing: the folder could not be read to its end.
        is_incomplete: bool,
    },
    /// A whole file that was wanted.
    File {
        /// The number of the file.
        entry: u32,
        /// The digest of the content.
        digest: Hash,
        /// The content.
        content: &'a [u8],
    },
    /// A part of a longer file that was wanted.
    Piece {
        /// The number of the file.
        entry: u32,
        /// Where the part begins.
        offset: u64,
        /// The part.
        content: &'a [u8],
    },
    /// A part of a longer file that was wanted: zeros that take no space.
    Hole {
        /// The number of the file.
        entry: u32,
        /// Where the hole begins.
        offset: u64,
        /// How many bytes it has: at most 64 MiB.
        length: u64,
    },
    /// A file has changed since it was announced: what follows is of this length and time.
    Changed {
        /// The number of the file.
        entry: u32,
        /// The length now.
        length: u64,
        /// When it was modified.
        modified: FileTime,
    },
    /// All parts of a longer file were sent.
    FileEnd {
        /// The number of the file.
        entry: u32,
        /// The length of the whole content.
        length: u64,
        /// The digest of the whole content.
        digest: Hash,
    },
    /// The next part of a file whose changes are wanted.
    Change {
        /// The number of the file.
        entry: u32,
        /// The part.
        change: Change<'a>,
    },
    /// A wanted file cannot be sent, or a folder not be read.
    Failed(EntryFailure),
    /// A wanted file became longer while it was read, so its beginning is sent.
    Grown {
        /// The number of the file.
        entry: u32,
        /// The text for people, with the path at the sender.
        message: String,
    },
    /// Nothing is sent of the next source of the request.
    Skipped,
    /// An extended attribute of the next entry. They come in the order of their names.
    Attribute(Attribute),
    /// An ACL of the next entry. It comes behind the attributes, the default one last.
    Acl(AclRecord),
    /// Which entries are copied. It precedes the entries.
    Selection(SelectionRecord),
    /// Stands for the files and links of a folder until the receiver asks for them.
    Summary {
        /// The number of the folder.
        folder: u32,
        /// The digest of its files and links.
        digest: SummaryDigest,
    },
    /// There are no further records, unless the receiver wants something.
    End {
        /// How many entries there were.
        entries: u32,
        /// The digest of the tree.
        digest: Hash,
    },
}

/// What the receiver of a tree says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromReceiver {
    /// These files are wanted.
    Want {
        /// The number of the first file.
        first: u32,
        /// How many entries there are, all of them files.
        count: u32,
    },
    /// The rest of a file is wanted, if the sender's file begins with what the receiver has.
    WantRest {
        /// The number of the file.
        entry: u32,
        /// How many bytes the receiver has.
        offset: u64,
        /// The digest of these bytes.
        digest: Hash,
    },
    /// The changes of a file are wanted. What the receiver has follows.
    WantChanges {
        /// The number of the file.
        entry: u32,
    },
    /// What the receiver has of a file whose changes are wanted.
    Known {
        /// The number of the file.
        entry: u32,
        /// A part of what it has.
        known: Known,
    },
    /// All changes of a file have arrived.
    Compared {
        /// The number of the file.
        entry: u32,
        /// Whether all of its content is wanted, because what was there has changed meanwhile.
        is_wanted_again: bool,
    },
    /// All entries with smaller numbers are either wanted or not.
    Decided {
        /// How many entries there are.
        entries: u32,
    },
    /// An entry cannot be stored.
    Failed(EntryFailure),
    /// Which entries are wanted. It precedes all else.
    Selection(SelectionRecord),
    /// What the copy changes, or would change.
    Change(TreeChange),
    /// Whether a folder has what its summary says.
    Folder(FolderAnswer),
    /// Everything is stored.
    Done(TreeSummary),
}

/// What a finished copy of a tree did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeSummary {
    /// How many entries the source has.
    pub entries: u32,
    /// How many files were sent.
    pub files: u32,
    /// How many other entries were made or changed.
    pub others: u32,
    /// How many entries were removed.
    pub removed: u32,
    /// How many failures there were.
    pub failures: u32,
    /// How many bytes of files were written.
    pub bytes: u64,
    /// The digest of the tree.
    pub digest: Hash,
}

impl TreeSummary {
    /// The digest of the tree for people and programs: of names, kinds, times and content, so that
    /// of a tree of one file is not the file's.
    pub fn digest_text(&self) -> String {
        format!("tree:{}", blake3::Hash::from(self.digest).to_hex())
    }
}

/// Cuts a body into records.
///
/// The default does not accept packed records: it returns them as they are, and their kind means
/// nothing to a reader.
#[derive(Debug, Default)]
pub struct RecordBuffer {
    body: Cut,
    unpacked: Cut,
    takes_packed: bool,
}

/// Bytes of which some were taken.
#[derive(Debug, Default)]
struct Cut {
    bytes: Vec<u8>,
    /// The bytes before this offset were taken.
    taken: usize,
}

impl Cut {
    /// Finds where the next record begins and ends, without its length; `None` until it is
    /// complete.
    fn next(&mut self) -> Result<Option<(usize, usize)>, RecordError> {
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        let Some((length, content)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 || length > RECORD_BYTES_MAX {
            return Err(RecordError::Length(length));
        }
        if content.len() < length {
            return Ok(None);
        }
        self.taken += LENGTH_BYTES + length;
        Ok(Some((self.taken - length, self.taken)))
    }

    fn is_complete(&self) -> bool {
        self.taken == self.bytes.len()
    }
}

impl RecordBuffer {
    /// A buffer for the body of a sender that may send packed records, which are restored.
    pub fn unpacking() -> Self {
        Self {
            takes_packed: true,
            ..Self::default()
        }
    }

    /// The buffer for the body of a sender, which sends packed records only if this was agreed.
    pub(crate) fn of_sender(takes_packed: bool) -> Self {
        Self {
            takes_packed,
            ..Self::default()
        }
    }

    /// The buffer to append the next bytes of the body to.
    pub fn input(&mut self) -> &mut Vec<u8> {
        self.body.bytes.drain(..self.body.taken);
        self.body.taken = 0;
        &mut self.body.bytes
    }

    /// The next record without its length; `None` until it is complete.
    ///
    /// # Errors
    /// [`RecordError::Length`]; [`RecordError::Content`] for a packed record that is not valid.
    pub fn next_record(&mut self) -> Result<Option<&[u8]>, RecordError> {
        loop {
            if !self.unpacked.is_complete() {
                // A packed record has whole records, and none of them is packed.
                let invalid = RecordError::Content(packed::PACKED);
                let (start, end) = self.unpacked.next()?.ok_or(invalid.clone())?;
                let record = self.unpacked.bytes.get(start..end);
                return match record {
                    Some([packed::PACKED, ..]) => Err(invalid),
                    record => Ok(record),
                };
            }
            let Some((start, end)) = self.body.next()? else {
                return Ok(None);
            };
            match self.body.bytes.get(start..end) {
                Some([packed::PACKED, content @ ..]) if self.takes_packed => {
                    self.unpacked.taken = 0;
                    packed::unpack(content, &mut self.unpacked.bytes)?;
                }
                _ => return Ok(self.body.bytes.get(start..end)),
            }
        }
    }

    /// Whether the body may end here.
    pub fn is_complete(&self) -> bool {
        self.body.is_complete() && self.unpacked.is_complete()
    }
}
