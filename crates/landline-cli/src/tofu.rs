//! A server that is not known yet: who it is, and whether that is right.

use std::io::{BufRead, BufReader, IsTerminal, Write};

use landline::{
    Client, Error, client,
    crypto::Fingerprint,
    login::KnownServer,
    net::{HostPort, Target},
    paths::local,
    proto::{DEFAULT_PORT, login::UserName},
    ssh_config::ProxyJump,
};

use crate::{
    arguments::Access,
    failure::Failure,
    terminal::{say, shown, shown_line},
};

/// How often an answer that is none is asked for again.
const QUESTIONS_MAX: usize = 3;

/// Learns who `target` is, on a connection that is ended before anybody is asked, and pins it if
/// that is right. It is reached by `way`, which is remembered if it was said.
pub(crate) async fn server(
    client: &Client,
    target: &Target,
    user: UserName,
    access: &Access,
    way: Option<&ProxyJump>,
) -> Result<KnownServer, Failure> {
    if !access.accept_new && !can_ask() {
        return Err(Error::UnknownServer {
            address: target.to_string(),
        }
        .into());
    }
    // A file that cannot be used is to be known before a question that it makes vain.
    client.pins().all()?;
    let address = HostPort {
        host: target.host.clone(),
        port: target.port.unwrap_or(DEFAULT_PORT),
    };
    let fingerprint = client::fingerprint(&address, way).await?;
    let mut server = KnownServer::new(address, fingerprint, user);
    server.via = access.via_ssh.clone();
    server.provisional = if access.accept_new {
        say(&shown_line(&format!(
            "landline: {} is trusted on first use, as --accept-new says; its fingerprint is {fingerprint}",
            server.address()
        )));
        true
    } else {
        let place = server.address().to_string();
        let answer = tokio::task::spawn_blocking(move || ask(&place, fingerprint)).await;
        match answer.map_err(|error| Failure::local(error.to_string()))? {
            Answer::Yes => true,
            Answer::Compared => false,
            Answer::No => {
                return Err(Failure::of_server(
                    "not trusted".into(),
                    "nothing was said to the server",
                ));
            }
            Answer::Another => {
                let what = format!(
                    "{} has another fingerprint than the one that you typed",
                    server.address()
                );
                let advice =
                    "either it is another server, or somebody stands in between. Do not go on";
                return Err(Failure::of_server(what, advice));
            }
        }
    };
    client.pins().trust_first(&server)?;
    Ok(server)
}

/// Whether somebody sits there who would see the question.
fn can_ask() -> bool {
    std::io::stderr().is_terminal() && local::terminal().is_ok()
}

/// What somebody says to a fingerprint.
enum Answer {
    Yes,
    /// The fingerprint, typed: they have it from elsewhere.
    Compared,
    No,
    /// A fingerprint, but another one.
    Another,
}

fn ask(place: &str, fingerprint: Fingerprint) -> Answer {
    let question = format!(
        "{place} is not known here. Its fingerprint is\n  {fingerprint}\nIts owner sees it where it is served \
         (landline serve). Is it the right one? Answer yes, no, or\nthe fingerprint that you were told: "
    );
    let Ok(mut terminal) = local::terminal() else {
        return Answer::No;
    };
    let Ok(mut answers) = terminal.try_clone().map(BufReader::new) else {
        return Answer::No;
    };
    let mut said = write!(terminal, "{}", shown(&question)).and_then(|()| terminal.flush());
    for _ in 0..QUESTIONS_MAX {
        let mut answer = String::new();
        if said.is_err() || !matches!(answers.read_line(&mut answer), Ok(1..)) {
            return Answer::No;
        }
        match answer.trim() {
            "yes" => return Answer::Yes,
            "no" => return Answer::No,
            typed => match typed.parse::<Fingerprint>() {
                Ok(typed) if typed == fingerprint => return Answer::Compared,
                Ok(_) => return Answer::Another,
                Err(_) => {
                    said = write!(terminal, "Please answer yes, no, or the fingerprint: ")
                        .and_then(|()| terminal.flush());
                }
            },
        }
    }
    Answer::No
}
