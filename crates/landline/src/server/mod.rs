//! The server: accepts connections, logs people in, and serves their channels.

mod capacity;
mod connection;
mod control;
mod home;
mod listening;
pub(crate) mod login;
mod reload;
mod revocation;
mod services;
mod shared;

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use capacity::Capacity;
use connection::{admit, serve};
use control::ControlSocket;
pub use home::noted_home;
use listening::accept;
pub use services::words;
use services::{ServiceParts, registry, words_with};
use shared::Shared;
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, EventSink, RELEASE,
    admin::{self, Administration, server::AdminService},
    admission::{Admission, Signing},
    audit::{Audit, AuditOptions, Entry},
    crypto::Fingerprint,
    files::Partials,
    login::{INVITE_TIME, Identity, Invite},
    net::{AuditRateLimiters, HostPort, RateLimiters, Transport},
    password::Passwords,
    paths::{FolderLock, PrivateFolder, Root},
    rights::RightsFile,
    session::{Drain, MessageRight, Service, Sessions, Threads, WorkTable},
    store::{LOCK_FILE, Purpose, STORE_FILE, Store, invite_id},
};

/// Threads for logins, administration and revocation.
const LOGIN_THREADS: usize = 4;
const INVITE_FILE: &str = "invite";
/// Half-open connections at a time.
const HALF_OPEN_MAX: usize = 512;
/// How often copies that were broken off long ago are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// How long a server that starts waits for a command that holds the lock.
const LOCK_TIME: Duration = Duration::from_secs(30);
/// The time between two attempts to take the lock.
const LOCK_RETRY_TIME: Duration = Duration::from_millis(20);
/// How long requests of commands may take that are received when the server ends.
const CONTROL_ENDING_TIME: Duration = Duration::from_secs(10);

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The state folder.
    pub state: PathBuf,
    /// The folder that is the accounts' home.
    pub home: PathBuf,
    /// Connections that are logged in, at a time; further logins are refused. A fourth of them, at
    /// most 16, is kept for those who may administer. Half-open ones are counted apart: as
    /// many, but at most 512.
    pub connections_max: usize,
    /// How long transfers may go on once the server drains.
    pub drain_time: Duration,
    /// How long a session whose last connection was lost waits for its client to attach again;
    /// zero ends it at once.
    pub session_linger: Duration,
    /// How the audit log is kept.
    pub audit: AuditOptions,
}

/// A server that has its state and does not listen yet.
pub struct Server {
    shared: Arc<Shared>,
    drain_time: Duration,
    audit_problem: Option<String>,
    partials: Partials,
    admin: Arc<AdminService>,
    control: ControlSocket,
    // Released last.
    _lock: FolderLock,
}

impl Server {
    /// Opens the state, making it on first use. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where the state cannot be used, its rights are broken, or another server
    /// uses it; `audit` where an owner who has joined has no rights yet, and they cannot be
    /// written down.
    pub fn open(options: &ServerOptions) -> Result<Self, Error> {
        Self::open_with(options, Vec::new())
    }

    /// As [`open`](Self::open), with further services. Blocking.
    ///
    /// # Errors
    /// As [`open`](Self::open); `io` where the [`Registry`](crate::session::Registry) refuses a
    /// service.
    pub fn open_with(
        options: &ServerOptions,
        further: Vec<Arc<dyn Service>>,
    ) -> Result<Self, Error> {
        let folder = PrivateFolder::open_or_create(&options.state)?.subfolder("server")?;
        let lock = take_lock(&folder, &options.state)?;
        let folder = Arc::new(folder);
        let control = ControlSocket::bind(folder.clone())?;
        folder.sweep();
        let store = Arc::new(Store::open(&folder.path_of(STORE_FILE))?);
        let identity = Identity::load_or_create(&folder, store.has_accounts()?)?;
        let (audit, audit_problem) = Audit::open(&folder, &options.audit)?;
        audit.note(Entry::Started {
            release: RELEASE.to_owned(),
        });
        let root = Arc::new(Root::open(&options.home, &options.state)?);
        home::note(&folder, &options.home)?;
        let partials = Partials::open(&folder)?;
        let sessions = Sessions::default();
        let rights = Arc::new(RightsFile::of_server(
            folder.clone(),
            words_with(&further)?,
            audit.clone(),
            store.owner()?.as_ref(),
        )?);
        let passwords = Arc::new(Passwords::open(&store, identity.fingerprint())?);
        let administration = Administration::new(
            folder.clone(),
            store.clone(),
            rights.clone(),
            passwords.clone(),
            identity.fingerprint(),
            Some(audit.clone()),
        );
        let threads = Threads::start("landline-login", LOGIN_THREADS)?;
        let admin = Arc::new(AdminService {
            administration: Arc::new(administration),
            sessions: sessions.clone(),
            threads: threads.clone(),
        });
        let parts = ServiceParts {
            admin: admin.clone(),
            partials: partials.clone(),
        };
        let services = registry(&parts, further)?;
        Ok(Self {
            shared: Arc::new(Shared {
                folder,
                identity,
                store,
                root,
                sessions,
                rights,
                rate_limiters: RateLimiters::default(),
                audit_rate_limiters: AuditRateLimiters::default(),
                passwords,
                audit,
                signing: Signing::default(),
                services,
                work: WorkTable::default(),
                session_linger: options.session_linger,
                threads,
                admission: Admission::new(options.connections_max.min(HALF_OPEN_MAX)),
                connections: Capacity::new(options.connections_max),
            }),
            audit_problem,
            partials,
            admin,
            control,
            drain_time: options.drain_time,
            _lock: lock,
        })
    }

    /// The fingerprint that clients pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.shared.identity.fingerprint()
    }

    /// What was found wrong with the audit log when it was opened, if anything was.
    pub fn audit_problem(&self) -> Option<&str> {
        self.audit_problem.as_deref()
    }

    /// The live sessions, to look at and to end.
    pub fn sessions(&self) -> Sessions {
        self.shared.sessions.clone()
    }

    /// Every message that this server accepts, with its state and the right that it needs.
    pub fn message_rights(&self) -> &[MessageRight] {
        self.shared.services.table()
    }

    /// The accounts, keys and invites.
    pub fn administration(&self) -> &Administration {
        &self.admin.administration
    }

    /// The blocking work that runs for users.
    pub fn work(&self) -> &WorkTable {
        &self.shared.work
    }

    /// Who may do what.
    pub fn rights(&self) -> Arc<RightsFile> {
        self.shared.rights.clone()
    }

    /// Makes a fresh invite for the owner of this server; `None` once somebody has an account. Any
    /// earlier one is void. This invite and later ones name the addresses that `reachable` lists
    /// when they are made. It is in the audit log before it is good. Blocking.
    ///
    /// # Errors
    /// `audit`, [`Error::State`].
    pub fn owner_invite(
        &self,
        reachable: impl Fn() -> Vec<HostPort> + Send + Sync + 'static,
    ) -> Result<Option<Invite>, Error> {
        self.shared.folder.remove(INVITE_FILE)?;
        self.administration().set_reachable(Box::new(reachable));
        let addresses = self.administration().addresses()?;
        if self.shared.store.has_accounts()? {
            return Ok(None);
        }
        let invite = Invite::new(addresses, self.fingerprint());
        let (user, session, action, subject) =
            (None, None, "make-invite".to_owned(), String::new());
        let detail = Some(admin::of_invite(
            &invite_id(&invite.token),
            Purpose::Owner,
            INVITE_TIME,
        ));
        self.shared.audit.record_blocking(Entry::Admin {
            user,
            session,
            action,
            subject,
            detail,
        })?;
        self.shared
            .store
            .put_owner_invite(&invite.token, INVITE_TIME)?;
        Ok(Some(invite))
    }

    /// Writes an invite to a file that only the owner of the state folder can read. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn write_invite(&self, invite: &Invite) -> Result<PathBuf, Error> {
        self.shared
            .folder
            .write(INVITE_FILE, format!("{invite}\n").as_bytes())?;
        Ok(self.shared.folder.path_of(INVITE_FILE))
    }

    /// Serves one connection that was accepted elsewhere, such as an in-memory one, from its first
    /// byte to its last. `peer` is what events call it.
    pub async fn serve_connection(
        &self,
        transport: Box<dyn Transport>,
        peer: SocketAddr,
        events: EventSink,
    ) {
        let Some(ticket) = admit(&self.shared, peer, &events) else {
            return;
        };
        serve(
            transport,
            peer,
            ticket,
            self.shared.clone(),
            Drain::never(),
            events,
        )
        .await;
    }

    /// Serves until `shutdown` completes, then drains: no more connections, idle ones end,
    /// transfers go on until the drain time is over. A notice of `reload` has the rights read
    /// at once; that they have changed is noticed without it within a second.
    ///
    /// # Errors
    /// Where connections cannot be waited for at all.
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
        reload: Arc<Notify>,
        events: EventSink,
    ) -> Result<(), Error> {
        let mut upkeep = JoinSet::new();
        upkeep.spawn(reload::follow(
            self.shared.rights.clone(),
            reload,
            events.clone(),
        ));
        upkeep.spawn(revocation::watch(
            self.shared.store.clone(),
            self.shared.sessions.clone(),
            self.shared.threads.clone(),
            events.clone(),
        ));
        upkeep.spawn(expire(self.partials.clone()));
        let stop = CancellationToken::new();
        let mut control = JoinSet::new();
        control.spawn(self.control.serve(self.admin.clone(), stop.clone()));
        let served = accept(
            self.shared.clone(),
            listener,
            self.drain_time,
            shutdown,
            events,
        )
        .await;
        // Commands may end sessions until none is left.
        stop.cancel();
        let _ = tokio::time::timeout(CONTROL_ENDING_TIME, control.join_next()).await;
        let admin = self.admin.clone();
        // Commands that find no server go by the addresses that it had last.
        let save = move || admin.administration.addresses().map(drop);
        let _ = tokio::task::spawn_blocking(save).await;
        // A log that cannot be written has refused everything that it should have.
        let _ = self.shared.audit.close().await;
        served.map_err(|error| Error::io("the listener", &error))
    }
}

/// Takes the lock on the server's state. A command may hold it for a moment. Blocking.
fn take_lock(folder: &PrivateFolder, state: &Path) -> Result<FolderLock, Error> {
    let deadline = Instant::now() + LOCK_TIME;
    loop {
        if let Some(lock) = folder.try_lock(LOCK_FILE)? {
            return Ok(lock);
        }
        if ControlSocket::is_served(folder) || Instant::now() >= deadline {
            let problem = "another server uses this state folder";
            return Err(Error::state(state.display(), problem));
        }
        std::thread::sleep(LOCK_RETRY_TIME);
    }
}

/// Looks for copies that were broken off long ago, now and then.
async fn expire(partials: Partials) {
    let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
    loop {
        expiry.tick().await;
        let partials = partials.clone();
        // What cannot be removed now is tried again next time.
        tokio::task::spawn_blocking(move || drop(partials.sweep()));
    }
}
