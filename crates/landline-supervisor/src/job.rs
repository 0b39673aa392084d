//! The job folder of a supervisor: its lock, and the socket on which servers adopt it.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use rustix::{
    fs::{AtFlags, FlockOperation, Mode, OFlags, flock, openat, unlinkat},
    io::Errno,
    net::SocketAddrUnix,
};

use crate::{
    platform,
    protocol::Order,
    server::Connection,
    store::{LOCK, RECORD, SOCKET},
};

/// The most connections that have not sent `adopt` yet.
pub(crate) const WAITING_MAX: usize = 4;
/// How long a connection may take to send it.
const ADOPT_TIME_MAX: Duration = Duration::from_secs(5);
/// The pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// The length of an `adopt` frame.
const ADOPT_BYTES: u64 = 7;

/// The job folder.
#[derive(Debug)]
pub(crate) struct Job {
    path: PathBuf,
    folder: Rc<OwnedFd>,
    /// Locked while this process lives.
    _lock: OwnedFd,
    listener: OwnedFd,
    waiting: Vec<Waiting>,
    /// Set after a connection could not be accepted.
    accept_at: Option<Instant>,
}

/// A connection that has not sent `adopt` yet.
#[derive(Debug)]
struct Waiting {
    connection: Connection,
    until: Instant,
}

impl Job {
    /// Opens the folder, locks it and listens.
    ///
    /// # Errors
    /// `path` is no absolute path of a folder of this user; what the system says.
    pub(crate) fn open(path: &[u8]) -> io::Result<Self> {
        let path = PathBuf::from(OsString::from_vec(path.to_vec()));
        if !path.is_absolute() {
            return Err(Errno::INVAL.into());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&path, flags, Mode::empty())?;
        if rustix::fs::fstat(&folder)?.st_uid != rustix::process::geteuid().as_raw() {
            return Err(Errno::ACCESS.into());
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = openat(&folder, LOCK, flags, Mode::RUSR | Mode::WUSR)?;
        // A server that looks whether it is locked holds it for an instant.
        flock(&lock, FlockOperation::LockExclusive)?;
        let listener = listen(&folder)?;
        Ok(Self {
            path,
            folder: Rc::new(folder),
            _lock: lock,
            listener,
            waiting: Vec::new(),
            accept_at: None,
        })
    }

    /// The name of the folder, which is the id of the job.
    pub(crate) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    pub(crate) fn folder(&self) -> Rc<OwnedFd> {
        Rc::clone(&self.folder)
    }

    /// The socket to wait for.
    pub(crate) fn listener(&self) -> Option<BorrowedFd<'_>> {
        let may_accept = self.accept_at.is_none() && self.waiting.len() < WAITING_MAX;
        may_accept.then_some(self.listener.as_fd())
    }

    /// The connections to wait for.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.waiting
            .iter()
            .map(|waiting| waiting.connection.socket())
    }

    /// When something is to be done without an event.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let until = self.waiting.iter().map(|waiting| waiting.until);
        until.chain(self.accept_at).min()
    }

    /// Accepts a connection if `is_ready`, reads the ones that wait, and closes those that sent
    /// something wrong or nothing in time. Returns the newest that has sent `adopt`.
    pub(crate) fn serve(&mut self, is_ready: bool, buffer: &mut Vec<u8>) -> Option<Connection> {
        let now = Instant::now();
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
        }
        let mut adopted = None;
        let mut waiting = std::mem::take(&mut self.waiting);
        for mut one in waiting.drain(..) {
            let is_open = one.connection.read(buffer);
            match one.connection.next_order() {
                Ok(Some(Order::Adopt)) => adopted = Some(one.connection),
                Ok(None) if is_open && one.connection.received < ADOPT_BYTES && one.until > now => {
                    self.waiting.push(one);
                }
                _ => {}
            }
        }
        if is_ready {
            match platform::accept(&self.listener) {
                Ok(socket) => {
                    if platform::is_peer_trusted(&socket).unwrap_or(false) {
                        self.waiting.push(Waiting {
                            connection: Connection::new(socket),
                            until: now + ADOPT_TIME_MAX,
                        });
                    }
                }
                Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => self.accept_at = Some(now + ACCEPT_PAUSE),
            }
        }
        adopted
    }

    /// Removes the socket: nothing more is adopted.
    pub(crate) fn remove_socket(&self) {
        let _ = unlinkat(&self.folder, SOCKET, AtFlags::empty());
    }

    /// Removes the socket and the lock.
    pub(crate) fn remove_files(&self) {
        self.remove_socket();
        let _ = unlinkat(&self.folder, LOCK, AtFlags::empty());
    }

    /// Removes the folder, if it holds nothing that this crate does not know.
    pub(crate) fn remove(&self) {
        self.remove_files();
        let _ = unlinkat(&self.folder, RECORD, AtFlags::empty());
        let _ = rustix::fs::rmdir(&self.path);
    }
}

/// Makes the socket. The process has one thread, so it may enter the folder meanwhile: the length
/// of the folder's path does not matter.
fn listen(folder: &OwnedFd) -> io::Result<OwnedFd> {
    let socket = platform::socket()?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    rustix::process::fchdir(folder)?;
    let umask = rustix::process::umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
    let bound = SocketAddrUnix::new(SOCKET)
        .and_then(|address| rustix::net::bind(&socket, &address))
        .and_then(|()| rustix::net::listen(&socket, WAITING_MAX as i32));
    rustix::process::umask(umask);
    rustix::process::chdir("/")?;
    bound?;
    Ok(socket)
}
