//! What all connections of a server share.

use std::{net::SocketAddr, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    INVITE_FILE,
    capacity::Capacity,
    sessions::{Connection, Sessions},
};
use crate::{
    Error,
    admin::server::Desk,
    admission::Admission,
    audit::Audit,
    files::Partials,
    login::{Gate, Identity, Session},
    paths::{PrivateFolder, Root},
    rights::{Places, RightsFile, SessionPlace},
    store::Store,
};

/// What all connections share.
pub(super) struct Shared {
    pub(super) folder: Arc<PrivateFolder>,
    pub(super) identity: Identity,
    pub(super) store: Arc<Store>,
    pub(super) root: Arc<Root>,
    pub(super) partials: Partials,
    pub(super) sessions: Sessions,
    pub(super) rights: Arc<RightsFile>,
    pub(super) places: Places,
    /// Places for logins that take a person.
    pub(super) signing: Semaphore,
    pub(super) audit: Audit,
    pub(super) desk: Desk,
    pub(super) admission: Admission,
    /// For connections that are logged in.
    pub(super) connections: Capacity,
}

/// What a connection holds that is logged in: its place in the table of sessions, one among its user's connections, one among all.
pub(super) type Entered = (Connection, SessionPlace, OwnedSemaphorePermit);

impl Shared {
    pub(super) fn gate(&self) -> Gate<'_> {
        let Self { identity, store, rights, sessions, signing, audit, .. } = self;
        Gate { identity, store, rights, live: sessions, signing, audit }
    }

    /// A place in the table of sessions, as a new one or as a further connection of one; one among the connections that the user may have,
    /// and one among all.
    pub(super) fn enter(&self, session: &Session, peer: SocketAddr) -> Result<Entered, Error> {
        let permit = self.connections.take(self.rights.is_admin(&session.user))?;
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
    pub(super) fn give_the_owner(&self) -> Result<(), Error> {
        let Some(owner) = self.store.owner()? else { return Ok(()) };
        // The file with the owner's invite, if there was one, is of no use to anybody any more.
        let _ = self.folder.remove(INVITE_FILE);
        self.rights.give_the_owner(&owner)
    }
}
