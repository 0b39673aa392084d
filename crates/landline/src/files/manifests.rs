//! Manifests of unfinished transfers, in the state folder of the receiver.
//!
//! A manifest is one line of JSON, which is synced. What the staging file has is compared with the
//! source when the transfer is resumed, so a manifest says nothing about it. The state folder is
//! private, so other users cannot plant or read a manifest. It also keeps all that can expire in
//! one place.

use std::{
    ffi::OsString,
    io::{Read, Seek},
    os::unix::{ffi::OsStringExt, fs::FileExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use landline_proto::Name;
use serde::{Deserialize, Serialize};

use super::{
    active::{ActiveTransfers, Heartbeat, WaitResult},
    messages::SourceId,
};
use crate::{
    Error,
    crypto::random,
    paths::{File, PrivateFolder, local},
};

/// How long an interrupted transfer can be resumed.
const RESUME_TIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long to wait for a manifest that several attempts use in turn.
const LOCK_TIME: Duration = Duration::from_secs(10);
/// How long to wait for a manifest whose user is not known.
///
/// It may be a transfer that begins or ends, or a process that has been killed just now.
const UNKNOWN_TIME: Duration = Duration::from_secs(1);
/// How often such a manifest is tried.
const POLL_TIME: Duration = Duration::from_millis(10);

const FOLDER: &str = "partials";
/// Far longer than the line of any manifest.
const HEADER_BYTES_MAX: u64 = 64 * 1024;

/// The manifests of one client or server.
#[derive(Debug, Clone)]
pub struct ManifestStore {
    folder: Arc<PrivateFolder>,
    active: Arc<ActiveTransfers>,
}

impl ManifestStore {
    /// Opens the manifests in the state folder `state`.
    ///
    /// # Blocking
    /// Reads the disk.
    pub(crate) fn open(state: &PrivateFolder) -> Result<Self, Error> {
        Ok(Self {
            folder: Arc::new(state.subfolder(FOLDER)?),
            active: Arc::default(),
        })
    }

    /// Locks the manifest of the transfer that `parts` identify.
    ///
    /// Waits for another attempt that uses the manifest. It is preempted if it stalls, or if it is
    /// the same copy, which `is_same_copy` tells by its header. Returns `None` if it is another
    /// copy that makes progress, or one of another process.
    ///
    /// # Blocking
    /// Waits up to some seconds for the other attempt.
    pub(super) fn lock(
        &self,
        parts: &[&[u8]],
        is_same_copy: impl Fn(&ManifestHeader) -> bool,
    ) -> Result<Option<Manifest>, Error> {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let name = hasher.finalize().to_hex();
        let is_same_copy = || {
            self.header(&name)
                .is_some_and(|header| is_same_copy(&header))
        };
        let start = Instant::now();
        let mut unknown_since = None;
        loop {
            if let Some(manifest) = self.lock_name(&name)? {
                return Ok(Some(manifest));
            }
            match self.active.wait_or_preempt(&name, is_same_copy) {
                // Yet another attempt may have been faster.
                WaitResult::Ended if start.elapsed() < LOCK_TIME => unknown_since = None,
                WaitResult::Ended | WaitResult::Active => return Ok(None),
                WaitResult::Unknown => {
                    let since = *unknown_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= UNKNOWN_TIME {
                        return Ok(None);
                    }
                    std::thread::sleep(POLL_TIME);
                }
            }
        }
    }

    /// Creates a manifest for a transfer that cannot be resumed.
    ///
    /// If this process is killed, the next one finds the staging file by the manifest and removes
    /// it.
    ///
    /// # Blocking
    /// Writes to the disk.
    pub(crate) fn anonymous(&self) -> Result<Option<Manifest>, Error> {
        let mut locked = self.lock(&[b"unnamed", &random::<16>()], |_| false)?;
        if let Some(manifest) = &mut locked {
            manifest.is_anonymous = true;
        }
        Ok(locked)
    }

    /// Removes expired manifests, with their staging files.
    ///
    /// Keeps manifests in use, and resumable ones that changed within a week.
    ///
    /// # Blocking
    /// Reads and writes the disk.
    pub(crate) fn sweep(&self) -> Result<(), Error> {
        let old = self.folder.names_older_than(RESUME_TIME)?;
        for name in self.folder.names_older_than(Duration::ZERO)? {
            let Some(manifest) = self.lock_name(&name)? else {
                continue;
            };
            if !manifest.is_resumable() || old.contains(&name) {
                if let Some(header) = &manifest.header {
                    local::remove_staging(&header.staging_path());
                }
                manifest.remove();
            }
        }
        Ok(())
    }

    /// The header of a manifest that another attempt may be using.
    fn header(&self, name: &str) -> Option<ManifestHeader> {
        let mut file = local::open(&self.folder.path_of(name)).ok()?;
        read(&mut file)
    }

    fn lock_name(&self, name: &str) -> Result<Option<Manifest>, Error> {
        let Some(mut file) = self.folder.open_locked(name)? else {
            return Ok(None);
        };
        let header = read(&mut file);
        Ok(Some(Manifest {
            folder: self.folder.clone(),
            active: self.active.clone(),
            heartbeat: self.active.register(name),
            name: name.to_owned(),
            is_anonymous: false,
            file,
            header,
        }))
    }
}

/// A manifest, locked until it is dropped.
#[derive(Debug)]
pub(crate) struct Manifest {
    folder: Arc<PrivateFolder>,
    active: Arc<ActiveTransfers>,
    heartbeat: Arc<Heartbeat>,
    name: String,
    /// Whether no other attempt finds it.
    is_anonymous: bool,
    file: File,
    header: Option<ManifestHeader>,
}

/// The line of a manifest: the source and the staging file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ManifestHeader {
    staging: Name,
    /// `None` for a transfer that cannot be resumed.
    source: Option<SourceId>,
    length: u64,
    /// Whether the staging file may have content of the file that it will replace.
    #[serde(default)]
    has_replaced: bool,
    /// Whether it is the staging folder of a tree, which can be resumed as long as it exists.
    #[serde(default)]
    tree: bool,
}

impl ManifestHeader {
    /// The header of a tree's copy with this staging folder.
    pub(super) fn of_tree(staging: &Path) -> Self {
        Self {
            tree: true,
            ..Self::new(staging, None, 0, false)
        }
    }

    pub(super) fn new(
        staging: &Path,
        source: Option<SourceId>,
        length: u64,
        has_replaced: bool,
    ) -> Self {
        Self {
            staging: Name(staging.as_os_str().to_owned().into_vec()),
            source,
            length,
            has_replaced,
            tree: false,
        }
    }

    /// The path of the staging file.
    pub(super) fn staging_path(&self) -> PathBuf {
        OsString::from_vec(self.staging.0.clone()).into()
    }

    /// Whether the staging file may have content of the file that it will replace.
    pub(super) fn has_replaced(&self) -> bool {
        self.has_replaced
    }

    /// The length of the whole content.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether the transfer has this source.
    pub(super) fn has_source(&self, source: &SourceId, length: u64) -> bool {
        self.source.as_ref() == Some(source) && self.length == length
    }
}

impl Manifest {
    /// The heartbeat of the transfer.
    pub(super) fn heartbeat(&self) -> &Arc<Heartbeat> {
        &self.heartbeat
    }

    /// The header, once the transfer has begun.
    pub(super) fn header(&self) -> Option<&ManifestHeader> {
        self.header.as_ref()
    }

    /// The source's identity, if the transfer can be resumed.
    pub(crate) fn resumable(&self) -> Option<&SourceId> {
        self.header.as_ref()?.source.as_ref()
    }

    /// Whether another attempt can continue.
    pub(super) fn is_resumable(&self) -> bool {
        let is_tree = self.header.as_ref().is_some_and(|header| header.tree);
        is_tree || self.resumable().is_some()
    }

    /// Writes a new header.
    ///
    /// The header of a resumable transfer is synced: after a power cut, the staging file can be
    /// resumed or removed.
    pub(super) fn begin(&mut self, mut header: ManifestHeader) -> Result<(), Error> {
        header.tree &= !self.is_anonymous;
        let mut line = serde_json::to_vec(&header).map_err(|error| self.failed(&error.into()))?;
        line.push(b'\n');
        self.file.set_len(0).map_err(|error| self.failed(&error))?;
        self.file
            .write_all_at(&line, 0)
            .map_err(|error| self.failed(&error))?;
        if header.source.is_some() || header.tree {
            self.file.sync_data().map_err(|error| self.failed(&error))?;
            self.folder.sync()?;
        }
        self.header = Some(header);
        Ok(())
    }

    /// Removes the manifest.
    pub(super) fn remove(mut self) {
        self.header = None;
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::io(self.folder.path_of(&self.name).display(), error)
    }
}

impl Drop for Manifest {
    /// Removes a manifest without a header: its transfer never began.
    fn drop(&mut self) {
        if self.header.is_none() {
            let _ = self.folder.remove(&self.name);
        }
        let _ = self.file.unlock();
        self.active.deregister(&self.name, &self.heartbeat);
    }
}

/// Reads a manifest. Returns `None` for a malformed one.
fn read(file: &mut File) -> Option<ManifestHeader> {
    file.rewind().ok()?;
    let mut bytes = Vec::new();
    file.take(HEADER_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let line = bytes.split(|&byte| byte == b'\n').next()?;
    serde_json::from_slice(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::TempDir;

    fn manifests(scratch: &TempDir) -> ManifestStore {
        let folder = PrivateFolder::open_or_create(&scratch.path().join("state")).unwrap();
        ManifestStore::open(&folder).unwrap()
    }

    /// A process that was killed holds its locks a little longer.
    /// Proves `early-retry` in docs/faults.md.
    #[test]
    fn manifest_of_a_process_that_ends_is_waited_for() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let (ending, next) = (manifests(&scratch), manifests(&scratch));
        let lock = |store: &ManifestStore| store.lock(&[b"copy"], |_| false).unwrap();
        let held = lock(&ending).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| lock(&next));
            std::thread::sleep(UNKNOWN_TIME / 5);
            drop(held);
            assert!(waiter.join().unwrap().is_some());
        });
    }

    /// Attempts that begin while others end always get the manifest.
    /// Proves `early-retry` in docs/faults.md.
    #[test]
    fn attempts_that_follow_closely_get_the_manifest() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let store = manifests(&scratch);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..300 {
                        assert!(store.lock(&[b"copy"], |_| false).unwrap().is_some());
                    }
                });
            }
        });
    }
}
