//! Machine secrets. They can be administered only on the server's machine.
//!
//! A secret never reaches the server, which stores a key that is derived from it.

use std::{fmt, str::FromStr};

use landline_proto::{
    ErrorCode, Header, Message, MessageRule, MessageType, ProtocolState,
    login::{BindingType, SecretId, UserName},
    messages::{Blob, ErrorMessage},
};
use serde::{Deserialize, Serialize};

use super::{
    Administration,
    messages::{CHANGED, Changed},
    paging::{SecretRow, Secrets, receive_list},
};
use crate::{
    Error,
    activity::Activity,
    audit::Priority,
    keys::{CredentialId, SecretKey, ServiceSet},
    login::Secret,
    net::Channel,
    store::StoredSecret,
};

/// The name of the service, which is only available on a control socket.
pub(crate) const SERVICE: &str = "secrets";

pub(crate) const TYPES: &[MessageType] = &[
    MessageType::of::<ListSecrets>(),
    MessageType::of::<Secrets>(),
    MessageType::of::<AddSecret>(),
    MessageType::of::<RemoveSecret>(),
];

/// Server: waits for a request.
pub(crate) static REQUESTS: ProtocolState = ProtocolState::new(
    "secrets-requests",
    &[
        MessageRule::new("list-secrets"),
        MessageRule::new("add-secret"),
        MessageRule::new("remove-secret"),
    ],
);
/// Client: has sent `list-secrets` or `remove-secret`.
static LISTED: ProtocolState = ProtocolState::new(
    "secrets-listed",
    &[
        MessageRule::new(Secrets::TYPE),
        MessageRule::new(ErrorMessage::TYPE),
    ],
);

/// Client: lists secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListSecrets {
    /// Lists only the secrets of this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<UserName>,
}

impl Message for ListSecrets {
    const TYPE: &'static str = "list-secrets";
}

/// Client: adds a secret with which a machine can log in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AddSecret {
    /// The account that it logs in to.
    pub(crate) user: UserName,
    /// The binding that it is made for.
    pub(crate) binding: BindingType,
    /// The key that verifies the secret, 32 bytes.
    pub(crate) key: Blob,
    /// The services that it may use, separated by commas; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) services: Option<String>,
    /// A label for people.
    pub(crate) label: String,
}

impl Message for AddSecret {
    const TYPE: &'static str = "add-secret";
}

impl fmt::Debug for AddSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddSecret")
            .field("user", &self.user)
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// Client: removes a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RemoveSecret {
    /// The secret's id.
    pub(crate) id: SecretId,
    /// Whether to remove the last credential of the last admin, too.
    #[serde(default)]
    pub(crate) force: bool,
}

impl Message for RemoveSecret {
    const TYPE: &'static str = "remove-secret";
}

/// A request about secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretRequest {
    List(ListSecrets),
    Add(AddSecret),
    Remove(RemoveSecret),
}

/// The answer to a request about secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretAnswer {
    /// The listed secrets, or the one that was removed.
    Secrets(Vec<SecretRow>),
    /// The change is durable.
    Changed,
}

impl SecretRequest {
    /// Makes a request that adds this secret for these services.
    pub(crate) fn add(secret: &Secret, services: Option<&ServiceSet>, label: &str) -> Self {
        Self::Add(AddSecret {
            user: secret.user.clone(),
            binding: secret.binding,
            key: Blob(secret.key().bytes().to_vec()),
            services: services.map(ToString::to_string),
            label: label.to_owned(),
        })
    }

    /// Reads the request from a header of one of the allowed types.
    ///
    /// # Errors
    /// [`Error::Protocol`] for a header without the keys that its type needs.
    pub(crate) fn read(header: &Header) -> Result<Self, Error> {
        Ok(match header.kind() {
            AddSecret::TYPE => Self::Add(header.read()?),
            RemoveSecret::TYPE => Self::Remove(header.read()?),
            _ => Self::List(header.read()?),
        })
    }

    /// Whether the request only lists secrets.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self, Self::List(_))
    }

    /// Sends the request and waits for the answer.
    ///
    /// # Errors
    /// Errors of the server, [`Error::Lost`].
    pub(crate) async fn ask(&self, channel: &mut Channel) -> Result<SecretAnswer, Error> {
        match self {
            Self::List(request) => channel.send(request)?,
            Self::Add(request) => channel.send(request)?,
            Self::Remove(request) => channel.send(request)?,
        }
        channel.flush().await?;
        if matches!(self, Self::Add(_)) {
            channel.receive(&CHANGED).await?.read::<Changed>()?;
            return Ok(SecretAnswer::Changed);
        }
        let rows = receive_list::<Secrets>(channel, &LISTED).await?;
        Ok(SecretAnswer::Secrets(rows))
    }
}

impl Administration {
    /// Applies a request about secrets of a command on the server's machine.
    ///
    /// A change is in the audit log before it is made.
    ///
    /// # Errors
    /// `not-found`, `last-owner` for the last credential of the last admin, `bad-header` for a key
    /// of another length, `audit`, [`Error::State`].
    ///
    /// # Blocking
    /// Writes to the disk.
    pub(crate) fn apply_to_secrets(&self, request: &SecretRequest) -> Result<SecretAnswer, Error> {
        match request {
            SecretRequest::List(ListSecrets { user }) => {
                let secrets = self.store.secrets(user.as_ref())?;
                Ok(SecretAnswer::Secrets(
                    secrets.into_iter().map(row).collect(),
                ))
            }
            SecretRequest::Add(request) => self.add_secret(request),
            SecretRequest::Remove(request) => self.remove_secret(request),
        }
    }

    fn add_secret(&self, request: &AddSecret) -> Result<SecretAnswer, Error> {
        let AddSecret {
            user,
            binding,
            key,
            services,
            label,
        } = request;
        let _changing = self.lock_changes();
        let key = <[u8; 32]>::try_from(&key.0[..])
            .map(SecretKey::from_bytes)
            .map_err(|_| Error::here(ErrorCode::BadHeader, "a secret's key has 32 bytes"))?;
        let services = services.as_deref().map(ServiceSet::from_str).transpose();
        let services =
            services.map_err(|error| Error::here(ErrorCode::BadHeader, error.to_string()))?;
        self.store.account(user)?;
        let named = services
            .as_ref()
            .map_or(String::new(), |services| format!(" ({services})"));
        let detail = format!("{}{named}", CredentialId::Secret(key.id()));
        self.record("secret-add", user, detail)?;
        self.store
            .add_secret(user, *binding, &key, services.as_ref(), label)?;
        Ok(SecretAnswer::Changed)
    }

    fn remove_secret(&self, request: &RemoveSecret) -> Result<SecretAnswer, Error> {
        let RemoveSecret { id, force } = request;
        let _changing = self.lock_changes();
        let secrets = self.store.secrets(None)?;
        let found = secrets.into_iter().find(|secret| secret.id == *id);
        let secret = found
            .ok_or_else(|| Error::here(ErrorCode::NotFound, format!("there is no secret {id}")))?;
        let forced = if *force { ", force" } else { "" };
        self.record(
            "secret-remove",
            &secret.user,
            format!("{}{forced}", CredentialId::Secret(*id)),
        )?;
        self.store.remove_secret(id, self.admin_filter()?, *force)?;
        Ok(SecretAnswer::Secrets(vec![row(secret)]))
    }

    fn record(&self, action: &str, user: &UserName, detail: String) -> Result<(), Error> {
        let change = Activity::Admin {
            user: None,
            session: None,
            action: action.to_owned(),
            subject: user.to_string(),
            detail: Some(detail),
        };
        self.audit()?.record_blocking(change, Priority::Exempt)
    }
}

fn row(secret: StoredSecret) -> SecretRow {
    let StoredSecret {
        id,
        user,
        binding,
        services,
        label,
        created,
    } = secret;
    SecretRow {
        id,
        user,
        binding,
        services: services.map(|services| services.to_string()),
        label,
        created,
    }
}
