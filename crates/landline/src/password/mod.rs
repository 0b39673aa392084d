//! Passwords, for people without keys, by OPAQUE (RFC 9807).
//!
//! See `docs/protocol.md` section 5. The server never sees a password. Its records cannot be
//! attacked without its help, and it proves itself in the same login. Only the module `opaque` uses
//! the crate that computes OPAQUE.

mod opaque;
mod prepare;
mod server;

use std::{fmt, path::Path};

use landline_proto::login::UserName;
pub use opaque::{PasswordLogin, PasswordRegistration};
pub(crate) use opaque::{PasswordSetup, PendingLogin, is_record};
pub use server::Passwords;
pub(crate) use server::{PendingPasswordLogin, password_id, remember_source};
use zeroize::Zeroizing;

use crate::{Error, crypto::Fingerprint, paths};

/// The shortest password that can be set, in characters.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// The longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// A password in the canonical spelling of RFC 8265 (`OpaqueString`).
///
/// It is wiped when dropped, and `Debug` does not show it.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// A typed password, to log in with.
    ///
    /// # Errors
    /// [`Error::Password`] if it is empty, longer than [`PASSWORD_BYTES_MAX`], or has a control
    /// character.
    pub fn new(typed: Zeroizing<String>) -> Result<Self, Error> {
        match typed.len() {
            0 => Err(Error::Password("is empty".into())),
            1..=PASSWORD_BYTES_MAX => Self::prepare(typed),
            _ => Err(Error::Password(format!(
                "is longer than {PASSWORD_BYTES_MAX} bytes"
            ))),
        }
    }

    fn prepare(typed: Zeroizing<String>) -> Result<Self, Error> {
        let control = || {
            Error::Password("has a control character in it, as an arrow key or Tab sends".into())
        };
        opaque::prepare(typed).map(Self).ok_or_else(control)
    }

    /// The first line of a file or a descriptor.
    ///
    /// # Errors
    /// [`Error::Password`] for text that [`new`](Self::new) rejects or that is not UTF-8.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return Err(Error::Password("is UTF-16 text; save it as UTF-8".into()));
        }
        // Some editors put a byte order mark in front.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let line = bytes
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = std::str::from_utf8(line).map_err(|_| Error::Password("is not UTF-8".into()))?;
        Self::new(Zeroizing::new(text.to_owned()))
    }

    /// The first line of a file that no other user can read.
    ///
    /// # Errors
    /// [`Error::Password`], also if the file cannot be read or others can read it.
    ///
    /// # Blocking
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let file = |error| Error::Password(format!("in {}: {error}", path.display()));
        let bytes = paths::read_secret_file(path, FILE_BYTES_MAX).map_err(file)?;
        Self::from_bytes(&bytes)
    }

    /// Checks that the password is long enough to be set.
    ///
    /// Only the client can check this, because the server never sees the password.
    ///
    /// # Errors
    /// [`Error::Password`] if it has fewer than `PASSWORD_CHARS_MIN` characters.
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

/// More than any password needs.
const FILE_BYTES_MAX: u64 = 64 * 1024;

impl PartialEq for Password {
    /// For two passwords that the same person has just typed.
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// The user and the server of a password, which is valid for no others.
#[derive(Debug, Clone, Copy)]
pub struct PasswordParties<'a> {
    /// The user of the password.
    pub user: &'a UserName,
    /// The fingerprint of the server.
    pub server: Fingerprint,
}

#[cfg(test)]
mod independent;
#[cfg(test)]
mod tests;
