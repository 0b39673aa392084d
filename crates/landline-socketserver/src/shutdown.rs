//! Stops a server from outside.

use std::{
    io::{self, PipeReader, PipeWriter, Write},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use crate::wait;

/// Stops the servers that have the matching [`Shutdown`].
///
/// Clones stop the same servers.
///
/// Dropping the last clone stops them too. Use [`Shutdown::never`] for a server that must not stop.
#[derive(Debug, Clone)]
pub struct Stopper {
    writer: Arc<PipeWriter>,
}

/// The signal on which servers of the blocking models stop. Clones share it.
#[derive(Debug, Clone)]
pub struct Shutdown {
    reader: Arc<PipeReader>,
    /// Keeps the pipe open if no stopper does.
    _writer: Option<Arc<PipeWriter>>,
}

impl Stopper {
    /// A stopper and its signal.
    ///
    /// ```
    /// use landline_socketserver::Stopper;
    ///
    /// let (stopper, shutdown) = Stopper::new()?;
    /// assert!(!shutdown.is_requested());
    /// stopper.stop();
    /// assert!(shutdown.is_requested());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// The system's error if there are no descriptors for a pipe.
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

    /// Stops the servers: each accepts no more connections and drains. Returns at once.
    ///
    /// It only writes one byte to a pipe, so a signal handler may call it.
    pub fn stop(&self) {
        // A pipe that is closed or full has already stopped them.
        let _ = (&*self.writer).write(&[0]);
    }
}

impl Shutdown {
    /// A signal that never comes: the server serves until its process ends.
    ///
    /// # Errors
    /// The system's error if there are no descriptors for a pipe.
    pub fn never() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self {
            reader: Arc::new(reader),
            _writer: Some(Arc::new(writer)),
        })
    }

    /// Whether the servers must stop. It makes a system call.
    pub fn is_requested(&self) -> bool {
        wait::is_readable(self.reader.as_fd())
    }

    /// A signal that comes when `reader` becomes readable.
    pub(crate) fn from_pipe(reader: Arc<PipeReader>) -> Self {
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
    /// Becomes readable, for `poll`, when the servers must stop. Do not read from it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
