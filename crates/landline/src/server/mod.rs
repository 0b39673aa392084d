//! The server: accepts connections, logs people in, and serves their channels.

mod account;
mod local;
mod reload;
mod revocation;
pub mod sessions;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use landline_proto::{ErrorCode, ProtocolError, limits::SIGNING_MAX, messages::Open, order::State};
use landline_socketserver::{
    self as socketserver, Limits,
    tasks::{self, Timed},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

use crate::{
    Error, Event, EventSink, RELEASE, Side,
    admin::{self, Administration, server::Desk},
    admission::{Admission, Source, Ticket},
    audit::{Audit, AuditOptions, Entry},
    files::{self, Partials},
    login::{self, Fingerprint, Gate, INVITE_TIME, Identity, Invite, Passwords, Session},
    net::{Channel, HostPort, Pace, Transport, tcp},
    paths::{FolderLock, PrivateFolder, Root},
    ping,
    rights::{Places, RightsFile, SessionPlace},
    store::Store,
};

pub(crate) use account::Account;
/// Tells a task that the server drains.
pub(crate) use landline_socketserver::tasks::Drain;
pub use local::LocalServer;
use sessions::Connection;
pub use sessions::Sessions;

const STORE_FILE: &str = "landline.sqlite";
const LOCK_FILE: &str = "lock";
const INVITE_FILE: &str = "invite";
/// How long connections that are ended may take to say so.
const ENDING_TIME: Duration = Duration::from_secs(2);
/// How long a frame that is being sent when its session is ended may take: what ends the session can be said behind it.
const FRAME_TIME: Duration = Duration::from_millis(300);
/// Half-open connections at a time.
const HALF_OPEN_MAX: usize = 512;
/// How often copies that were broken off long ago are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The state folder.
    pub state: PathBuf,
    /// The folder that is the accounts' home.
    pub home: PathBuf,
    /// Connections that are logged in, at a time; further logins are refused. Half-open ones are counted apart: as many, but at most 512.
    pub connections_max: usize,
    /// How long transfers may go on once the server drains.
    pub drain_time: Duration,
    /// How the audit log is kept.
    pub audit: AuditOptions,
}

/// A server that has its state and does not listen yet.
pub struct Server {
    shared: Arc<Shared>,
    drain_time: Duration,
    audit_problem: Option<String>,
    _lock: FolderLock,
}

/// What all connections share.
struct Shared {
    folder: Arc<PrivateFolder>,
    identity: Identity,
    store: Arc<Store>,
    root: Arc<Root>,
    partials: Partials,
    sessions: Sessions,
    rights: Arc<RightsFile>,
    places: Places,
    /// The passwords, where there are any.
    passwords: Option<Arc<Passwords>>,
    /// Places for logins that take a person.
    signing: Semaphore,
    audit: Audit,
    desk: Desk,
    admission: Admission,
    /// For connections that are logged in.
    connections: Arc<Semaphore>,
}

/// What a connection holds that is logged in: its place in the table of sessions, one among its user's connections, one among all.
type Entered = (Connection, SessionPlace, OwnedSemaphorePermit);

impl Shared {
    fn gate(&self) -> Gate<'_> {
        let Self { identity, store, rights, sessions, passwords, signing, audit, .. } = self;
        Gate { identity, store, rights, live: sessions, passwords: passwords.as_ref(), signing, audit }
    }

    /// A place in the table of sessions, as a new one or as a further connection of one; one among the connections that the user may have,
    /// and one among all.
    fn enter(&self, session: &Session, peer: SocketAddr) -> Result<Entered, Error> {
        let permit = self.connections.clone().try_acquire_owned().map_err(|_| {
            Error::here(ErrorCode::TooManySessions, "the server has as many connections as it can take")
        })?;
        let place = self.places.take(&session.user, self.rights.quota(&session.user).sessions)?;
        let connection = match session.attached {
            false => Some(self.sessions.begin(session.clone(), peer)),
            true => self.sessions.attach(&session.id, peer),
        };
        // It was ended after the proof was found to be good.
        let over = || Error::LoginRefused(format!("{}: the session is over", session.user));
        Ok((connection.ok_or_else(over)?, place, permit))
    }

    /// Gives the owner the first rights, once. Blocking.
    fn give_the_owner(&self) -> Result<(), Error> {
        let Some(owner) = self.store.owner()? else { return Ok(()) };
        // The file with the owner's invite, if there was one, is of no use to anybody any more.
        let _ = self.folder.remove(INVITE_FILE);
        if self.rights.give_the_owner(&owner)? {
            let (action, subject) = ("rights-give".to_owned(), owner.to_string());
            self.audit.note(Entry::Admin { user: None, session: None, action, subject, detail: None });
        }
        Ok(())
    }
}

impl Server {
    /// Opens the state, making it on first use. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where the state cannot be used, its rights are broken, or another server uses it.
    pub fn open(options: &ServerOptions) -> Result<Self, Error> {
        let folder = PrivateFolder::open_or_create(&options.state)?.subfolder("server")?;
        let Some(lock) = folder.try_lock(LOCK_FILE)? else {
            return Err(Error::state(options.state.display(), "another server uses this state folder"));
        };
        let identity = Identity::load_or_create(&folder)?;
        let store = Arc::new(Store::open(&folder.path_of(STORE_FILE))?);
        let (audit, audit_problem) = Audit::open(&folder, &options.audit)?;
        audit.note(Entry::Started { release: RELEASE.to_owned() });
        let root = Arc::new(Root::open(&options.home, &options.state)?);
        let partials = Partials::open(&folder)?;
        let (folder, sessions, places) = (Arc::new(folder), Sessions::default(), Places::default());
        let rights = Arc::new(RightsFile::open(folder.clone(), store.owner()?.as_ref())?);
        let passwords = Passwords::open(&store, identity.fingerprint())?.map(Arc::new);
        let administration = Administration::new(
            folder.clone(),
            store.clone(),
            rights.clone(),
            passwords.clone(),
            identity.fingerprint(),
            audit.clone(),
        );
        let desk = Desk { administration: Arc::new(administration), sessions: sessions.clone() };
        Ok(Self {
            shared: Arc::new(Shared {
                folder,
                identity,
                store,
                root,
                partials,
                sessions,
                rights,
                places,
                passwords,
                audit,
                signing: Semaphore::new(SIGNING_MAX),
                desk,
                admission: Admission::new(options.connections_max.min(HALF_OPEN_MAX)),
                connections: Arc::new(Semaphore::new(options.connections_max)),
            }),
            audit_problem,
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

    /// Who may do what.
    pub fn rights(&self) -> Arc<RightsFile> {
        self.shared.rights.clone()
    }

    /// A fresh invite for the owner of this server, which can be reached at `addresses`; `None` once somebody has an account. Any
    /// earlier one is void. The addresses are noted for the invites of later. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn owner_invite(&self, addresses: Vec<HostPort>) -> Result<Option<Invite>, Error> {
        self.shared.folder.remove(INVITE_FILE)?;
        Administration::note_addresses(&self.shared.folder, &addresses)?;
        if self.shared.store.has_accounts()? {
            return Ok(None);
        }
        let invite = Invite::new(addresses, self.fingerprint());
        self.shared.store.put_owner_invite(&invite.token, INVITE_TIME)?;
        Ok(Some(invite))
    }

    /// Writes an invite to a file that only the owner of the state folder can read. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn write_invite(&self, invite: &Invite) -> Result<PathBuf, Error> {
        self.shared.folder.write(INVITE_FILE, format!("{invite}\n").as_bytes())?;
        Ok(self.shared.folder.path_of(INVITE_FILE))
    }

    /// Serves one connection that was accepted elsewhere, such as an in-memory one, from its first byte to its last.
    /// `peer` is what events call it.
    pub async fn serve_connection(&self, transport: Box<dyn Transport>, peer: SocketAddr, events: EventSink) {
        let Some(ticket) = admit(&self.shared, peer, &events) else { return };
        serve(transport, peer, ticket, self.shared.clone(), Drain::never(), events).await;
    }

    /// Serves until `shutdown` completes, then drains: no more connections, idle ones end, transfers go on until the drain
    /// time is over. A notice of `reload` has the rights read at once; that they have changed is noticed without it within a
    /// second.
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
        let _following = reload::follow(self.shared.rights.clone(), reload, self.shared.audit.clone(), events.clone());
        let mut upkeep = JoinSet::new();
        upkeep.spawn(revocation::watch(self.shared.store.clone(), self.shared.sessions.clone(), events.clone()));
        upkeep.spawn(expire(self.shared.partials.clone()));
        let served = accept(self.shared.clone(), listener, self.drain_time, shutdown, events).await;
        // A log that cannot be written has refused everything that it should have.
        let _ = self.shared.audit.close().await;
        served.map_err(|error| Error::io("the listener", &error))
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

/// Serves connections until `shutdown`, then drains.
async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    drain_time: Duration,
    shutdown: impl Future<Output = ()>,
    events: EventSink,
) -> io::Result<()> {
    let limits = Limits {
        // How many there may be, in all and from one source, is for the admission to say: it knows how far each has come.
        connections_max: usize::MAX,
        connections_per_address_max: usize::MAX,
        idle_timeout: None,
        drain_time,
        ending_time: ENDING_TIME,
        ..Limits::default()
    };
    let sink = events.clone();
    let handler = async move |connection: &mut tasks::Connection<Option<TcpStream>>| {
        let (peer, drain) = (connection.peer().socket_addr(), connection.drain().clone());
        let (Some(peer), Some(stream)) = (peer, connection.stream_mut().take()) else { return Ok(()) };
        if let Some(ticket) = admit(&shared, peer, &sink) {
            serve(Box::new(stream), peer, ticket, shared, drain, sink).await;
        }
        Ok(())
    };
    let prepared = async |timed: Timed<TcpStream>| {
        let stream = timed.into_socket();
        tcp::prepare(&stream).map(|()| Some(stream))
    };
    let server = socketserver::Server::new(listener.into_std()?, handler).wrap(prepared).limits(limits);
    let server = server.on_event(move |event| {
        if let socketserver::Event::Draining { open } = event {
            events(Event::Draining { connections: *open });
        }
    });
    server.tasks(shutdown).await.map(drop)
}

/// A newcomer's place among the half-open connections; `None` while its source is shut out.
fn admit(shared: &Shared, peer: SocketAddr, events: &EventSink) -> Option<Ticket> {
    match shared.admission.arrive(Source::of(peer.ip()), Instant::now()) {
        Ok(ticket) => Some(ticket),
        Err(refused) => {
            let message = format!(
                "too many refused logins from there; shut out for another {} s",
                refused.remaining.as_secs() + 1
            );
            note_refusal(shared, peer, "shut-out", &message);
            events(Event::Refused { peer: peer.to_string(), code: "shut-out".into(), message });
            None
        }
    }
}

/// One connection, from its first byte to its last.
async fn serve(
    transport: Box<dyn Transport>,
    peer: SocketAddr,
    ticket: Ticket,
    shared: Arc<Shared>,
    mut drain: Drain,
    events: EventSink,
) {
    let (mut channel, session, (connection, place, _permit)) =
        match log_in(transport, peer, ticket, &shared, &mut drain).await {
            Ok(logged_in) => logged_in,
            Err((code, message)) => {
                events(Event::Refused { peer: peer.to_string(), code, message });
                return;
            }
        };
    let account = Account {
        root: shared.root.clone(),
        partials: shared.partials.clone(),
        rights: shared.rights.clone(),
        store: shared.store.clone(),
        connection,
        session,
        events,
        audit: shared.audit.clone(),
        _place: place,
    };
    let Session { key, method, invited, attached, .. } = account.session.clone();
    let peer = peer.to_string();
    account.report(|user, session| match attached {
        false => Event::Login { user, key, method, peer, session, invited },
        true => Event::Attached { user, peer, session },
    });
    if invited {
        redeemed(&shared, &account).await;
    }
    let mut is_over = drain.clone();
    channel.heed(account.connection.ending());
    let (rights, user) = (shared.rights.clone(), account.user().clone());
    channel.keep_to(Pace::new(move || rights.quota(&user).rate));
    let served = tokio::select! {
        biased;
        served = serve_channel(&mut channel, &account, &shared.desk, &mut drain) => served,
        error = ended(&account) => Err(error),
        () = is_over.over() => {
            let error = going_down();
            account.report_failure(&error);
            Err(error)
        }
    };
    match served {
        Ok(()) => channel.finish().await,
        Err(error) => {
            // Ending between requests is no failure of theirs.
            if !matches!(error, Error::Failed { side: Side::Here, code: ErrorCode::Draining, .. }) {
                account.report_failure(&error);
            }
            match error.to_peer() {
                Some(reason) => channel.fail(&reason).await,
                None => channel.finish().await,
            }
        }
    }
    if account.connection.leave() {
        account.report(|user, session| Event::Closed { user, session });
        account.note(|user, session| Entry::Logout { user, session });
    }
}

/// The part of a connection that is before the login; or the code and the words for why there is no more of it.
async fn log_in(
    transport: Box<dyn Transport>,
    peer: SocketAddr,
    ticket: Ticket,
    shared: &Shared,
    drain: &mut Drain,
) -> Result<(Channel, Session, Entered), (String, String)> {
    let accepted = tokio::select! {
        biased;
        () = drain.begun() => {
            let error = going_down();
            note_refusal(shared, peer, &code_text(&error), &error.to_string());
            Err(error)
        }
        () = ticket.evicted() => {
            let message = "it was half-open for the longest, and had to make room for a newer one";
            note_refusal(shared, peer, "evicted", message);
            return Err(("evicted".into(), message.into()));
        }
        accepted = login::accept(transport, peer, shared.gate(), |session| shared.enter(session, peer)) => accepted,
    };
    accepted.map_err(|error| {
        if is_guess(&error) {
            shared.admission.penalise(Source::of(peer.ip()), Instant::now());
        }
        (code_text(&error), error.to_string())
    })
}

/// Writes down a refusal that does not come from the login itself.
fn note_refusal(shared: &Shared, peer: SocketAddr, code: &str, message: &str) {
    let (code, message) = (code.to_owned(), message.to_owned());
    shared.audit.note(Entry::Refused { peer, user: None, method: None, code, message });
}

/// Whether a login was refused that may have been a guess.
fn is_guess(error: &Error) -> bool {
    use ErrorCode::{InviteExpired, InviteUnknown, InviteUsed, InviteUser, TooManyGuesses};
    match error {
        Error::LoginRefused(_) => true,
        Error::Failed { side: Side::Here, code, .. } => {
            matches!(code, InviteUnknown | InviteUsed | InviteExpired | InviteUser | TooManyGuesses)
        }
        _ => false,
    }
}

/// An invite was redeemed: if it was the owner's, there is an owner now.
async fn redeemed(shared: &Arc<Shared>, account: &Account) {
    let giving = shared.clone();
    let given = tokio::task::spawn_blocking(move || giving.give_the_owner()).await;
    if let Ok(Err(error)) = given {
        account.report_failure(&error);
    }
}

/// Returns once the session was ended from elsewhere, and a frame that was being sent had the time to leave.
async fn ended(account: &Account) -> Error {
    let error = account.connection.ended().await;
    tokio::time::sleep(FRAME_TIME).await;
    error
}

pub(crate) fn going_down() -> Error {
    Error::here(ErrorCode::Draining, "the server is going down")
}

async fn serve_channel(channel: &mut Channel, account: &Account, desk: &Desk, drain: &mut Drain) -> Result<(), Error> {
    let header = tokio::select! {
        biased;
        () = drain.begun() => return Err(going_down()),
        header = channel.receive_or_end(State::ServerChannel) => header?,
    };
    let Some(header) = header else { return Ok(()) };
    account.admit(State::ServerChannel, &header)?;
    let open: Open = header.read()?;
    only_command(account)?;
    account.connection.is_doing(open.service.chars().take(64).collect::<String>());
    match open.service.as_str() {
        ping::SERVICE => ping::serve(channel, account, drain).await,
        files::messages::SERVICE => files::server::serve(channel, account, drain).await,
        admin::messages::SERVICE => admin::server::serve(channel, account, desk, drain).await,
        other => {
            let service: String = other.chars().take(64).collect();
            Err(Error::here(ErrorCode::UnknownService, format!("there is no service {service:?} here")))
        }
    }
}

/// A key that is for one command opens nothing, as long as there are no commands.
fn only_command(account: &Account) -> Result<(), Error> {
    match account.session.command {
        None => Ok(()),
        Some(_) => Err(Error::here(
            ErrorCode::Denied,
            "this key is good for its one command only, and commands are not run yet",
        )),
    }
}

/// The code of an error for events.
pub(crate) fn code_text(error: &Error) -> String {
    match error {
        Error::Failed { code, .. } => code.as_str(),
        Error::Protocol(error) => ProtocolError::code(error).as_str(),
        Error::Tls(_) => "tls",
        Error::Lost(_) => "lost",
        Error::LoginRefused(_) => ErrorCode::LoginRefused.as_str(),
        _ => ErrorCode::Io.as_str(),
    }
    .to_owned()
}
