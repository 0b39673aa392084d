//! The live sessions: users, peers and activities; and how a session is ended.

#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use landline_proto::{ErrorCode, limits::SESSION_CONNECTIONS_MAX, login::UserName};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedMutexGuard, mpsc, watch};

use crate::{
    Error,
    session::{Session, SessionLookup},
};

/// The most that is kept of an activity, in characters; a path may have 4 KiB.
const ACTIVITY_CHARACTERS_MAX: usize = 200;
/// How many sessions of one user may wait for their client.
const DISCONNECTED_PER_USER_MAX: usize = 16;
/// How long a connection may take to send an answer after its session is terminated.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// The live sessions of a server. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Sessions(Arc<Mutex<SessionTable>>);

#[derive(Debug, Default)]
struct SessionTable {
    live: BTreeMap<String, Live>,
    /// The number of the next connection.
    next: u64,
    /// Told of every connection that is entered.
    entered: Option<mpsc::UnboundedSender<Entered>>,
}

/// A connection that was entered, and the session that it belongs to.
#[derive(Debug)]
pub(crate) struct Entered {
    pub(crate) session: Session,
    pub(crate) peer: IpAddr,
}

#[derive(Debug)]
struct Live {
    session: Session,
    since: i64,
    connections: BTreeMap<u64, ConnectionInfo>,
    /// When the last connection was lost, while there is none.
    disconnected: Option<Instant>,
    /// The reason of the termination, once the session is terminated.
    ended: watch::Sender<Option<String>>,
}

/// A snapshot of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// The id of the session.
    pub session: String,
    /// The logged-in user.
    pub user: UserName,
    /// The fingerprint or id of the credential.
    pub key: String,
    /// The method of the login.
    pub method: String,
    /// When the session began, in seconds since 1970.
    pub since: i64,
    /// The connections, the oldest first; none while the session waits for its client.
    pub connections: Vec<ConnectionInfo>,
}

/// One connection of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionInfo {
    /// The address of the client.
    pub peer: SocketAddr,
    /// When the connection began, in seconds since 1970.
    pub since: i64,
    /// The service and its activity, such as `files put /home/alice/x`.
    pub doing: String,
}

impl Sessions {
    /// Registers a new session with its first connection.
    ///
    /// `sessions_max` limits the sessions of its user.
    ///
    /// # Errors
    /// `too-many-sessions`.
    pub(crate) fn begin(
        &self,
        session: Session,
        peer: SocketAddr,
        sessions_max: Option<u64>,
    ) -> Result<SessionHandle, Error> {
        let mut table = self.table();
        let count = |table: &SessionTable| {
            let of_user =
                |live: &&Live| live.session.user == session.user && live.ended.borrow().is_none();
            table.live.values().filter(of_user).count() as u64
        };
        // A session that waits for its client makes room for one with a client.
        if sessions_max.is_some_and(|max| count(&table) >= max) {
            table.end_longest_disconnected(&session.user);
        }
        let count = count(&table);
        if sessions_max.is_some_and(|max| count >= max) {
            let message = format!(
                "{} has {count} sessions, and may have no more at a time",
                session.user
            );
            return Err(Error::here(ErrorCode::TooManySessions, message));
        }
        let live = Live {
            session: session.clone(),
            since: unix_now(),
            connections: BTreeMap::new(),
            disconnected: None,
            ended: watch::Sender::new(None),
        };
        table.live.insert(session.id.clone(), live);
        self.add(&mut table, &session, peer)
    }

    /// Adds a connection to a live session.
    ///
    /// # Errors
    /// [`Error::RefusedNoGuess`] if the session does not exist or is terminated;
    /// `too-many-sessions` if it has the most connections allowed.
    pub(crate) fn attach(
        &self,
        session: &Session,
        peer: SocketAddr,
    ) -> Result<SessionHandle, Error> {
        let mut table = self.table();
        self.add(&mut table, session, peer)
    }

    /// The ids and users of the sessions that `which` selects, the oldest first.
    ///
    /// Activities take more memory, so `info` returns them for one session.
    pub fn list(&self, which: impl Fn(&Session) -> bool) -> Vec<(String, UserName)> {
        let table = self.table();
        let mut chosen: Vec<&Live> = table
            .live
            .values()
            .filter(|live| which(&live.session))
            .collect();
        chosen.sort_by(|a, b| (a.since, &a.session.id).cmp(&(b.since, &b.session.id)));
        chosen
            .into_iter()
            .map(|live| (live.session.id.clone(), live.session.user.clone()))
            .collect()
    }

    /// A snapshot of a session; `None` if it does not exist.
    pub(crate) fn info(&self, session: &str) -> Option<SessionInfo> {
        self.table().live.get(session).map(Live::info)
    }

    /// The number of connections of all live sessions.
    pub(crate) fn connections(&self) -> usize {
        let table = self.table();
        table.live.values().map(|live| live.connections.len()).sum()
    }

    /// Subscribes to all new connections. There is one subscriber at a time.
    pub(crate) fn subscribe(&self) -> mpsc::UnboundedReceiver<Entered> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.table().entered = Some(sender);
        receiver
    }

    /// All live sessions as logged in, with the addresses of their connections.
    pub(crate) fn logins(&self) -> Vec<(Session, Vec<IpAddr>)> {
        let peers = |live: &Live| live.connections.values().map(|at| at.peer.ip()).collect();
        self.table()
            .live
            .values()
            .map(|live| (live.session.clone(), peers(live)))
            .collect()
    }

    /// Terminates a session on all its connections, and tells the client the reason.
    ///
    /// Returns at once, with the session unless it was terminated before. The session is gone
    /// within 2 s.
    pub fn end(&self, reason: &str, session: &str) -> Option<SessionInfo> {
        let table = self.table();
        let live = table
            .live
            .get(session)
            .filter(|live| live.ended.borrow().is_none())?;
        live.ended.send_replace(Some(reason.to_owned()));
        Some(live.info())
    }

    fn add(
        &self,
        table: &mut SessionTable,
        session: &Session,
        peer: SocketAddr,
    ) -> Result<SessionHandle, Error> {
        let number = table.next;
        let live = table
            .live
            .get_mut(&session.id)
            .filter(|live| live.ended.borrow().is_none());
        // The session may be terminated between the proof and this.
        let live = live.ok_or_else(|| {
            Error::RefusedNoGuess(format!("{}: the session is over", session.user))
        })?;
        if live.connections.len() >= SESSION_CONNECTIONS_MAX {
            let message = format!(
                "the session has {SESSION_CONNECTIONS_MAX} connections, and may have no more at a time"
            );
            return Err(Error::here(ErrorCode::TooManySessions, message));
        }
        let info = ConnectionInfo {
            peer,
            since: unix_now(),
            doing: String::new(),
        };
        live.disconnected = None;
        live.connections.insert(number, info);
        let ended = live.ended.subscribe();
        table.next += 1;
        if let Some(entered) = &table.entered {
            // The receiver may be gone.
            let _ = entered.send(Entered {
                session: session.clone(),
                peer: peer.ip(),
            });
        }
        Ok(SessionHandle {
            sessions: self.clone(),
            session: session.id.clone(),
            number,
            peer,
            ended,
            answering: Arc::default(),
        })
    }

    fn table(&self) -> MutexGuard<'_, SessionTable> {
        // Every change to the table is one step, so a panic leaves it consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionLookup for Sessions {
    fn find(&self, session: &str) -> Option<Session> {
        let table = self.table();
        table
            .live
            .get(session)
            .filter(|live| live.ended.borrow().is_none())
            .map(|live| live.session.clone())
    }
}

impl Live {
    fn info(&self) -> SessionInfo {
        SessionInfo {
            session: self.session.id.clone(),
            user: self.session.user.clone(),
            key: self.session.credential.to_string(),
            method: self.session.method.clone(),
            since: self.since,
            connections: self.connections.values().cloned().collect(),
        }
    }
}

/// A connection's entry in the table. The last one to be dropped ends the session.
#[derive(Debug)]
pub(crate) struct SessionHandle {
    sessions: Sessions,
    session: String,
    number: u64,
    peer: SocketAddr,
    ended: watch::Receiver<Option<String>>,
    answering: Arc<tokio::sync::Mutex<()>>,
}

/// While this lives, a connection whose session is terminated may send its answer; see
/// [`SessionHandle::start_answer`].
pub(crate) type AnswerGuard = OwnedMutexGuard<()>;

impl SessionHandle {
    /// The address of the client.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer.ip()
    }

    /// Records the activity of this connection, up to 200 characters.
    pub(crate) fn set_activity(&self, what: &str) {
        let what = shorten(what);
        let mut table = self.sessions.table();
        let live = table.live.get_mut(&self.session);
        if let Some(info) = live.and_then(|live| live.connections.get_mut(&self.number)) {
            info.doing = what;
        }
    }

    /// Terminates the session, as [`Sessions::end`] does.
    pub(crate) fn end(&self, reason: &str) {
        self.sessions.end(reason, &self.session);
    }

    /// Returns once the session is terminated, with the error for the peer.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn terminated(&self) -> Error {
        let mut ended = self.ended.clone();
        let reason = ended
            .wait_for(Option::is_some)
            .await
            .map(|reason| reason.clone());
        match reason {
            Ok(reason) => Error::here(ErrorCode::Ended, reason.unwrap_or_default()),
            // The sender lives as long as the session, which lives as long as this handle.
            Err(_) => std::future::pending().await,
        }
    }

    /// Lets the connection answer a request that may terminate its own session: it is closed once
    /// the guard is dropped, or 1 s after the termination.
    pub(crate) async fn start_answer(&self) -> AnswerGuard {
        self.answering.clone().lock_owned().await
    }

    /// Waits until no answer is being sent, or for 1 s.
    pub(crate) async fn answer_finished(&self) {
        let _ = tokio::time::timeout(ANSWER_TIME_MAX, self.answering.lock()).await;
    }

    /// Checks that the session is not terminated.
    ///
    /// # Errors
    /// The error that [`terminated`](Self::terminated) returns.
    pub(crate) fn ensure_active(&self) -> Result<(), Error> {
        match &*self.ended.borrow() {
            None => Ok(()),
            Some(reason) => Err(Error::here(ErrorCode::Ended, reason.clone())),
        }
    }

    /// The signal that [`terminated`](Self::terminated) waits for.
    ///
    /// A channel checks it between two frames.
    pub(crate) fn termination_signal(&self) -> watch::Receiver<Option<String>> {
        self.ended.clone()
    }

    /// Removes this connection from its session.
    ///
    /// A session whose last connection was lost waits for its client for up to `linger`, if the
    /// client can attach. Otherwise the last connection ends the session.
    pub(crate) fn deregister(&self, departure: Departure, linger: Duration) -> Remaining {
        let mut table = self.sessions.table();
        let Some(live) = table.live.get_mut(&self.session) else {
            return Remaining::Others;
        };
        if live.connections.remove(&self.number).is_none() || !live.connections.is_empty() {
            return Remaining::Others;
        }
        let waits = departure == Departure::Lost
            && live.session.attach.is_some()
            && live.ended.borrow().is_none()
            && !linger.is_zero();
        if !waits {
            table.live.remove(&self.session);
            return Remaining::Nothing;
        }
        live.disconnected = Some(Instant::now());
        let user = live.session.user.clone();
        let is_waiting = |live: &&Live| {
            live.disconnected.is_some()
                && live.session.user == user
                && live.ended.borrow().is_none()
        };
        if table.live.values().filter(is_waiting).count() > DISCONNECTED_PER_USER_MAX {
            table.end_longest_disconnected(&user);
        }
        Remaining::Waiting(Waiting {
            sessions: self.sessions.clone(),
            session: self.session.clone(),
            ended: self.ended.clone(),
            linger,
        })
    }
}

/// Why a connection left its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Departure {
    /// The client or the server has finished.
    Finished,
    /// The connection was lost.
    Lost,
}

/// What is left of a session after a connection has left it.
#[derive(Debug)]
pub(crate) enum Remaining {
    /// Other connections, or the session was gone before.
    Others,
    /// No connection; the session waits for its client.
    Waiting(Waiting),
    /// Nothing; the session is over.
    Nothing,
}

/// A session that waits for its client to attach again.
#[derive(Debug)]
pub struct Waiting {
    sessions: Sessions,
    session: String,
    ended: watch::Receiver<Option<String>>,
    linger: Duration,
}

impl Waiting {
    /// Waits until the time is over or the session is terminated.
    ///
    /// Returns whether this ended the session, and no client attached again.
    pub(crate) async fn wait_until_over(mut self) -> bool {
        let ended = async {
            // The sender lives in the table, with the session.
            let _ = self.ended.wait_for(Option::is_some).await;
        };
        let _ = tokio::time::timeout(self.linger, ended).await;
        let mut table = self.sessions.table();
        let Some(live) = table.live.get(&self.session) else {
            return false;
        };
        let is_over = live
            .disconnected
            .is_some_and(|since| since.elapsed() >= self.linger || live.ended.borrow().is_some());
        if is_over {
            table.live.remove(&self.session);
        }
        is_over
    }
}

impl SessionTable {
    /// Terminates the session of this user that has waited longest for its client.
    fn end_longest_disconnected(&mut self, user: &UserName) {
        let oldest = self
            .live
            .values()
            .filter(|live| live.session.user == *user && live.ended.borrow().is_none())
            .filter_map(|live| Some((live.disconnected?, live.session.id.clone())))
            .min();
        if let Some((_, session)) = oldest
            && let Some(live) = self.live.get(&session)
        {
            live.ended.send_replace(Some(
                "a newer session of the user took its place".to_owned(),
            ));
        }
    }
}

impl Drop for SessionHandle {
    fn drop(&mut self) {
        self.deregister(Departure::Finished, Duration::ZERO);
    }
}

/// Cuts an activity and marks the cut, because every connection keeps a copy.
fn shorten(what: &str) -> String {
    match what.char_indices().nth(ACTIVITY_CHARACTERS_MAX) {
        None => what.to_owned(),
        Some((end, _)) => format!("{}…", what.get(..end).unwrap_or_default()),
    }
}

/// Seconds since 1970, for people.
fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs().cast_signed())
}
