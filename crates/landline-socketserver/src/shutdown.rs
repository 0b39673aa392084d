//! Stopping a server from outside.

use std::{
    io::{self, PipeReader, PipeWriter, Write},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use crate::wait;

/// Stops the servers that were given the [`Shutdown`] it belongs to. Clones stop the same ones.
///
/// Dropping the last one stops them too: a server that nobody can stop any more is a mistake, save
/// for one that was given [`Shutdown::never`].
#[derive(Debug, Clone)]
pub struct Stopper {
    writer: Arc<PipeWriter>,
}

/// Tells servers under the blocking models when to stop. Clones tell the same.
#[derive(Debug, Clone)]
pub struct Shutdown {
    reader: Arc<PipeReader>,
    /// Keeps the pipe open where nobody is to close it.
    _writer: Option<Arc<PipeWriter>>,
}

impl Stopper {
    /// A stopper and what it stops.
    ///
    /// ```
    /// use landline_socketserver::Stopper;
    ///
    /// let (stopper, shutdown) = Stopper::new()?;
    /// assert!(!shutdown.has_come());
    /// stopper.stop();
    /// assert!(shutdown.has_come());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the system has no descriptors left for the pipe between them.
    pub fn new() -> io::Result<(Self, Shutdown)> {
        let (reader, writer) = io::pipe()?;
        Ok((
            Self {
                writer: Arc::new(writer),
            },
            Shutdown {
                reader: Arc::new(reader),
                _writer: None,
            },
        ))
    }

    /// Stops the servers: each takes no more and drains. Returns at once. It only writes one byte
    /// to a pipe, so that it may be called from a signal handler.
    pub fn stop(&self) {
        // A pipe that is closed or full has told them already.
        let _ = (&*self.writer).write(&[0]);
    }
}

impl Shutdown {
    /// One that never comes: the server serves until its process ends.
    ///
    /// # Errors
    /// Where the system has no descriptors left for a pipe.
    pub fn never() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self {
            reader: Arc::new(reader),
            _writer: Some(Arc::new(writer)),
        })
    }

    /// Whether the time has come. A system call.
    pub fn has_come(&self) -> bool {
        wait::is_readable(self.reader.as_fd())
    }

    /// One that comes when `reader` can be read or its other end closes.
    pub(crate) fn by(reader: Arc<PipeReader>) -> Self {
        Self {
            reader,
            _writer: None,
        }
    }

    pub(crate) fn pipe_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    pub(crate) fn pipe(&self) -> &Arc<PipeReader> {
        &self.reader
    }
}

impl AsFd for Shutdown {
    /// Becomes readable, for `poll` and the like, once the time has come. Nothing is to be read
    /// from it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
