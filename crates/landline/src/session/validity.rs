//! Whether a logged-in user could still log in.

use std::net::IpAddr;

use super::Session;
use crate::{
    Error,
    keys::{CredentialId, CredentialLimits, KeyLineError, KeyOptions},
    store::{KeyRecord, Store, unix_now},
};

/// Whether a session could still be logged in.
#[derive(Debug)]
pub(crate) enum Validity {
    /// Yes; `until` is when the credential expires, in seconds since 1970.
    Valid { until: Option<i64> },
    /// No, for this reason.
    Revoked(String),
}

/// Checks whether the login of `session` would still be accepted from these addresses.
///
/// A session that waits for its client has no address.
///
/// # Errors
/// [`Error::State`].
///
/// # Blocking
/// Reads the store.
pub(crate) fn validity(
    store: &Store,
    session: &Session,
    peers: &[IpAddr],
) -> Result<Validity, Error> {
    if let Some(reason) = store.revocation_reason(&session.user, &session.credential)? {
        return Ok(Validity::Revoked(reason.to_owned()));
    }
    let CredentialId::Key(fingerprint) = &session.credential else {
        return Ok(Validity::Valid { until: None });
    };
    let keys = store.keys_of(&session.user)?;
    let Some(record) = keys
        .iter()
        .find(|record| record.fingerprint == *fingerprint)
    else {
        return Ok(Validity::Valid { until: None });
    };
    for peer in peers {
        match check_key_options(record, *peer) {
            Ok(limits) if limits == session.limits => {}
            Ok(_) => {
                let reason = "the options of the key have changed".to_owned();
                return Ok(Validity::Revoked(reason));
            }
            Err(reason) => return Ok(Validity::Revoked(reason.to_string())),
        }
    }
    let options = KeyOptions::parse(&record.options);
    match options.and_then(|options| options.check_expiry(unix_now()).map(|()| options.expires())) {
        Ok(until) => Ok(Validity::Valid { until }),
        Err(reason) => Ok(Validity::Revoked(reason.to_string())),
    }
}

/// Checks that `peer` may use a stored key now; returns the limits of the key.
pub(crate) fn check_key_options(
    record: &KeyRecord,
    peer: IpAddr,
) -> Result<CredentialLimits, KeyLineError> {
    if record.disabled {
        return Err(KeyLineError::new("the account is disabled"));
    }
    let options = KeyOptions::parse(&record.options)?;
    options.admit(peer, unix_now())?;
    Ok(options.limits())
}
