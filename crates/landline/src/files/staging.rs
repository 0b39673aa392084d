//! Staging files: a file is written beside its final name and renamed when it is complete.
//!
//! See `docs/protocol.md` section 8.

#[cfg(test)]
mod tests;

use std::{ffi::OsString, sync::Arc};

use log::debug;

use super::{
    active::Heartbeat,
    delta::{Patcher, PatcherParts, SUBTREE_BYTES},
    manifests::{Manifest, ManifestHeader},
    messages::SourceId,
};
use crate::{
    Error,
    files::QuotaReservation,
    paths::{Destination, File, StagePlan, StagedFile, staging_name},
};

/// What an earlier attempt left is kept if it is at least this long. On a full disk, many short
/// ones would keep each other from completion.
const KEPT_BYTES_MIN: u64 = 8 << 20;
/// The shortest file that is compared with the one that replaces it, and the part of the new
/// length that it must have at least.
const REPLACED_BYTES_MIN: u64 = 128 << 10;
const REPLACED_PART: u64 = 64;

/// The shortest file that is written past the page cache. A shorter one is probably read again
/// soon.
const DIRECT_FILE_BYTES_MIN: u64 = 256 << 20;

/// How to stage a file.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The file's length in bytes, if it is known.
    pub(crate) length: Option<u64>,
    /// The source's permission bits.
    pub(crate) mode: u32,
    /// Whether to replace an existing file.
    pub(crate) replace: bool,
    pub(crate) manifest: Option<Manifest>,
    /// The source's identity.
    ///
    /// With it, a manifest and a known length, the transfer can be resumed.
    pub(crate) source: Option<SourceId>,
    /// What of an earlier attempt to use.
    pub(crate) resume: Resume,
    /// Whether the sender may get to know about the content of the file that is replaced.
    pub(crate) may_read_replaced: bool,
    /// Whether to use the content of that file.
    pub(crate) uses_replaced: bool,
}

/// What of an earlier attempt to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resume {
    /// Nothing.
    Never,
    /// Whole subtrees, behind which the content continues; at most so many bytes.
    At(u64),
    /// Everything: it is compared with the source.
    Compare,
}

/// A [`StagedFile`] with its manifest and its quota reservation.
///
/// If it is dropped before [`commit`](Self::commit), the final name stays untouched. The staging
/// file is then kept for a later attempt if it is long enough, and removed otherwise.
#[derive(Debug)]
pub(crate) struct Staging {
    staged: StagedFile,
    manifest: Option<Manifest>,
    is_discarded: bool,
    /// How many bytes an earlier attempt left.
    earlier: u64,
    /// The file that is replaced, if its content may be used.
    replaced: Option<File>,
    reservation: Option<QuotaReservation>,
}

impl Staging {
    /// Reopens the staging file of an earlier attempt, or creates one.
    ///
    /// The file is in the destination's folder, so that the rename never crosses a mount.
    ///
    /// # Errors
    /// `exists` if the file exists and the plan does not replace it, `no-space`, `denied`, `io`.
    ///
    /// # Blocking
    /// Writes to the disk.
    pub(crate) fn open(destination: Destination, plan: Plan) -> Result<Self, Error> {
        destination.check_replace(plan.replace)?;
        let stage_plan = StagePlan {
            mode: plan.mode,
            replace: plan.replace,
        };
        let mut replaced = find_replaced(&destination, &plan);
        let Some(mut manifest) = plan.manifest else {
            let staged = StagedFile::create(destination, stage_plan)?;
            return Self::begin(staged, None, plan.length, 0, replaced);
        };
        let found = match (plan.length, &plan.source) {
            (Some(length), Some(source)) => reopen(
                &destination,
                &manifest,
                source,
                length,
                plan.resume,
                plan.may_read_replaced,
            )?,
            _ => None,
        };
        let (staged, earlier) = if let Some((name, file, earlier)) = found {
            // Only a manifest that says so may have a staging file with this content: a later
            // attempt may come from a sender that must not know about it.
            replaced = replaced.filter(|_| has_replaced(&manifest));
            let staged = StagedFile::adopt(destination, stage_plan, name, file);
            (staged, earlier)
        } else {
            remove_unused(&destination, &manifest);
            let name = OsString::from(staging_name());
            // Written before the file exists, so that every staging file has a manifest.
            let path = destination.absolute_path().with_file_name(&name);
            let source = plan.source.filter(|_| plan.length.is_some());
            let length = plan.length.unwrap_or(0);
            let header = ManifestHeader::new(&path, source, length, replaced.is_some());
            if let Err(error) = manifest.begin(header) {
                debug!("the transfer cannot be resumed: {error}");
                manifest.remove();
                let staged = StagedFile::create(destination, stage_plan)?;
                return Self::begin(staged, None, plan.length, 0, replaced);
            }
            match StagedFile::create_named(destination, stage_plan, name) {
                Ok(staged) => (staged, 0),
                Err(error) => {
                    manifest.remove();
                    return Err(error.into());
                }
            }
        };
        let mut staging = Self::begin(staged, Some(manifest), plan.length, earlier, replaced)?;
        if plan.resume == Resume::Compare {
            staging.staged.set_position(0);
        }
        Ok(staging)
    }

    fn begin(
        staged: StagedFile,
        manifest: Option<Manifest>,
        length: Option<u64>,
        earlier: u64,
        replaced: Option<File>,
    ) -> Result<Self, Error> {
        let mut staging = Self {
            staged,
            manifest,
            is_discarded: false,
            earlier,
            replaced,
            reservation: None,
        };
        // What is there takes no more space.
        staging.staged.set_position(earlier);
        if let Some(length) = length {
            let staged = &mut staging.staged;
            staged.check_space(length)?;
            if length >= DIRECT_FILE_BYTES_MIN {
                staged.bypass_page_cache();
            }
        }
        Ok(staging)
    }

    /// Counts the transfer, of `length` bytes, against a quota from now on.
    ///
    /// # Errors
    /// `no-space`, [`Error::State`].
    ///
    /// # Blocking
    /// Writes to the database.
    pub(crate) fn count_against(
        &mut self,
        mut reservation: QuotaReservation,
        length: Option<u64>,
    ) -> Result<(), Error> {
        let begun = reservation.begin(&self.staged, length);
        self.reservation = Some(reservation);
        begun
    }

    /// The heartbeat of the transfer, which never ticks without a manifest.
    pub(super) fn heartbeat(&self) -> Arc<Heartbeat> {
        self.manifest
            .as_ref()
            .map(|manifest| manifest.heartbeat().clone())
            .unwrap_or_default()
    }

    /// The file's final place.
    pub(crate) fn destination(&self) -> &Destination {
        self.staged.destination()
    }

    /// The offset at which the next bytes are written.
    ///
    /// Right after [`open`](Self::open), it is the number of bytes that an earlier attempt left.
    pub(super) fn position(&self) -> u64 {
        self.staged.position()
    }

    /// How many bytes of an earlier attempt count as sent: whole subtrees.
    ///
    /// It is 0 if the staging file may have content of the file that is replaced. What arrived of
    /// it is then not known.
    pub(super) fn arrived(&self) -> u64 {
        if self.manifest.as_ref().is_some_and(has_replaced) {
            return 0;
        }
        self.earlier / SUBTREE_BYTES * SUBTREE_BYTES
    }

    /// Whether there is content to compare with the source.
    pub(super) fn can_compare(&self) -> bool {
        self.earlier > 0 || self.replaced.is_some()
    }

    /// Prepares to build the content, of `length` bytes, from what is there.
    ///
    /// # Errors
    /// `no-space` or `io`.
    ///
    /// # Blocking
    /// Reads and writes the disk.
    pub(super) fn patcher(&mut self, length: u64) -> Result<Patcher, Error> {
        Patcher::new(PatcherParts {
            sparse: true,
            staged: self.clone_file()?,
            direct: self
                .staged
                .direct_file()
                .and_then(|file| file.try_clone().ok()),
            staged_length: self.earlier,
            replaced: self.replaced.take(),
            length,
            shown: self.destination().path.display().to_string(),
        })
    }

    /// Tells that a patcher has written everything before `position`.
    pub(super) fn set_patched(&mut self, position: u64) {
        self.staged.set_position(position);
        if let Some(manifest) = &self.manifest {
            manifest.heartbeat().tick();
        }
    }

    /// Another handle of the staging file, to read what was written.
    pub(super) fn clone_file(&self) -> Result<File, Error> {
        self.staged
            .file()
            .try_clone()
            .map_err(|error| Error::io(self.destination().path.display(), &error))
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// `no-space`, `io`.
    ///
    /// # Blocking
    /// Writes to the disk.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if let Some(reservation) = &mut self.reservation {
            reservation.reserve(self.staged.position().saturating_add(bytes.len() as u64))?;
        }
        self.staged.write(bytes)?;
        if let Some(manifest) = &self.manifest {
            manifest.heartbeat().tick();
        }
        Ok(())
    }

    /// Marks the content as unusable: it will not be kept to be resumed.
    pub(super) fn discard(&mut self) {
        self.is_discarded = true;
    }

    /// Makes the content durable, calls `record`, and gives the file its final name.
    ///
    /// So nothing is replaced that could not be recorded.
    ///
    /// # Errors
    /// Those of [`StagedFile::sync`], of `record` and of [`StagedFile::publish`]. Unless `record`
    /// failed, the staging file is removed then.
    ///
    /// # Blocking
    /// Writes to the disk.
    pub(crate) fn commit(
        mut self,
        record: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        // A failed sync says nothing about which bytes were written.
        self.is_discarded = true;
        self.staged.sync()?;
        self.is_discarded = false;
        record()?;
        self.is_discarded = true;
        let length = self.staged.position();
        let published = self.staged.publish();
        if let (true, Some(reservation)) = (self.staged.is_final(), &self.reservation) {
            // The file has its name, so this must not fail. It counts under its former name then,
            // until the quota is full and counted again.
            let _ = reservation.commit(*published.as_ref().unwrap_or(&length));
        }
        published?;
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let manifest = self.manifest.take();
        let is_resumable = manifest
            .as_ref()
            .is_some_and(|manifest| manifest.resumable().is_some());
        let is_worth_it = || {
            let metadata = self.staged.file().metadata();
            metadata.is_ok_and(|metadata| metadata.len() >= KEPT_BYTES_MIN)
        };
        if is_resumable && !self.is_discarded && is_worth_it() {
            self.staged.keep();
            return;
        }
        if !self.staged.is_final() {
            self.staged.discard();
            if let Some(reservation) = &self.reservation {
                reservation.release();
            }
        }
        if let Some(manifest) = manifest {
            manifest.remove();
        }
    }
}

/// A staging file of an earlier attempt: its name, the open file, and how many bytes to use.
type EarlierFile = (OsString, File, u64);

/// Opens the staging file of an earlier attempt at this transfer.
fn reopen(
    destination: &Destination,
    manifest: &Manifest,
    source: &SourceId,
    length: u64,
    resume: Resume,
    may_read_replaced: bool,
) -> Result<Option<EarlierFile>, Error> {
    let is_usable = manifest.header().is_some_and(|header| {
        let may_use = match resume {
            Resume::Never => false,
            // Behind what arrived comes content of the file that was to be replaced.
            Resume::At(_) => !header.has_replaced(),
            Resume::Compare => may_read_replaced || !header.has_replaced(),
        };
        may_use && header.has_source(source, length)
    });
    if !is_usable {
        return Ok(None);
    }
    let Some((name, file, found)) = find(destination, manifest)? else {
        return Ok(None);
    };
    let failed = |error: std::io::Error| Error::io(destination.path.display(), &error);
    let earlier = match resume {
        Resume::At(max) => {
            let whole = found.min(max) / SUBTREE_BYTES * SUBTREE_BYTES;
            file.set_len(whole).map_err(failed)?;
            whole
        }
        Resume::Compare | Resume::Never => found,
    };
    Ok((earlier > 0).then_some((name, file, earlier)))
}

/// Whether the staging file may have content of the file that is replaced.
fn has_replaced(manifest: &Manifest) -> bool {
    let header = manifest.header();
    header.is_some_and(ManifestHeader::has_replaced)
}

/// Opens the file that is replaced, if its content is of use.
fn find_replaced(destination: &Destination, plan: &Plan) -> Option<File> {
    let length = plan
        .length
        .filter(|_| plan.may_read_replaced && plan.uses_replaced)?;
    destination.replaced_mode?;
    let shown = destination.path.display();
    let found = destination.folder.open_source(&destination.name, shown);
    let replaced = found.ok()?;
    let is_enough =
        replaced.length >= REPLACED_BYTES_MIN && replaced.length >= length / REPLACED_PART;
    is_enough.then_some(replaced.file)
}

/// Finds the staging file that a manifest names, with the number of its bytes.
///
/// It must be in the destination's folder, and a regular file of this user with one name. The last
/// subtree never counts, so that there are always bytes left to send.
fn find(destination: &Destination, manifest: &Manifest) -> Result<Option<EarlierFile>, Error> {
    let (Some(header), Some(_)) = (manifest.header(), manifest.resumable()) else {
        return Ok(None);
    };
    let path = header.staging_path();
    let (true, Some(name)) = (
        path.parent() == destination.absolute_path().parent(),
        path.file_name(),
    ) else {
        return Ok(None);
    };
    let failed = |error: std::io::Error| Error::io(path.display(), &error);
    let Some(file) = destination.folder.reopen(name).map_err(failed)? else {
        return Ok(None);
    };
    let found = file.metadata().map_err(failed)?.len();
    let found = found.min(header.length().saturating_sub(1));
    Ok((found >= KEPT_BYTES_MIN).then_some((name.to_owned(), file, found)))
}

/// Whether an earlier attempt left something.
///
/// # Errors
/// `io`.
///
/// # Blocking
/// Reads the disk.
pub(super) fn has_resumable(destination: &Destination, manifest: &Manifest) -> Result<bool, Error> {
    Ok(find(destination, manifest)?.is_some())
}

/// Removes the staging file of an earlier attempt, if it is in the destination's folder.
fn remove_unused(destination: &Destination, manifest: &Manifest) {
    let Some(header) = manifest.header() else {
        return;
    };
    let path = header.staging_path();
    if path.parent() == destination.absolute_path().parent()
        && let Some(name) = path.file_name()
    {
        let _ = destination.folder.remove(name);
    }
}
