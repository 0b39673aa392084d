//! The server's login over a transport.

mod handshake;
mod verify;

use std::{net::SocketAddr, sync::Arc, time::Instant};

use handshake::{decide, in_time};
use landline_proto::{
    Limits, ProtocolError,
    login::{
        METHOD_ATTACH, METHOD_INVITE, METHOD_PASSWORD, METHOD_SECRET, METHOD_SSH_KEY, Offer,
        ServerLogin, UserName,
    },
    message,
    messages::{AttachSecret, Mac, Nonce, Welcome},
};
use tokio::io::AsyncWriteExt;

use crate::{
    Error, RELEASE,
    admission::Signing,
    audit::{Audit, Entry},
    crypto::random,
    login::Identity,
    net::{Channel, SecureStream, Transport, linger, lost, tls},
    password::Passwords,
    rights::RightsFile,
    session::{LiveSessions, Registry, Session, Threads},
    store::Store,
};

/// What a login is decided by.
#[derive(Clone, Copy)]
pub(crate) struct Gate<'a> {
    /// Who the server is.
    pub identity: &'a Identity,
    /// Who may log in.
    pub store: &'a Arc<Store>,
    /// Who may do what.
    pub rights: &'a Arc<RightsFile>,
    /// The services, whose features the greeting lists.
    pub services: &'a Registry,
    /// Threads that never wait for the work of users.
    pub threads: &'a Threads,
    /// To what further connections can be attached.
    pub live: &'a dyn LiveSessions,
    /// The passwords.
    pub passwords: &'a Arc<Passwords>,
    /// Places for logins that take a person.
    pub signing: &'a Signing,
    /// Where it is written down.
    pub audit: &'a Audit,
    /// Told `true` once the client gets an answer by which it can see whether a password is right,
    /// which is a guess, and `false` once it has proved that it was right.
    pub guessed: &'a (dyn Fn(bool) + Sync),
}

/// A login that holds.
struct Accepted {
    session: Session,
    /// What proves the transcript to the client, where the method does that.
    proof: Option<Mac>,
}

/// Who somebody says to be who is not logged in yet, for the audit log.
#[derive(Default)]
struct Claim {
    user: Option<String>,
    method: Option<String>,
}

impl Claim {
    fn is_made_by(&mut self, user: &UserName, method: &str) {
        *self = Self {
            user: Some(user.to_string()),
            method: Some(method.to_owned()),
        };
    }
}

/// Greets `peer` over `transport`, takes one login, and decides it by what the store knows and
/// `admit` says. All of it has 10 s from now, or 60 s for a client that needs a person to sign and
/// gets one of the places in `signing`. What comes of it stands in the audit log: a login before
/// the client hears of it.
///
/// # Errors
/// Why there is no session; the client was told where that is possible.
pub(crate) async fn accept<T>(
    transport: Box<dyn Transport>,
    peer: SocketAddr,
    gate: Gate<'_>,
    admit: impl FnOnce(&Session) -> Result<T, Error>,
) -> Result<(Channel, Session, T), Error> {
    let mut claim = Claim::default();
    let accepted = take(transport, peer, gate, admit, &mut claim).await;
    if let Err(error) = &accepted {
        let Claim { user, method } = claim;
        gate.audit.note(Entry::Refused {
            peer,
            user,
            method,
            code: error.code_str(),
            message: error.to_string(),
        });
    }
    accepted
}

async fn take<T>(
    transport: Box<dyn Transport>,
    peer: SocketAddr,
    gate: Gate<'_>,
    admit: impl FnOnce(&Session) -> Result<T, Error>,
    claim: &mut Claim,
) -> Result<(Channel, Session, T), Error> {
    let now = Instant::now();
    let mut login = ServerLogin::new(offer(&gate), Nonce(random()), now)?;
    let deadline = login.poll_timeout();
    let greeting = login.poll_transmit().unwrap_or_default();
    let handshake = tls::accept(transport, gate.identity.tls(), &greeting);
    let mut stream = in_time(deadline, handshake).await?;
    let decided = decide(&mut *stream, peer, &mut login, gate, claim).await;
    let deadline = login.poll_timeout();
    let failure = match decided.and_then(|accepted| Ok((admit(&accepted.session)?, accepted))) {
        Ok((admitted, accepted)) => {
            match in_time(deadline, gate.audit.record(entry(&accepted.session, peer))).await {
                Ok(()) => {
                    let (channel, session) = welcome(stream, login, accepted, deadline).await?;
                    return Ok((channel, session, admitted));
                }
                Err(error) => error,
            }
        }
        Err(error) => error,
    };
    if let Some(reason) = failure.to_peer() {
        let mut last = Vec::new();
        message::encode(&reason, None, &Limits::LOGIN, &mut last)?;
        linger(stream, &last).await;
    }
    Err(failure)
}

fn entry(session: &Session, peer: SocketAddr) -> Entry {
    Entry::Login {
        user: session.user.to_string(),
        method: if session.attached {
            METHOD_ATTACH.to_owned()
        } else {
            session.method.clone()
        },
        key: session.key.clone(),
        peer,
        session: session.id.clone(),
    }
}

async fn welcome(
    mut stream: Box<dyn SecureStream>,
    login: ServerLogin,
    accepted: Accepted,
    deadline: Instant,
) -> Result<(Channel, Session), Error> {
    let Accepted { session, proof } = accepted;
    let (user, key) = (session.user.clone(), session.key.clone());
    let attach = session
        .attach
        .as_ref()
        .filter(|_| !session.attached)
        .map(|secret| AttachSecret(*secret.bytes()));
    let welcome = Welcome {
        user,
        key,
        session: session.id.clone(),
        proof,
        attach,
    };
    let (answer, decoder) = login.accept(&welcome)?;
    match tokio::time::timeout_at(deadline.into(), stream.write_all(&answer)).await {
        Ok(written) => written.map_err(|error| lost(&error))?,
        Err(_) => return Err(ProtocolError::LoginTimeout.into()),
    }
    Ok((Channel::new(stream, decoder), session))
}

fn offer(gate: &Gate<'_>) -> Offer {
    let methods = [
        METHOD_SSH_KEY,
        METHOD_INVITE,
        METHOD_SECRET,
        METHOD_PASSWORD,
        METHOD_ATTACH,
    ];
    Offer {
        server: RELEASE.to_owned(),
        features: gate.services.features(),
        methods: methods.map(str::to_owned).to_vec(),
        fingerprint: *gate.identity.fingerprint().bytes(),
        transport: "tcp",
    }
}
