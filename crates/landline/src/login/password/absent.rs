//! What stands in place of OPAQUE in a build without passwords: nothing that there could ever be
//! one of.

use std::convert::Infallible;

use landline_proto::login::UserName;
use zeroize::Zeroizing;

use super::{Password, PasswordParties};
use crate::Error;

/// Whether this build can do it.
pub const AVAILABLE: bool = false;

pub(crate) fn prepare(typed: Zeroizing<String>) -> Option<Zeroizing<String>> {
    Some(typed)
}

/// There is none.
pub(crate) struct PasswordSetup(Infallible);

impl PasswordSetup {
    pub(crate) fn generate() -> Zeroizing<Vec<u8>> {
        Zeroizing::default()
    }

    pub(crate) fn parse(_: &[u8]) -> Option<Self> {
        None
    }

    pub(crate) fn answer(
        &self,
        _: PasswordParties<'_>,
        _: Option<&[u8]>,
        _: &[u8],
        _: &[u8; 64],
    ) -> Option<(Vec<u8>, PendingLogin)> {
        match self.0 {}
    }

    pub(crate) fn evaluate(&self, _: &UserName, _: &[u8]) -> Option<Vec<u8>> {
        match self.0 {}
    }
}

/// No bytes are.
pub(crate) fn is_record(_: &[u8]) -> bool {
    false
}

/// There is none.
pub(crate) struct PendingLogin(Infallible);

impl PendingLogin {
    pub(crate) fn accepts(self, _: &[u8], _: PasswordParties<'_>, _: &[u8; 64]) -> bool {
        match self.0 {}
    }
}

/// There is none.
pub struct PasswordLogin(Infallible);

impl PasswordLogin {
    /// Cannot begin.
    ///
    /// # Errors
    /// [`Error::Password`], always.
    pub fn begin(_: &Password) -> Result<(Vec<u8>, Self), Error> {
        Err(absent())
    }

    /// Cannot be called.
    pub fn finish(self, _: &[u8], _: PasswordParties<'_>, _: &[u8; 64]) -> Option<Vec<u8>> {
        match self.0 {}
    }
}

/// There is none.
pub struct PasswordRegistration(Infallible);

impl PasswordRegistration {
    /// Cannot begin.
    ///
    /// # Errors
    /// [`Error::Password`], always.
    pub fn begin(_: &Password) -> Result<(Vec<u8>, Self), Error> {
        Err(absent())
    }

    /// Cannot be called.
    pub fn finish(self, _: &[u8], _: PasswordParties<'_>) -> Option<Vec<u8>> {
        match self.0 {}
    }
}

fn absent() -> Error {
    Error::Password("cannot be used: this landline was built without passwords".into())
}
