//! Passwords and passphrases: read from where the options say, else asked for.

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
    arguments::PasswordSource, context::Context, environment::Environment, failure::Failure,
    prompter::Prompter,
};

/// Names a file whose first line is used wherever a login would ask for a password.
const FILE_VARIABLE: &str = "LANDLINE_PASSWORD_FILE";

/// The password to log in with that the options name; `None` where they name none.
///
/// # Errors
/// The password cannot be read, or the user cannot be asked for it.
pub(crate) fn read_for_login(
    context: &Context,
    source: &PasswordSource,
    user: &UserName,
    place: &str,
) -> Result<Option<Password>, Failure> {
    if let Some(password) = read(source.password_file.as_deref(), source.password_fd)? {
        return Ok(Some(password));
    }
    if !source.password {
        return Ok(None);
    }
    prompt_password(context, user, place)?
        .map(Some)
        .ok_or_else(Failure::no_terminal_for_password)
}

/// Reads the password of an account from the file that the environment names, else asks for it;
/// `None` where the user cannot be asked.
///
/// # Errors
/// The file cannot be used, or what was typed cannot be a password.
pub(crate) fn prompt_password(
    context: &Context,
    user: &UserName,
    place: &str,
) -> Result<Option<Password>, Error> {
    if let Some(path) = context.environment.path(FILE_VARIABLE) {
        return Password::load(&path).map(Some);
    }
    prompt_once(&*context.prompter, user, place)
}

/// Asks for a password again after the server has refused it; `None` where the user cannot be
/// asked.
///
/// # Errors
/// What was typed cannot be a password.
pub(crate) fn prompt_again(
    context: &Context,
    user: &UserName,
    place: &str,
) -> Result<Option<Password>, Error> {
    context.err.print("landline: password not accepted");
    prompt_once(&*context.prompter, user, place)
}

/// Whether a password would be typed, because nothing names a file or descriptor.
pub(crate) fn is_typed(environment: &Environment, source: &PasswordSource) -> bool {
    source.password_file.is_none()
        && source.password_fd.is_none()
        && environment.path(FILE_VARIABLE).is_none()
}

/// Reads a new password from a file or descriptor, else asks for it twice.
///
/// # Errors
/// The user cannot be asked, the two differ, or the password is too short or too long.
pub(crate) fn read_new_password(
    context: &Context,
    file: Option<&Path>,
    descriptor: Option<u32>,
    user: &UserName,
) -> Result<Password, Failure> {
    let password = match read(file, descriptor)? {
        Some(password) => password,
        None => prompt_new_password(&*context.prompter, user)?,
    };
    password.check_choice()?;
    Ok(password)
}

/// Asks for the passphrase of the key in the file `path`.
///
/// # Errors
/// [`Error::Key`] where the user cannot be asked or ended the input.
pub(crate) fn prompt_passphrase(
    prompter: &dyn Prompter,
    path: &Path,
) -> Result<Zeroizing<String>, Error> {
    prompter
        .ask_hidden(&format!("Passphrase of {}: ", path.display()))
        .map_err(|error| Error::Key {
            path: path.display().to_string(),
            problem: match error.kind() {
                ErrorKind::Interrupted => "is encrypted, and its passphrase was not typed".into(),
                _ => "is encrypted, and there is no terminal to ask for its passphrase".into(),
            },
        })
}

fn prompt_new_password(prompter: &dyn Prompter, user: &UserName) -> Result<Password, Failure> {
    let ask = |question: &str| {
        prompt_hidden(prompter, question)?.ok_or_else(Failure::no_terminal_for_password)
    };
    let first = Password::new(ask(&format!("New password of {user}: "))?)?;
    // Reject a bad password before the user types it again.
    first.check_choice()?;
    if Password::new(ask("Repeat the new password: ")?)? != first {
        return Err(
            Error::Password("differs from the first one; nothing was changed".into()).into(),
        );
    }
    Ok(first)
}

fn prompt_once(
    prompter: &dyn Prompter,
    user: &UserName,
    place: &str,
) -> Result<Option<Password>, Error> {
    prompt_hidden(prompter, &format!("Password of {user} at {place}: "))?
        .map(Password::new)
        .transpose()
}

/// Asks for a line that does not appear on the screen; `None` where the user cannot be asked.
fn prompt_hidden(
    prompter: &dyn Prompter,
    question: &str,
) -> Result<Option<Zeroizing<String>>, Error> {
    match prompter.ask_hidden(question) {
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

fn read(file: Option<&Path>, descriptor: Option<u32>) -> Result<Option<Password>, Failure> {
    match (file, descriptor) {
        (Some(path), _) => Ok(Some(Password::load(path)?)),
        (None, Some(number)) => Ok(Some(read_descriptor(number)?)),
        (None, None) => Ok(None),
    }
}

/// Reads the first line from a descriptor, and not a byte more.
fn read_descriptor(number: u32) -> Result<Password, Failure> {
    let failed = |error: std::io::Error| {
        Failure::from(Error::Password(format!("on descriptor {number}: {error}")))
    };
    let mut input = local::duplicate_descriptor(number).map_err(failed)?;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::test_context::{Script, TestContext};

    fn read_new(answers: &[&str]) -> (Result<Password, Failure>, usize) {
        let script = Arc::new(Script::new(answers));
        let test = TestContext::new().with_prompter(script.clone());
        let user = "alice".parse().unwrap();
        let password = read_new_password(&test.context, None, None, &user);
        (password, script.answers_left())
    }

    #[test]
    fn new_password_is_asked_for_twice() {
        let (password, left) = read_new(&["correct horse", "correct horse"]);
        let expected = Password::new("correct horse".to_owned().into()).unwrap();
        assert!(password.unwrap() == expected);
        assert_eq!(left, 0);
    }

    #[test]
    fn new_password_that_differs_or_ends_is_refused() {
        for answers in [&["correct horse", "correct house"][..], &["correct horse"]] {
            assert_eq!(read_new(answers).0.err().unwrap().status, 32, "{answers:?}");
        }
    }

    #[test]
    fn short_new_password_is_refused_before_the_second_question() {
        let (password, left) = read_new(&["short", "short"]);
        assert_eq!(password.err().unwrap().status, 32);
        assert_eq!(left, 1);
    }

    #[test]
    fn second_question_follows_a_message() {
        let test = TestContext::new().with_prompter(Arc::new(Script::new(&["correct horse"])));
        let user = "alice".parse().unwrap();
        let password = prompt_again(&test.context, &user, "nas").unwrap();
        assert!(password.is_some());
        assert!(!test.err().is_empty());
        assert_eq!(test.out(), "");
    }

    #[test]
    fn password_file_of_the_environment_replaces_the_question() {
        let script = Arc::new(Script::new(&["typed"]));
        let test = TestContext::new()
            .with_prompter(script.clone())
            .with_variable(FILE_VARIABLE, "/no/such/file");
        let user = "alice".parse().unwrap();
        assert!(prompt_password(&test.context, &user, "nas").is_err());
        assert_eq!(script.answers_left(), 1);
    }
}
