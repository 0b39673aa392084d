//! The messages of a login, from the greeting to the decision.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use landline_proto::{
    ProtocolError,
    login::{
        METHOD_PASSWORD, METHOD_SSH_KEY, PasswordAttempt, Proof, ServerEvent, ServerLogin,
        UserName, key_tag,
    },
    messages::{KeyTag, Keys},
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

use super::{
    Accepted, ClaimedIdentity, LoginContext,
    verify::{LoginRequest, Verifier, login_refused},
};
use crate::{
    Error,
    admission::{PeerNetwork, SigningSlot},
    net::{SecureStream, lost},
    password::{Passwords, PendingPasswordLogin},
    session::check_key_options,
    store::Store,
};

/// The least number of keys that are compared, so that the time does not tell how many a user has.
const KEYS_COMPARED_MIN: usize = 16;

/// Reads the login and verifies it before its deadline.
pub(super) async fn run_login(
    stream: &mut dyn SecureStream,
    peer: SocketAddr,
    login: &mut ServerLogin,
    context: LoginContext<'_>,
    claim: &mut ClaimedIdentity,
) -> Result<Accepted, Error> {
    let exporter = stream.exporter()?;
    let LoginContext {
        store: _,
        rights,
        root,
        signing,
        audit,
        passwords,
        ..
    } = context;
    let mut place: Option<SigningSlot> = None;
    let mut begun = None;
    let mut has_no_key = None;
    let attempt = loop {
        let deadline = login.poll_timeout();
        let event = in_time(deadline, event(stream, login)).await;
        match event.map_err(|error| gave_up(error, begun.as_ref(), has_no_key.as_ref()))? {
            ServerEvent::Attempt(attempt) => break attempt,
            ServerEvent::Asked(keys) => {
                claim.record(&keys.user, METHOD_SSH_KEY);
                let user = keys.user.clone();
                let choose = move |store: &Store| choose(&keys, &exporter, peer.ip(), store);
                let chosen = in_time(deadline, blocking(context, choose)).await?;
                login.choose(chosen)?;
                has_no_key = chosen.is_none().then_some(user);
                in_time(deadline, answer(stream, login)).await?;
            }
            ServerEvent::Password(attempt) => {
                claim.record(&attempt.begin.user, METHOD_PASSWORD);
                let begin = begin_password(passwords.clone(), attempt, exporter, peer);
                let (ke2, started) = in_time(deadline, blocking(context, begin)).await?;
                (context.guessed)(true);
                login.evaluate(ke2)?;
                begun = Some(started);
                in_time(deadline, answer(stream, login)).await?;
            }
            ServerEvent::Signing => {
                place = signing.acquire(PeerNetwork::of(peer.ip()));
                if place.is_some() {
                    login.extend();
                }
            }
        }
    };
    claim.record(&attempt.login.user, attempt.login.proof.method());
    let live = match &attempt.login.proof {
        Proof::Attach { session, .. } => context.live.find(&session.to_string()),
        _ => None,
    };
    let (rights, audit, passwords) = (rights.clone(), audit.clone(), passwords.clone());
    let verifier = Verifier {
        rights,
        root: root.clone(),
        audit,
        passwords,
        peer: peer.ip(),
        exporter,
    };
    let request = LoginRequest {
        attempt,
        live,
        begun,
    };
    let verified = in_time(
        login.poll_timeout(),
        blocking(context, move |store| verifier.verify(store, request)),
    )
    .await;
    drop(place);
    if verified.is_ok() {
        (context.guessed)(false);
    }
    verified
}

/// The server's half of a login by password. It blocks.
fn begin_password(
    passwords: Arc<Passwords>,
    attempt: Box<PasswordAttempt>,
    exporter: [u8; 32],
    peer: SocketAddr,
) -> impl FnOnce(&Store) -> Result<(Vec<u8>, PendingPasswordLogin), Error> + Send + 'static {
    move |store| passwords.begin(store, &attempt, &exporter, PeerNetwork::of(peer.ip()))
}

/// Why a client has closed the connection before its login.
///
/// After the server's half of a login by password it has most likely found that the password was
/// wrong. `has_no_key` is the user for whom the server accepts none of its keys.
fn gave_up(
    error: Error,
    begun: Option<&PendingPasswordLogin>,
    has_no_key: Option<&UserName>,
) -> Error {
    match (error, begun, has_no_key) {
        (Error::Lost(_), Some(begun), _) => login_refused(
            begun.user(),
            "the password was wrong, or the client gave up",
        ),
        (Error::Lost(_), None, Some(user)) => Error::RefusedNoGuess(format!(
            "{user}: no account of this name has one of the keys"
        )),
        (error, ..) => error,
    }
}

/// Sends the next answer of the login.
async fn answer(stream: &mut dyn SecureStream, login: &mut ServerLogin) -> Result<(), Error> {
    let bytes = login.poll_transmit().unwrap_or_default();
    stream
        .write_all(&bytes)
        .await
        .map_err(|error| lost(&error))?;
    stream.flush().await.map_err(|error| lost(&error))
}

/// Waits for the next event of the login.
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

/// Runs work that reads the store on the threads for logins.
async fn blocking<T: Send + 'static>(
    context: LoginContext<'_>,
    work: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let store = context.store.clone();
    context.threads.run(move || work(&store)).await
}

/// Chooses the first of the keys that the client asks about that is stored for the user and may be
/// used from `peer`.
///
/// A client without any key of the user sees the same answer whether the user exists or not.
fn choose(
    keys: &Keys,
    binding: &[u8],
    peer: IpAddr,
    store: &Store,
) -> Result<Option<usize>, Error> {
    let records = store.keys_of(&keys.user)?.into_iter();
    let mut lines: Vec<String> = records
        .filter(|key| check_key_options(key, peer).is_ok())
        .map(|key| key.line)
        .collect();
    let stored = lines.len();
    // Comparing these takes the same time and matches nothing.
    lines.resize_with(stored.max(KEYS_COMPARED_MIN), || "x".repeat(80));
    let mut tags: Vec<KeyTag> = lines.iter().map(|line| key_tag(binding, line)).collect();
    tags.truncate(stored);
    Ok(keys.keys.iter().position(|key| tags.contains(key)))
}
