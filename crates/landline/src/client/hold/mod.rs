//! Held sessions: one process keeps a session, and commands open their channels through it.
//!
//! A command connects to the Unix socket of that process and sends `o`. The process answers `y`
//! and passes bytes between the command and a connection that it keeps attached in reserve. So the
//! command needs neither a login nor a handshake: the next round trip is already that of its
//! request. `a` asks for the attachment, with which a command that moves much content connects by
//! itself. `i` asks what is held, and `s` ends it.

mod holder;

use std::{os::unix::net::UnixListener, time::Duration};

use data_encoding::HEXLOWER;
pub use holder::{Hold, ListeningHold};
use landline_proto::{
    Limits,
    login::{BindingType, SessionId, UserName},
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use zeroize::{Zeroize, Zeroizing};

use super::{Client, ClientSession, FindCredential};
use crate::{
    Error,
    crypto::sha256,
    keys::SecretKey,
    login::{AuthMethod, Credential, FirstRequest, KeySources, KnownServer},
    net::{Channel, local_stream},
    paths::{File, PrivateFolder, local, user_id},
};

/// The folder of the sockets, in that of the client.
const FOLDER: &str = "hold";
/// The ending of the name of a socket, and of its lock.
const SOCKET: &str = ".socket";
const LOCK: &str = ".lock";

/// The requests, and the answer to those that are granted.
const OPEN: u8 = b'o';
const ATTACH: u8 = b'a';
const INFO: u8 = b'i';
const STOP: u8 = b's';
const GRANTED: u8 = b'y';

/// How long a process may take for an answer, or a command for its request.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// The longest answer to [`INFO`].
const INFO_BYTES_MAX: u64 = 64 * 1024;
/// The longest answer to [`ATTACH`].
const ATTACHMENT_BYTES_MAX: usize = 1024;

/// The name of a held session: a digest of all that decides about a login.
///
/// A command that would log in to another server, with another fingerprint, by another route, as
/// another user or with another key finds another name, so it logs in by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldKey(String);

impl HoldKey {
    /// The name for logins at `server` with its route, with keys of `sources`.
    pub fn new(server: &KnownServer, sources: &KeySources) -> Self {
        let route = server.via.as_ref().map(ToString::to_string);
        let saved = (&server.key, &server.agent_key, &server.secret);
        let is_saved = saved != (&None, &None, &None);
        let found = (!is_saved).then_some((
            &sources.files,
            sources.files_only,
            &sources.agent,
            &sources.defaults,
            server.password,
        ));
        let parts = (
            "landline hold 1",
            server.address().to_string(),
            server.fingerprint.to_string(),
            server.user.as_str(),
            route,
            saved,
            found,
        );
        // Unlike JSON it can show any path.
        let text = format!("{parts:?}");
        let digest = sha256(text.as_bytes());
        let short = digest.get(..16).unwrap_or_default();
        Self(HEXLOWER.encode(short))
    }

    fn socket(&self) -> String {
        format!("{}{SOCKET}", self.0)
    }

    fn lock(&self) -> String {
        format!("{}{LOCK}", self.0)
    }
}

/// What a process holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HoldInfo {
    /// The server, as [`KnownServer`] is displayed.
    pub server: String,
    /// The user who is logged in.
    pub user: UserName,
    /// How many channels are open for commands.
    pub channels: usize,
    /// In how many seconds it ends, if no command uses it.
    pub seconds_left: u64,
}

/// What attaches connections to a held session. The session is held at least until this is dropped.
pub(super) struct HeldAttachment {
    pub(super) credential: Credential,
    /// The process takes the session for used as long as this is open.
    pub(super) usage: UnixStream,
}

/// The answer to [`ATTACH`]: a line of JSON.
#[derive(Serialize, Deserialize)]
struct Attachment {
    user: UserName,
    session: SessionId,
    /// The attach secret, in hexadecimal.
    secret: String,
    binding: BindingType,
}

impl Attachment {
    /// `None` for a credential that does not attach.
    fn of(credential: &Credential) -> Option<Self> {
        let AuthMethod::Attach {
            session,
            secret,
            binding,
        } = &credential.method
        else {
            return None;
        };
        Some(Self {
            user: credential.user.clone(),
            session: *session,
            secret: HEXLOWER.encode(secret.bytes()),
            binding: *binding,
        })
    }

    /// `None` if the secret is none.
    fn credential(&self) -> Option<Credential> {
        let secret = Zeroizing::new(HEXLOWER.decode(self.secret.as_bytes()).ok()?);
        let method = AuthMethod::Attach {
            session: self.session,
            secret: SecretKey::from_bytes(*secret.first_chunk().filter(|_| secret.len() == 32)?),
            binding: self.binding,
        };
        Some(Credential::new(self.user.clone(), method))
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Client {
    /// Whether there may be a held session.
    ///
    /// # Blocking
    /// Reads a folder.
    pub fn has_holds(&self) -> bool {
        let names = local::names(&self.folder.path_of(FOLDER));
        let mut names = names.iter().filter_map(|name| name.to_str());
        names.any(|name| name.ends_with(SOCKET))
    }

    /// Opens a channel through the process that holds such a session; `None` if there is none.
    ///
    /// Nothing of `first` is sent unless the process grants it.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub async fn open_held(
        &self,
        key: &HoldKey,
        first: &FirstRequest,
    ) -> Result<Option<Channel>, Error> {
        let Some(stream) = self.ask(&key.socket(), OPEN).await else {
            return Ok(None);
        };
        let mut channel = Channel::with_limits(local_stream(stream), Limits::SESSION);
        first.send(&mut channel).await?;
        Ok(Some(channel))
    }

    /// Such a held session with `server`; `None` if there is none.
    ///
    /// It has connections of its own. They are worth their handshakes where much content is moved:
    /// its bytes do not pass through another process, and further connections can be added. If the
    /// session is over, the next channel logs in with what `find_credential` finds.
    pub async fn held_session(
        &self,
        key: &HoldKey,
        server: &KnownServer,
        find_credential: FindCredential,
    ) -> Option<ClientSession> {
        let attachment = self.held_attachment(key).await?;
        let server = server.clone();
        Some(ClientSession::held(server, attachment, find_credential))
    }

    async fn held_attachment(&self, key: &HoldKey) -> Option<HeldAttachment> {
        let mut usage = self.ask(&key.socket(), ATTACH).await?;
        // It never grows, so that nothing is left behind.
        let mut answer = Zeroizing::new(Vec::with_capacity(ATTACHMENT_BYTES_MAX));
        let read = async {
            while !answer.ends_with(b"\n") {
                let has_room = answer.len() < ATTACHMENT_BYTES_MAX;
                if !has_room || usage.read_buf(&mut *answer).await.ok()? == 0 {
                    return None;
                }
            }
            serde_json::from_slice::<Attachment>(&answer).ok()
        };
        let attachment = tokio::time::timeout(ANSWER_TIME_MAX, read).await.ok()??;
        let credential = attachment.credential()?;
        Some(HeldAttachment { credential, usage })
    }

    /// What is held now.
    ///
    /// # Errors
    /// [`Error::State`].
    pub async fn holds(&self) -> Result<Vec<HoldInfo>, Error> {
        let Some(folder) = self.hold_folder()? else {
            return Ok(Vec::new());
        };
        let mut holds = Vec::new();
        for name in folder.names()? {
            if !name.ends_with(SOCKET) {
                continue;
            }
            let Some(stream) = self.ask(&name, INFO).await else {
                continue;
            };
            let mut text = Vec::new();
            let mut stream = stream.take(INFO_BYTES_MAX);
            let read = tokio::time::timeout(ANSWER_TIME_MAX, stream.read_to_end(&mut text));
            if let (Ok(Ok(_)), Ok(info)) = (read.await, serde_json::from_slice(&text)) {
                holds.push(info);
            }
        }
        Ok(holds)
    }

    /// Ends a held session once its commands have ended. Returns whether there was one.
    pub async fn end_hold(&self, key: &HoldKey) -> bool {
        let Some(mut stream) = self.ask(&key.socket(), STOP).await else {
            return false;
        };
        // It closes when the socket is gone.
        let _ = tokio::time::timeout(ANSWER_TIME_MAX, stream.read_to_end(&mut Vec::new())).await;
        true
    }

    /// The place for a session with this name; `None` if another process holds it.
    ///
    /// # Errors
    /// [`Error::State`].
    ///
    /// # Blocking
    /// Writes files.
    pub fn hold_place(&self, key: &HoldKey) -> Result<Option<HoldPlace>, Error> {
        let folder = self.folder.create()?.subfolder(FOLDER)?;
        let lock = folder.open_locked(&key.lock())?;
        Ok(lock.map(|lock| HoldPlace {
            folder,
            key: key.clone(),
            _lock: lock,
        }))
    }

    fn hold_folder(&self) -> Result<Option<PrivateFolder>, Error> {
        Ok(PrivateFolder::open_existing(&self.folder.path_of(FOLDER))?)
    }

    /// Connects to a process of this user, and sends a request. `None` unless it is granted.
    async fn ask(&self, socket: &str, request: u8) -> Option<UnixStream> {
        let folder = self.hold_folder().ok()??;
        let path = folder.socket_path(socket).ok()?;
        let asked = async {
            let mut stream = UnixStream::connect(path.path()).await.ok()?;
            let is_ours = stream.peer_cred().ok()?.uid() == user_id();
            stream
                .write_all(&[request])
                .await
                .ok()
                .filter(|()| is_ours)?;
            let granted = stream.read_u8().await.ok()? == GRANTED;
            granted.then_some(stream)
        };
        tokio::time::timeout(ANSWER_TIME_MAX, asked).await.ok()?
    }
}

/// The name of a session that this process may hold. It is free again when this is dropped.
#[derive(Debug)]
pub struct HoldPlace {
    folder: PrivateFolder,
    key: HoldKey,
    _lock: File,
}

impl HoldPlace {
    fn bind(&self) -> Result<UnixListener, Error> {
        Ok(self.folder.bind_socket(&self.key.socket())?)
    }
}

impl Drop for HoldPlace {
    fn drop(&mut self) {
        let _ = self.folder.remove(&self.key.socket());
        let _ = self.folder.remove(&self.key.lock());
    }
}
