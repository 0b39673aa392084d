//! What a client logs in with.

use std::sync::Arc;

use landline_proto::{
    login::{
        BindingType, METHOD_ATTACH, METHOD_INVITE, METHOD_PASSWORD, METHOD_SECRET, METHOD_SSH_KEY,
        Proof, SessionId, UserName,
    },
    messages::{Blob, Mac, Token},
};

use super::{KeyCandidates, PasswordPrompt, Secret};
use crate::{
    Error,
    keys::{SecretKey, UserKey},
};

/// What a client logs in with.
pub struct Credential {
    /// Who.
    pub user: UserName,
    /// By what.
    pub method: AuthMethod,
    /// Whether the session is to give what further connections are attached with.
    pub attachable: bool,
}

impl Credential {
    /// To log in as `user` by this method, for one connection.
    pub fn new(user: UserName, method: AuthMethod) -> Self {
        Self {
            user,
            method,
            attachable: false,
        }
    }

    /// The same for a session of several connections: see
    /// [`Login::attachment`](super::Login::attachment).
    pub fn attachable(self) -> Self {
        Self {
            attachable: true,
            ..self
        }
    }
}

/// By what somebody logs in.
#[derive(Clone)]
pub enum AuthMethod {
    /// A key that the server knows.
    Key(Arc<UserKey>),
    /// Keys, one of which the server may know.
    Keys(Arc<KeyCandidates>),
    /// An invite: the key is then registered.
    Invite(Arc<UserKey>, Token),
    /// A secret that the server knows too.
    Secret(Arc<Secret>),
    /// A password.
    Password(Arc<PasswordPrompt>),
    /// The attach secret of a live session.
    Attach {
        /// The session.
        session: SessionId,
        /// Its attach secret.
        secret: SecretKey,
        /// What bound the session's login to its connection.
        binding: BindingType,
    },
}

impl AuthMethod {
    /// The method of the login.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Key(_) | Self::Keys(_) => METHOD_SSH_KEY,
            Self::Invite(..) => METHOD_INVITE,
            Self::Secret(_) => METHOD_SECRET,
            Self::Password(_) => METHOD_PASSWORD,
            Self::Attach { .. } => METHOD_ATTACH,
        }
    }

    /// What ties the login to the connection.
    pub(super) fn binding(&self) -> BindingType {
        match self {
            Self::Key(_) | Self::Keys(_) | Self::Invite(..) | Self::Password(_) => {
                BindingType::TlsExporter
            }
            Self::Attach { binding, .. } => *binding,
            Self::Secret(secret) => secret.binding,
        }
    }

    /// The proof, and what the server has to prove. May block.
    pub(super) fn prove(&self, transcript: &[u8; 64]) -> Result<(Proof, Option<Mac>), Error> {
        let signed =
            |key: &UserKey| Ok::<_, Error>((key.public().line(), Blob(key.sign(transcript)?)));
        Ok(match self {
            Self::Key(key) => {
                let (key, signature) = signed(key)?;
                (Proof::SshKey { key, signature }, None)
            }
            Self::Keys(keys) => {
                let key = keys
                    .key()
                    .ok_or_else(|| Error::Lost("the server did not choose a key".into()))?;
                return Self::Key(key.clone()).prove(transcript);
            }
            Self::Invite(key, token) => {
                let (key, signature) = signed(key)?;
                (
                    Proof::Invite {
                        key,
                        signature,
                        token: *token,
                    },
                    None,
                )
            }
            Self::Secret(secret) => {
                let key = secret.key();
                let (binding, proof) = (secret.binding, key.client_proof(transcript));
                (
                    Proof::Secret {
                        secret: key.id(),
                        binding,
                        proof,
                    },
                    Some(key.server_proof(transcript)),
                )
            }
            // By way of the server's half: `by_password`.
            Self::Password(_) => return Err(Error::Password("is proved in two steps".into())),
            Self::Attach {
                session, secret, ..
            } => (
                Proof::Attach {
                    session: *session,
                    proof: secret.attach_proof(transcript),
                },
                None,
            ),
        })
    }

    /// Whether proving can take longer than a computer would.
    pub(super) fn may_take_a_person(&self) -> bool {
        match self {
            Self::Key(key) | Self::Invite(key, _) => key.may_take_a_person(),
            Self::Keys(keys) => keys.key().is_some_and(|key| key.may_take_a_person()),
            Self::Secret(_) | Self::Password(_) | Self::Attach { .. } => false,
        }
    }
}
