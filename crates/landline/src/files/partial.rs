//! What is known of copies that have begun and not ended: a manifest for each, in the state folder
//! of the side that receives.
//!
//! A manifest is one line of JSON, then the 32-byte hash of each whole block that was written to
//! the staging file. Nobody else can plant or read one there, and everything that has to expire is
//! in one place. The first line is synced, the blocks are not: after a power cut a block that is
//! not what the manifest says is simply sent again.

use std::{
    ffi::OsString,
    io::{Read, Seek},
    os::unix::{ffi::OsStringExt, fs::FileExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use landline_proto::Name;
use serde::{Deserialize, Serialize};

use super::{
    digest::{BLOCK_BYTES, BlockHash},
    messages::SourceId,
    running::{Pulse, Running},
};
use crate::{
    Error,
    crypto::random,
    paths::{File, PrivateFolder, local},
};

/// How long a copy that was broken off can be resumed.
const PARTIAL_TIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

const FOLDER: &str = "partials";
const HASH_BYTES: usize = 32;
/// Far beyond the first line of a manifest.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// The manifests of one side.
#[derive(Debug, Clone)]
pub struct Partials {
    folder: Arc<PrivateFolder>,
    running: Arc<Running>,
}

impl Partials {
    /// Opens the manifests kept in `state`. Blocking.
    pub(crate) fn open(state: &PrivateFolder) -> Result<Self, Error> {
        Ok(Self {
            folder: Arc::new(state.subfolder(FOLDER)?),
            running: Arc::default(),
        })
    }

    /// The manifest of the copy that `parts` name, locked; `None` where another copy uses it right
    /// now and moves. One that does not move, because its line is dead, makes way. Blocking.
    pub(crate) fn claim(&self, parts: &[&[u8]]) -> Result<Option<Manifest>, Error> {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let name = hasher.finalize().to_hex();
        match self.claim_name(&name)? {
            None if self.running.outlast(&name) => self.claim_name(&name),
            claimed => Ok(claimed),
        }
    }

    /// A manifest for a copy that cannot be resumed: if this process is killed, the next one knows
    /// what to remove. Blocking.
    pub(crate) fn unnamed(&self) -> Result<Option<Manifest>, Error> {
        self.claim(&[b"unnamed", &random::<16>()])
    }

    /// Removes manifests with their staging files, except those in use, and those that can be
    /// resumed and were touched within a week. Blocking.
    pub(crate) fn sweep(&self) -> Result<(), Error> {
        let old = self.folder.names_older_than(PARTIAL_TIME)?;
        for name in self.folder.names_older_than(Duration::ZERO)? {
            let Some(manifest) = self.claim_name(&name)? else {
                continue;
            };
            if manifest.resumable().is_none() || old.contains(&name) {
                if let Some(header) = &manifest.header {
                    local::remove_staging(&header.staging_path());
                }
                manifest.remove();
            }
        }
        Ok(())
    }

    fn claim_name(&self, name: &str) -> Result<Option<Manifest>, Error> {
        let Some(mut file) = self.folder.open_locked(name)? else {
            return Ok(None);
        };
        let (header, header_bytes, blocks) = read(&mut file).unwrap_or_default();
        Ok(Some(Manifest {
            folder: self.folder.clone(),
            running: self.running.clone(),
            pulse: self.running.begin(name),
            name: name.to_owned(),
            file,
            header,
            header_bytes,
            blocks,
        }))
    }
}

/// One manifest, locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct Manifest {
    folder: Arc<PrivateFolder>,
    running: Arc<Running>,
    pulse: Arc<Pulse>,
    name: String,
    file: File,
    header: Option<ManifestHeader>,
    header_bytes: u64,
    blocks: Vec<BlockHash>,
}

/// What the copy is of, and where its staging file is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ManifestHeader {
    staging: Name,
    /// `None` for a copy that cannot be resumed.
    source: Option<SourceId>,
    length: u64,
}

impl ManifestHeader {
    pub(super) fn new(staging: &Path, source: Option<SourceId>, length: u64) -> Self {
        Self {
            staging: Name(staging.as_os_str().to_owned().into_vec()),
            source,
            length,
        }
    }

    /// Where the staging file is.
    pub(super) fn staging_path(&self) -> PathBuf {
        OsString::from_vec(self.staging.0.clone()).into()
    }

    /// Whether it is a copy of this source.
    pub(super) fn is_of(&self, source: &SourceId, length: u64) -> bool {
        self.source.as_ref() == Some(source) && self.length == length
    }
}

impl Manifest {
    /// The copy's sign of life.
    pub(super) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// What the copy is of, if it has begun.
    pub(super) fn header(&self) -> Option<&ManifestHeader> {
        self.header.as_ref()
    }

    /// The hashes of the blocks that are there.
    pub(super) fn blocks(&self) -> &[BlockHash] {
        &self.blocks
    }

    /// The source's identity and the bytes that are there in whole blocks, as a client asks for the
    /// rest. The last block of a file is never said to be there, so that something always
    /// follows.
    pub(crate) fn resumable(&self) -> Option<(SourceId, u64)> {
        let header = self.header.as_ref()?;
        let source = header.source.clone()?;
        let last_block = header.length.checked_sub(1)? / BLOCK_BYTES;
        let blocks = last_block.min(self.blocks.len() as u64);
        (blocks > 0).then(|| (source, blocks * BLOCK_BYTES))
    }

    /// Begins anew. For a copy that can be resumed, which is a large one, this is durable: after a
    /// power cut the staging file is known, and goes on or is removed.
    pub(super) fn begin(&mut self, header: ManifestHeader) -> Result<(), Error> {
        let mut line = serde_json::to_vec(&header).map_err(|error| self.failed(&error.into()))?;
        line.push(b'\n');
        self.file.set_len(0).map_err(|error| self.failed(&error))?;
        self.file
            .write_all_at(&line, 0)
            .map_err(|error| self.failed(&error))?;
        if header.source.is_some() {
            self.file.sync_data().map_err(|error| self.failed(&error))?;
            self.folder.sync()?;
        }
        self.header_bytes = line.len() as u64;
        self.header = Some(header);
        self.blocks.clear();
        Ok(())
    }

    /// Forgets all but the first `count` blocks.
    pub(super) fn keep(&mut self, count: usize) -> Result<(), Error> {
        self.blocks.truncate(count);
        self.file
            .set_len(self.header_bytes + (count * HASH_BYTES) as u64)
            .map_err(|error| self.failed(&error))
    }

    /// Notes that a block is there: the next one, or one that was there and has changed.
    pub(super) fn set(&mut self, index: usize, hash: BlockHash) -> Result<(), Error> {
        let at = self.header_bytes + (index * HASH_BYTES) as u64;
        self.file
            .write_all_at(&hash, at)
            .map_err(|error| self.failed(&error))?;
        match self.blocks.get_mut(index) {
            Some(block) => *block = hash,
            None => self.blocks.push(hash),
        }
        Ok(())
    }

    /// Forgets the copy.
    pub(super) fn remove(mut self) {
        self.header = None;
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::io(self.folder.path_of(&self.name).display(), error)
    }
}

impl Drop for Manifest {
    /// One that was only looked for is not left behind.
    fn drop(&mut self) {
        if self.header.is_none() {
            let _ = self.folder.remove(&self.name);
        }
        let _ = self.file.unlock();
        self.running.end(&self.name);
    }
}

/// Reads a manifest; one that cannot be understood is as good as none.
fn read(file: &mut File) -> Option<(Option<ManifestHeader>, u64, Vec<BlockHash>)> {
    file.rewind().ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let end = bytes
        .iter()
        .take(HEADER_BYTES_MAX)
        .position(|&byte| byte == b'\n')?;
    let (line, rest) = bytes.split_at_checked(end + 1)?;
    let header = serde_json::from_slice(line).ok()?;
    let blocks = rest
        .chunks_exact(HASH_BYTES)
        .filter_map(|hash| hash.try_into().ok())
        .collect();
    Some((Some(header), line.len() as u64, blocks))
}
