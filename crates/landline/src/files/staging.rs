//! A file in the making: staged beside its final name, and renamed when it is whole
//! (`docs/protocol.md` section 8).

use std::{
    ffi::{OsStr, OsString},
    os::unix::fs::FileExt,
    sync::Arc,
};

use landline_proto::ErrorCode;

use super::{
    digest::{BLOCK_BYTES, BlockHash},
    held,
    messages::SourceId,
    partial::{Manifest, ManifestHeader},
    running::Pulse,
};
use crate::{
    Error,
    login::random,
    paths::{Destination, File, Folder, start_write_back},
    rights::Allowance,
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

/// A staging file. Dropped before [`commit`](Self::commit) it leaves the final name untouched; it
/// is removed then, or kept to be resumed if there is a manifest with at least one block.
#[derive(Debug)]
pub(crate) struct Staging {
    destination: Destination,
    name: OsString,
    file: File,
    mode: u32,
    replace: bool,
    manifest: Option<Manifest>,
    /// Where the next bytes go.
    position: u64,
    written_back: u64,
    is_final: bool,
    is_spoiled: bool,
    /// What it takes of its user's quota.
    allowance: Option<Allowance>,
}

impl Staging {
    /// Opens what an earlier try has left, or makes a staging file, beside the destination so that
    /// the rename never crosses a mount. Blocking.
    ///
    /// # Errors
    /// `exists` where the name is taken and not to be replaced, `no-space`, `denied`, `io`.
    pub(crate) fn open(destination: Destination, plan: Plan) -> Result<Self, Error> {
        let shown = destination.path.display();
        if destination.replaced_mode.is_some() && !plan.replace {
            return Err(Error::here(
                ErrorCode::Exists,
                format!("{shown} exists already"),
            ));
        }
        let mode = destination
            .replaced_mode
            .unwrap_or_else(|| Folder::mode_of_new(plan.mode));
        let mut manifest = plan.manifest;
        let mut found = None;
        if let Some(manifest) = &mut manifest {
            if let (Some(length), Some(source)) = (plan.length, &plan.source) {
                found = reopen(&destination, manifest, source, length, plan.offset_max)?;
            }
            match &found {
                Some((_, _, blocks)) => manifest.keep(*blocks)?,
                None => forget(&destination, manifest),
            }
        }
        let (name, file, blocks) = match found {
            Some(found) => found,
            None => match &mut manifest {
                Some(known) => {
                    let name = OsString::from(format!(
                        ".landline-{:016x}.part",
                        u64::from_le_bytes(random())
                    ));
                    // Before there is such a file, so that there is none that nobody knows of.
                    let path = destination.path.with_file_name(&name);
                    let source = plan.source.filter(|_| plan.length.is_some());
                    known.begin(ManifestHeader::new(&path, source, plan.length.unwrap_or(0)))?;
                    match destination.folder.create(&name) {
                        Ok(file) => (name, file, 0),
                        Err(error) => {
                            manifest.take().into_iter().for_each(Manifest::remove);
                            return Err(Error::io(&shown, &error));
                        }
                    }
                }
                None => {
                    let (name, file) = held::create(&destination.folder)
                        .map_err(|error| Error::io(&shown, &error))?;
                    (name, file, 0)
                }
            },
        };
        let position = blocks as u64 * BLOCK_BYTES;
        let staging = Self {
            destination,
            name,
            file,
            mode,
            replace: plan.replace,
            manifest,
            position,
            written_back: position,
            is_final: false,
            is_spoiled: false,
            allowance: None,
        };
        if let Some(length) = plan.length {
            staging.check_space(length.saturating_sub(position))?;
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
        let place = &self.destination.path;
        let begun = allowance.begin(&place.with_file_name(&self.name), place, length);
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
        &self.destination
    }

    /// Where the next bytes go; right after [`open`](Self::open), the bytes that are there from an
    /// earlier try.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Lets the next bytes go elsewhere.
    pub(super) fn set_position(&mut self, position: u64) {
        self.position = position;
    }

    /// What is needed to check the blocks that are there: the file, and what they should be.
    pub(super) fn retained(&self) -> Result<(File, Vec<BlockHash>), Error> {
        let file = self.file.try_clone().map_err(|error| self.failed(&error))?;
        Ok((
            file,
            self.manifest
                .as_ref()
                .map(|manifest| manifest.blocks().to_vec())
                .unwrap_or_default(),
        ))
    }

    /// Writes content, and lets the disk begin with what has gathered. Blocking.
    ///
    /// # Errors
    /// `no-space`, `io`.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if let Some(allowance) = &mut self.allowance {
            allowance.cover(self.position.saturating_add(bytes.len() as u64))?;
        }
        self.file
            .write_all_at(bytes, self.position)
            .map_err(|error| self.failed(&error))?;
        self.position += bytes.len() as u64;
        if let Some(manifest) = &self.manifest {
            manifest.pulse().beat();
        }
        let gathered = self.position.saturating_sub(self.written_back);
        if gathered >= BLOCK_BYTES {
            start_write_back(&self.file, self.written_back, gathered);
            self.written_back = self.position;
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
    pub(super) fn spoil(&mut self) {
        self.is_spoiled = true;
    }

    /// Makes the file durable and gives it its final name. Blocking.
    ///
    /// # Errors
    /// `exists` where the name was taken meanwhile and is not to be replaced, `not-a-file` where it
    /// is no regular file any more, `no-space`, `io`. The staging file is gone then; the final
    /// name may have the new content only if the folder could not be synced.
    pub(crate) fn commit(mut self) -> Result<(), Error> {
        // Whatever fails from here on: after a failed sync nothing is known of what was written.
        self.is_spoiled = true;
        // What has the name now counts, not what had it when the copy began.
        let mode = self.destination.look_again()?.unwrap_or(self.mode);
        Folder::set_mode(&self.file, mode).map_err(|error| self.failed(&error))?;
        self.file.sync_all().map_err(|error| self.failed(&error))?;
        let folder = &self.destination.folder;
        folder
            .rename(&self.name, &self.destination.name, self.replace)
            .map_err(|error| self.failed(&error))?;
        self.is_final = true;
        self.destination
            .folder
            .sync()
            .map_err(|error| self.failed(&error))?;
        if let Some(allowance) = &self.allowance {
            let length = self
                .file
                .metadata()
                .map_err(|error| self.failed(&error))?
                .len();
            // The file is there, whatever it counts for: what is counted by mistake is found out
            // when the quota is full.
            let _ = allowance.settle(length);
        }
        Ok(())
    }

    fn check_space(&self, length: u64) -> Result<(), Error> {
        let free = Folder::free_bytes(&self.file).map_err(|error| self.failed(&error))?;
        if length <= free {
            return Ok(());
        }
        let shown = self.destination.path.display();
        Err(Error::here(
            ErrorCode::NoSpace,
            format!("{shown}: there is no space for its {length} bytes, {free} are free"),
        ))
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::io(self.destination.path.display(), error)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let manifest = self.manifest.take();
        let resumable = manifest
            .as_ref()
            .is_some_and(|manifest| manifest.resumable().is_some());
        if resumable && !self.is_spoiled {
            return;
        }
        if !self.is_final {
            let _ = self.destination.folder.remove(OsStr::new(&self.name));
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
