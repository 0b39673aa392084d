//! Stops a server from outside.

use std::{
    io::{self, PipeReader, PipeWriter, Write},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use tokio::io::Interest;

use crate::{DrainOutcome, platform, wait};

/// Stops the servers that have the matching [`Shutdown`].
///
/// Clones stop the same servers. Keep one for as long as the servers must run.
///
/// If the last clone is dropped without [`stop`](Stopper::stop), nothing could stop the servers any
/// more. They drain, and return an error that says so. Use [`Shutdown::never`] for a server that
/// must not stop.
#[derive(Debug, Clone)]
#[must_use = "the servers stop when the last `Stopper` is dropped; keep it, or use `Shutdown::never`"]
pub struct Stopper {
    writer: Arc<PipeWriter>,
}

/// The signal on which servers of all models stop. Clones share it.
///
/// In an async program, pass the event that ends it to the [`Stopper`]:
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// let (stopper, shutdown) = landline_socketserver::Stopper::new()?;
/// tokio::spawn(async move {
///     let _ = tokio::signal::ctrl_c().await;
///     stopper.stop();
/// });
/// # Ok(()) }
/// ```
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

    /// Waits until the servers must stop. It can be dropped and called again.
    pub(crate) async fn wait(&self) -> io::Result<()> {
        let pipe = platform::watch(
            self.reader.as_fd().try_clone_to_owned()?,
            Interest::READABLE,
        )?;
        // Nothing reads from the pipe, so that every server finds it readable.
        pipe.readable().await?.retain_ready();
        Ok(())
    }

    /// The result of a server that has drained.
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`] if the last stopper was dropped instead of used.
    pub(crate) fn conclude(&self, outcome: DrainOutcome) -> io::Result<DrainOutcome> {
        // `stop` leaves a byte in the pipe. A dropped stopper only closes it.
        if rustix::io::ioctl_fionread(&self.reader)? > 0 {
            return Ok(outcome);
        }
        Err(io::Error::new(
            io::ErrorKind::BrokenPipe,
            "the server stopped because its `Stopper` was dropped: keep it while the server runs, or use `Shutdown::never`",
        ))
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
