//! Reads a descriptor in a thread, such that the reader can be told to stop.

use std::{
    io::{self, PipeReader, PipeWriter, Read},
    os::fd::{AsRawFd, RawFd},
};

/// A descriptor whose reads fail once its [`Interrupter`] is dropped.
///
/// Without that, a thread that waits for input would keep the process from ending.
pub(crate) struct Interruptible<R> {
    input: R,
    interrupted: PipeReader,
}

/// Interrupts the reads of an [`Interruptible`] when it is dropped.
pub(crate) struct Interrupter {
    _open: PipeWriter,
}

impl<R: AsRawFd> Interruptible<R> {
    /// Makes reads of `input` interruptible.
    ///
    /// # Errors
    /// The system's error, such as too many open files.
    pub(crate) fn new(input: R) -> io::Result<(Self, Interrupter)> {
        let (interrupted, open) = io::pipe()?;
        let reader = Self { input, interrupted };
        Ok((reader, Interrupter { _open: open }))
    }

    /// Waits for input, its end or an error of it.
    fn wait(&self) -> io::Result<()> {
        let watch = |descriptor: RawFd| libc::pollfd {
            fd: descriptor,
            events: libc::POLLIN,
            revents: 0,
        };
        let mut both = [
            watch(self.input.as_raw_fd()),
            watch(self.interrupted.as_raw_fd()),
        ];
        loop {
            // SAFETY: the array has two elements and lives as long as the call.
            let ready = unsafe { libc::poll(both.as_mut_ptr(), 2, -1) };
            let [input, interrupted] = both;
            match ready {
                _ if interrupted.revents != 0 => return Err(io::Error::other("stopped")),
                _ if input.revents != 0 => return Ok(()),
                0.. => {}
                _ => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
    }
}

impl<R: Read + AsRawFd> Read for Interruptible<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.wait()?;
            match self.input.read(buffer) {
                // The descriptor is shared with a program that made it non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn read_ends_when_interrupter_is_dropped() {
        let (input, mut writer) = io::pipe().unwrap();
        let (mut reader, interrupter) = Interruptible::new(input).unwrap();
        writer.write_all(b"some").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(reader.read(&mut buffer).unwrap(), 4);
        let reading = std::thread::spawn(move || reader.read(&mut [0; 8]).map(drop));
        drop(interrupter);
        assert!(reading.join().unwrap().is_err());
        drop(writer);
    }
}
