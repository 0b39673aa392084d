//! An output of the program: from a pipe or terminal into reports.

use std::{
    io::{self, ErrorKind},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Instant,
};

use rustix::event::PollFlags;

use crate::protocol::{OutputStream, Report};

/// The most bytes in one report.
const REPORT_BYTES_MAX: usize = 64 * 1024;

/// One output of one program.
#[derive(Debug)]
pub(crate) struct Output {
    stream: OutputStream,
    /// `None` once it has ended, or is not wanted any more.
    descriptor: Option<OwnedFd>,
    /// How many bytes may be read.
    limit: u64,
    /// How many bytes were read and reported.
    read: u64,
    /// How many of them the server has taken.
    acknowledged: u64,
    /// When the last bytes came.
    last_read: Instant,
}

impl Output {
    pub(crate) fn new(stream: OutputStream, descriptor: OwnedFd, window: u32) -> Self {
        Self {
            stream,
            descriptor: Some(descriptor),
            limit: window.max(1).into(),
            read: 0,
            acknowledged: 0,
            last_read: Instant::now(),
        }
    }

    pub(crate) fn stream(&self) -> OutputStream {
        self.stream
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.read
    }

    pub(crate) fn is_open(&self) -> bool {
        self.descriptor.is_some()
    }

    /// When the last bytes came; `None` while the server does not take what is there.
    pub(crate) fn quiet_since(&self) -> Option<Instant> {
        (self.credit() > 0).then_some(self.last_read)
    }

    /// Notes what the server has taken, and its limit; `false` if it broke the protocol.
    pub(crate) fn acknowledge(&mut self, offset: u64, limit: u64) -> bool {
        let is_valid = (self.acknowledged..=self.read).contains(&offset) && limit >= self.limit;
        if is_valid {
            self.acknowledged = offset;
            self.limit = limit;
        }
        is_valid
    }

    /// What to wait for.
    pub(crate) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let descriptor = self.descriptor.as_ref()?;
        (self.credit() > 0).then_some((descriptor.as_fd(), PollFlags::IN))
    }

    /// Reads once, and adds a report of it.
    pub(crate) fn read(&mut self, reports: &mut Vec<Report>) {
        let Some(descriptor) = &self.descriptor else {
            return;
        };
        let length = usize::try_from(self.credit()).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(REPORT_BYTES_MAX)];
        match rustix::io::read(descriptor, &mut bytes) {
            Ok(0) => self.close(reports),
            Ok(count) => {
                bytes.truncate(count);
                reports.push(Report::Output {
                    stream: self.stream,
                    offset: self.read,
                    bytes,
                });
                self.read += count as u64;
                self.last_read = Instant::now();
            }
            Err(errno) => match io::Error::from(errno).kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => {}
                // A terminal says EIO when nothing has it open any more.
                _ => self.close(reports),
            },
        }
    }

    /// Ends the output where it is. A program that writes more gets SIGPIPE.
    pub(crate) fn close(&mut self, reports: &mut Vec<Report>) {
        if self.descriptor.take().is_some() {
            reports.push(Report::OutputEnd {
                stream: self.stream,
                offset: self.read,
            });
        }
    }

    fn credit(&self) -> u64 {
        self.limit.saturating_sub(self.read)
    }
}
