//! The server of this machine, for commands on the same machine.
//!
//! One process owns the state folder. While a server runs, that is the server, and commands reach
//! it through its control socket. Where none runs, a command takes the server's lock and opens the
//! store itself for one request.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use landline_proto::{ErrorCode, messages::Open};
use tokio::{net::UnixStream, task::spawn_blocking};

use super::{
    Administration, Answer, Request, client,
    control::{GREETING, LIMITS, SOCKET, ServerStatus},
    messages,
};
use crate::{
    Error, RELEASE, Side,
    audit::Audit,
    crypto::Fingerprint,
    login::Identity,
    net::{Channel, HostPort, local_stream},
    password::Passwords,
    paths::{FolderLock, PrivateFolder, user_id},
    rights::{RightWords, RightsFile},
    store::{LOCK_FILE, Store},
};

/// How long a command waits while others hold the lock and no server can be reached.
const LOCK_TIME: Duration = Duration::from_secs(30);
/// How long a server may take to greet.
const GREETING_TIME: Duration = Duration::from_secs(5);
/// How long a server may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// The time between two attempts to reach a server or to take the lock.
const RETRY_TIME: Duration = Duration::from_millis(20);

/// The server of this machine, running or not.
#[derive(Debug, Clone)]
pub struct LocalServer {
    state: PathBuf,
    folder: Arc<PrivateFolder>,
    words: RightWords,
}

/// The state of the server, which a command gets without a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalStatus {
    /// Whether the server runs.
    pub is_running: bool,
    /// The fingerprint that clients pin.
    pub fingerprint: Fingerprint,
    /// The server's addresses; none if it has not run yet.
    pub addresses: Vec<HostPort>,
    /// Why the current rights file is not in force.
    ///
    /// A running server uses the earlier rules. Without a server, no account counts as an admin.
    pub rights_problem: Option<String>,
}

/// Where a request is applied.
enum Access {
    /// In the server, which has sent its greeting.
    Server(Box<Channel>, ServerStatus),
    /// In this process, while it holds the lock.
    Here(FolderLock),
}

impl LocalServer {
    /// Opens the server that keeps its state in the folder `state`, and changes nothing.
    ///
    /// `words` are the words that users have in `rights.toml`.
    ///
    /// Returns `None` if no server was set up there.
    ///
    /// # Errors
    /// [`Error::State`] if the folder cannot be used.
    ///
    /// # Blocking
    /// Reads the disk.
    pub fn open(state: &Path, words: RightWords) -> Result<Option<Self>, Error> {
        if PrivateFolder::open_to_connect(state)?.is_none() {
            return Ok(None);
        }
        let folder = PrivateFolder::open_to_connect(&state.join("server"))?;
        Ok(folder.map(|folder| Self {
            state: state.to_owned(),
            folder: Arc::new(folder),
            words,
        }))
    }

    /// Returns the state of the server.
    ///
    /// # Errors
    /// [`Error::Control`] if a server runs and does not answer, [`Error::State`].
    pub async fn status(&self) -> Result<LocalStatus, Error> {
        let (is_running, state) = match self.access().await? {
            Access::Server(channel, state) => {
                channel.finish().await;
                (true, state)
            }
            Access::Here(lock) => {
                let work = |administration: &Administration| ServerStatus::of(administration);
                (false, self.work(lock, false, work).await?)
            }
        };
        Ok(LocalStatus {
            is_running,
            fingerprint: state.fingerprint,
            addresses: state
                .addresses
                .iter()
                .map(|address| address.parse())
                .collect::<Result<_, _>>()?,
            rights_problem: state.rights_problem,
        })
    }

    /// Does a request about accounts, credentials, invites or rights.
    ///
    /// # Errors
    /// Those of [`Administration::apply`]; [`Error::Control`] where a server runs and cannot be
    /// asked. If the server ended before it answered, the change may have been made.
    ///
    /// # Cancel safety
    /// None: a change may have been made or not.
    pub async fn ask(&self, request: &Request) -> Result<Answer, Error> {
        loop {
            match self.access().await? {
                Access::Here(lock) => {
                    let (changes, request) = (!request.is_list(), request.clone());
                    let work =
                        move |administration: &Administration| administration.apply(None, &request);
                    return self.work(lock, changes, work).await;
                }
                Access::Server(mut channel, _) => {
                    let asked = ask_server(&mut channel, request);
                    match tokio::time::timeout(ANSWER_TIME, asked).await {
                        Ok(Err(error)) if is_draining(&error) => {}
                        Ok(Ok(answer)) => {
                            channel.finish().await;
                            return Ok(answer);
                        }
                        Ok(Err(error)) => return Err(self.to_local_error(error)),
                        Err(_) => return Err(self.unanswered(ANSWER_TIME)),
                    }
                }
            }
        }
    }

    /// Connects to the server, or takes the lock where none runs.
    async fn access(&self) -> Result<Access, Error> {
        let deadline = Instant::now() + LOCK_TIME;
        loop {
            if let Some((channel, state)) = self.connect().await? {
                return Ok(Access::Server(channel, state));
            }
            if let Some(lock) = self.folder.try_lock(LOCK_FILE)? {
                self.check_owner()?;
                return Ok(Access::Here(lock));
            }
            if Instant::now() >= deadline {
                let problem = format!(
                    "a process has held {} for {} s and does not answer",
                    self.folder.path_of(LOCK_FILE).display(),
                    LOCK_TIME.as_secs()
                );
                return Err(Error::control(self.socket(), problem));
            }
            tokio::time::sleep(RETRY_TIME).await;
        }
    }

    /// What root writes in the folder of another user, a server of that user cannot read.
    fn check_owner(&self) -> Result<(), Error> {
        let owner = self.folder.owner_id();
        if [user_id(), 0].contains(&owner) {
            return Ok(());
        }
        let problem = format!(
            "no server runs with this state folder; run the command as the user whom it belongs to (uid {owner})"
        );
        Err(Error::state(self.state.display(), problem))
    }

    /// A connection to the server that has greeted; `None` where none runs, or it starts or ends.
    async fn connect(&self) -> Result<Option<(Box<Channel>, ServerStatus)>, Error> {
        let deadline = Instant::now() + GREETING_TIME;
        let stream = loop {
            match self.try_connect().await {
                Ok(stream) => break stream,
                Err(error) => match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => return Ok(None),
                    // More wait already than the socket holds.
                    io::ErrorKind::WouldBlock if Instant::now() < deadline => {
                        tokio::time::sleep(RETRY_TIME).await;
                    }
                    io::ErrorKind::WouldBlock => return Err(self.unanswered(GREETING_TIME)),
                    _ => return Err(Error::control(self.socket(), error)),
                },
            }
        };
        let server = stream
            .peer_cred()
            .map_err(|error| Error::control(self.socket(), error))?;
        if ![self.folder.owner_id(), 0].contains(&server.uid()) {
            let problem = format!(
                "a process of another user (uid {}) answers on its socket",
                server.uid()
            );
            return Err(Error::control(self.socket(), problem));
        }
        let mut channel = Channel::with_limits(local_stream(stream), LIMITS);
        let greeting = channel.receive(&GREETING);
        match tokio::time::timeout_at(deadline.into(), greeting).await {
            Ok(Ok(greeting)) => Ok(Some((Box::new(channel), greeting.read()?))),
            // It ended before it said anything.
            Ok(Err(Error::Lost(_))) => Ok(None),
            Ok(Err(error)) => Err(self.to_local_error(error)),
            Err(_) => Err(self.unanswered(GREETING_TIME)),
        }
    }

    async fn try_connect(&self) -> io::Result<UnixStream> {
        let path = self.folder.socket_path(SOCKET).map_err(io::Error::other)?;
        UnixStream::connect(path.path()).await
    }

    /// Opens the store, does the work, and closes the store before the lock is released.
    async fn work<T: Send + 'static>(
        &self,
        lock: FolderLock,
        changes: bool,
        work: impl FnOnce(&Administration) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let Self {
            state,
            folder,
            words,
        } = self.clone();
        let working = spawn_blocking(move || {
            let done = open(&folder, &state, words, changes).and_then(|administration| {
                let done = work(&administration);
                if let Ok(audit) = administration.audit() {
                    // Nothing is to be written once another process owns the folder.
                    let _ = audit.flush();
                }
                done
            });
            drop(lock);
            done
        });
        working
            .await
            .unwrap_or_else(|error| Err(Error::here(ErrorCode::Io, error.to_string())))
    }

    fn socket(&self) -> String {
        self.folder.path_of(SOCKET).display().to_string()
    }

    fn unanswered(&self, time: Duration) -> Error {
        let problem = format!("the server has not answered for {} s", time.as_secs());
        Error::control(self.socket(), problem)
    }

    /// Turns an error of the server into one of this machine, which the server is on.
    fn to_local_error(&self, error: Error) -> Error {
        match error {
            Error::Failed {
                code,
                message,
                cause,
                ..
            } => Error::Failed {
                side: Side::Here,
                code,
                message,
                cause,
            },
            Error::Lost(_) => Error::control(
                self.socket(),
                "the server ended before it answered; the change may have been made",
            ),
            error => error,
        }
    }
}

/// Opens the service and asks.
async fn ask_server(channel: &mut Channel, request: &Request) -> Result<Answer, Error> {
    channel.send(&Open {
        service: messages::SERVICE.to_owned(),
    })?;
    client::ask(channel, request).await
}

impl ServerStatus {
    /// Makes the greeting for a command.
    ///
    /// # Errors
    /// [`Error::State`].
    ///
    /// # Blocking
    /// Reads or writes the disk.
    pub(crate) fn of(administration: &Administration) -> Result<Self, Error> {
        let addresses = administration.addresses()?;
        Ok(Self {
            release: RELEASE.to_owned(),
            fingerprint: administration.fingerprint(),
            addresses: addresses.iter().map(HostPort::to_string).collect(),
            rights_problem: administration.rights_problem(),
        })
    }
}

fn is_draining(error: &Error) -> bool {
    matches!(
        error,
        Error::Failed {
            code: ErrorCode::Draining,
            side: Side::There,
            ..
        }
    )
}

fn unfinished(state: &Path) -> Error {
    let problem = "the server of this state folder was never started; run landline serve first";
    Error::state(state.display(), problem)
}

/// Opens the accounts of a server that does not run. The caller holds the lock.
fn open(
    folder: &Arc<PrivateFolder>,
    state: &Path,
    words: RightWords,
    changes: bool,
) -> Result<Administration, Error> {
    let fingerprint = Identity::fingerprint_in(folder)?.ok_or_else(|| unfinished(state))?;
    let store = Arc::new(Store::open_in(folder)?);
    let rights = Arc::new(RightsFile::of_command(folder.clone(), words));
    let passwords = Arc::new(Passwords::open(&store, fingerprint)?);
    let audit = changes.then(|| Audit::open_intact(folder)).transpose()?;
    Ok(Administration::new(
        folder.clone(),
        store,
        rights,
        passwords,
        fingerprint,
        audit,
    ))
}
