//! Reports changes in a folder, and of one file in it.

use std::{io, mem::MaybeUninit, os::fd::OwnedFd};

use cap_std::fs::Dir;
use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};

use super::descriptor_path;

/// The size of the buffer for reports. Each takes 16 bytes and a name.
const BUFFER_BYTES: usize = 4096;

#[derive(Debug)]
pub(in super::super) struct Watch {
    descriptor: OwnedFd,
    folder: i32,
    /// The watch of the file, if the file exists.
    file: Option<i32>,
}

impl Watch {
    pub(in super::super) fn new(dir: &Dir) -> io::Result<Self> {
        let path = descriptor_path(dir).ok_or(io::ErrorKind::Unsupported)?;
        let descriptor = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let names = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE;
        let folder = inotify::add_watch(&descriptor, path, names | WatchFlags::ONLYDIR)?;
        Ok(Self {
            descriptor,
            folder,
            file: None,
        })
    }

    pub(in super::super) fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// Watches the file that has this name now for writes.
    ///
    /// The watch of the folder reports names only, since a database in the folder is written
    /// often.
    pub(in super::super) fn follow(&mut self, dir: &Dir, name: &str) -> io::Result<()> {
        let path = descriptor_path(dir).ok_or(io::ErrorKind::Unsupported)?;
        let writes = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB;
        let flags = writes | WatchFlags::DONT_FOLLOW;
        let now = match inotify::add_watch(&self.descriptor, path.join(name), flags) {
            Ok(file) => Some(file),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error.into()),
        };
        let before = std::mem::replace(&mut self.file, now);
        if let Some(before) = before.filter(|_| before != now) {
            // This fails if the watch ended with its file.
            let _ = inotify::remove_watch(&self.descriptor, before);
        }
        Ok(())
    }

    pub(in super::super) fn take(&mut self, name: &str) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = Reader::new(&self.descriptor, &mut buffer);
        let mut has_changed = false;
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(has_changed),
                Err(error) => return Err(error.into()),
            };
            let is_named = || {
                event
                    .file_name()
                    .is_some_and(|named| named.to_bytes() == name.as_bytes())
            };
            has_changed |= event.events().contains(ReadFlags::QUEUE_OVERFLOW)
                || event.wd() == self.folder && is_named()
                || Some(event.wd()) == self.file && !event.events().contains(ReadFlags::IGNORED);
        }
    }
}
