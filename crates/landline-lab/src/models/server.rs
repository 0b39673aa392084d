//! The server that is measured.
//!
//! It sends requests of 32 bytes back. The first byte of a request can ask it to block or wait.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
};

use landline_socketserver::{
    Bind, Processes, Server, Shutdown, blocking,
    tasks::{TaskConnection, TaskHandler},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{BLOCK, Model};

/// The length of a request and of its answer, in bytes.
pub(super) const REQUEST_BYTES: usize = 32;
/// The first byte of a request that is answered at once.
pub(super) const AT_ONCE: u8 = b'e';
/// The first byte of a request whose handler blocks its thread first.
pub(super) const BLOCKING: u8 = b'b';
/// The first byte of a request whose handler waits first, in a task by awaiting.
pub(super) const WAITING: u8 = b'w';

/// Serves with this model until the process ends. `listening` gets its address.
///
/// The process must have only one thread, since one of the models forks. It ends together with the
/// process `parent`, which measures.
///
/// # Errors
/// The listener's error, or that the parent is gone.
///
/// # Blocking
/// It blocks until the process ends.
pub fn serve(model: Model, parent: u32, listening: impl FnOnce(SocketAddr)) -> io::Result<()> {
    die_with(parent)?;
    let listener = Bind::new().tcp("127.0.0.1:0")?;
    listening(listener.local_addr()?);
    // Clients that end while they wait are part of the measurement.
    let server = Server::new(listener, Echo).on_error(|_, _| {});
    match model {
        Model::Inline => server.inline(&Shutdown::never()?),
        Model::Threads => server.threads(&Shutdown::never()?),
        Model::Processes => server.processes(Processes::Each, &Shutdown::never()?),
        Model::Tasks => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(server.tasks(&Shutdown::never()?)),
    }
    .map(|_| ())
}

/// Lets the kernel end this process when the parent ends.
///
/// On other systems than Linux, only an interrupt of the terminal reaches both.
fn die_with(parent: u32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    // The parent may have ended before the call above.
    if std::os::unix::process::parent_id() == parent {
        Ok(())
    } else {
        Err(io::Error::other("the process that measures is gone"))
    }
}

#[derive(Clone)]
struct Echo;

impl<S: Read + Write> blocking::Handler<S> for Echo {
    fn handle(&mut self, connection: &mut blocking::Connection<S>) -> io::Result<()> {
        let mut request = [0; REQUEST_BYTES];
        while is_whole(connection.read_exact(&mut request))? {
            if request.first() != Some(&AT_ONCE) {
                thread::sleep(BLOCK);
            }
            connection.write_all(&request)?;
        }
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> TaskHandler<S> for Echo {
    async fn handle(&mut self, connection: &mut TaskConnection<S>) -> io::Result<()> {
        let mut request = [0; REQUEST_BYTES];
        while is_whole(connection.read_exact(&mut request).await.map(|_| ()))? {
            match request.first() {
                // A task must never do this. The experiment shows the effect on other clients.
                Some(&BLOCKING) => thread::sleep(BLOCK),
                Some(&WAITING) => tokio::time::sleep(BLOCK).await,
                _ => {}
            }
            connection.write_all(&request).await?;
        }
        Ok(())
    }
}

/// Whether a request arrived; false at the end of the connection.
fn is_whole(read: io::Result<()>) -> io::Result<bool> {
    match read {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// A server in a process of its own, which ends when this is dropped.
pub(super) struct ServerProcess {
    child: Child,
    /// The address of its listener.
    pub(super) address: SocketAddr,
}

impl ServerProcess {
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        match line.trim().parse() {
            Ok(address) => Ok(Self { child, address }),
            Err(_) => {
                kill(&mut child);
                Err(io::Error::other("the server to be measured did not start"))
            }
        }
    }

    /// The process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
