//! Whether somebody who is logged in could still log in.

use std::net::IpAddr;

use super::Session;
use crate::{
    Error,
    keys::{KeyLineError, KeyOptions},
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
            Ok(command) if command == session.command => {}
            Ok(_) => return Ok(Some("the key is for something else now".to_owned())),
            Err(reason) => return Ok(Some(reason.to_string())),
        }
    }
    Ok(None)
}

/// The command that a stored key is for, if it is for one; why it may not be used otherwise.
pub(crate) fn check_key_options(
    record: &KeyRecord,
    peer: IpAddr,
) -> Result<Option<String>, KeyLineError> {
    if record.disabled {
        return Err(KeyLineError::new("the account is disabled"));
    }
    let options = KeyOptions::parse(&record.options)?;
    options.admit(peer, unix_now())?;
    Ok(options.command().map(str::to_owned))
}
