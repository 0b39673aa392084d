//! The server that is measured: it gives back requests of 32 bytes, and blocks or waits if the
//! first byte asks for it.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
};

use landline_socketserver::{Bind, Limits, Processes, Server, Shutdown, blocking, tasks};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{BLOCK, Model, TASK_THREADS};

/// The bytes of a request, and of its answer.
pub(super) const REQUEST_BYTES: usize = 32;
/// A request that is answered at once.
pub(super) const AT_ONCE: u8 = b'e';
/// A request whose handler blocks its thread first.
pub(super) const BLOCKING: u8 = b'b';
/// A request whose handler waits first, without blocking its thread if its model has a way.
pub(super) const WAITING: u8 = b'w';

/// Serves by this model until the process is ended, and tells `listening` where first. The process
/// must not have threads yet: one of the models forks. It does not outlive the process with the id
/// `parent`, which measures.
///
/// # Errors
/// What the system says about the listener; that the parent is gone.
pub fn serve(model: Model, parent: u32, listening: impl FnOnce(SocketAddr)) -> io::Result<()> {
    end_with(parent)?;
    let listener = Bind::new().tcp("127.0.0.1:0")?;
    listening(listener.local_addr()?);
    let server = Server::new(listener, Echo).limits(Limits {
        connections_max: 1024,
        ..Limits::default()
    });
    match model {
        Model::Inline => server.inline(&Shutdown::never()?),
        Model::Threads => server.threads(&Shutdown::never()?),
        Model::Processes => server.processes(Processes::Each, &Shutdown::never()?),
        Model::Tasks => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(TASK_THREADS)
            .enable_all()
            .build()?
            .block_on(server.tasks(std::future::pending())),
    }
    .map(|_| ())
}

/// The kernel ends this process if the one that measures is killed. Elsewhere the terminal's
/// interrupt reaches both.
fn end_with(parent: u32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    // It may have been killed before this process had asked for that.
    match std::os::unix::process::parent_id() == parent {
        true => Ok(()),
        false => Err(io::Error::other("the process that measures is gone")),
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

impl<S: AsyncRead + AsyncWrite + Unpin + Send> tasks::Handler<S> for Echo {
    async fn handle(&mut self, connection: &mut tasks::Connection<S>) -> io::Result<()> {
        let mut request = [0; REQUEST_BYTES];
        while is_whole(connection.read_exact(&mut request).await.map(|_| ()))? {
            match request.first() {
                // What must never be done in a task, and what it does to the others is to be seen.
                Some(&BLOCKING) => thread::sleep(BLOCK),
                Some(&WAITING) => tokio::time::sleep(BLOCK).await,
                _ => {}
            }
            connection.write_all(&request).await?;
        }
        Ok(())
    }
}

/// Whether a request came; false at the end of the connection.
fn is_whole(read: io::Result<()>) -> io::Result<bool> {
    match read {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// A server in a process of its own. Ended when dropped.
pub(super) struct Running {
    child: Child,
    /// Where it listens.
    pub(super) address: SocketAddr,
}

impl Running {
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
                end(&mut child);
                Err(io::Error::other("the server to be measured did not start"))
            }
        }
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
