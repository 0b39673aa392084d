//! Credentials: a user and an authentication method.

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

/// A user and the method by which the client logs in.
pub struct Credential {
    /// The user to log in as.
    pub user: UserName,
    /// The authentication method.
    pub method: AuthMethod,
    /// Whether to ask for an attach secret, for further connections of the session.
    pub attachable: bool,
}

impl Credential {
    /// A credential for a session of one connection.
    pub fn new(user: UserName, method: AuthMethod) -> Self {
        Self {
            user,
            method,
            attachable: false,
        }
    }

    /// The same credential for a session of several connections.
    ///
    /// See [`Login::attachment`](super::Login::attachment).
    pub fn attachable(self) -> Self {
        Self {
            attachable: true,
            ..self
        }
    }
}

/// An authentication method, with the material that it needs.
#[derive(Clone)]
pub enum AuthMethod {
    /// A key that the server knows.
    Key(Arc<UserKey>),
    /// Keys, one of which the server may know.
    Keys(Arc<KeyCandidates>),
    /// An invite; the server registers the key.
    Invite(Arc<UserKey>, Token),
    /// A shared secret that the server knows.
    Secret(Arc<Secret>),
    /// A password.
    Password(Arc<PasswordPrompt>),
    /// The attach secret of a live session.
    Attach {
        /// The session.
        session: SessionId,
        /// Its attach secret.
        secret: SecretKey,
        /// The binding of the login that made the session.
        binding: BindingType,
    },
}

impl AuthMethod {
    /// The name of the method in the protocol.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Key(_) | Self::Keys(_) => METHOD_SSH_KEY,
            Self::Invite(..) => METHOD_INVITE,
            Self::Secret(_) => METHOD_SECRET,
            Self::Password(_) => METHOD_PASSWORD,
            Self::Attach { .. } => METHOD_ATTACH,
        }
    }

    /// The channel binding of the login.
    pub(super) fn binding(&self) -> BindingType {
        match self {
            Self::Key(_) | Self::Keys(_) | Self::Invite(..) | Self::Password(_) => {
                BindingType::TlsExporter
            }
            Self::Attach { binding, .. } => *binding,
            Self::Secret(secret) => secret.binding,
        }
    }

    /// Makes the client's proof, and the one to expect of the server.
    ///
    /// # Blocking
    /// With a key in an agent, for up to 60 s.
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
                return Self::Key(key).prove(transcript);
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
            // `prove_password` handles passwords, because they need an answer of the server.
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

    /// Whether proving may wait for the user, such as to touch a security key.
    pub(super) fn may_need_user(&self) -> bool {
        match self {
            Self::Key(key) | Self::Invite(key, _) => key.may_need_user(),
            Self::Keys(keys) => keys.key().is_some_and(|key| key.may_need_user()),
            Self::Secret(_) | Self::Password(_) | Self::Attach { .. } => false,
        }
    }
}
