//! Descriptors that this process was started with: the standard streams, and those of options.

use std::{
    io::{self, Read, Write},
    mem::ManuallyDrop,
    os::fd::{AsRawFd, FromRawFd, RawFd},
};

use landline::paths::File;

use crate::inherited;

/// A descriptor that this process was started with.
///
/// Reads and writes block, also where the caller has made the descriptor non-blocking: the mode is
/// shared with other processes, so it is left alone.
pub(crate) struct Descriptor {
    /// `None` for one that was closed. A descriptor of the caller is never closed.
    file: Option<ManuallyDrop<File>>,
}

impl Descriptor {
    /// The descriptor with this number. Each use of one that was closed fails.
    pub(crate) fn new(number: u32) -> Self {
        let open = libc::c_int::try_from(number).ok();
        let open = open.filter(|_| inherited::was_open(number));
        // SAFETY: it was open before this process opened any, so nothing else here owns it, and it
        // stays open.
        let file = open.map(|number| unsafe { File::from_raw_fd(number) });
        Self {
            file: file.map(ManuallyDrop::new),
        }
    }

    /// As [`new`](Self::new), for input.
    ///
    /// # Errors
    /// The descriptor is closed, or open for writing only.
    pub(crate) fn readable(number: u32) -> io::Result<Self> {
        let descriptor = Self::new(number);
        let number = descriptor.file()?.as_raw_fd();
        // SAFETY: F_GETFL only reads flags, and the file keeps the descriptor open.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFL) };
        if flags & libc::O_ACCMODE == libc::O_WRONLY {
            return Err(io::Error::other("it is not open for reading"));
        }
        Ok(descriptor)
    }

    fn file(&self) -> io::Result<&File> {
        self.file
            .as_deref()
            .ok_or_else(|| io::Error::other("it is closed"))
    }

    /// Repeats `work` until the descriptor is ready for it.
    fn blocking<T>(
        &self,
        event: libc::c_short,
        mut work: impl FnMut(&File) -> io::Result<T>,
    ) -> io::Result<T> {
        let file = self.file()?;
        loop {
            match work(file) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(file, event)?,
                done => return done,
            }
        }
    }
}

/// Waits until the file is ready, has an error, or the other end is closed.
fn wait(file: &File, event: libc::c_short) -> io::Result<()> {
    let mut waiting = libc::pollfd {
        fd: file.as_raw_fd(),
        events: event,
        revents: 0,
    };
    // SAFETY: the pointer leads to one pollfd, which lives as long as the call.
    match unsafe { libc::poll(&raw mut waiting, 1, -1) } {
        -1 => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            error => Err(error),
        },
        _ => Ok(()),
    }
}

impl AsRawFd for Descriptor {
    /// The number; -1 for a descriptor that was closed.
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_ref().map_or(-1, |file| file.as_raw_fd())
    }
}

impl Read for Descriptor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.blocking(libc::POLLIN, |mut file| file.read(buffer))
    }
}

impl Write for Descriptor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.blocking(libc::POLLOUT, |mut file| file.write(bytes))
            .map_err(|error| match error.raw_os_error() {
                // It is open, since nothing here closes it.
                Some(libc::EBADF) => io::Error::other("it is not open for writing"),
                _ => error,
            })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
