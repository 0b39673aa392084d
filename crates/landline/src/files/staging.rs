//! Staging files: a file is written beside its final name and renamed when it is complete.
//!
//! See `docs/protocol.md` section 8.

use std::{ffi::OsString, sync::Arc};

use log::debug;

use super::{
    active::Heartbeat,
    digest::{BLOCK_BYTES, BlockHash},
    manifests::{Manifest, ManifestHeader},
    messages::SourceId,
};
use crate::{
    Error,
    files::QuotaReservation,
    paths::{Destination, File, StagePlan, StagedFile, staging_name},
};

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
    /// How many bytes of an earlier attempt to use at most.
    pub(crate) offset_max: u64,
}

/// A [`StagedFile`] with its manifest and its quota reservation.
///
/// If it is dropped before [`commit`](Self::commit), the final name stays untouched. The staging
/// file is then kept for a later attempt if the manifest has a block, and removed otherwise.
#[derive(Debug)]
pub(crate) struct Staging {
    staged: StagedFile,
    manifest: Option<Manifest>,
    is_discarded: bool,
    /// Whether the manifest has all blocks so far.
    is_recorded: bool,
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
        let Some(mut manifest) = plan.manifest else {
            let staged = StagedFile::create(destination, stage_plan)?;
            return Self::begin(staged, None, plan.length);
        };
        let found = match (plan.length, &plan.source) {
            (Some(length), Some(source)) => {
                reopen(&destination, &manifest, source, length, plan.offset_max)?
            }
            _ => None,
        };
        let staged = if let Some((name, file, blocks)) = found {
            manifest.truncate(blocks)?;
            let mut staged = StagedFile::adopt(destination, stage_plan, name, file);
            staged.set_position(blocks as u64 * BLOCK_BYTES);
            staged
        } else {
            remove_unused(&destination, &manifest);
            let name = OsString::from(staging_name());
            // Written before the file exists, so that every staging file has a manifest.
            let path = destination.absolute_path().with_file_name(&name);
            let source = plan.source.filter(|_| plan.length.is_some());
            let header = ManifestHeader::new(&path, source, plan.length.unwrap_or(0));
            if let Err(error) = manifest.begin(header) {
                debug!("the transfer cannot be resumed: {error}");
                manifest.remove();
                let staged = StagedFile::create(destination, stage_plan)?;
                return Self::begin(staged, None, plan.length);
            }
            match StagedFile::create_named(destination, stage_plan, name) {
                Ok(staged) => staged,
                Err(error) => {
                    manifest.remove();
                    return Err(error.into());
                }
            }
        };
        Self::begin(staged, Some(manifest), plan.length)
    }

    fn begin(
        staged: StagedFile,
        manifest: Option<Manifest>,
        length: Option<u64>,
    ) -> Result<Self, Error> {
        let staging = Self {
            staged,
            manifest,
            is_discarded: false,
            is_recorded: true,
            reservation: None,
        };
        if let Some(length) = length {
            let staged = &staging.staged;
            staged.check_space(length)?;
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

    /// Sets the offset at which the next bytes are written.
    pub(super) fn set_position(&mut self, position: u64) {
        self.staged.set_position(position);
    }

    /// Another handle of the staging file, to read what was written.
    pub(super) fn clone_file(&self) -> Result<File, Error> {
        self.staged
            .file()
            .try_clone()
            .map_err(|error| Error::io(self.destination().path.display(), &error))
    }

    /// The hashes that the blocks of an earlier attempt should have.
    pub(super) fn blocks(&self) -> Vec<BlockHash> {
        let blocks = self.manifest.as_ref().map(|manifest| manifest.blocks());
        blocks.unwrap_or_default().to_vec()
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

    /// Records the hash of a written block in the manifest.
    ///
    /// If that fails, no further block is recorded, and a later attempt resumes before this one.
    ///
    /// # Blocking
    /// Writes to the disk.
    pub(super) fn record_block(&mut self, index: usize, hash: BlockHash) {
        if let Some(manifest) = self.manifest.as_mut().filter(|_| self.is_recorded) {
            self.is_recorded = manifest.set_block(index, hash).is_ok();
        }
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
        if is_resumable && !self.is_discarded {
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

/// A staging file of an earlier attempt: its name, the open file, and its number of whole blocks.
type EarlierFile = (OsString, File, usize);

/// Opens the staging file of an earlier attempt at this transfer, truncated to whole blocks.
fn reopen(
    destination: &Destination,
    manifest: &Manifest,
    source: &SourceId,
    length: u64,
    offset_max: u64,
) -> Result<Option<EarlierFile>, Error> {
    if !manifest
        .header()
        .is_some_and(|header| header.has_source(source, length))
    {
        return Ok(None);
    }
    let Some((name, file, found)) = find(destination, manifest)? else {
        return Ok(None);
    };
    let blocks = found.min(usize::try_from(offset_max / BLOCK_BYTES).unwrap_or(usize::MAX));
    if blocks == 0 {
        return Ok(None);
    }
    file.set_len(blocks as u64 * BLOCK_BYTES)
        .map_err(|error| Error::io(destination.path.display(), &error))?;
    Ok(Some((name, file, blocks)))
}

/// Finds the staging file that a manifest names.
///
/// It must be in the destination's folder, and a regular file of this user with one name.
fn find(destination: &Destination, manifest: &Manifest) -> Result<Option<EarlierFile>, Error> {
    let (Some(header), Some((_, offset))) = (manifest.header(), manifest.resumable()) else {
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
    let blocks = file.metadata().map_err(failed)?.len().min(offset) / BLOCK_BYTES;
    Ok(usize::try_from(blocks)
        .ok()
        .map(|blocks| (name.to_owned(), file, blocks)))
}

/// Finds what an earlier attempt left: the source's identity, and the bytes in whole blocks.
///
/// # Errors
/// `io`.
///
/// # Blocking
/// Reads the disk.
pub(super) fn find_resumable(
    destination: &Destination,
    manifest: &Manifest,
) -> Result<Option<(SourceId, u64)>, Error> {
    let blocks = find(destination, manifest)?.map_or(0, |(_, _, blocks)| blocks);
    Ok(manifest
        .resumable()
        .filter(|_| blocks > 0)
        .map(|(source, _)| (source, blocks as u64 * BLOCK_BYTES)))
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use landline_proto::ErrorCode;

    use super::*;
    use crate::paths::local;

    fn staging(path: &Path) -> Staging {
        let plan = Plan {
            length: Some(3),
            mode: 0o600,
            replace: true,
            manifest: None,
            source: None,
            offset_max: 0,
        };
        Staging::open(local::open_destination(path, b"").unwrap(), plan).unwrap()
    }

    /// Proves `after-the-fact` in docs/faults.md.
    #[test]
    fn commit_that_cannot_be_recorded_changes_nothing() {
        let stage = testkit::Stage::new("unused");
        let path = stage.write("file", b"old");
        let mut refused = staging(&path);
        refused.write(b"new").unwrap();
        let done = refused.commit(|| {
            assert_eq!(stage.read("file"), b"old", "the record comes first");
            Err(Error::here(ErrorCode::Audit, "the log cannot be written"))
        });
        assert!(done.is_err());
        assert_eq!(stage.read("file"), b"old");

        let mut stored = staging(&path);
        stored.write(b"new").unwrap();
        stored.commit(|| Ok(())).unwrap();
        assert_eq!(stage.read("file"), b"new");
        let names = local::names(path.parent().unwrap());
        assert!(
            !names
                .iter()
                .any(|name| name.as_encoded_bytes().ends_with(b".part")),
            "{names:?}"
        );
    }
}
