//! The server: accepts connections, logs users in, and serves their channels.

mod bundles;
mod connection;
mod connection_slots;
mod control;
mod listening;
pub(crate) mod login;
mod recorded_settings;
mod reload;
mod revocation;
mod services;
mod state;

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bundles::Bundles;
use connection::serve_if_admitted;
use connection_slots::ConnectionSlots;
use control::ControlSocket;
use listening::accept;
pub use recorded_settings::RecordedSettings;
use services::{ServiceParts, registry, words_with};
pub use services::{message_types, words};
use state::ServerState;
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore, broadcast},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, RELEASE,
    activity::{Activity, Record},
    admin::{self, Administration, server::AdminService},
    admission::{Admission, Signing},
    audit::{Audit, AuditOptions, Priority},
    crypto::Fingerprint,
    exec::{
        ExecOptions,
        hand_over::HandOver,
        jobs::{JobTable, JobTableParts},
        lost_runs::LostRuns,
    },
    files::ManifestStore,
    forward::OwnListener,
    login::{INVITE_TIME, Identity, Invite},
    net::{BufferPool, HostPort, RateLimiters, Transport},
    password::Passwords,
    paths::{FolderLock, PrivateFolder, Root},
    rights::RightsFile,
    session::{MessageRight, Service, Sessions, TaskDrain, Threads, WorkTable},
    store::{LOCK_FILE, Purpose, Store, WorkStore, invite_id},
};

/// The pause between two looks at what a server that ends still waits for.
const HAND_OVER_PAUSE: Duration = Duration::from_millis(50);
/// Threads for logins, administration and revocation.
const LOGIN_THREADS: usize = 4;
/// The server's part of the state folder.
const FOLDER: &str = "server";
const INVITE_FILE: &str = "invite";
/// The most half-open connections at a time.
const HALF_OPEN_MAX: usize = 512;
/// The most clients that are told at a time that they are shut out.
const NOTICES_MAX: usize = 16;
/// How often expired unfinished copies are removed.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// How long a server that starts waits for a command that holds the lock.
const LOCK_TIME: Duration = Duration::from_secs(30);
/// The time between two attempts to take the lock.
const LOCK_RETRY_TIME: Duration = Duration::from_millis(20);
/// How long requests of commands may take that are received when the server ends.
const CONTROL_ENDING_TIME: Duration = Duration::from_secs(10);

/// Options of a server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The state folder.
    pub state: PathBuf,
    /// The folder that is the home of all accounts.
    pub home: PathBuf,
    /// The most logged-in connections; further logins are rejected.
    ///
    /// A quarter, at most 16, is reserved for admins. Half-open connections are counted apart,
    /// with the same limit but at most 512.
    pub connections_max: usize,
    /// How long transfers may continue after the server starts to drain.
    pub drain_time: Duration,
    /// How long a session waits after its last connection was lost.
    ///
    /// The client can attach again in that time. Zero ends the session at once.
    pub session_linger: Duration,
    /// Options of the audit log.
    pub audit: AuditOptions,
    /// How commands are run; `None` refuses all.
    pub exec: Option<ExecOptions>,
}

/// A server that has opened its state and does not listen yet.
pub struct Server {
    state: Arc<ServerState>,
    drain_time: Duration,
    audit_problem: Option<String>,
    manifests: ManifestStore,
    jobs: JobTable,
    lost_runs: LostRuns,
    hand_over: HandOver,
    admin: Arc<AdminService>,
    control: ControlSocket,
    own_listener: OwnListener,
    // Released last.
    _lock: FolderLock,
}

impl Server {
    /// Opens the state folder, or creates it.
    ///
    /// # Errors
    /// [`Error::State`] if the state cannot be used or its rights file is broken,
    /// [`Error::InUse`] if another server uses it. `audit` if the initial rights of the owner
    /// cannot be logged.
    ///
    /// # Blocking
    /// Reads and writes files.
    pub fn open(options: &ServerOptions) -> Result<Self, Error> {
        Self::open_with(options, Vec::new())
    }

    /// As [`open`](Self::open), with further services.
    ///
    /// # Errors
    /// As [`open`](Self::open); `io` if the `Registry` rejects a
    /// service.
    ///
    /// # Blocking
    /// Reads and writes files.
    pub fn open_with(
        options: &ServerOptions,
        further: Vec<Arc<dyn Service>>,
    ) -> Result<Self, Error> {
        let (folder, lock, control) = own_folder(&options.state)?;
        let store = Arc::new(Store::open_in(&folder)?);
        let work_store = WorkStore::open(&folder, &store)?;
        let identity = Identity::load_or_create(&folder, store.has_accounts()?)?;
        let (audit, audit_problem) = Audit::open(&folder, &options.audit)?;
        let release = RELEASE.to_owned();
        audit.note(Activity::Started { release }, Priority::Exempt);
        let root = Arc::new(Root::open(&options.home, &options.state)?);
        let share_uid = options.exec.as_ref().is_some_and(|exec| exec.share_uid);
        let recorded = RecordedSettings {
            home: options.home.clone(),
            share_uid,
        };
        recorded.save(&folder)?;
        let manifests = ManifestStore::open(&folder)?;
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
        )
        .with_work_store(work_store.clone());
        let threads = Threads::start("landline-login", LOGIN_THREADS)?;
        let admin = Arc::new(AdminService {
            administration: Arc::new(administration),
            sessions: sessions.clone(),
            threads: threads.clone(),
            share_uid,
        });
        let jobs = JobTable::open(
            &folder,
            JobTableParts {
                store: store.clone(),
                rights: rights.clone(),
                root: root.clone(),
                audit: audit.clone(),
                share_uid,
            },
        )?;
        let lost_runs = LostRuns::open(&folder, jobs.clone())?;
        let hand_over = HandOver::default();
        let own_listener = OwnListener::default();
        let parts = ServiceParts {
            own_listener: own_listener.clone(),
            admin: admin.clone(),
            manifests: manifests.clone(),
            exec: options.exec.clone(),
            jobs: jobs.clone(),
            lost_runs: lost_runs.clone(),
            hand_over: hand_over.clone(),
        };
        let services = registry(&parts, further)?;
        Ok(Self {
            state: Arc::new(ServerState {
                folder,
                identity,
                store,
                work_store,
                root,
                sessions,
                rights,
                rate_limiters: RateLimiters::default(),
                buffers: BufferPool::default(),
                passwords,
                audit,
                signing: Signing::default(),
                services,
                work: WorkTable::default(),
                session_linger: options.session_linger,
                threads,
                notices: Semaphore::new(NOTICES_MAX),
                admission: Admission::new(options.connections_max.min(HALF_OPEN_MAX)),
                bundles: Bundles::default(),
                connections: ConnectionSlots::new(options.connections_max),
            }),
            audit_problem,
            manifests,
            jobs,
            lost_runs,
            hand_over,
            admin,
            control,
            own_listener,
            drain_time: options.drain_time,
            _lock: lock,
        })
    }

    /// The fingerprint that clients pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.state.identity.fingerprint()
    }

    /// What is wrong with the audit log that was opened, if anything.
    pub fn audit_problem(&self) -> Option<&str> {
        self.audit_problem.as_deref()
    }

    /// Subscribes to everything that happens on the server, from now on; see [`Audit::subscribe`].
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Record>> {
        self.state.audit.subscribe()
    }

    /// The live sessions, to list and to end.
    pub fn sessions(&self) -> Sessions {
        self.state.sessions.clone()
    }

    /// Every message that this server accepts, with its state and right.
    pub fn message_rights(&self) -> &[MessageRight] {
        self.state.services.table()
    }

    /// The accounts, keys and invites.
    pub fn administration(&self) -> &Administration {
        &self.admin.administration
    }

    /// The blocking work that runs for users.
    pub fn work(&self) -> &WorkTable {
        &self.state.work
    }

    /// The rights of all users.
    pub fn rights(&self) -> Arc<RightsFile> {
        self.state.rights.clone()
    }

    /// Creates an invite for the owner of this server, in place of any earlier one.
    ///
    /// This invite and later ones have the addresses that `reachable` lists when they are created.
    /// `None` once there is an account. The invite is logged before it becomes valid.
    ///
    /// # Errors
    /// `audit`, [`Error::State`].
    ///
    /// # Blocking
    /// Reads and writes files.
    pub fn owner_invite(
        &self,
        reachable: impl Fn() -> Vec<HostPort> + Send + Sync + 'static,
    ) -> Result<Option<Invite>, Error> {
        self.state.folder.remove(INVITE_FILE)?;
        self.administration().set_reachable(Box::new(reachable));
        let addresses = self.administration().addresses()?;
        if self.state.store.has_accounts()? {
            return Ok(None);
        }
        let invite = Invite::new(addresses, self.fingerprint());
        let id = invite_id(&invite.token);
        let made = Activity::Admin {
            user: None,
            session: None,
            action: "make-invite".to_owned(),
            subject: String::new(),
            detail: Some(admin::invite_detail(&id, Purpose::Owner, INVITE_TIME)),
        };
        self.state.audit.record_blocking(made, Priority::Exempt)?;
        self.state
            .store
            .put_owner_invite(&invite.token, INVITE_TIME)?;
        Ok(Some(invite))
    }

    /// Writes an invite to a file with mode 0600.
    ///
    /// # Errors
    /// [`Error::State`].
    ///
    /// # Blocking
    /// Writes a file.
    pub fn write_invite(&self, invite: &Invite) -> Result<PathBuf, Error> {
        self.state
            .folder
            .write(INVITE_FILE, format!("{invite}\n").as_bytes())?;
        Ok(self.state.folder.path_of(INVITE_FILE))
    }

    /// Serves one connection that was accepted elsewhere, such as an in-memory one.
    ///
    /// The client is known by `peer`.
    pub async fn serve_connection(&self, transport: Box<dyn Transport>, peer: SocketAddr) {
        serve_if_admitted(transport, peer, self.state.clone(), TaskDrain::never()).await;
    }

    /// Serves until `shutdown` completes, then drains.
    ///
    /// A draining server accepts no connections and ends idle ones. Transfers continue until the
    /// drain time is over. A notification of `reload` makes the server read the rights file at
    /// once; without one it notices a change within a second.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
        reload: Arc<Notify>,
    ) -> Result<(), Error> {
        if let Ok(address) = listener.local_addr() {
            let _ = self.own_listener.set(address);
        }
        let mut maintenance = JoinSet::new();
        maintenance.spawn(reload::follow(
            self.state.rights.clone(),
            reload,
            self.state.audit.clone(),
        ));
        maintenance.spawn(revocation::watch(
            self.state.store.clone(),
            self.state.sessions.clone(),
            self.state.threads.clone(),
            self.state.audit.clone(),
        ));
        maintenance.spawn(expire(self.manifests.clone()));
        tokio::join!(self.jobs.adopt(), self.lost_runs.adopt());
        maintenance.spawn(self.jobs.clone().watch());
        let stop = CancellationToken::new();
        let mut control = JoinSet::new();
        control.spawn(self.control.serve(self.admin.clone(), stop.clone()));
        let (lost_runs, sessions) = (self.lost_runs.clone(), self.state.sessions.clone());
        let shutdown = async {
            shutdown.await;
            lost_runs.stop();
            maintenance.spawn(hand_over_when_alone(self.hand_over.clone(), sessions));
        };
        let served = accept(self.state.clone(), listener, self.drain_time, shutdown).await;
        // Commands may end sessions until none is left.
        stop.cancel();
        let _ = tokio::time::timeout(CONTROL_ENDING_TIME, control.join_next()).await;
        let admin = self.admin.clone();
        // Commands that find no server go by the addresses that it had last.
        let save = move || admin.administration.addresses().map(drop);
        let _ = tokio::task::spawn_blocking(save).await;
        // The log has rejected everything that it could not record.
        let _ = self.state.audit.close().await;
        served.map_err(|error| Error::io("the listener", &error))
    }
}

/// Leaves to the next server what it can continue, once there is nothing else to wait for.
async fn hand_over_when_alone(hand_over: HandOver, sessions: Sessions) {
    while sessions.connections() > hand_over.connections() {
        tokio::time::sleep(HAND_OVER_PAUSE).await;
    }
    hand_over.begin();
}

/// Checks that no server uses the state folder. Creates nothing, even if there is no such folder.
///
/// # Errors
/// [`Error::InUse`]; [`Error::State`] if the folder cannot be used.
///
/// # Blocking
/// Connects to a socket in the folder, and never waits for long.
pub fn check_unused(state: &Path) -> Result<(), Error> {
    match PrivateFolder::open_existing(&state.join(FOLDER))? {
        Some(folder) if ControlSocket::is_served(&folder) => Err(in_use(&folder, state)),
        _ => Ok(()),
    }
}

fn in_use(folder: &PrivateFolder, state: &Path) -> Error {
    Error::InUse {
        path: state.display().to_string(),
        pid: ControlSocket::server_process(folder),
    }
}

/// Becomes the owner of the server's part of the state folder. Blocking.
fn own_folder(state: &Path) -> Result<(Arc<PrivateFolder>, FolderLock, ControlSocket), Error> {
    let folder = Arc::new(PrivateFolder::open_or_create(state)?.subfolder(FOLDER)?);
    let lock = take_lock(&folder, state)?;
    let control = ControlSocket::bind(folder.clone())?;
    folder.sweep();
    Ok((folder, lock, control))
}

/// Takes the lock on the server's state. A command may hold it for a moment. Blocking.
fn take_lock(folder: &PrivateFolder, state: &Path) -> Result<FolderLock, Error> {
    let deadline = Instant::now() + LOCK_TIME;
    loop {
        if let Some(lock) = folder.try_lock(LOCK_FILE)? {
            return Ok(lock);
        }
        if ControlSocket::is_served(folder) || Instant::now() >= deadline {
            return Err(in_use(folder, state));
        }
        std::thread::sleep(LOCK_RETRY_TIME);
    }
}

/// Removes expired manifests periodically.
async fn expire(manifests: ManifestStore) {
    let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
    loop {
        expiry.tick().await;
        let manifests = manifests.clone();
        // What cannot be removed now is tried again at the next tick.
        tokio::task::spawn_blocking(move || drop(manifests.sweep()));
    }
}
