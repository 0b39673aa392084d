//! A job folder of a test.

use std::{
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use landline_supervisor::{
    protocol::{OutputStream, Start, Store},
    store::{JobFolder, Piece},
};

use crate::server::{WINDOW, script_start};

/// A job folder. It is removed at the end.
pub(crate) struct Folder {
    parent: PathBuf,
    path: PathBuf,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self::within(&std::env::temp_dir(), "job")
    }

    /// A job folder of this name, in a new folder in `place`.
    pub(crate) fn within(place: &Path, name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let parent = place.join(format!("supervisor-test-{}-{number}", std::process::id()));
        let path = parent.join(name);
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700).recursive(true).create(&path).unwrap();
        Self { parent, path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn job(&self) -> JobFolder {
        JobFolder::open(&self.path).unwrap()
    }

    /// How `sh -c script` is started here.
    pub(crate) fn start(&self, script: &str, store: Store) -> Start {
        Start {
            job_folder: self.path.as_os_str().as_encoded_bytes().to_vec(),
            store,
            window: WINDOW,
            bytes_max: 64 << 20,
            on_lost: std::time::Duration::from_secs(30),
            ..script_start(script)
        }
    }

    /// The bytes of a stream up to `stored`, and its gaps.
    pub(crate) fn read(&self, stream: OutputStream, stored: u64) -> (Vec<u8>, Vec<(u64, u64)>) {
        let job = self.job();
        let (mut bytes, mut gaps, mut at) = (Vec::new(), Vec::new(), 0);
        loop {
            match job.read(stream, at, stored, 10_000).unwrap() {
                Piece::Bytes(piece) => {
                    at += piece.len() as u64;
                    bytes.extend(piece);
                }
                Piece::Gap { to } => {
                    assert!(to > at, "a gap has a length");
                    gaps.push((at, to));
                    at = to;
                }
                Piece::End => return (bytes, gaps),
            }
        }
    }

    /// The names of the files in it.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.path).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.parent);
    }
}
