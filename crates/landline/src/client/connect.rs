//! Connecting to a server and logging in, with a person asked where that is needed.

use std::sync::Arc;

use landline_proto::ErrorCode;

use super::Connected;
use crate::{
    Error, Side,
    login::{
        self, AuthMethod, Credential, FirstRequest, KeyCandidates, KnownServer, PasswordPrompt,
    },
    net,
};

/// How often the user is asked for a password. A server shuts out a client that guesses more often.
const PASSWORD_ATTEMPTS_MAX: u32 = 3;

/// Connects and logs in. With `first` it opens a channel in the same flight.
///
/// Where the server chooses a key that takes a passphrase, the user is asked for it while there is
/// no connection. The user is asked for the password too, up to three times, where the server
/// accepts no key.
///
/// # Errors
/// Those of [`net::dial`] and of [`login::connect`].
pub async fn connect(
    server: &KnownServer,
    credential: &Credential,
    first: Option<&FirstRequest>,
) -> Result<Connected, Error> {
    match &credential.method {
        AuthMethod::Keys(keys) => match keys.typed() {
            Some(typed) => connect_by_password(server, credential, typed, first).await,
            None => connect_by_keys(server, credential, keys, first).await,
        },
        AuthMethod::Password(typed) => connect_by_password(server, credential, typed, first).await,
        _ => connect_once(server, credential, first).await,
    }
}

async fn connect_by_keys(
    server: &KnownServer,
    credential: &Credential,
    keys: &KeyCandidates,
    first: Option<&FirstRequest>,
) -> Result<Connected, Error> {
    keys.unlock().await?;
    let connected = match connect_once(server, credential, first).await {
        Err(Error::KeyLocked { .. }) => {
            keys.unlock().await?;
            connect_once(server, credential, first).await
        }
        other => other,
    };
    match connected {
        Ok(connected) => {
            keys.accepted().await;
            Ok(connected)
        }
        Err(
            refused @ Error::Failed {
                side: Side::There,
                code: ErrorCode::LoginRefused,
                ..
            },
        ) => match keys.ask_password().await? {
            Some(typed) => connect_by_password(server, credential, typed, first).await,
            None => Err(refused),
        },
        Err(error) => Err(error),
    }
}

async fn connect_by_password(
    server: &KnownServer,
    credential: &Credential,
    typed: &Arc<PasswordPrompt>,
    first: Option<&FirstRequest>,
) -> Result<Connected, Error> {
    let Credential {
        user, attachable, ..
    } = credential;
    let by_password = Credential {
        user: user.clone(),
        method: AuthMethod::Password(typed.clone()),
        attachable: *attachable,
    };
    let mut attempts = 1;
    loop {
        let error = match connect_once(server, &by_password, first).await {
            Ok(connected) => {
                typed.accepted().await;
                return Ok(connected);
            }
            Err(error) => error,
        };
        let is_refused = matches!(
            error,
            Error::Failed {
                code: ErrorCode::LoginRefused,
                ..
            }
        );
        if !is_refused || attempts == PASSWORD_ATTEMPTS_MAX || !typed.ask_again().await? {
            return Err(error);
        }
        attempts += 1;
    }
}

async fn connect_once(
    server: &KnownServer,
    credential: &Credential,
    first: Option<&FirstRequest>,
) -> Result<Connected, Error> {
    let address = server.address();
    let (line, route) = net::dial(&address, server.via.as_ref()).await?;
    let login = login::connect(
        line,
        &address.to_string(),
        server.fingerprint,
        credential,
        first,
    )
    .await?;
    Ok(Connected { login, route })
}
