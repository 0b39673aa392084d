//! Whether somebody who is logged in could still log in.

use std::net::IpAddr;

use super::Session;
use crate::{
    Error,
    keys::{CredentialLimits, KeyLineError, KeyOptions},
    store::{KeyRecord, Store, unix_now},
};

/// Why somebody who has logged in as `session` says, from these addresses, could not do so any
/// more; `None` if they could. Blocking.
///
/// # Errors
/// [`Error::State`].
pub(crate) fn objection(
    store: &Store,
    session: &Session,
    peers: &[IpAddr],
) -> Result<Option<String>, Error> {
    if let Some(objection) = store.objection(&session.user, &session.key)? {
        return Ok(Some(objection.to_owned()));
    }
    let keys = store.keys_of(&session.user)?;
    let Some(record) = keys.iter().find(|record| record.fingerprint == session.key) else {
        return Ok(None);
    };
    for peer in peers {
        match check_key_options(record, *peer) {
            Ok(limits) if limits == session.limits => {}
            Ok(_) => return Ok(Some("the key is for something else now".to_owned())),
            Err(reason) => return Ok(Some(reason.to_string())),
        }
    }
    Ok(None)
}

/// What a stored key may be used for from `peer` now, or why it may not be used.
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
