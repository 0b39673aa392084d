//! A file in the making: staged beside its final name, and renamed when it is whole
//! (`docs/protocol.md` section 8).

use std::{ffi::OsString, sync::Arc};

use super::{
    digest::{BLOCK_BYTES, BlockHash},
    messages::SourceId,
    partial::{Manifest, ManifestHeader},
    running::Pulse,
};
use crate::{
    Error,
    files::Allowance,
    paths::{Destination, File, StagePlan, StagedFile, staging_name},
};

/// What is going to be staged.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Bytes of content, where that is known.
    pub(crate) length: Option<u64>,
    /// The source's permission bits.
    pub(crate) mode: u32,
    /// Whether a file that has the name is replaced.
    pub(crate) replace: bool,
    /// The manifest of the copy, if there is one.
    pub(crate) manifest: Option<Manifest>,
    /// The source's identity: with it, a manifest and a known length the copy can be resumed.
    pub(crate) source: Option<SourceId>,
    /// How much of an earlier try to use at most, in bytes.
    pub(crate) offset_max: u64,
}

/// A [`StagedFile`] with the manifest by which the copy resumes and the quota that it counts
/// against. Dropped before [`commit`](Self::commit) it leaves the final name untouched; the staging
/// file is removed then, or kept for a later attempt where the manifest has at least one block.
#[derive(Debug)]
pub(crate) struct Staging {
    staged: StagedFile,
    manifest: Option<Manifest>,
    is_discarded: bool,
    allowance: Option<Allowance>,
}

impl Staging {
    /// Opens what an earlier try has left, or makes a staging file, beside the destination so that
    /// the rename never crosses a mount. Blocking.
    ///
    /// # Errors
    /// `exists` where the name is taken and not to be replaced, `no-space`, `denied`, `io`.
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
            manifest.keep(blocks)?;
            let mut staged = StagedFile::adopt(destination, stage_plan, name, file);
            staged.set_position(blocks as u64 * BLOCK_BYTES);
            staged
        } else {
            forget(&destination, &manifest);
            let name = OsString::from(staging_name());
            // Before the file exists, so that no staging file is ever unknown.
            let path = destination.path.with_file_name(&name);
            let source = plan.source.filter(|_| plan.length.is_some());
            manifest.begin(ManifestHeader::new(&path, source, plan.length.unwrap_or(0)))?;
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
            allowance: None,
        };
        if let Some(length) = length {
            let staged = &staging.staged;
            staged.check_space(length.saturating_sub(staged.position()))?;
        }
        Ok(staging)
    }

    /// Counts the copy, of which this many bytes are expected, against a quota from now on.
    /// Blocking.
    ///
    /// # Errors
    /// `no-space`, [`Error::State`].
    pub(crate) fn count_against(
        &mut self,
        mut allowance: Allowance,
        length: Option<u64>,
    ) -> Result<(), Error> {
        let place = &self.staged.destination().path;
        let begun = allowance.begin(&self.staged.staging_path(), place, length);
        self.allowance = Some(allowance);
        begun
    }

    /// The copy's sign of life, if it has a manifest.
    pub(super) fn pulse(&self) -> Arc<Pulse> {
        self.manifest
            .as_ref()
            .map(|manifest| manifest.pulse().clone())
            .unwrap_or_default()
    }

    /// Where it will be.
    pub(crate) fn destination(&self) -> &Destination {
        self.staged.destination()
    }

    /// Where the next bytes go; right after [`open`](Self::open), the bytes that are there from an
    /// earlier try.
    pub(super) fn position(&self) -> u64 {
        self.staged.position()
    }

    /// Lets the next bytes go elsewhere.
    pub(super) fn set_position(&mut self, position: u64) {
        self.staged.set_position(position);
    }

    /// What is needed to check the blocks that are there: the file, and what they should be.
    pub(super) fn retained(&self) -> Result<(File, Vec<BlockHash>), Error> {
        let file = self
            .staged
            .file()
            .try_clone()
            .map_err(|error| Error::io(self.destination().path.display(), &error))?;
        let blocks = self.manifest.as_ref().map(|manifest| manifest.blocks());
        Ok((file, blocks.unwrap_or_default().to_vec()))
    }

    /// Writes content, and lets the disk begin with what has gathered. Blocking.
    ///
    /// # Errors
    /// `no-space`, `io`.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if let Some(allowance) = &mut self.allowance {
            allowance.cover(self.staged.position().saturating_add(bytes.len() as u64))?;
        }
        self.staged.write(bytes)?;
        if let Some(manifest) = &self.manifest {
            manifest.pulse().beat();
        }
        Ok(())
    }

    /// Notes that a block has been written. Blocking.
    ///
    /// # Errors
    /// `no-space`, `io` for the manifest.
    pub(super) fn block_written(&mut self, index: usize, hash: BlockHash) -> Result<(), Error> {
        self.manifest
            .as_mut()
            .map_or(Ok(()), |manifest| manifest.set(index, hash))
    }

    /// What is there is of no use: it is not kept to be resumed.
    pub(super) fn discard(&mut self) {
        self.is_discarded = true;
    }

    /// Makes the file durable and gives it its final name. Blocking.
    ///
    /// # Errors
    /// Those of [`StagedFile::commit`]. The staging file is gone then.
    pub(crate) fn commit(mut self) -> Result<(), Error> {
        // After a failed sync nothing is known of what was written.
        self.is_discarded = true;
        let length = self.staged.commit()?;
        if let Some(allowance) = &self.allowance {
            // The file is there, whatever it counts for: what is counted by mistake is found out
            // when the quota is full.
            let _ = allowance.settle(length);
        }
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
            if let Some(allowance) = &self.allowance {
                allowance.release();
            }
        }
        if let Some(manifest) = manifest {
            manifest.remove();
        }
    }
}

/// A staging file of an earlier try: its name, the open file, and how many whole blocks it has.
type Found = (OsString, File, usize);

/// Opens the staging file of an earlier try of this very copy, cut to whole blocks.
fn reopen(
    destination: &Destination,
    manifest: &Manifest,
    source: &SourceId,
    length: u64,
    offset_max: u64,
) -> Result<Option<Found>, Error> {
    if !manifest
        .header()
        .is_some_and(|header| header.is_of(source, length))
    {
        return Ok(None);
    }
    let Some((name, file, there)) = find(destination, manifest)? else {
        return Ok(None);
    };
    let blocks = there.min(usize::try_from(offset_max / BLOCK_BYTES).unwrap_or(usize::MAX));
    if blocks == 0 {
        return Ok(None);
    }
    file.set_len(blocks as u64 * BLOCK_BYTES)
        .map_err(|error| Error::io(destination.path.display(), &error))?;
    Ok(Some((name, file, blocks)))
}

/// Finds the staging file that a manifest names, if it is where it should be and ours alone.
fn find(destination: &Destination, manifest: &Manifest) -> Result<Option<Found>, Error> {
    let (Some(header), Some((_, offset))) = (manifest.header(), manifest.resumable()) else {
        return Ok(None);
    };
    let path = header.staging_path();
    let (true, Some(name)) = (path.parent() == destination.path.parent(), path.file_name()) else {
        return Ok(None);
    };
    let failed = |error: std::io::Error| Error::io(path.display(), &error);
    let Some(file) = destination.folder.reopen(name).map_err(failed)? else {
        return Ok(None);
    };
    let there = file.metadata().map_err(failed)?.len().min(offset) / BLOCK_BYTES;
    Ok(usize::try_from(there)
        .ok()
        .map(|blocks| (name.to_owned(), file, blocks)))
}

/// What there is of a copy from an earlier try: the source's identity, and the bytes in whole
/// blocks. Blocking.
///
/// # Errors
/// What the system says.
pub(super) fn retained(
    destination: &Destination,
    manifest: &Manifest,
) -> Result<Option<(SourceId, u64)>, Error> {
    let blocks = find(destination, manifest)?.map_or(0, |(_, _, blocks)| blocks);
    Ok(manifest
        .resumable()
        .filter(|_| blocks > 0)
        .map(|(source, _)| (source, blocks as u64 * BLOCK_BYTES)))
}

/// Removes the staging file of an earlier try that is not to be used, if it is in the same folder.
fn forget(destination: &Destination, manifest: &Manifest) {
    let Some(header) = manifest.header() else {
        return;
    };
    let path = header.staging_path();
    if path.parent() == destination.path.parent()
        && let Some(name) = path.file_name()
    {
        let _ = destination.folder.remove(name);
    }
}
