//! How a server starts supervisors.

use std::{
    io,
    os::{
        fd::OwnedFd,
        unix::{
            net::{UnixListener, UnixStream},
            process::CommandExt,
        },
    },
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use landline_supervisor::is_peer_trusted;

/// The pause after a connection to a launcher could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Starts supervisors for a server.
pub trait Launcher: Send + Sync + 'static {
    /// Starts a supervisor and returns the socket to it.
    ///
    /// # Errors
    /// What the system says.
    ///
    /// # Blocking
    /// Waits until the supervisor has detached itself, or another process has been asked.
    fn launch(&self) -> io::Result<UnixStream>;
}

/// Starts supervisors as the user that this process runs as. They inherit its restrictions.
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

    /// Starts a supervisor that has this socket to its server.
    fn start(&self, socket: UnixStream) -> io::Result<()> {
        let mut child = Command::new(&self.program)
            // A list of processes shows this in place of the path.
            .arg0("landline")
            .arg(self.argument)
            .stdin(Stdio::from(OwnedFd::from(socket)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .spawn()?;
        // It forks, and the first process ends at once.
        let status = child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("the supervisor ended: {status}")))
        }
    }
}

impl Launcher for LocalLauncher {
    fn launch(&self) -> io::Result<UnixStream> {
        let (own, theirs) = UnixStream::pair()?;
        self.start(theirs)?;
        Ok(own)
    }
}

/// Has another process start supervisors, which runs [`serve_launcher`]. So they inherit nothing
/// from the server: no sandbox, limit or group of processes.
#[derive(Debug, Clone)]
pub struct SocketLauncher {
    path: PathBuf,
}

impl SocketLauncher {
    /// `path` is the socket on which the process listens.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl Launcher for SocketLauncher {
    fn launch(&self) -> io::Result<UnixStream> {
        let failed = |error: io::Error| {
            let path = self.path.display();
            io::Error::new(error.kind(), format!("the launcher at {path}: {error}"))
        };
        let socket = UnixStream::connect(&self.path).map_err(failed)?;
        if is_peer_trusted(&socket).map_err(failed)? {
            Ok(socket)
        } else {
            Err(failed(io::ErrorKind::PermissionDenied.into()))
        }
    }
}

/// Hands each connection to a supervisor of its own. Connections of other users but root are
/// closed. `report` gets what fails.
///
/// # Blocking
/// It never returns.
pub fn serve_launcher(
    listener: &UnixListener,
    launcher: &LocalLauncher,
    report: impl Fn(&io::Error),
) -> ! {
    loop {
        match listener.accept() {
            Ok((socket, _)) => {
                if is_peer_trusted(&socket).unwrap_or(false)
                    && let Err(error) = launcher.start(socket)
                {
                    report(&error);
                }
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                ) => {}
            Err(error) => {
                report(&error);
                std::thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}
