//! An output of the program: from a pipe or terminal into memory.

use std::{
    io::{self, ErrorKind},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Instant,
};

use rustix::event::PollFlags;

use crate::{
    protocol::{OUTPUT_BYTES_MAX, OutputState, OutputStream},
    ring::Ring,
};

/// One output of one program.
#[derive(Debug)]
pub(crate) struct Output {
    stream: OutputStream,
    /// `None` once it has ended, or is not wanted any more.
    descriptor: Option<OwnedFd>,
    /// What was read and not acknowledged.
    ring: Ring,
    /// How many bytes may be read and sent.
    limit: u64,
    last_read: Instant,
}

impl Output {
    /// An output with this first limit; `None` for one that has ended.
    pub(crate) fn new(stream: OutputStream, descriptor: Option<OwnedFd>, limit: u64) -> Self {
        Self {
            stream,
            descriptor,
            ring: Ring::default(),
            limit,
            last_read: Instant::now(),
        }
    }

    pub(crate) fn stream(&self) -> OutputStream {
        self.stream
    }

    pub(crate) fn is_open(&self) -> bool {
        self.descriptor.is_some()
    }

    /// How many bytes were read.
    pub(crate) fn end(&self) -> u64 {
        self.ring.end()
    }

    /// How many bytes were read and may be sent.
    pub(crate) fn sendable(&self) -> u64 {
        self.ring.end().min(self.limit)
    }

    /// The bytes at `offset` that lie together.
    pub(crate) fn bytes_at(&self, offset: u64) -> &[u8] {
        self.ring.bytes_at(offset)
    }

    pub(crate) fn state(&self) -> OutputState {
        OutputState {
            acknowledged: self.ring.start(),
            read: self.ring.end(),
            has_ended: !self.is_open(),
        }
    }

    /// When the last bytes came; `None` while the server does not take what is there.
    pub(crate) fn quiet_since(&self) -> Option<Instant> {
        (self.room() > 0).then_some(self.last_read)
    }

    /// Forgets the bytes before `offset`, and sets the limit; `false` if the server, to which
    /// `sent` bytes were sent, broke the protocol.
    pub(crate) fn acknowledge(&mut self, offset: u64, limit: u64, sent: u64) -> bool {
        let is_valid = (self.ring.start()..=sent).contains(&offset) && limit >= self.limit;
        if is_valid {
            self.ring.forget(offset);
            self.limit = limit;
        }
        is_valid
    }

    /// Begins with a new server. Its first limit is `window` beyond what was acknowledged.
    pub(crate) fn rewind(&mut self, window: u32) {
        self.limit = self.ring.start() + u64::from(window);
    }

    /// Sets how many bytes may be read, where they are stored.
    pub(crate) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Gives all bytes to `store` and forgets them.
    pub(crate) fn drain(&mut self, mut store: impl FnMut(u64, &[u8])) {
        while self.ring.start() < self.ring.end() {
            let offset = self.ring.start();
            let bytes = self.ring.bytes_at(offset);
            let end = offset + bytes.len() as u64;
            store(offset, bytes);
            self.ring.forget(end);
        }
    }

    /// What to wait for.
    pub(crate) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let descriptor = self.descriptor.as_ref()?;
        (self.room() > 0).then_some((descriptor.as_fd(), PollFlags::IN))
    }

    /// Reads once. Returns how many bytes there were.
    pub(crate) fn read(&mut self) -> usize {
        let room = self.room();
        let Some(descriptor) = self.descriptor.as_ref().filter(|_| room > 0) else {
            return 0;
        };
        match self.ring.read(descriptor.as_fd(), room) {
            Ok(0) => self.descriptor = None,
            Ok(count) => {
                self.last_read = Instant::now();
                return count;
            }
            Err(errno) => match io::Error::from(errno).kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => {}
                // A terminal says EIO when nothing has it open any more.
                _ => self.descriptor = None,
            },
        }
        0
    }

    /// Ends the output where it is. A program that writes more gets SIGPIPE.
    pub(crate) fn close(&mut self) {
        self.descriptor = None;
    }

    /// Ends the output after `sent` bytes: the server wants no more.
    pub(crate) fn stop(&mut self, sent: u64) {
        if self.descriptor.take().is_some() {
            self.ring.truncate(sent);
        }
    }

    /// How many bytes may be read now.
    fn room(&self) -> usize {
        let most = self.ring.start().saturating_add(OUTPUT_BYTES_MAX as u64);
        let room = self.limit.min(most).saturating_sub(self.ring.end());
        usize::try_from(room).unwrap_or(usize::MAX)
    }
}
