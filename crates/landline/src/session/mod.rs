//! Sessions: who is logged in, what their connections do, and what a service knows of the session
//! that it serves.

mod context;
mod registry;
mod service;
mod subscription;
mod validity;
mod work;

pub(crate) use context::ContextParts;
pub use context::ServiceContext;
use landline_proto::{
    ErrorCode,
    login::{BindingType, UserName},
};
/// Tells a task that the server drains.
pub(crate) use landline_socketserver::tasks::TaskDrain;
#[cfg(test)]
pub(crate) use registry::tests;
pub(crate) use registry::{AnswerGuard, Departure, Entered, Remaining, SessionHandle};
pub use registry::{ConnectionInfo, SessionInfo, Sessions, Waiting};
pub use service::{MessageRight, Service, ServiceDefinition, ServiceFuture};
pub(crate) use service::{Registry, RegistryError, right_words};
pub(crate) use subscription::role_to_see;
pub use subscription::{Published, Subscription};
pub(crate) use validity::{Validity, check_key_options, validity};
pub(crate) use work::{CountedUnit, Threads, WorkLimits};
pub use work::{WorkInfo, WorkTable, WorkUnit};

use crate::{
    Error,
    keys::{CredentialId, CredentialLimits, SecretKey},
    store::AccountId,
};

/// Someone who is logged in.
#[derive(Debug, Clone)]
pub struct Session {
    /// Who.
    pub user: UserName,
    /// Which account of this name.
    pub account: AccountId,
    /// What was proved.
    pub credential: CredentialId,
    /// The method of the login.
    pub method: String,
    /// The session's id.
    pub id: String,
    /// Whether an invite was redeemed.
    pub invited: bool,
    /// What the credential may be used for.
    pub limits: CredentialLimits,
    /// What bound the login to its connection. A further connection is bound in the same way.
    pub binding: BindingType,
    /// What further connections are attached with, where the client has asked for it.
    pub attach: Option<SecretKey>,
    /// Whether this connection was attached to a session that lived already.
    pub attached: bool,
}

/// The sessions that live.
pub(crate) trait SessionLookup: Sync {
    /// The one of this id, unless it is being ended.
    fn find(&self, session: &str) -> Option<Session>;
}

/// The message to clients while the server drains.
pub(crate) fn draining_error() -> Error {
    Error::here(ErrorCode::Draining, "the server is going down")
}
