//! The records in the body of `records`: one JSON object a line. No I/O.

use landline_proto::{ErrorCode, Name, ProtocolError};
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    files::Digest,
    paths::{EntryKind, EntryStat},
};

/// The longest record with its line feed, in bytes.
pub const RECORD_BYTES_MAX: usize = 256 * 1024;

/// A record: an object with one key, which says what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FileRecord {
    /// The entries that follow are in this folder.
    Folder(FolderRecord),
    /// An entry.
    Entry(EntryRecord),
    /// The digest of a file.
    Sum(SumRecord),
    /// The space that a file or folder takes.
    Usage(UsageRecord),
    /// The space of a file system.
    Space(SpaceRecord),
    /// What was made, moved or removed.
    Done(DoneRecord),
    /// What could not be done. The rest was.
    Failed(FailedRecord),
    /// Nothing more follows.
    End(EndRecord),
}

/// A folder whose entries follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderRecord {
    /// The path, in the words of the request.
    pub path: Name,
    /// Whether the entries come in the order of their names.
    pub sorted: bool,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, FIFO or socket.
    Special,
}

/// An entry of a folder, or one that the request names. A link is described itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryRecord {
    /// The name in the folder; the path if the request names the entry.
    pub name: Name,
    /// What it is.
    pub kind: RecordKind,
    /// The length in bytes.
    pub length: u64,
    /// The bytes that it takes on the disk.
    pub disk: u64,
    /// The permission bits, at most 0o777.
    pub mode: u32,
    /// When the content was modified, in seconds since 1970.
    pub modified: i64,
    /// The nanoseconds of that time.
    pub nanoseconds: u32,
    /// How many names it has.
    pub links: u64,
    /// The target of a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Name>,
}

/// The digest of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SumRecord {
    /// The path, in the words of the request.
    pub path: Name,
    /// The digest.
    pub digest: Digest,
    /// The length in bytes.
    pub length: u64,
}

/// The space that a file, or a folder with all below it, takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// The path, in the words of the request.
    pub path: Name,
    /// The bytes on the disk. A file with several names counts once.
    pub disk: u64,
    /// The bytes of content.
    pub length: u64,
    /// The number of files, folders and other entries.
    pub entries: u64,
}

/// The space of a file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceRecord {
    /// The path, in the words of the request.
    pub path: Name,
    /// The bytes in all.
    pub total: u64,
    /// The bytes that are free, with those that only the administrator can use.
    pub free: u64,
    /// The bytes that the server can use.
    pub available: u64,
    /// The number of files that fit in all; 0 if there is no such limit.
    pub files: u64,
    /// The number of files that can be created.
    pub files_free: u64,
}

/// What was made, moved or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneRecord {
    /// The path, in the words of the request.
    pub path: Name,
    /// Where a moved entry is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Name>,
    /// The number of files and folders that were made, moved or removed.
    pub entries: u64,
}

/// A path with which something failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRecord {
    /// The path, in the words of the request.
    pub path: Name,
    /// A code of the protocol.
    pub code: String,
    /// What happened.
    pub message: String,
    /// The name of the system error behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// The end of all records. Without it, the answer is not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndRecord {
    /// The number of records that say what failed.
    pub failures: u64,
}

impl From<EntryKind> for RecordKind {
    fn from(kind: EntryKind) -> Self {
        match kind {
            EntryKind::File => Self::File,
            EntryKind::Folder => Self::Folder,
            EntryKind::Link => Self::Link,
            EntryKind::Special => Self::Special,
        }
    }
}

impl EntryRecord {
    /// Describes an entry. `target` is that of a link.
    pub(super) fn new(name: Vec<u8>, stat: &EntryStat, target: Option<Vec<u8>>) -> Self {
        Self {
            name: Name(name),
            kind: stat.kind.into(),
            length: stat.length,
            disk: stat.disk_bytes,
            mode: stat.mode,
            modified: stat.modified.seconds,
            nanoseconds: stat.modified.nanoseconds,
            links: stat.links,
            target: target.map(Name),
        }
    }
}

impl FileRecord {
    /// Appends the record as a line.
    ///
    /// # Errors
    /// [`Error::Protocol`] for a record that is too long; `out` is then unchanged.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let start = out.len();
        let written = serde_json::to_writer(&mut *out, self);
        out.push(b'\n');
        let problem = match written {
            Ok(()) if out.len() - start <= RECORD_BYTES_MAX => return Ok(()),
            Ok(()) => "a record is too long".to_owned(),
            Err(error) => error.to_string(),
        };
        out.truncate(start);
        Err(ProtocolError::BadHeader(problem).into())
    }
}

/// Decodes records from a body that may be split at any byte.
#[derive(Debug, Default)]
pub struct RecordDecoder {
    bytes: Vec<u8>,
    /// The bytes that were decoded, at the beginning.
    used: usize,
    /// Bytes behind them that have no line feed.
    searched: usize,
}

impl RecordDecoder {
    /// Adds the next bytes of the body.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.used);
        self.used = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole record; `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`Error::Protocol`] for a line that is too long or no record.
    pub fn next_record(&mut self) -> Result<Option<FileRecord>, Error> {
        let rest = self.bytes.get(self.used..).unwrap_or_default();
        let unsearched = rest.get(self.searched..).unwrap_or_default();
        let line = match unsearched.iter().position(|byte| *byte == b'\n') {
            Some(found) => rest.get(..self.searched + found).unwrap_or_default(),
            None if rest.len() >= RECORD_BYTES_MAX => return Err(bad_record("it is too long")),
            None => {
                self.searched = rest.len();
                return Ok(None);
            }
        };
        if line.len() >= RECORD_BYTES_MAX {
            return Err(bad_record("it is too long"));
        }
        let record =
            serde_json::from_slice(line).map_err(|error| bad_record(&error.to_string()))?;
        self.used += line.len() + 1;
        self.searched = 0;
        Ok(Some(record))
    }

    /// Checks that no part of a record is left at the end of the body.
    ///
    /// # Errors
    /// [`Error::Protocol`].
    pub fn finish(&self) -> Result<(), Error> {
        if self.used == self.bytes.len() {
            return Ok(());
        }
        Err(bad_record("it has no end"))
    }
}

fn bad_record(problem: &str) -> Error {
    ProtocolError::BadHeader(format!("a record of \"records\": {problem}")).into()
}

impl FailedRecord {
    /// What failed with a path. `None` if the error concerns more than the path.
    pub(super) fn of(path: Vec<u8>, error: &Error) -> Option<Self> {
        let Error::Failed { code, cause, .. } = error else {
            return None;
        };
        if matches!(
            code,
            ErrorCode::Ended | ErrorCode::Audit | ErrorCode::AuditQuota | ErrorCode::Draining
        ) {
            return None;
        }
        // The same text as in an `error`, with its limit.
        let reason = error.to_peer()?;
        Some(Self {
            path: Name(path),
            code: code.as_str().to_owned(),
            message: reason.message,
            cause: cause.map(str::to_owned),
        })
    }
}

impl From<FailedRecord> for Error {
    /// What the server says.
    fn from(failed: FailedRecord) -> Self {
        Self::Failed {
            side: crate::Side::There,
            code: ErrorCode::from_wire(&failed.code),
            cause: failed.cause.as_deref().and_then(crate::paths::cause_named),
            message: failed.message,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records(name: Vec<u8>) -> Vec<FileRecord> {
        let name = Name(name);
        vec![
            FileRecord::Folder(FolderRecord {
                path: name.clone(),
                sorted: true,
            }),
            FileRecord::Entry(EntryRecord {
                name: name.clone(),
                kind: RecordKind::Link,
                length: 5,
                disk: 0,
                mode: 0o777,
                modified: -1,
                nanoseconds: 7,
                links: 1,
                target: Some(name.clone()),
            }),
            FileRecord::Failed(FailedRecord {
                path: name,
                code: "not-found".into(),
                message: "no such file".into(),
                cause: Some("ENOENT".into()),
            }),
        ]
    }

    proptest! {
        #[test]
        fn records_round_trip_however_they_are_cut(
            name in proptest::collection::vec(any::<u8>(), 0..40), step in 1..50usize,
        ) {
            let records = records(name);
            let mut bytes = Vec::new();
            for record in &records {
                record.encode(&mut bytes).unwrap();
            }
            let mut decoder = RecordDecoder::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(step) {
                decoder.extend(piece);
                while let Some(record) = decoder.next_record().unwrap() {
                    found.push(record);
                }
            }
            prop_assert!(decoder.finish().is_ok());
            prop_assert_eq!(found, records);
        }
    }

    #[test]
    fn records_match_vectors() {
        let file = include_str!("../../../../../docs/vectors/records.json");
        let file: serde_json::Value = serde_json::from_str(file).unwrap();
        for (kind, is_good) in [("good", true), ("bad", false)] {
            let lines = file[kind].as_array().unwrap();
            assert!(lines.len() > 10);
            for line in lines {
                let line = line.as_str().unwrap();
                let mut decoder = RecordDecoder::default();
                decoder.extend(format!("{line}\n").as_bytes());
                let record = decoder.next_record();
                assert_eq!(
                    record.is_ok_and(|record| record.is_some()),
                    is_good,
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn broken_records_are_refused() {
        let decode = |bytes: &[u8]| {
            let mut decoder = RecordDecoder::default();
            decoder.extend(bytes);
            decoder.next_record()
        };
        for wrong in [
            "\n",
            "{}\n",
            "[]\n",
            "{\"entry\":{}}\n",
            "{\"other\":{}}\n",
            "{\"folder\":{\"path\":\"a\",\"sorted\":true},\"entry\":{}}\n",
            "{\"folder\":{\"path\":\"a\",\"path\":\"b\",\"sorted\":true}}\n",
            "{\"done\":{\"path\":\"a\",\"entries\":-1}}\n",
        ] {
            assert!(decode(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let right = b"{\"done\":{\"path\":\"a\",\"entries\":1,\"later\":[]}}\n";
        assert!(matches!(decode(right), Ok(Some(FileRecord::Done(_)))));
        assert!(matches!(decode(b"{\"done\""), Ok(None)));
    }

    #[test]
    fn record_without_end_takes_limited_memory() {
        let mut decoder = RecordDecoder::default();
        for _ in 0..RECORD_BYTES_MAX / 1024 - 1 {
            decoder.extend(&[b' '; 1024]);
            assert!(decoder.next_record().unwrap().is_none());
        }
        decoder.extend(&[b' '; 1024]);
        assert!(decoder.next_record().is_err());
        let mut decoder = RecordDecoder::default();
        decoder.extend(b"{");
        assert!(decoder.next_record().unwrap().is_none() && decoder.finish().is_err());
    }
}
