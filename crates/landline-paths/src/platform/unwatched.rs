//! A watch on systems that this crate cannot watch files on.

use std::{io, os::fd::OwnedFd};

use cap_std::fs::Dir;

#[derive(Debug)]
pub(in super::super) struct NoWatch(OwnedFd);

impl NoWatch {
    pub(in super::super) fn new(_dir: &Dir) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in super::super) fn descriptor(&self) -> &OwnedFd {
        &self.0
    }

    pub(in super::super) fn follow(&mut self, _dir: &Dir, _name: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in super::super) fn take(&mut self, _name: &str) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
