//! The checkpoint: number and hash of the last line that is on the disk. It is kept beside the log,
//! so that verification notices when the end of the log is cut off.

use std::{cell::Cell, io, os::unix::fs::FileExt, time::Duration};

use serde_json::{Value, json};

use super::line::{ChainHead, LineHash};
use crate::{
    Error,
    paths::{File, PrivateFolder},
};

pub(super) const FILE: &str = "audit-checkpoint";
/// The length of a checkpoint, which is written over the last one in one piece.
const BYTES: usize = 256;
/// How often it is read again if it may be just being written, and after which time.
const READS: u32 = 20;
const RETRY_TIME: Duration = Duration::from_millis(5);

/// What the checkpoint says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KnownHead {
    /// There is none.
    Absent,
    /// It cannot be read.
    Damaged,
    /// The last line is this one.
    Line(ChainHead),
}

impl KnownHead {
    pub(super) fn head(self) -> Option<ChainHead> {
        match self {
            Self::Line(head) => Some(head),
            _ => None,
        }
    }
}

/// The file with the checkpoint, open for writing.
#[derive(Debug)]
pub(super) struct Checkpoint {
    folder: PrivateFolder,
    file: File,
    /// What was written last.
    written: Cell<ChainHead>,
}

impl Checkpoint {
    /// Reads the file in the server's folder.
    pub(super) fn read(folder: &PrivateFolder) -> Result<KnownHead, Error> {
        for _ in 0..READS {
            let Some(bytes) = folder.read(FILE, BYTES as u64)? else {
                return Ok(KnownHead::Absent);
            };
            if let Some(head) = decode(&bytes) {
                return Ok(KnownHead::Line(head));
            }
            std::thread::sleep(RETRY_TIME);
        }
        Ok(KnownHead::Damaged)
    }

    /// Opens the file, or creates it, and writes `head` durably.
    pub(super) fn open(folder: &PrivateFolder, head: &ChainHead) -> Result<Self, Error> {
        let bad = |problem: io::Error| Error::state(folder.path_of(FILE).display(), problem);
        if !matches!(Self::read(folder)?, KnownHead::Line(_)) {
            folder.write(FILE, &encode(head))?;
        }
        let file = folder.open_own(FILE).map_err(bad)?;
        let file =
            file.ok_or_else(|| bad(io::Error::other("is not a regular file of this user alone")))?;
        let checkpoint = Self {
            folder: folder.clone(),
            file,
            written: Cell::new(ChainHead::START),
        };
        checkpoint
            .write(head)
            .and_then(|()| checkpoint.sync())
            .map_err(bad)?;
        Ok(checkpoint)
    }

    /// Whether the file is the one that was opened and holds what was written last.
    pub(super) fn is_unchanged(&self) -> bool {
        let mut bytes = [0; BYTES];
        let read = self.file.read_exact_at(&mut bytes, 0);
        self.folder.is_same_file(FILE, &self.file)
            && read.is_ok()
            && decode(&bytes) == Some(self.written.get())
    }

    /// Writes `head`. It is not synced: after a power cut the file may name an earlier line, but
    /// never one that is not on the disk.
    pub(super) fn write(&self, head: &ChainHead) -> io::Result<()> {
        if self.written.get() != *head {
            self.file.write_all_at(&encode(head), 0)?;
            self.written.set(*head);
        }
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn encode(head: &ChainHead) -> Vec<u8> {
    let checkpoint =
        json!({ "seq": head.seq, "hash": head.hash.to_string(), "check": check(head) });
    format!("{:<width$}\n", checkpoint.to_string(), width = BYTES - 1).into_bytes()
}

fn decode(bytes: &[u8]) -> Option<ChainHead> {
    let checkpoint: Value = serde_json::from_slice(bytes).ok()?;
    let text = |key: &str| checkpoint.get(key).and_then(Value::as_str);
    let head = ChainHead {
        seq: checkpoint.get("seq")?.as_u64()?,
        hash: LineHash::parse(text("hash")?)?,
    };
    (encode(&head) == bytes).then_some(head)
}

/// A checksum that detects a checkpoint that was read while it was written.
fn check(head: &ChainHead) -> String {
    let mut check = LineHash::of(format!("{} {}", head.seq, head.hash).as_bytes()).to_string();
    check.truncate(16);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partly_written_checkpoint_is_rejected() {
        let head = ChainHead {
            seq: u64::MAX,
            hash: LineHash::of(b"line"),
        };
        let bytes = encode(&head);
        assert_eq!(bytes.len(), BYTES);
        assert_eq!(decode(&bytes), Some(head));
        let other = encode(&ChainHead {
            seq: 9,
            hash: LineHash::of(b"other"),
        });
        for cut in 1..200 {
            let mixed = [&other[..cut], &bytes[cut..]].concat();
            assert!(
                decode(&mixed).is_none_or(|found| found == head || mixed == other),
                "{cut}"
            );
        }
    }
}
