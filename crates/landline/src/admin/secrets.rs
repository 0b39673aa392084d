//! Machine secrets: the messages, and how they are applied.
//!
//! A secret never reaches the server, which stores a key that is derived from it.

use std::{fmt, str::FromStr};

use landline_proto::{
    ErrorCode,
    login::{BindingType, SecretId, UserName},
    messages::Blob,
};
use serde::{Deserialize, Serialize};

use super::{Administration, paging::SecretRow};
use crate::{
    Error,
    keys::{CredentialId, SecretKey, ServiceSet},
    login::Secret,
    store::{Store, StoredSecret},
};

/// The longest label, in characters.
const LABEL_CHARACTERS_MAX: usize = 200;

/// Client: lists secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListSecrets {
    /// Lists only the secrets of this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
}

/// Client: adds a secret with which a machine can log in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddSecret {
    /// The account that it logs in to.
    pub user: UserName,
    /// The binding that it is made for.
    pub binding: BindingType,
    /// The key that verifies the secret, 32 bytes.
    pub key: Blob,
    /// The services that it may use, separated by commas; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<String>,
    /// A label for people.
    pub label: String,
}

impl AddSecret {
    /// Makes a request that adds this secret for these services; `None` for all.
    pub fn new(secret: &Secret, services: Option<&ServiceSet>, label: String) -> Self {
        Self {
            user: secret.user.clone(),
            binding: secret.binding,
            key: Blob(secret.key().bytes().to_vec()),
            services: services.map(ToString::to_string),
            label,
        }
    }

    fn secret_key(&self) -> Result<SecretKey, Error> {
        let key = <[u8; 32]>::try_from(&self.key.0[..]);
        key.map(SecretKey::from_bytes)
            .map_err(|_| Error::here(ErrorCode::BadHeader, "a secret's key has 32 bytes"))
    }
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
pub struct RemoveSecret {
    /// The secret's id.
    pub id: SecretId,
    /// Whether to remove the last credential of the last admin, too.
    #[serde(default)]
    pub force: bool,
}

impl Administration {
    /// The secrets of one user, or of all.
    pub(super) fn secrets(&self, request: &ListSecrets) -> Result<Vec<SecretRow>, Error> {
        if let Some(user) = &request.user {
            self.store.account(user)?;
        }
        let secrets = self.store.secrets(request.user.as_ref())?;
        Ok(secrets.into_iter().map(row).collect())
    }

    /// Finds a secret by its id.
    pub(super) fn find_secret(&self, id: SecretId) -> Result<SecretRow, Error> {
        let secrets = self.store.secrets(None)?;
        let found = secrets.into_iter().find(|secret| secret.id == id);
        found
            .map(row)
            .ok_or_else(|| Error::here(ErrorCode::NotFound, format!("there is no secret {id}")))
    }

    /// Adds a secret, after `record` has recorded the detail of the change.
    pub(super) fn add_secret(
        &self,
        store: &Store,
        request: &AddSecret,
        record: impl FnOnce(String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let key = request.secret_key()?;
        let services = request.services.as_deref().map(ServiceSet::from_str);
        let services = services
            .transpose()
            .map_err(|error| Error::here(ErrorCode::BadHeader, error.to_string()))?;
        if let Some(services) = &services {
            services.check_known(self.rights.words().services())?;
        }
        if request.label.chars().count() > LABEL_CHARACTERS_MAX {
            let problem = format!("a label has at most {LABEL_CHARACTERS_MAX} characters");
            return Err(Error::here(ErrorCode::NameRefused, problem));
        }
        store.account(&request.user)?;
        let named = services
            .as_ref()
            .map_or(String::new(), |services| format!(" ({services})"));
        record(format!("{}{named}", CredentialId::Secret(key.id())))?;
        let AddSecret {
            user,
            binding,
            label,
            ..
        } = request;
        store
            .add_secret(user, *binding, &key, services.as_ref(), label)
            .map(drop)
    }

    /// Removes a secret, after `record` has recorded the change of its account. Returns the secret.
    pub(super) fn remove_secret(
        &self,
        store: &Store,
        request: &RemoveSecret,
        record: impl FnOnce(&UserName, String) -> Result<(), Error>,
    ) -> Result<SecretRow, Error> {
        let RemoveSecret { id, force } = request;
        let secret = self.find_secret(*id)?;
        let forced = if *force { ", force" } else { "" };
        let detail = format!("{}{forced}", CredentialId::Secret(*id));
        record(&secret.user, detail)?;
        store.remove_secret(id, self.admin_filter()?, *force)?;
        Ok(secret)
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
