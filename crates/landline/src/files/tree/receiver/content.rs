//! The content of longer files, which arrives in parts.

use std::{ffi::OsString, io, os::unix::fs::FileExt};

use super::{ArrivingFile, HAS_BEGUN, Problem, TreeReceiver, WantedFile, mismatch};
use crate::{
    Error,
    files::{
        delta::zeros,
        page_buffer::PageBuffer,
        tree::{
            records::{Hash, PIECE_BYTES, hash_file},
            sender::unexpected,
        },
    },
    paths::File,
};

impl TreeReceiver {
    /// Stores a part of a longer file.
    pub(super) fn piece(&mut self, entry: u32, offset: u64, content: &[u8]) -> Result<(), Error> {
        let length = content.len() as u64;
        self.take_part(entry, offset, length)?;
        let Some(arriving) = &mut self.arriving else {
            return Ok(());
        };
        arriving.hasher.update(content);
        let written = match &arriving.file {
            Some((file, _)) => file.write_all_at(content, offset),
            None => Ok(()),
        };
        self.progress.add_bytes(length);
        self.end_part(entry, length, written)
    }

    /// Stores a part of a longer file that consists of zeros.
    pub(super) fn hole(&mut self, entry: u32, offset: u64, length: u64) -> Result<(), Error> {
        self.take_part(entry, offset, length)?;
        let Some(arriving) = &mut self.arriving else {
            return Ok(());
        };
        let end = offset + length;
        let mut written = match &arriving.file {
            Some((file, _)) if self.options.sparse => file.set_len(end),
            _ => Ok(()),
        };
        let mut position = offset;
        while position < end {
            let zeros = zeros(end - position);
            arriving.hasher.update(zeros);
            if let Some((file, _)) = &arriving.file
                && !self.options.sparse
                && written.is_ok()
            {
                written = file.write_all_at(zeros, position);
            }
            position += zeros.len() as u64;
        }
        self.progress.add_kept_part(length);
        self.end_part(entry, length, written)
    }

    /// Checks the place of a part, which begins the file if it is the first one.
    fn take_part(&mut self, entry: u32, offset: u64, length: u64) -> Result<(), Error> {
        let is_arriving = self.arriving.as_ref().is_some_and(|it| it.entry == entry);
        if !is_arriving || offset == 0 {
            self.begin_file(entry, offset)?;
        }
        let Some(arriving) = &mut self.arriving else {
            return Ok(());
        };
        let end = offset.checked_add(length);
        let Some(end) = end.filter(|_| arriving.position == offset) else {
            return Err(unexpected("a part of a file at another place"));
        };
        if end > self.wanted.get(&entry).map_or(0, |file| file.length) {
            return Err(unexpected("more of a file than announced"));
        }
        arriving.position = end;
        Ok(())
    }

    fn end_part(&mut self, entry: u32, length: u64, written: io::Result<()>) -> Result<(), Error> {
        self.leave.spend(length)?;
        if let Err(error) = written {
            self.drop_arriving(entry, &error)?;
        }
        Ok(())
    }

    /// Opens or creates a longer file that begins to arrive.
    pub(super) fn begin_file(&mut self, entry: u32, offset: u64) -> Result<(), Error> {
        self.drop_patch(entry);
        if let Some(other) = self.arriving.take().filter(|other| other.entry != entry) {
            return Err(unexpected(&format!(
                "an end of file {} is missing",
                other.entry
            )));
        }
        let mut file = self.take_content(entry)?;
        let was_compared = file.compared.take().is_some();
        if was_compared {
            self.report_content(&file);
        }
        self.show_name(&file);
        let (opened, hasher) = match offset {
            0 => {
                // Another attempt at a file that changed begins from the start.
                if file.kept == HAS_BEGUN {
                    self.remove_begun(&file);
                }
                (self.create(&file), blake3::Hasher::new())
            }
            offset if offset == file.kept && !was_compared => {
                let (opened, hasher) = self.reopen(&file)?;
                self.progress.add_kept_part(offset);
                (Ok(opened), hasher)
            }
            _ => return Err(unexpected("a part of a file at another place")),
        };
        let opened = match opened {
            Ok(opened) => Some(opened),
            Err(Problem::Copy(error)) => return Err(error),
            Err(Problem::Entry(error)) => {
                self.fail(entry, &error);
                None
            }
        };
        self.arriving = Some(ArrivingFile {
            entry,
            file: opened,
            hasher,
            position: offset,
        });
        let file = WantedFile {
            kept: HAS_BEGUN,
            ..file
        };
        self.wanted.insert(entry, file);
        Ok(())
    }

    /// Opens what an earlier attempt left of a file, to continue it.
    pub(super) fn reopen(
        &mut self,
        file: &WantedFile,
    ) -> Result<((File, OsString), blake3::Hasher), Error> {
        let failed = |this: &Self, error: io::Error| {
            Error::io(this.shown(&file.location, &file.name).display(), &error)
        };
        let (folder, name) = if file.location.is_staged {
            let folder = self.open(&file.location);
            (
                folder.map_err(|error| failed(self, error))?,
                file.name.clone(),
            )
        } else {
            (self.staging.folder.clone(), file.staged.clone())
        };
        let opened = if file.location.is_staged {
            folder.reopen(&name).map_err(|error| failed(self, error))?
        } else {
            self.open_leftover(&name)
        };
        let gone = || failed(self, io::ErrorKind::NotFound.into());
        let opened = opened.ok_or_else(gone)?;
        let (mut hasher, mut position) = (blake3::Hasher::new(), 0);
        let mut buffer = PageBuffer::new(PIECE_BYTES);
        while position < file.kept {
            let left = usize::try_from(file.kept - position).unwrap_or(usize::MAX);
            let piece = buffer.get_mut(..left.min(PIECE_BYTES)).unwrap_or_default();
            opened
                .read_exact_at(piece, position)
                .map_err(|error| failed(self, error))?;
            hasher.update(piece);
            position += piece.len() as u64;
            self.staging.tick();
            self.leave.spend(piece.len() as u64)?;
        }
        opened
            .set_len(file.kept)
            .map_err(|error| failed(self, error))?;
        Ok(((opened, name), hasher))
    }

    /// Gives up a file that cannot be written; the rest of its content is dropped.
    pub(super) fn drop_arriving(&mut self, entry: u32, error: &io::Error) -> Result<(), Error> {
        let Some(file) = self.wanted.get(&entry) else {
            return Ok(());
        };
        let shown = self.shown(&file.location, &file.name);
        let own = Error::io(shown.display(), error);
        let problem = if error.kind() == io::ErrorKind::FileTooLarge {
            // The file is too long for the file system, and others are not.
            Problem::Entry(own)
        } else {
            Problem::of(own)
        };
        match problem {
            Problem::Copy(error) => Err(error),
            Problem::Entry(error) => {
                self.remove_arriving();
                self.fail(entry, &error);
                Ok(())
            }
        }
    }

    /// Removes what has arrived of a file; the rest is dropped.
    pub(super) fn remove_arriving(&mut self) {
        let Some(arriving) = self.arriving.as_mut() else {
            return;
        };
        let entry = arriving.entry;
        arriving.file = None;
        if let Some(file) = self.wanted.remove(&entry) {
            self.remove_begun(&file);
            self.wanted.insert(entry, file);
        }
    }

    pub(super) fn file_end(&mut self, entry: u32, length: u64, digest: &Hash) -> Result<(), Error> {
        if self.end_patch(entry, length, digest)? {
            return Ok(());
        }
        if self.arriving.as_ref().is_none_or(|it| it.entry != entry) {
            let compared = self.wanted.get(&entry).and_then(|file| file.compared);
            if let Some(own) = compared {
                return self.compared(entry, length, digest, &own);
            }
            // Nothing was left to send.
            let kept = self.wanted.get(&entry).map_or(0, |file| file.kept);
            let offset = if kept <= length { kept } else { 0 };
            self.begin_file(entry, offset)?;
        }
        let Some(arriving) = self.arriving.take() else {
            return Ok(());
        };
        let file = self.take_wanted(entry)?;
        if arriving.position != length || file.length != length {
            return Err(unexpected("a file of another length than announced"));
        }
        if arriving.hasher.finalize().as_bytes() != digest {
            return Err(mismatch(&self.shown(&file.location, &file.name)));
        }
        hash_file(&mut self.hasher, entry, length, digest);
        let Some((created, name)) = arriving.file else {
            self.release(file.record.as_ref());
            self.complete(file.location.parent);
            self.shared_is_there(entry, None)?;
            return Ok(());
        };
        let stored = self.complete_file(entry, &created, &file).map(|()| name);
        self.settle(entry, file, stored)
    }
}
