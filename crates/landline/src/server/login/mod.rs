//! The server's side of a login.

mod handshake;
mod verify;

use std::{net::SocketAddr, sync::Arc, time::Instant};

use handshake::{in_time, run_login};
use landline_proto::{
    Limits, ProtocolError,
    bundle::BUNDLE_FEATURE,
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
    activity::Activity,
    admission::Signing,
    audit::{Audit, Priority},
    crypto::random,
    login::Identity,
    net::{Channel, SecureStream, Transport, linger, lost, tls},
    password::Passwords,
    paths::Root,
    rights::RightsFile,
    session::{Registry, Session, SessionLookup, Threads},
    store::Store,
};

/// What a login depends on.
#[derive(Clone, Copy)]
pub(crate) struct LoginContext<'a> {
    pub identity: &'a Identity,
    pub store: &'a Arc<Store>,
    pub rights: &'a Arc<RightsFile>,
    /// The folders that the server serves.
    pub root: &'a Arc<Root>,
    /// The services, whose features the greeting lists.
    pub services: &'a Registry,
    /// Threads that never wait for the work of users.
    pub threads: &'a Threads,
    /// The sessions that a connection can be attached to.
    pub live: &'a dyn SessionLookup,
    pub passwords: &'a Arc<Passwords>,
    /// Slots for logins that wait for a person to sign.
    pub signing: &'a Signing,
    pub audit: &'a Audit,
    /// Called with `true` when the client gets an answer that shows whether a password is right,
    /// which counts as a guess, and with `false` once the client has proved that it was right.
    pub guessed: &'a (dyn Fn(bool) + Sync),
}

/// A login that was verified.
struct Accepted {
    session: Session,
    /// The server's proof of the transcript, where the method has one.
    proof: Option<Mac>,
}

/// The identity that a client claims before its proof was verified, for the audit log.
#[derive(Default)]
struct ClaimedIdentity {
    user: Option<UserName>,
    method: Option<String>,
}

impl ClaimedIdentity {
    fn record(&mut self, user: &UserName, method: &str) {
        *self = Self {
            user: Some(user.clone()),
            method: Some(method.to_owned()),
        };
    }
}

/// Greets `peer` over `transport` and takes one login.
///
/// The login must be complete within 10 s, or 60 s for a client that needs a person to sign and
/// gets one of the `signing` slots. `admit` is asked last. The result is in the audit log before
/// the client learns it.
///
/// # Errors
/// Why there is no session. The client was told, where that is possible.
pub(crate) async fn accept<T>(
    transport: Box<dyn Transport>,
    peer: SocketAddr,
    login_context: LoginContext<'_>,
    admit: impl FnOnce(&Session) -> Result<T, Error>,
) -> Result<(Channel, Session, T), Error> {
    let mut claim = ClaimedIdentity::default();
    let accepted = take(transport, peer, login_context, admit, &mut claim).await;
    if let Err(error) = &accepted {
        let ClaimedIdentity { user, method } = claim;
        let refused = Activity::Refused {
            peer,
            code: error.code_str(),
            user,
            method,
            message: error.to_string(),
        };
        login_context.audit.note(refused, Priority::Limited);
    }
    accepted
}

async fn take<T>(
    transport: Box<dyn Transport>,
    peer: SocketAddr,
    login_context: LoginContext<'_>,
    admit: impl FnOnce(&Session) -> Result<T, Error>,
    claim: &mut ClaimedIdentity,
) -> Result<(Channel, Session, T), Error> {
    let now = Instant::now();
    let mut login = ServerLogin::new(offer(&login_context), Nonce(random()), now)?;
    let deadline = login.poll_timeout();
    let greeting = login.poll_transmit().unwrap_or_default();
    let handshake = tls::accept(transport, login_context.identity.tls(), &greeting);
    let mut stream = in_time(deadline, handshake).await?;
    let decided = run_login(&mut *stream, peer, &mut login, login_context, claim).await;
    let deadline = login.poll_timeout();
    let failure = match decided.and_then(|accepted| Ok((admit(&accepted.session)?, accepted))) {
        Ok((admitted, accepted)) => {
            let priority = login_context
                .rights
                .role(&accepted.session.user)
                .log_priority();
            let activity = activity_of_login(&accepted.session, peer);
            match in_time(deadline, login_context.audit.record(activity, priority)).await {
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

fn activity_of_login(session: &Session, peer: SocketAddr) -> Activity {
    let Session {
        user,
        credential,
        method,
        id,
        invited,
        attached,
        ..
    } = session.clone();
    if attached {
        return Activity::Attached {
            user,
            peer,
            session: id,
        };
    }
    Activity::Login {
        user,
        method,
        key: credential,
        peer,
        session: id,
        invited,
    }
}

async fn welcome(
    mut stream: Box<dyn SecureStream>,
    login: ServerLogin,
    accepted: Accepted,
    deadline: Instant,
) -> Result<(Channel, Session), Error> {
    let Accepted { session, proof } = accepted;
    let attach = session
        .attach
        .as_ref()
        .filter(|_| !session.attached)
        .map(|secret| AttachSecret(*secret.bytes()));
    let welcome = Welcome {
        user: session.user.clone(),
        key: session.credential.to_string(),
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

fn offer(login_context: &LoginContext<'_>) -> Offer {
    let methods = [
        METHOD_SSH_KEY,
        METHOD_INVITE,
        METHOD_SECRET,
        METHOD_PASSWORD,
        METHOD_ATTACH,
    ];
    let mut features = login_context.services.features();
    features.push(BUNDLE_FEATURE.to_owned());
    Offer {
        server: RELEASE.to_owned(),
        features,
        methods: methods.map(str::to_owned).to_vec(),
        fingerprint: *login_context.identity.fingerprint().bytes(),
        transport: "tcp",
    }
}
