//! Connects to a server and logs in, and prompts the user if necessary.

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

/// How often the user can try a password. More attempts would trigger penalties.
const PASSWORD_ATTEMPTS_MAX: u32 = 3;

/// Connects and logs in. With `first` it opens a channel in the same flight.
///
/// If the server chooses an encrypted key, the user types its passphrase while there is no
/// connection. If the server accepts no key, the user types the password, up to three times.
///
/// # Errors
/// Those of [`net::dial`] and of [`login::connect`].
pub async fn connect(
    server: &KnownServer,
    credential: &Credential,
    first: Option<&FirstRequest>,
) -> Result<Connected, Error> {
    match &credential.method {
        AuthMethod::Keys(keys) => match keys.password_prompt() {
            Some(prompt) => connect_by_password(server, credential, prompt, first).await,
            None => connect_by_keys(server, credential, keys, first).await,
        },
        AuthMethod::Password(prompt) => {
            connect_by_password(server, credential, prompt, first).await
        }
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
            keys.report_accepted().await;
            Ok(connected)
        }
        Err(
            refused @ Error::Failed {
                side: Side::There,
                code: ErrorCode::LoginRefused,
                ..
            },
        ) => match keys.prompt_password().await? {
            Some(prompt) => connect_by_password(server, credential, prompt, first).await,
            None => Err(refused),
        },
        Err(error) => Err(error),
    }
}

async fn connect_by_password(
    server: &KnownServer,
    credential: &Credential,
    prompt: &Arc<PasswordPrompt>,
    first: Option<&FirstRequest>,
) -> Result<Connected, Error> {
    let Credential {
        user, attachable, ..
    } = credential;
    let by_password = Credential {
        user: user.clone(),
        method: AuthMethod::Password(prompt.clone()),
        attachable: *attachable,
    };
    let mut attempts = 1;
    loop {
        let error = match connect_once(server, &by_password, first).await {
            Ok(connected) => {
                prompt.report_accepted().await;
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
        if !is_refused || attempts == PASSWORD_ATTEMPTS_MAX || !prompt.retry().await? {
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
    let (dialed, route) = net::dial(&address, server.via.as_ref()).await?;
    let login = login::connect(
        dialed,
        &address.to_string(),
        server.fingerprint,
        credential,
        first,
    )
    .await?;
    Ok(Connected { login, route })
}
