//! What a client says before it is logged in, up to the login, and the answers to it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use landline_proto::{
    ProtocolError,
    login::{METHOD_PASSWORD, PasswordAttempt, Proof, ServerEvent, ServerLogin, key_tag},
    messages::{KeyTag, Keys},
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

use super::{
    Accepted, Claim, Gate,
    verify::{Case, Judge, refused},
};
use crate::{
    Error,
    admission::{SigningPlace, Source},
    crypto::random,
    net::{SecureStream, lost},
    password::{BegunPassword, Passwords},
    session::check_key_options,
    store::Store,
};

/// So many keys are compared at least, so that the time does not tell how many a user has.
const KEYS_COMPARED_MIN: usize = 16;

/// Reads the login and decides it, by the deadline.
pub(super) async fn decide(
    stream: &mut dyn SecureStream,
    peer: SocketAddr,
    login: &mut ServerLogin,
    gate: Gate<'_>,
    claim: &mut Claim,
) -> Result<Accepted, Error> {
    let exporter = stream.exporter()?;
    let Gate {
        store: _,
        rights,
        signing,
        audit,
        passwords,
        ..
    } = gate;
    let mut place: Option<SigningPlace> = None;
    let mut begun = None;
    let attempt = loop {
        let deadline = login.poll_timeout();
        let event = in_time(deadline, event(stream, login)).await;
        match event.map_err(|error| gave_up(error, begun.as_ref()))? {
            ServerEvent::Attempt(attempt) => break attempt,
            ServerEvent::Asked(keys) => {
                let choose = move |store: &Store| choose(&keys, &exporter, peer.ip(), store);
                login.choose(in_time(deadline, blocking(gate, choose)).await?)?;
                in_time(deadline, answer(stream, login)).await?;
            }
            ServerEvent::Password(attempt) => {
                claim.is_made_by(&attempt.begin.user, METHOD_PASSWORD);
                let begin = begin_password(passwords.clone(), attempt, exporter, peer);
                let (ke2, started) = in_time(deadline, blocking(gate, begin)).await?;
                (gate.guessed)(true);
                login.evaluate(ke2)?;
                begun = Some(started);
                in_time(deadline, answer(stream, login)).await?;
            }
            ServerEvent::Signing => {
                place = signing.take(Source::of(peer.ip()));
                if place.is_some() {
                    login.extend();
                }
            }
        }
    };
    claim.is_made_by(&attempt.login.user, attempt.login.proof.method());
    let live = match &attempt.login.proof {
        Proof::Attach { session, .. } => gate.live.find(&session.to_string()),
        _ => None,
    };
    let (rights, audit, passwords) = (rights.clone(), audit.clone(), passwords.clone());
    let judge = Judge {
        rights,
        audit,
        passwords,
        peer: peer.ip(),
        exporter,
    };
    let case = Case {
        attempt,
        live,
        begun,
    };
    let judged = in_time(
        login.poll_timeout(),
        blocking(gate, move |store| judge.decide(store, case)),
    )
    .await;
    drop(place);
    if judged.is_ok() {
        (gate.guessed)(false);
    }
    judged
}

/// The server's half of a login by password, to be made where it may block.
fn begin_password(
    passwords: Arc<Passwords>,
    attempt: Box<PasswordAttempt>,
    exporter: [u8; 32],
    peer: SocketAddr,
) -> impl FnOnce(&Store) -> Result<(Vec<u8>, BegunPassword), Error> + Send + 'static {
    move |store| passwords.begin(store, &attempt, &exporter, Source::of(peer.ip()))
}

/// Whoever leaves after the server's half of a login by password has most likely seen that the
/// password was wrong.
fn gave_up(error: Error, begun: Option<&BegunPassword>) -> Error {
    match (error, begun) {
        (Error::Lost(_), Some(begun)) => refused(
            begun.user(),
            "the password was wrong, or the client gave up",
        ),
        (error, _) => error,
    }
}

/// Sends what the login has to say.
async fn answer(stream: &mut dyn SecureStream, login: &mut ServerLogin) -> Result<(), Error> {
    let bytes = login.poll_transmit().unwrap_or_default();
    stream
        .write_all(&bytes)
        .await
        .map_err(|error| lost(&error))?;
    stream.flush().await.map_err(|error| lost(&error))
}

/// What the client wants next.
async fn event(
    stream: &mut dyn SecureStream,
    login: &mut ServerLogin,
) -> Result<ServerEvent, Error> {
    loop {
        let bytes = stream.fill_buf().await.map_err(|error| lost(&error))?;
        if bytes.is_empty() {
            return Err(Error::Lost(
                "the client closed it before it logged in".into(),
            ));
        }
        let mut input = bytes;
        let event = login.handle_input(&mut input)?;
        let used = bytes.len() - input.len();
        stream.consume(used);
        if let Some(event) = event {
            return Ok(event);
        }
    }
}

pub(super) async fn in_time<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout_at(deadline.into(), work)
        .await
        .unwrap_or(Err(ProtocolError::LoginTimeout.into()))
}

/// Runs what asks the store on the threads for logins.
async fn blocking<T: Send + 'static>(
    gate: Gate<'_>,
    work: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let store = gate.store.clone();
    gate.threads.run(move || work(&store)).await
}

/// Which of the keys that the client asks about: the first that is stored for the user and may be
/// used from `peer`, else any one, by lot. So whoever has none of the user's keys sees the same,
/// whether the user exists or not.
fn choose(keys: &Keys, binding: &[u8], peer: IpAddr, store: &Store) -> Result<usize, Error> {
    let records = store.keys_of(&keys.user)?.into_iter();
    let mut lines: Vec<String> = records
        .filter(|key| check_key_options(key, peer).is_ok())
        .map(|key| key.line)
        .collect();
    let stored = lines.len();
    // These are compared to nothing, but take the time.
    lines.resize_with(stored.max(KEYS_COMPARED_MIN), || "x".repeat(80));
    let mut tags: Vec<KeyTag> = lines.iter().map(|line| key_tag(binding, line)).collect();
    tags.truncate(stored);
    let lot = u64::from_le_bytes(random()) % keys.keys.len().max(1) as u64;
    let lot = usize::try_from(lot).unwrap_or_default();
    Ok(keys
        .keys
        .iter()
        .position(|key| tags.contains(key))
        .unwrap_or(lot))
}
