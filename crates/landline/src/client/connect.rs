//! Connects to a server and logs in, and prompts the user if necessary.

use std::sync::Arc;

use landline_proto::{ErrorCode, login::BundleId};
use log::debug;

use super::Connected;
use crate::{
    Error, Side,
    login::{
        self, AuthMethod, Credential, FirstRequest, KeyCandidates, KnownServer, PasswordPrompt,
    },
    net::{self, Route},
};

/// How often the user can try a password. More attempts would trigger penalties.
const PASSWORD_ATTEMPTS_MAX: u32 = 3;

/// Connects and logs in. With `first` it opens a channel in the same flight.
///
/// If the server chooses an encrypted key, the user types its passphrase while there is no
/// connection, up to three times. A key that stays locked is skipped. If no key is left, the user
/// types the password, up to three times.
///
/// # Errors
/// Those of [`net::dial`] and of [`login::connect`].
pub async fn connect(
    server: &KnownServer,
    credential: &Credential,
    first: Option<&FirstRequest>,
) -> Result<Connected, Error> {
    connect_on(server, credential, first, &mut |_| None).await
}

/// As [`connect`]. `on_dialed` gets each route, before the login on it begins.
pub(super) async fn connect_on(
    server: &KnownServer,
    credential: &Credential,
    first: Option<&FirstRequest>,
    on_dialed: OnDialed<'_>,
) -> Result<Connected, Error> {
    match &credential.method {
        AuthMethod::Keys(keys) => match keys.password_prompt() {
            Some(prompt) => connect_by_password(server, credential, prompt, first, on_dialed).await,
            None => connect_by_keys(server, credential, keys, first, on_dialed).await,
        },
        AuthMethod::Password(prompt) => {
            connect_by_password(server, credential, prompt, first, on_dialed).await
        }
        _ => connect_once(server, credential, first, on_dialed).await,
    }
}

/// What is called once a route is known. The id makes the channel a bundle.
pub(super) type OnDialed<'a> = &'a mut (dyn FnMut(&Route) -> Option<BundleId> + Send);

async fn connect_by_keys(
    server: &KnownServer,
    credential: &Credential,
    keys: &KeyCandidates,
    first: Option<&FirstRequest>,
    on_dialed: OnDialed<'_>,
) -> Result<Connected, Error> {
    let refused = loop {
        let reason = match connect_once(server, credential, first, on_dialed).await {
            Ok(connected) => {
                keys.report_accepted().await;
                return Ok(connected);
            }
            Err(Error::KeyLocked { .. }) => match keys.unlock().await {
                Ok(()) => continue,
                Err(reason) => reason,
            },
            // The agent does not sign, for example because its user does not confirm it.
            Err(reason @ (Error::Agent { .. } | Error::Key { .. })) if keys.has_chosen() => {
                keys.skip(reason).await
            }
            Err(error) if is_refusal(&error) => {
                break Error::KeysRefused {
                    keys: keys.refused(),
                };
            }
            Err(error) => return Err(error),
        };
        if keys.remaining().is_empty() {
            break reason;
        }
    };
    let prompt = keys.prompt_password(refused).await?;
    connect_by_password(server, credential, prompt, first, on_dialed).await
}

/// Whether the server accepts none of the keys.
fn is_refusal(error: &Error) -> bool {
    match error {
        Error::KeysRefused { .. } => true,
        Error::Failed { side, code, .. } => {
            *side == Side::There && *code == ErrorCode::LoginRefused
        }
        _ => false,
    }
}

async fn connect_by_password(
    server: &KnownServer,
    credential: &Credential,
    prompt: &Arc<PasswordPrompt>,
    first: Option<&FirstRequest>,
    on_dialed: OnDialed<'_>,
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
        let error = match connect_once(server, &by_password, first, on_dialed).await {
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
    on_dialed: OnDialed<'_>,
) -> Result<Connected, Error> {
    let address = server.address();
    debug!("the server is {address}");
    let (dialed, route) = net::dial(&address, server.via.as_ref()).await?;
    let bundle = on_dialed(&route);
    let login = login::connect_bundled(
        dialed,
        &address.to_string(),
        server.fingerprint,
        credential,
        first,
        bundle,
    )
    .await
    .inspect_err(|error| debug!("{address}: {error}"))?;
    Ok(Connected { login, route })
}
