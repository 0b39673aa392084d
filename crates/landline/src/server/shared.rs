//! What all connections of a server share.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use landline_proto::{ErrorCode, login::UserName};
use tokio::sync::OwnedSemaphorePermit;

use super::{INVITE_FILE, capacity::Capacity};
use crate::{
    Error,
    admission::{Admission, Signing},
    audit::Audit,
    login::Identity,
    net::{AuditRateLimiters, RateLimiter, RateLimiters},
    password::Passwords,
    paths::{PrivateFolder, Root},
    rights::{RightsFile, Role},
    server::login::LoginContext,
    session::{Registry, Session, SessionHandle, Sessions, Threads, WorkTable},
    store::Store,
};

/// How fast content may flow for somebody who has no rights at all, in bytes per second: that is
/// somebody who has just lost them.
const RATE_WITHOUT_RIGHTS: u64 = 16 << 10;

/// What all connections share.
pub(super) struct Shared {
    pub(super) folder: Arc<PrivateFolder>,
    pub(super) identity: Identity,
    pub(super) store: Arc<Store>,
    pub(super) root: Arc<Root>,
    pub(super) sessions: Sessions,
    pub(super) rights: Arc<RightsFile>,
    /// How fast content flows for each user.
    pub(super) rate_limiters: RateLimiters,
    /// How fast the log grows by what each user does.
    pub(super) audit_rate_limiters: AuditRateLimiters,
    /// The passwords.
    pub(super) passwords: Arc<Passwords>,
    /// Places for logins that take a person.
    pub(super) signing: Signing,
    pub(super) audit: Audit,
    pub(super) services: Registry,
    pub(super) work: WorkTable,
    /// How long a session whose last connection was lost waits for its client.
    pub(super) session_linger: Duration,
    /// Threads for logins and what ends them, which never wait for the work of users.
    pub(super) threads: Threads,
    pub(super) admission: Admission,
    /// For connections that are logged in.
    pub(super) connections: Capacity,
}

/// What a connection holds that is logged in: its place in the table of sessions, and one among all
/// connections.
pub(super) type Entered = (SessionHandle, OwnedSemaphorePermit);

impl Shared {
    /// What a login is decided by; `guessed` is told whether it has made a guess.
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

    /// A place in the table of sessions, as a new one or as a further connection of one, and one
    /// among all connections.
    ///
    /// # Errors
    /// `too-many-sessions`; [`Error::LoginRefused`] where the session is over.
    pub(super) fn enter(&self, session: &Session, peer: SocketAddr) -> Result<Entered, Error> {
        if !self
            .audit_rate_limiters
            .of(&session.user)
            .try_consume_login()
        {
            let message = format!(
                "{} has done more in a short time than can be written down",
                session.user
            );
            return Err(Error::here(ErrorCode::TooManySessions, message));
        }
        // Whoever can make room gets in.
        let makes_room = self.rights.role(&session.user) >= Role::Helper;
        let permit = self.connections.take(makes_room)?;
        let connection = match session.attached {
            false => self.sessions.begin(
                session.clone(),
                peer,
                self.rights.quota(&session.user).sessions,
            )?,
            true => self.sessions.attach(session, peer)?,
        };
        Ok((connection, permit))
    }

    /// How fast content flows for this user.
    pub(super) fn rate_limiter_of(&self, user: &UserName) -> Arc<RateLimiter> {
        let (rights, whose) = (self.rights.clone(), user.clone());
        self.rate_limiters
            .of(user, move || match rights.rules().of(&whose) {
                Some(rights) => rights.quota.rate,
                // Whoever may do nothing any more, until the session has ended.
                None => Some(RATE_WITHOUT_RIGHTS),
            })
    }

    /// Gives the owner the first rights, once. Blocking.
    pub(super) fn give_the_owner(&self) -> Result<(), Error> {
        let Some(owner) = self.store.owner()? else {
            return Ok(());
        };
        // The file with the owner's invite, if there was one, is of no use to anybody any more.
        let _ = self.folder.remove(INVITE_FILE);
        self.rights.give_the_owner(&owner)
    }
}
