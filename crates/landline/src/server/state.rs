//! The state that all connections of a server share.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use landline_proto::login::UserName;
use tokio::sync::Semaphore;

use super::{
    INVITE_FILE,
    bundles::Bundles,
    connection_slots::{ConnectionSlot, ConnectionSlots},
};
use crate::{
    Error,
    admission::{Admission, Signing},
    audit::Audit,
    login::Identity,
    net::{BufferPool, RateLimiter, RateLimiters},
    password::Passwords,
    paths::{PrivateFolder, Root},
    rights::{RightsFile, Role},
    server::login::LoginContext,
    session::{Registry, Session, SessionHandle, Sessions, Threads, WorkTable},
    store::{Store, WorkStore},
};

/// The content rate of a user who has just lost all rights, in bytes per second.
const RATE_WITHOUT_RIGHTS: u64 = 16 << 10;

/// The state that all connections of a server share.
pub(super) struct ServerState {
    pub(super) folder: Arc<PrivateFolder>,
    pub(super) identity: Identity,
    pub(super) store: Arc<Store>,
    pub(super) work_store: WorkStore,
    pub(super) root: Arc<Root>,
    pub(super) sessions: Sessions,
    pub(super) rights: Arc<RightsFile>,
    pub(super) rate_limiters: RateLimiters,
    /// Memory for the content of transfers.
    pub(super) buffers: BufferPool,
    pub(super) passwords: Arc<Passwords>,
    /// Slots for logins that wait for a person to sign.
    pub(super) signing: Signing,
    pub(super) audit: Audit,
    pub(super) services: Registry,
    pub(super) work: WorkTable,
    /// How long a session without connections waits for its client.
    pub(super) session_linger: Duration,
    /// Threads for logins and revocation, which never wait for the work of users.
    pub(super) threads: Threads,
    pub(super) admission: Admission,
    /// Connections that wait for the others of their bundle.
    pub(super) bundles: Bundles,
    /// Slots for clients that are told that they are shut out.
    pub(super) notices: Semaphore,
    /// Slots for logged-in connections.
    pub(super) connections: ConnectionSlots,
}

/// What a logged-in connection holds: its entry in its session, and a connection slot.
pub(super) type AdmittedConnection = (SessionHandle, ConnectionSlot);

impl ServerState {
    /// What a login needs; it calls `guessed` with whether it has made a guess.
    pub(super) fn login_context<'a>(
        &'a self,
        guessed: &'a (dyn Fn(bool) + Sync),
    ) -> LoginContext<'a> {
        let Self {
            identity,
            store,
            rights,
            root,
            sessions,
            passwords,
            signing,
            audit,
            services,
            threads,
            ..
        } = self;
        LoginContext {
            identity,
            store,
            rights,
            root,
            services,
            threads,
            live: sessions,
            passwords,
            signing,
            audit,
            guessed,
        }
    }

    /// Admits a connection to a new session or to the live one that it attaches to.
    ///
    /// # Errors
    /// `too-many-sessions`; [`Error::RefusedNoGuess`] if the session is over.
    pub(super) fn admit(
        &self,
        session: &Session,
        peer: SocketAddr,
    ) -> Result<AdmittedConnection, Error> {
        // A user who can end other sessions can always log in.
        let makes_room = self.rights.role(&session.user) >= Role::Helper;
        let permit = self.connections.acquire(&session.user, makes_room)?;
        let connection = if session.attached {
            self.sessions.attach(session, peer)?
        } else {
            let sessions_max = self.rights.quota(&session.user).sessions;
            self.sessions.begin(session.clone(), peer, sessions_max)?
        };
        Ok((connection, permit))
    }

    /// The limiter of the content of this user.
    pub(super) fn rate_limiter_of(&self, user: &UserName) -> Arc<RateLimiter> {
        let rights = self.rights.clone();
        let owner = user.clone();
        self.rate_limiters
            .of(user, move || match rights.rules().of(&owner) {
                Some(rights) => rights.quota.rate,
                // The user has lost all rights, and the session is about to end.
                None => Some(RATE_WITHOUT_RIGHTS),
            })
    }

    /// Grants the initial rights to the owner, once.
    ///
    /// # Blocking
    /// Reads and writes files.
    pub(super) fn grant_owner(&self) -> Result<(), Error> {
        let Some(owner) = self.store.owner()? else {
            return Ok(());
        };
        // The owner's invite was redeemed, so its file is obsolete.
        let _ = self.folder.remove(INVITE_FILE);
        self.rights.grant_owner(&owner)
    }
}
