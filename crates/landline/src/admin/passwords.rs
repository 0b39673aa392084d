//! Passwords, set and taken away: the messages, and both halves of setting one.

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

/// Client: the server's half of setting a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterPassword {
    /// Whose; `None` for one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// The RegistrationRequest of OPAQUE (RFC 9807).
    pub request: Blob,
}

/// Client: let an account log in with this password, and with no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetPassword {
    /// Whose; `None` for one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// The RegistrationRecord of OPAQUE (RFC 9807).
    pub record: Blob,
}

/// Client: let an account log in by password no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovePassword {
    /// Whose; `None` for one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
}

/// Server: its half of setting a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The RegistrationResponse of OPAQUE (RFC 9807).
    pub response: Blob,
}

impl Message for Registration {
    const TYPE: &'static str = "registration";
}

/// What is to be stored for a password of `user` at the server with this fingerprint, which `ask`
/// puts requests to. The server does not see the password. Takes a third of a second and 64 MiB,
/// where it may block.
///
/// # Errors
/// [`Error::Password`] for one that is too short; what the server says.
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
    /// The same request, where a password that is nobody's is that of `user`.
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
    /// The server's half of a password; asked for from `source`, or at the machine itself.
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

    /// What is to be stored for a record.
    pub(super) fn stored_password(&self, record: &Blob) -> Result<StoredPassword, Error> {
        Passwords::stored_password(record.0.clone())
    }

    /// What is not there is not taken away, and is not worth a line of the audit log.
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
        store.remove_password(whose(request.user.as_ref())?, self.is_kept()?)
    }
}

fn whose(user: Option<&UserName>) -> Result<&UserName, Error> {
    user.ok_or_else(|| {
        Error::here(
            ErrorCode::NotFound,
            "nobody is named whose password is meant",
        )
    })
}
