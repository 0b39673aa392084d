//! How a server starts supervisors.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    process::{Command, Stdio},
};

/// Starts supervisors for a server.
pub trait Launcher: Send + Sync + 'static {
    /// Starts a supervisor and returns the socket to it.
    ///
    /// # Errors
    /// What the system says.
    ///
    /// # Blocking
    /// Waits until the supervisor has detached itself.
    fn launch(&self) -> io::Result<UnixStream>;
}

/// Starts supervisors as the user that the server runs as.
#[derive(Debug, Clone)]
pub struct LocalLauncher {
    program: PathBuf,
    argument: &'static str,
}

impl LocalLauncher {
    /// `program`, with this one argument, runs [`landline_supervisor::main`].
    pub fn new(program: PathBuf, argument: &'static str) -> Self {
        Self { program, argument }
    }
}

impl Launcher for LocalLauncher {
    fn launch(&self) -> io::Result<UnixStream> {
        let (own, theirs) = UnixStream::pair()?;
        let mut child = Command::new(&self.program)
            .arg(self.argument)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .spawn()?;
        // It forks, and the first process ends at once.
        let status = child.wait()?;
        if status.success() {
            Ok(own)
        } else {
            Err(io::Error::other(format!("the supervisor ended: {status}")))
        }
    }
}
