//! First contact with a server: its password proves it, or the user compares its fingerprint.

use std::sync::Arc;

use landline::{
    Client, Error, client,
    crypto::Fingerprint,
    login::KnownServer,
    net::{HostPort, Target},
    password::Password,
    proto::{DEFAULT_PORT, login::UserName},
    ssh_config::ProxyJump,
};
use log::debug;

use crate::{
    arguments::Access, context::Context, failure::Failure, passwords, prompter::Prompter,
    terminal::shown_line,
};

/// Questions until an answer that is neither yes, no nor a fingerprint counts as no.
const QUESTIONS_MAX: usize = 3;

/// The first contact with a server that this client does not know.
pub(crate) struct FirstContact<'a> {
    pub(crate) target: &'a Target,
    /// The user to log in as; otherwise the known machine's user, or the local user.
    pub(crate) user: Option<UserName>,
    pub(crate) access: &'a Access,
    /// How the server is reached; it is saved if `--via-ssh` gave it.
    pub(crate) way: Option<&'a ProxyJump>,
    /// Whether there is a key to log in with.
    pub(crate) may_use_key: bool,
}

/// What came of a first contact.
pub(crate) enum Contact {
    /// The server is known from now on.
    Pinned(KnownServer),
    /// The server is unknown. A login with this password proves it, because only the server of the
    /// password can answer.
    ByPassword(KnownServer, Password),
}

impl FirstContact<'_> {
    /// Fetches the fingerprint, and asks the user for the password or about the fingerprint.
    ///
    /// If the fingerprint is that of a known machine, the target becomes another address of it.
    ///
    /// The connection that fetches it ends before the question: a person may take minutes.
    ///
    /// # Errors
    /// The user cannot be asked or does not accept; the server cannot be reached; the pins cannot
    /// be used.
    pub(crate) async fn make(self, context: &Context, client: &Client) -> Result<Contact, Failure> {
        let Self {
            target,
            user,
            access,
            way,
            may_use_key,
        } = self;
        let has_password = passwords::is_named(&context.environment, &access.password);
        let may_accept = access.accept_new || has_password || context.prompter.can_ask();
        let unknown = || Error::UnknownServer {
            address: target.to_string(),
        };
        // Fail on unusable pins before the user answers a question.
        let known = client.pins().all()?;
        if !may_accept && known.is_empty() {
            return Err(unknown().into());
        }
        let address = HostPort {
            host: target.host.clone(),
            port: target.port.unwrap_or(DEFAULT_PORT),
        };
        debug!("{address} is not known; fetching its fingerprint");
        let fingerprint = match client::fingerprint(&address, way).await {
            Err(_) if !may_accept => return Err(unknown().into()),
            found => found?,
        };
        debug!("{address} has the fingerprint {fingerprint}");
        let same = known
            .into_iter()
            .filter(|known| known.fingerprint == fingerprint);
        if let Some(machine) = same.max_by_key(|known| known.name.is_some()) {
            let server = add_address(context, &machine, address, user, access).await?;
            client.pins().trust_first(&server)?;
            if access.accept_new {
                context.err.print(&shown_line(&format!(
                    "landline: {} is now known as another address of {machine}; its fingerprint is {fingerprint}",
                    server.address()
                )));
            }
            return Ok(Contact::Pinned(server));
        }
        if !may_accept {
            return Err(unknown().into());
        }
        let user = match user {
            Some(user) => user,
            None => context.environment.user("user@host")?,
        };
        let mut server = KnownServer::new(address, fingerprint, user);
        server.via = access.via_ssh.clone();
        server.provisional = true;
        if !access.accept_new {
            if access.identity.is_none()
                && let Some(password) = read_password(context, &server, access, may_use_key)?
            {
                return Ok(Contact::ByPassword(server, password));
            }
            let question = question_about(&server);
            server.provisional = confirm(context.prompter.clone(), &server, question).await?;
        }
        client.pins().trust_first(&server)?;
        if access.accept_new {
            context.err.print(&shown_line(&format!(
                "landline: {} is trusted on first use, as --accept-new says; its fingerprint is {fingerprint}",
                server.address()
            )));
        }
        Ok(Contact::Pinned(server))
    }
}

/// The password for an unknown server; `None` to log in with a key.
fn read_password(
    context: &Context,
    server: &KnownServer,
    access: &Access,
    may_use_key: bool,
) -> Result<Option<Password>, Failure> {
    let (user, place) = (&server.user, server.address().to_string());
    if passwords::is_typed(&context.environment, &access.password) {
        context.err.print(&shown_line(&format!(
            "landline: {place} is not a known server; only the right server can answer your password"
        )));
    }
    if let Some(password) = passwords::read_for_login(context, &access.password, user, &place)? {
        return Ok(Some(password));
    }
    if may_use_key {
        return Ok(passwords::prompt_password_or_key(context, user, &place)?);
    }
    let typed = passwords::prompt_password(context, user, &place)?;
    typed.map(Some).ok_or_else(|| {
        Failure::no_key(format!(
            "there is no key to log in to {place} with, and no password was typed"
        ))
    })
}

/// The entry for another `address` of a known machine, if the user or `--accept-new` accepts it.
async fn add_address(
    context: &Context,
    machine: &KnownServer,
    address: HostPort,
    user: Option<UserName>,
    access: &Access,
) -> Result<KnownServer, Failure> {
    let user = user.unwrap_or_else(|| machine.user.clone());
    let mut server = if user == machine.user {
        let HostPort { host, port } = address;
        KnownServer {
            name: None,
            host,
            port,
            ..machine.clone()
        }
    } else {
        KnownServer::new(address, machine.fingerprint, user)
    };
    server.via = access.via_ssh.clone();
    server.provisional = machine.provisional;
    let (address, fingerprint) = (server.address(), machine.fingerprint);
    if access.accept_new {
        return Ok(server);
    }
    if context.prompter.can_ask() {
        let question = format!(
            "{address} is not a known address. Its server has the fingerprint of {machine}:\n  {fingerprint}\n\
             Remember {address} as another address of that machine? Answer yes or no: "
        );
        server.provisional &= confirm(context.prompter.clone(), &server, question).await?;
    } else {
        let what = format!(
            "{address} is not a known address; its server has the fingerprint of {machine}"
        );
        let other = match &machine.name {
            Some(name) => name.to_string(),
            None => machine.address().to_string(),
        };
        let advice = format!("use {other}, or add this address to it with --accept-new");
        return Err(Failure::of_server("unknown-server", what, &advice));
    }
    Ok(server)
}

/// Asks the user `question` about `server`.
///
/// Returns whether the user answered without comparing the fingerprint.
async fn confirm(
    prompter: Arc<dyn Prompter>,
    server: &KnownServer,
    question: String,
) -> Result<bool, Failure> {
    let fingerprint = server.fingerprint;
    let answer = tokio::task::spawn_blocking(move || ask(&*prompter, question, fingerprint)).await;
    match answer.map_err(|error| Failure::local(error.to_string()))? {
        Answer::Yes => Ok(true),
        Answer::Same => Ok(false),
        Answer::No => Err(Failure::of_server(
            "not-trusted",
            "aborted: the server is not trusted".into(),
            "the connection was closed, and no login was sent to the server",
        )),
        Answer::Different => {
            let what = format!(
                "{} has another fingerprint than the one that you typed",
                server.address()
            );
            let advice =
                "it is another server, or an attacker intercepts the connection: do not continue";
            Err(Failure::of_server("server-changed", what, advice))
        }
    }
}

/// The question about a server whose fingerprint is new.
fn question_about(server: &KnownServer) -> String {
    format!(
        "{} is not a known server. Its fingerprint is\n  {}\nlandline serve printed it on the \
         server's machine. Do you trust this server?\nAnswer yes, no, or the fingerprint that its owner gave you: ",
        server.address(),
        server.fingerprint
    )
}

/// The user's answer to a fingerprint.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    /// The user typed the same fingerprint, which they have from somewhere else.
    Same,
    /// The user typed a different fingerprint.
    Different,
}

fn ask(prompter: &dyn Prompter, mut question: String, fingerprint: Fingerprint) -> Answer {
    for _ in 0..QUESTIONS_MAX {
        let Ok(answer) = prompter.ask(&question) else {
            return Answer::No;
        };
        match answer.trim() {
            "yes" => return Answer::Yes,
            "no" => return Answer::No,
            typed => match Fingerprint::from_typed(typed) {
                Ok(typed) if typed == fingerprint => return Answer::Same,
                Ok(_) => return Answer::Different,
                Err(_) => {
                    question =
                        "This question is about trust: do not type a password.\nAnswer yes, no, or the \
                                fingerprint: "
                            .to_owned();
                }
            },
        }
    }
    Answer::No
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_context::Script;

    const FINGERPRINT: &str = "a7b0000000000000000000000000000000000000000000000000000000000001";

    #[test]
    fn answers_to_a_fingerprint() {
        let other = FINGERPRINT.replace('7', "8");
        for (answers, expected, left) in [
            (&["yes"][..], Answer::Yes, 0),
            (&["no", "yes"], Answer::No, 1),
            (&["YES", "what?", "yes"], Answer::Yes, 0),
            (&["y", "y", "y", "yes"], Answer::No, 1),
            (&[FINGERPRINT], Answer::Same, 0),
            (&[&other], Answer::Different, 0),
            (&[], Answer::No, 0),
        ] {
            let script = Script::new(answers);
            let answer = ask(&script, String::new(), FINGERPRINT.parse().unwrap());
            assert_eq!(answer, expected, "{answers:?}");
            assert_eq!(script.answers_left(), left, "{answers:?}");
        }
    }

    #[test]
    fn question_shows_place_and_fingerprint() {
        let server = KnownServer::new(
            "nas:5263".parse().unwrap(),
            FINGERPRINT.parse().unwrap(),
            "alice".parse().unwrap(),
        );
        let script = Script::new(&["no"]);
        ask(&script, question_about(&server), server.fingerprint);
        let questions = script.questions();
        assert!(questions.concat().contains("nas:5263"), "{questions:?}");
        assert!(questions.concat().contains(FINGERPRINT), "{questions:?}");
    }
}
