//! Setting and removing passwords: the messages, and both sides of setting one.

use landline_proto::{ErrorCode, Message, login::UserName, messages::Blob};
use serde::{Deserialize, Serialize};

use super::{Administration, Answer, Request};
use crate::{
    Error,
    admission::PeerNetwork,
    crypto::Fingerprint,
    password::{Password, PasswordParties, PasswordRegistration, Passwords},
    store::{Store, StoredPassword},
};

/// Client: begins to set a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterPassword {
    /// The account; `None` for the sender's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// The RegistrationRequest of OPAQUE (RFC 9807).
    pub request: Blob,
}

/// Client: sets a password, which replaces an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetPassword {
    /// The account; `None` for the sender's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// The RegistrationRecord of OPAQUE (RFC 9807).
    pub record: Blob,
}

/// Client: removes a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovePassword {
    /// The account; `None` for the sender's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
}

/// Server: answers `register-password`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The RegistrationResponse of OPAQUE (RFC 9807).
    pub response: Blob,
}

impl Message for Registration {
    const TYPE: &'static str = "registration";
}

/// Makes the record to store for a password of `user` on the server with this fingerprint.
///
/// `ask` sends requests to the server, which does not see the password.
///
/// # Errors
/// [`Error::Password`] for a password that is too short; errors of the server.
///
/// # Blocking
/// Takes a third of a second and 64 MiB, where it may block.
pub async fn password_record(
    ask: impl AsyncFnOnce(Request) -> Result<Answer, Error>,
    user: UserName,
    server: Fingerprint,
    password: &Password,
) -> Result<Blob, Error> {
    let (request, begun) = PasswordRegistration::begin(password)?;
    let request = RegisterPassword {
        user: Some(user.clone()),
        request: Blob(request),
    };
    let Answer::Registration(Registration { response }) = ask(request.into()).await? else {
        return Err(Error::Lost(
            "the server answered with something else than its half of a password".into(),
        ));
    };
    let finished = move || {
        begun.finish(
            &response.0,
            PasswordParties {
                user: &user,
                server,
            },
        )
    };
    let record = tokio::task::spawn_blocking(finished)
        .await
        .map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?;
    record
        .map(Blob)
        .ok_or_else(|| Error::Password("cannot be set: the server's half of it is damaged".into()))
}

impl Request {
    /// The same request, with the account `user` if it names none.
    #[must_use]
    pub(crate) fn of(mut self, user: &UserName) -> Self {
        if let Self::RegisterPassword(RegisterPassword { user: whose, .. })
        | Self::SetPassword(SetPassword { user: whose, .. })
        | Self::RemovePassword(RemovePassword { user: whose }) = &mut self
        {
            whose.get_or_insert_with(|| user.clone());
        }
        self
    }
}

impl Administration {
    /// Makes the server's answer to a new password.
    ///
    /// `source` is the client's network; `None` for a command on the server's machine.
    pub(super) fn register_password(
        &self,
        request: &RegisterPassword,
        source: Option<PeerNetwork>,
    ) -> Result<Registration, Error> {
        let user = whose(request.user.as_ref())?;
        let response = self.passwords.register(user, &request.request.0, source)?;
        Ok(Registration {
            response: Blob(response),
        })
    }

    pub(super) fn set_password(&self, store: &Store, request: &SetPassword) -> Result<(), Error> {
        store.set_password(
            whose(request.user.as_ref())?,
            &self.stored_password(&request.record)?,
        )
    }

    /// Makes the password to store from a record.
    pub(super) fn stored_password(&self, record: &Blob) -> Result<StoredPassword, Error> {
        Passwords::stored_password(record.0.clone())
    }

    /// Checks that there is a password to remove, before the removal is recorded.
    pub(super) fn check_password_is_there(
        store: &Store,
        request: &RemovePassword,
    ) -> Result<(), Error> {
        let user = whose(request.user.as_ref())?;
        match store.account(user)?.password {
            true => Ok(()),
            false => Err(Error::here(
                ErrorCode::NotFound,
                format!("{user} has no password"),
            )),
        }
    }

    pub(super) fn remove_password(
        &self,
        store: &Store,
        request: &RemovePassword,
    ) -> Result<(), Error> {
        store.remove_password(whose(request.user.as_ref())?, self.admin_filter()?)
    }
}

fn whose(user: Option<&UserName>) -> Result<&UserName, Error> {
    user.ok_or_else(|| Error::here(ErrorCode::NotFound, "the request names no account"))
}
