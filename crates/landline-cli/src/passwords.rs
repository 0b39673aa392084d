//! Passwords: read from where the user says, else asked for.

use std::{
    io::{ErrorKind, Read},
    path::Path,
};

use landline::{
    Error,
    password::{PASSWORD_BYTES_MAX, Password},
    paths::local,
    proto::login::UserName,
};
use zeroize::Zeroizing;

use crate::{
    arguments::PasswordSource,
    environment,
    failure::Failure,
    terminal::{self, say, shown_line},
};

/// The file with the password that is read wherever it would be asked for at a login.
const FILE_VARIABLE: &str = "LANDLINE_PASSWORD_FILE";

/// The password to log in with that the options name; `None` where they name none.
pub(crate) fn for_login(
    source: &PasswordSource,
    user: &UserName,
    place: &str,
) -> Result<Option<Password>, Failure> {
    if let Some(password) = read(source.password_file.as_deref(), source.password_fd)? {
        return Ok(Some(password));
    }
    match source.password {
        true => asked(user, place)?
            .map(Some)
            .ok_or_else(Failure::no_terminal_for_password),
        false => Ok(None),
    }
}

/// Asks for the password of an account, where the environment does not say where it is; `None`
/// where there is no terminal.
pub(crate) fn asked(user: &UserName, place: &str) -> Result<Option<Password>, Error> {
    if let Some(path) = environment::path(FILE_VARIABLE) {
        return Password::load(&path).map(Some);
    }
    typed(&format!("Password of {user} at {place}: "))?
        .map(Password::new)
        .transpose()
}

/// Whether a password would be typed: nothing names another place where it is.
pub(crate) fn is_typed(source: &PasswordSource) -> bool {
    source.password_file.is_none()
        && source.password_fd.is_none()
        && environment::path(FILE_VARIABLE).is_none()
}

/// Asks for a password that was typed once more; `None` where there is no terminal.
pub(crate) fn asked_again(user: &UserName, place: &str) -> Result<Option<Password>, Error> {
    say("landline: that was not accepted");
    typed(&format!("Password of {user} at {place}: "))?
        .map(Password::new)
        .transpose()
}

/// A password to be set: read from where the user says, else asked for, twice.
pub(crate) fn chosen(
    file: Option<&Path>,
    descriptor: Option<u32>,
    user: &UserName,
) -> Result<Password, Failure> {
    let password = match read(file, descriptor)? {
        Some(password) => password,
        None => {
            let first = typed(&format!("New password of {user}: "))?
                .ok_or_else(Failure::no_terminal_for_password)?;
            let first = Password::new(first)?;
            // What is wrong with it is said before it has to be typed again.
            first.check_choice()?;
            let again = typed("The same again: ")?.ok_or_else(Failure::no_terminal_for_password)?;
            if Password::new(again)? != first {
                return Err(Error::Password(
                    "was not typed the same twice; nothing was changed".into(),
                )
                .into());
            }
            first
        }
    };
    password.check_choice()?;
    Ok(password)
}

fn read(file: Option<&Path>, descriptor: Option<u32>) -> Result<Option<Password>, Failure> {
    match (file, descriptor) {
        (Some(path), _) => Ok(Some(Password::load(path)?)),
        (None, Some(number)) => Ok(Some(from_descriptor(number)?)),
        (None, None) => Ok(None),
    }
}

/// The first line of what this descriptor gives; nothing behind it is taken.
fn from_descriptor(number: u32) -> Result<Password, Failure> {
    let failed = |error: std::io::Error| {
        Failure::from(Error::Password(format!("on descriptor {number}: {error}")))
    };
    let mut input = local::descriptor(number).map_err(failed)?;
    let mut line = Zeroizing::new(Vec::with_capacity(PASSWORD_BYTES_MAX + 2));
    let mut byte = [0];
    while line.len() <= PASSWORD_BYTES_MAX + 1 && !line.ends_with(b"\n") {
        match input.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => line.extend(byte),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(Password::from_bytes(&line)?)
}

/// What somebody types who cannot be seen typing it; `None` where there is no terminal.
fn typed(prompt: &str) -> Result<Option<Zeroizing<String>>, Error> {
    match terminal::hidden(&shown_line(prompt)) {
        Ok(typed) => Ok(Some(typed)),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::Interrupted | ErrorKind::UnexpectedEof
            ) =>
        {
            Err(Error::Password("was not typed".into()))
        }
        Err(_) => Ok(None),
    }
}
