//! The head: the last line's number and hash, kept beside the log, so that a log whose end was cut
//! off does not look whole.

use std::{cell::Cell, io, os::unix::fs::FileExt, time::Duration};

use serde_json::{Value, json};

use super::line::{Hash, Tip};
use crate::{
    Error,
    paths::{File, PrivateFolder},
};

const FILE: &str = "audit-head";
/// Every head has this length and is written over the last one in one piece.
const BYTES: usize = 256;
/// How often a reader that comes while it is written looks again, and after which time.
const LOOKS: u32 = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What is known of the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// There is none.
    Absent,
    /// There is one, and nobody can read it.
    Damaged,
    /// It names this line.
    Line(Tip),
}

impl Known {
    pub(super) fn tip(self) -> Option<Tip> {
        match self {
            Self::Line(tip) => Some(tip),
            _ => None,
        }
    }
}

/// The file with the head, open to be written.
#[derive(Debug)]
pub(super) struct Head {
    folder: PrivateFolder,
    file: File,
    /// What this process has written last.
    said: Cell<Tip>,
}

impl Head {
    /// What the file in the server's folder says.
    pub(super) fn read(folder: &PrivateFolder) -> Result<Known, Error> {
        for _ in 0..LOOKS {
            let Some(bytes) = folder.read(FILE, BYTES as u64)? else {
                return Ok(Known::Absent);
            };
            if let Some(tip) = decode(&bytes) {
                return Ok(Known::Line(tip));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(Known::Damaged)
    }

    /// Opens the file, making it anew where that is needed, and lets it say `tip`, durably.
    pub(super) fn open(folder: &PrivateFolder, tip: &Tip) -> Result<Self, Error> {
        let bad = |problem: io::Error| Error::state(folder.path_of(FILE).display(), problem);
        if !matches!(Self::read(folder)?, Known::Line(_)) {
            folder.write(FILE, &encode(tip))?;
        }
        let file = folder.open_own(FILE).map_err(bad)?;
        let file =
            file.ok_or_else(|| bad(io::Error::other("is not a regular file of ours alone")))?;
        let head = Self {
            folder: folder.clone(),
            file,
            said: Cell::new(Tip::START),
        };
        head.write(tip).and_then(|()| head.sync()).map_err(bad)?;
        Ok(head)
    }

    /// Whether the file is the one that was opened, and says what this process has written last.
    pub(super) fn is_unchanged(&self) -> bool {
        let mut bytes = [0; BYTES];
        let read = self.file.read_exact_at(&mut bytes, 0);
        self.folder.is_same_file(FILE, &self.file)
            && read.is_ok()
            && decode(&bytes) == Some(self.said.get())
    }

    /// Says `tip` in place of what it said. Not synced: after a power cut it may say an earlier
    /// one, never a later one, as the line is on the disk before.
    pub(super) fn write(&self, tip: &Tip) -> io::Result<()> {
        if self.said.get() != *tip {
            self.file.write_all_at(&encode(tip), 0)?;
            self.said.set(*tip);
        }
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn encode(tip: &Tip) -> Vec<u8> {
    let head = json!({ "seq": tip.seq, "hash": tip.hash.to_string(), "check": check(tip) });
    format!("{:<width$}\n", head.to_string(), width = BYTES - 1).into_bytes()
}

fn decode(bytes: &[u8]) -> Option<Tip> {
    let head: Value = serde_json::from_slice(bytes).ok()?;
    let text = |key: &str| head.get(key).and_then(Value::as_str);
    let tip = Tip {
        seq: head.get("seq")?.as_u64()?,
        hash: Hash::parse(text("hash")?)?,
    };
    (encode(&tip) == bytes).then_some(tip)
}

/// Tells a head that was read while it was written from a whole one.
fn check(tip: &Tip) -> String {
    let mut check = Hash::of(format!("{} {}", tip.seq, tip.hash).as_bytes()).to_string();
    check.truncate(16);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_and_half_of_one_does_not() {
        let tip = Tip {
            seq: u64::MAX,
            hash: Hash::of(b"line"),
        };
        let bytes = encode(&tip);
        assert_eq!(bytes.len(), BYTES);
        assert_eq!(decode(&bytes), Some(tip));
        let other = encode(&Tip {
            seq: 9,
            hash: Hash::of(b"other"),
        });
        for cut in 1..200 {
            let mixed = [&other[..cut], &bytes[cut..]].concat();
            assert!(
                decode(&mixed).is_none_or(|found| found == tip || mixed == other),
                "{cut}"
            );
        }
    }
}
