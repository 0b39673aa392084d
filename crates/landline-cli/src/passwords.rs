//! Passwords and passphrases: read from where the options say, else asked for.

use std::{
    io::{ErrorKind, Read},
    path::Path,
};

use landline::{
    Error,
    password::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN, Password},
    proto::login::UserName,
};
use zeroize::Zeroizing;

use crate::{
    arguments::PasswordSource, context::Context, descriptor::Descriptor, environment::Environment,
    failure::Failure, prompter::Prompter,
};

/// Names a file whose first line is used wherever a login would ask for a password.
const FILE_VARIABLE: &str = "LANDLINE_PASSWORD_FILE";
/// How often a user can try to choose a new password.
const NEW_PASSWORD_ATTEMPTS_MAX: u32 = 3;

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
/// `None` where the user cannot be asked, or types none.
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
    prompt_once(
        &*context.prompter,
        &format!("Password for {user} at {place}: "),
    )
}

/// Asks for a password at an unknown server, or a key instead; `None` for a key.
///
/// # Errors
/// As [`prompt_password`].
pub(crate) fn prompt_password_or_key(
    context: &Context,
    user: &UserName,
    place: &str,
) -> Result<Option<Password>, Error> {
    if let Some(path) = context.environment.path(FILE_VARIABLE) {
        return Password::load(&path).map(Some);
    }
    let question = format!("Password for {user} at {place}, or Enter to log in with a key: ");
    loop {
        let Some(typed) = prompt_hidden(&*context.prompter, &question)? else {
            return Ok(None);
        };
        // Other programs ask first whether the server is trusted.
        if !["y", "n", "yes", "no"].contains(&&*typed.to_lowercase()) {
            return non_empty(typed);
        }
        context.err.print(
            "landline: this question asks for the password; press Enter to get to the one about trust",
        );
    }
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
    prompt_once(
        &*context.prompter,
        &format!("Password for {user} at {place}: "),
    )
}

/// Whether a password would be typed, because nothing names a file or descriptor.
pub(crate) fn is_typed(environment: &Environment, source: &PasswordSource) -> bool {
    source.password_file.is_none()
        && source.password_fd.is_none()
        && environment.path(FILE_VARIABLE).is_none()
}

/// Whether the options or the environment name a password, or ask for one.
pub(crate) fn is_named(environment: &Environment, source: &PasswordSource) -> bool {
    source.password || !is_typed(environment, source)
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
        None => return prompt_new_password(context, user),
    };
    password.check_choice()?;
    Ok(password)
}

/// Asks for the passphrase of the key in the file `path`; `None` if the user types none.
///
/// # Errors
/// [`Error::Key`] where the user cannot be asked.
pub(crate) fn prompt_passphrase(
    context: &Context,
    path: &Path,
    is_retry: bool,
) -> Result<Option<Zeroizing<String>>, Error> {
    if is_retry {
        context
            .err
            .print("landline: that passphrase does not unlock the key");
    }
    let question = format!(
        "Passphrase for the key {} (Enter skips it): ",
        path.display()
    );
    match context.prompter.ask_hidden(&question) {
        Ok(typed) => Ok(Some(typed).filter(|typed| !typed.is_empty())),
        Err(error) if is_end(&error) => Ok(None),
        Err(_) => Err(Error::Key {
            path: path.display().to_string(),
            problem: "is encrypted, and there is no terminal to ask for its passphrase".into(),
        }),
    }
}

/// Asks for a new password, until it follows the rule and is typed the same twice.
fn prompt_new_password(context: &Context, user: &UserName) -> Result<Password, Failure> {
    let ask = |question: &str| {
        prompt_hidden(&*context.prompter, question)?.ok_or_else(Failure::no_terminal_for_password)
    };
    let mut attempt = 1;
    loop {
        let typed = ask(&format!(
            "New password for {user}, at least {PASSWORD_CHARS_MIN} characters: "
        ))?;
        let checked = Password::new(typed).and_then(|typed| typed.check_choice().map(|()| typed));
        let problem = match checked {
            Ok(first)
                if Password::new(ask("Repeat the new password: ")?)
                    .is_ok_and(|same| same == first) =>
            {
                return Ok(first);
            }
            Ok(_) => Error::Password("differs from the first one; nothing was changed".into()),
            // Reject a bad password before the user types it again.
            Err(problem) => problem,
        };
        if attempt == NEW_PASSWORD_ATTEMPTS_MAX {
            return Err(problem.into());
        }
        attempt += 1;
        context.err.print(&format!("landline: {problem}"));
    }
}

fn prompt_once(prompter: &dyn Prompter, question: &str) -> Result<Option<Password>, Error> {
    prompt_hidden(prompter, question)?.map_or(Ok(None), non_empty)
}

fn non_empty(typed: Zeroizing<String>) -> Result<Option<Password>, Error> {
    if typed.is_empty() {
        return Ok(None);
    }
    Password::new(typed).map(Some)
}

/// Whether the user ended the input.
fn is_end(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Interrupted | ErrorKind::UnexpectedEof
    )
}

/// Asks for a line that does not appear on the screen; `None` where the user cannot be asked.
fn prompt_hidden(
    prompter: &dyn Prompter,
    question: &str,
) -> Result<Option<Zeroizing<String>>, Error> {
    match prompter.ask_hidden(question) {
        Ok(typed) => Ok(Some(typed)),
        Err(error) if is_end(&error) => Err(Error::Password("was not typed".into())),
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
    let mut input = Descriptor::readable(number).map_err(failed)?;
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
        let differs = ["correct horse", "correct house"].repeat(3);
        for answers in [&differs[..], &["correct horse"]] {
            assert_eq!(read_new(answers).0.err().unwrap().status, 32, "{answers:?}");
        }
    }

    #[test]
    fn short_new_password_is_asked_for_again() {
        let (password, left) = read_new(&["short", "", "correct horse", "correct horse"]);
        assert!(password.is_ok());
        assert_eq!(left, 0);
        let (password, left) = read_new(&["short", "short", "short", "correct horse"]);
        assert_eq!(password.err().unwrap().status, 32);
        assert_eq!(left, 1);
    }

    #[test]
    fn password_or_key_is_one_question() {
        let user = "alice".parse().unwrap();
        for (answers, is_password) in [
            (&["yes", "", "more"][..], false),
            (&["", "more"], false),
            (&["correct horse", "more"], true),
        ] {
            let script = Arc::new(Script::new(answers));
            let test = TestContext::new().with_prompter(script.clone());
            let typed = prompt_password_or_key(&test.context, &user, "nas").unwrap();
            assert_eq!(typed.is_some(), is_password, "{answers:?}");
            assert_eq!(script.answers_left(), 1, "{answers:?}");
        }
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
