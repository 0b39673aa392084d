//! Passwords, for people without keys, by OPAQUE (RFC 9807; `docs/protocol.md` section 5): the
//! server never sees one, has nothing that could be tried out without its help, and proves itself
//! by the same login.
//!
//! Only the module `opaque` knows the crate that computes OPAQUE.

mod opaque;
mod prepare;
mod server;

use std::{fmt, path::Path};

use landline_proto::login::UserName;
pub use opaque::{PasswordLogin, PasswordRegistration};
pub(crate) use opaque::{PasswordSetup, PendingLogin, is_record};
pub use server::Passwords;
pub(crate) use server::{BegunPassword, password_id, remember_source};
use zeroize::Zeroizing;

use crate::{Error, crypto::Fingerprint, paths};

/// The shortest password that can be set, in characters.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// The longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// A password, in the one spelling that RFC 8265 gives it (`OpaqueString`). Wiped when dropped, and
/// not shown by `Debug`.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// What was typed, to log in with.
    ///
    /// # Errors
    /// [`Error::Password`] for nothing at all, more than [`PASSWORD_BYTES_MAX`] bytes, or a control
    /// character.
    pub fn new(typed: Zeroizing<String>) -> Result<Self, Error> {
        match typed.len() {
            0 => Err(Error::Password("is empty".into())),
            1..=PASSWORD_BYTES_MAX => Self::prepared(typed),
            _ => Err(Error::Password(format!(
                "is longer than {PASSWORD_BYTES_MAX} bytes"
            ))),
        }
    }

    fn prepared(typed: Zeroizing<String>) -> Result<Self, Error> {
        let control = || {
            Error::Password("has a control character in it, as an arrow key or Tab sends".into())
        };
        opaque::prepare(typed).map(Self).ok_or_else(control)
    }

    /// The first line of what was read from a file or a descriptor.
    ///
    /// # Errors
    /// [`Error::Password`]: what [`new`](Self::new) refuses, and what is not UTF-8.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let line = bytes
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = std::str::from_utf8(line).map_err(|_| Error::Password("is not UTF-8".into()))?;
        Self::new(Zeroizing::new(text.to_owned()))
    }

    /// The first line of a file that nobody else can read. Blocking.
    ///
    /// # Errors
    /// [`Error::Password`], also when the file cannot be read or others can read it.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let file = |error| Error::Password(format!("in {}: {error}", path.display()));
        let bytes = paths::read_secret_file(path, FILE_BYTES_MAX).map_err(file)?;
        Self::from_bytes(&bytes)
    }

    /// Sees to it that the password is one to be set: nobody but the client can, as the server
    /// never sees it.
    ///
    /// # Errors
    /// [`Error::Password`] for one of less than [`PASSWORD_CHARS_MIN`] characters.
    pub fn check_choice(&self) -> Result<(), Error> {
        if self.0.chars().count() < PASSWORD_CHARS_MIN {
            return Err(Error::Password(format!(
                "has less than {PASSWORD_CHARS_MIN} characters"
            )));
        }
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Far beyond any password.
const FILE_BYTES_MAX: u64 = 64 * 1024;

impl PartialEq for Password {
    /// Whether both are the same; for two that the same person has just typed.
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Between whom a password holds: it is worth nothing for another user, or at another server.
#[derive(Debug, Clone, Copy)]
pub struct PasswordParties<'a> {
    /// Whose password it is.
    pub user: &'a UserName,
    /// Who the server is.
    pub server: Fingerprint,
}

#[cfg(test)]
mod independent;
#[cfg(test)]
mod tests;
