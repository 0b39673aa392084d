//! Passwords: read from where the user says, else asked for; and `landline passwd`.

use std::{
    io::{ErrorKind, Read},
    path::Path,
};

use landline::{
    Client, Error,
    admin::{
        client,
        passwords::{RemovePassword, SetPassword, password_record},
    },
    login::KnownServer,
    net::Channel,
    password::{PASSWORD_BYTES_MAX, Password},
    paths::local,
    proto::{login::UserName, messages::Blob},
};
use zeroize::Zeroizing;

use super::server_and_credential;
use crate::{
    arguments::{Access, Passwd, PasswordSource},
    environment,
    failure::Failure,
    terminal::{self, print, say, shown_line},
};

/// The file with the password that is read wherever it would be asked for at a login.
const FILE_VARIABLE: &str = "LANDLINE_PASSWORD_FILE";

/// The password to log in with that the options name; `None` where they name none.
pub(super) fn for_login(
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
pub(super) fn asked(user: &UserName, place: &str) -> Result<Option<Password>, Error> {
    if let Some(path) = environment::path(FILE_VARIABLE) {
        return Password::load(&path).map(Some);
    }
    typed(&format!("Password of {user} at {place}: "))?
        .map(Password::new)
        .transpose()
}

/// Whether a password would be typed: nothing names another place where it is.
pub(super) fn is_typed(source: &PasswordSource) -> bool {
    source.password_file.is_none()
        && source.password_fd.is_none()
        && environment::path(FILE_VARIABLE).is_none()
}

/// Asks for a password that was typed once more; `None` where there is no terminal.
pub(super) fn asked_again(user: &UserName, place: &str) -> Result<Option<Password>, Error> {
    say("landline: that was not accepted");
    typed(&format!("Password of {user} at {place}: "))?
        .map(Password::new)
        .transpose()
}

/// A password to be set: read from where the user says, else asked for, twice.
pub(super) fn chosen(
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

/// `landline passwd`: one's own password at a server, by whoever knows the one that it takes the
/// place of.
pub(crate) async fn run(state: &Path, mut options: Passwd) -> Result<(), Failure> {
    let Access {
        identity, password, ..
    } = &mut options.access;
    if identity.is_some() {
        return Err(Failure::usage(
            "it takes the old password to set another; leave out -i",
        ));
    }
    password.password |= password.password_file.is_none() && password.password_fd.is_none();
    let known = Client::open(state)?;
    let (server, credential) =
        server_and_credential(&known, &options.host, &options.access).await?;
    // Nobody thinks of a new one in vain: whether the old one is right is known first. Asked is
    // before there is a connection again, which does not wait for anybody.
    if !options.remove && options.new_password_file.is_none() && options.new_password_fd.is_none() {
        landline::client::who(&server, &credential)
            .await?
            .0
            .login
            .channel
            .finish()
            .await;
    }
    let password = match options.remove {
        true => None,
        false => Some(chosen(
            options.new_password_file.as_deref(),
            options.new_password_fd,
            &server.user,
        )?),
    };
    let (mut connected, _) = landline::client::who(&server, &credential).await?;
    let channel = &mut connected.login.channel;
    match password {
        Some(password) => {
            let record = record(channel, &server, &password).await?;
            client::ask(channel, &SetPassword { user: None, record }.into())
                .await
                .map_err(unsure)?;
            print(&shown_line(&format!(
                "{} logs in to {} with the new password",
                server.user,
                server.address()
            )));
        }
        None => {
            client::ask(channel, &RemovePassword { user: None }.into())
                .await
                .map_err(unsure)?;
            // It is gone there; that it is not asked for any more here is only a convenience.
            let _ = known.pins().forget_password(&server);
            print(&shown_line(&format!(
                "{} has no password at {} any more",
                server.user,
                server.address()
            )));
        }
    }
    connected.login.channel.finish().await;
    Ok(())
}

/// Where the line breaks before the answer, the change may have been made.
fn unsure(error: Error) -> Failure {
    let is_lost = matches!(error, Error::Lost(_));
    let failure = Failure::from(error);
    match is_lost {
        true => failure.with_advice(
            "the old password may be good still, or what you asked for is done: landline ping shows which",
        ),
        false => failure,
    }
}

async fn record(
    channel: &mut Channel,
    server: &KnownServer,
    password: &Password,
) -> Result<Blob, Error> {
    let ask = async |request| client::ask(channel, &request).await;
    password_record(ask, server.user.clone(), server.fingerprint, password).await
}
