//! Sends the content of files.

use std::cell::Cell;

use landline_proto::ErrorCode;

use super::{ReceiverHas, TreeSender, Wanted};
use crate::{
    Error,
    files::{
        GROWN,
        delta::{Change, ChangeSink, Comparer, KnownContent, RUN_BYTES_MAX, is_zero},
        tree::{
            records::{FromSender, Hash, PIECE_BYTES, hash_file},
            walk::failure_of,
        },
    },
    paths::{Extent, SourceFile, extent_at},
};

impl TreeSender {
    /// Sends a file, or why it cannot be sent.
    pub(super) fn send_file(&mut self, mut wanted: Wanted) -> Result<(), Error> {
        let entry = wanted.entry;
        self.progress.set_name(&wanted.file.path());
        self.compression.begin_file();
        let bytes = std::mem::take(&mut wanted.file.attribute_bytes);
        self.attribute_bytes = self.attribute_bytes.saturating_sub(bytes);
        let sent = self.read_file(&mut wanted);
        self.known.end(entry);
        match sent {
            Ok(()) => {
                self.progress.add_file();
                Ok(())
            }
            Err(Failure::File(error)) => {
                self.progress.add_failed(wanted.file.length());
                let failure = failure_of(entry, &error);
                FromSender::Failed(failure.clone()).write(&mut self.out);
                self.report(failure);
                self.flush_if_full()
            }
            Err(Failure::Copy(error)) => Err(error),
        }
    }

    fn read_file(&mut self, wanted: &mut Wanted) -> Result<(), Failure> {
        let source = self.walk.open_file(&wanted.file).map_err(Failure::File)?;
        // Of a file that changes, a second attempt is made.
        match self.send_content(wanted, &source) {
            Err(Failure::File(error)) if is_changed(&error) => {
                let source = self.walk.open_file(&wanted.file).map_err(Failure::File)?;
                wanted.have = ReceiverHas::Nothing;
                self.send_content(wanted, &source)
            }
            sent => sent,
        }
    }

    fn send_content(&mut self, wanted: &Wanted, source: &SourceFile) -> Result<(), Failure> {
        let Wanted { entry, file, have } = wanted;
        let entry = *entry;
        let modified = source.modified();
        let before = self.out.len();
        let is_changed = source.length != file.length() || modified != file.modified();
        if matches!(have, ReceiverHas::Compared) && !is_changed {
            self.send_changes(entry, source)?;
            self.compared.insert(entry, file.clone());
            return Ok(());
        }
        if is_changed {
            FromSender::Changed {
                entry,
                length: source.length,
                modified,
            }
            .write(&mut self.out);
        }
        let is_small = source.length <= PIECE_BYTES as u64;
        if is_small && !self.is_dry && !matches!(have, ReceiverHas::Beginning(..)) {
            let length = usize::try_from(source.length).unwrap_or(0);
            let read = self.read_at(source, 0, length)?;
            let is_unchanged = source.identity_now().map_err(path)? == source.identity();
            let content = self.buffer.get(..read).unwrap_or_default();
            let hash = blake3::hash(content);
            let digest = *hash.as_bytes();
            FromSender::File {
                entry,
                digest,
                content,
            }
            .write(&mut self.out);
            let is_confirmed = match read == length {
                true if is_unchanged => Ok(true),
                true => self.confirm_grown(entry, source, hash),
                false => Ok(false),
            };
            if !matches!(is_confirmed, Ok(true)) {
                self.out.truncate(before);
                is_confirmed?;
                return Err(changed(source));
            }
            hash_file(&mut self.hasher, entry, source.length, &digest);
            self.progress.add_bytes(source.length);
            self.leave.spend(source.length)?;
            return Ok(self.flush_if_full()?);
        }
        let mut hasher = blake3::Hasher::new();
        let offset = match have {
            ReceiverHas::Beginning(offset, digest) if *offset <= source.length => {
                self.skip(source, *offset, digest, &mut hasher)?
            }
            _ => 0,
        };
        if offset > 0 {
            self.progress.add_kept_part(offset);
        }
        if self.is_dry {
            return Ok(self.end_compared(entry, source.length, offset, &hasher)?);
        }
        self.send_from(entry, source, offset, &mut hasher)?;
        self.end_file(entry, source, hasher.finalize())
    }

    /// Sends the content behind `offset`: pieces, and holes.
    ///
    /// Holes are read as well. So content of which the file system says that it is a hole is sent.
    fn send_from(
        &mut self,
        entry: u32,
        source: &SourceFile,
        mut offset: u64,
        hasher: &mut blake3::Hasher,
    ) -> Result<(), Failure> {
        let mut extent = Extent::default();
        let mut hole = Hole {
            entry,
            offset: 0,
            length: 0,
        };
        while offset < source.length {
            if offset >= extent.end {
                extent = extent_at(&source.file, offset, source.length);
            }
            let left = usize::try_from(extent.end - offset).unwrap_or(usize::MAX);
            let read = self.read_at(source, offset, left.min(PIECE_BYTES))?;
            if read == 0 {
                return Err(changed(source));
            }
            let content = self.buffer.get(..read).unwrap_or_default();
            hasher.update(content);
            if extent.is_hole && is_zero(content) {
                if hole.length + read as u64 > RUN_BYTES_MAX {
                    hole.write(&mut self.out);
                }
                hole.extend(offset, read as u64);
                self.progress.add_kept_part(read as u64);
            } else {
                hole.write(&mut self.out);
                FromSender::Piece {
                    entry,
                    offset,
                    content,
                }
                .write(&mut self.out);
                self.progress.add_bytes(read as u64);
            }
            offset += read as u64;
            self.leave.spend(read as u64)?;
            self.take_answers(false)?;
            self.flush_if_full()?;
        }
        hole.write(&mut self.out);
        Ok(())
    }

    /// Sends what the receiver lacks of a file that it compares.
    fn send_changes(&mut self, entry: u32, source: &SourceFile) -> Result<(), Failure> {
        let known = self.known.begin(entry);
        let (leave, may_stop) = (self.leave.clone(), self.may_stop);
        let unreadable = Cell::new(false);
        let mut read = |offset: u64, buffer: &mut [u8]| {
            leave.spend(buffer.len() as u64)?;
            let read = source.read_into(offset, buffer).map_err(Error::from);
            let is_whole = read.as_ref().is_ok_and(|&read| read == buffer.len());
            unreadable.set(!is_whole);
            match read {
                Ok(_) if is_whole => Ok(()),
                Ok(_) => Err(change_error(source)),
                Err(error) => Err(error),
            }
        };
        let mut sink = TreeSink {
            sender: self,
            entry,
        };
        let comparer = Comparer::new(source.length, &mut read, known, &mut sink, may_stop);
        let digest = match comparer.run() {
            Ok(digest) => digest,
            Err(error) if unreadable.get() => return Err(Failure::File(error)),
            Err(error) => return Err(Failure::Copy(error)),
        };
        self.end_file(entry, source, digest)
    }

    /// Ends the content of a file, which must not have changed while it was read, but may have
    /// grown.
    fn end_file(
        &mut self,
        entry: u32,
        source: &SourceFile,
        digest: blake3::Hash,
    ) -> Result<(), Failure> {
        if !self.is_unchanged(source)? && !self.confirm_grown(entry, source, digest)? {
            return Err(changed(source));
        }
        let digest = *digest.as_bytes();
        FromSender::FileEnd {
            entry,
            length: source.length,
            digest,
        }
        .write(&mut self.out);
        hash_file(&mut self.hasher, entry, source.length, &digest);
        Ok(self.flush_if_full()?)
    }

    /// Hashes what the receiver has. Returns where to begin: behind it, or at 0 if it differs.
    fn skip(
        &mut self,
        source: &SourceFile,
        offset: u64,
        digest: &Hash,
        hasher: &mut blake3::Hasher,
    ) -> Result<u64, Failure> {
        self.hash_to(source, offset, hasher)?;
        if hasher.finalize().as_bytes() == digest {
            return Ok(offset);
        }
        hasher.reset();
        Ok(0)
    }

    /// Hashes the content before `offset`.
    fn hash_to(
        &mut self,
        source: &SourceFile,
        offset: u64,
        hasher: &mut blake3::Hasher,
    ) -> Result<(), Failure> {
        let mut position = 0;
        while position < offset {
            let left = usize::try_from(offset - position).unwrap_or(usize::MAX);
            let read = self.read_at(source, position, left.min(PIECE_BYTES))?;
            if read == 0 {
                return Err(changed(source));
            }
            hasher.update(self.buffer.get(..read).unwrap_or_default());
            position += read as u64;
            self.leave.spend(read as u64)?;
        }
        Ok(())
    }

    fn read_at(
        &mut self,
        source: &SourceFile,
        offset: u64,
        count: usize,
    ) -> Result<usize, Failure> {
        let buffer = self.buffer.get_mut(..count).unwrap_or_default();
        source.read_into(offset, buffer).map_err(path)
    }

    /// Whether a file has only grown, and still begins with the content of this digest. If so, tells
    /// the receiver.
    ///
    /// What was read twice is what the file began with in between.
    fn confirm_grown(
        &mut self,
        entry: u32,
        source: &SourceFile,
        digest: blake3::Hash,
    ) -> Result<bool, Failure> {
        let has_grown = source.identity_now().map_err(path)?.length() > source.length;
        if !has_grown || source.length > GROWN_BYTES_MAX {
            return Ok(false);
        }
        let mut hasher = blake3::Hasher::new();
        self.hash_to(source, source.length, &mut hasher)?;
        if hasher.finalize() != digest {
            return Ok(false);
        }
        let message = format!("{} grew while it was read: {GROWN}", source.name);
        FromSender::Grown {
            entry,
            message: message.clone(),
        }
        .write(&mut self.out);
        self.events.grown(message);
        Ok(true)
    }

    fn is_unchanged(&self, source: &SourceFile) -> Result<bool, Failure> {
        let now = source.identity_now().map_err(path)?;
        Ok(now.has_content_of(source.identity()))
    }
}

/// A longer file is not read again when it has grown: the receiver would wait too long.
const GROWN_BYTES_MAX: u64 = 32 << 30;

/// A hole that was found and not sent.
struct Hole {
    entry: u32,
    offset: u64,
    length: u64,
}

impl Hole {
    /// Continues the hole, or begins it.
    fn extend(&mut self, offset: u64, length: u64) {
        if self.length == 0 {
            self.offset = offset;
        }
        self.length += length;
    }

    /// Appends the record to `out`, if there is a hole.
    fn write(&mut self, out: &mut Vec<u8>) {
        if self.length > 0 {
            FromSender::Hole {
                entry: self.entry,
                offset: self.offset,
                length: self.length,
            }
            .write(out);
        }
        self.length = 0;
    }
}

/// Why a file was not sent.
enum Failure {
    /// Something about this file. The copy continues.
    File(Error),
    /// The copy cannot continue.
    Copy(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Copy(error)
    }
}

fn path(error: crate::paths::Error) -> Failure {
    Failure::File(error.into())
}

fn changed(source: &SourceFile) -> Failure {
    Failure::File(change_error(source))
}

fn change_error(source: &SourceFile) -> Error {
    let message = format!("{} changed while it was read", source.name);
    Error::here(ErrorCode::SourceChanged, message)
}

/// Sends the changes of a file among the records of its tree.
struct TreeSink<'a> {
    sender: &'a mut TreeSender,
    entry: u32,
}

impl ChangeSink for TreeSink<'_> {
    fn send(&mut self, change: &Change<'_>) -> Result<(), Error> {
        let sender = &mut *self.sender;
        match change {
            Change::Kept { length } | Change::Copied { length, .. } | Change::Zeros { length } => {
                sender.progress.add_kept_part(*length);
            }
            Change::Piece(content) => sender.progress.add_bytes(content.len() as u64),
            Change::Search | Change::Whole | Change::Grown | Change::End(_) => {}
        }
        FromSender::Change {
            entry: self.entry,
            change: change.clone(),
        }
        .write(&mut sender.out);
        sender.take_answers(false)?;
        sender.flush_if_full()
    }

    fn wait(&mut self, known: &mut KnownContent) -> Result<(), Error> {
        loop {
            let arrived = self.sender.known.take_arrived();
            if !arrived.is_empty() {
                return arrived.into_iter().try_for_each(|more| known.add(more));
            }
            self.sender.leave.spend(0)?;
            self.sender.flush()?;
            self.sender.take_answers(true)?;
        }
    }
}

fn is_changed(error: &Error) -> bool {
    matches!(
        error,
        Error::Failed {
            code: ErrorCode::SourceChanged,
            ..
        }
    )
}
