//! The server's login over a transport.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use data_encoding::HEXLOWER;
use landline_proto::{
    ErrorCode, Limits, ProtocolError,
    login::{
        Attempt, METHOD_ATTACH, METHOD_INVITE, METHOD_SECRET, METHOD_SSH_KEY, Offer, Proof, ServerEvent, ServerLogin,
        UserName, key_tag,
    },
    message,
    messages::{AttachSecret, KeyTag, Keys, Mac, Nonce, Welcome},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt},
    sync::{Semaphore, SemaphorePermit},
};
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::{Identity, KeyLineError, KeyOptions, PublicKey, SecretKey, random, same, standing::objection};
use crate::{
    Error, RELEASE,
    audit::{Audit, Entry},
    net::{Channel, Transport, linger, lost, tls},
    rights::RightsFile,
    server::code_text,
    store::{KeyRecord, Store, invite_id, unix_now},
};

/// What a server of this release can do, by name.
const FEATURES: [&str; 5] = ["ping", "files.put", "files.get", "files.resume", "admin"];

/// So many keys are compared at least, so that the time does not tell how many a user has.
const KEYS_COMPARED_MIN: usize = 16;

/// Someone who is logged in.
#[derive(Debug, Clone)]
pub struct Session {
    /// Who.
    pub user: UserName,
    /// What was proved: a key's fingerprint, or `secret:` and a secret's id.
    pub key: String,
    /// The method of the login.
    pub method: String,
    /// The session's id.
    pub id: String,
    /// Whether an invite was redeemed.
    pub invited: bool,
    /// The only command that the key may be used for, if it is for one.
    pub command: Option<String>,
    /// What further connections are attached with, where the client has asked for it.
    pub attach: Option<SecretKey>,
    /// Whether this connection was attached to a session that lived already.
    pub attached: bool,
}

/// What a login is decided by.
#[derive(Clone, Copy)]
pub struct Gate<'a> {
    /// Who the server is.
    pub identity: &'a Identity,
    /// Who may log in.
    pub store: &'a Arc<Store>,
    /// Who may do what.
    pub rights: &'a Arc<RightsFile>,
    /// To what further connections can be attached.
    pub live: &'a dyn LiveSessions,
    /// Places for logins that take a person.
    pub signing: &'a Semaphore,
    /// Where it is written down.
    pub audit: &'a Audit,
}

/// The sessions that live.
pub trait LiveSessions: Sync {
    /// The one of this id, unless it is being ended.
    fn find(&self, session: &str) -> Option<Session>;
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

/// Greets `peer` over `transport`, takes one login, and decides it by what the store knows and `admit` says. All of it has 10 s from now, or
/// 60 s for a client that needs a person to sign and gets one of the places in `signing`. What comes of it stands in the audit log: a login before the client hears of it.
///
/// # Errors
/// Why there is no session; the client was told where that is possible.
pub async fn accept<T>(
    transport: Box<dyn Transport>,
    peer: SocketAddr,
    gate: Gate<'_>,
    admit: impl FnOnce(&Session) -> Result<T, Error>,
) -> Result<(Channel, Session, T), Error> {
    let mut claim = Claim::default();
    let accepted = take(transport, peer, gate, admit, &mut claim).await;
    if let Err(error) = &accepted {
        let Claim { user, method } = claim;
        gate.audit.note(Entry::Refused { peer, user, method, code: code_text(error), message: error.to_string() });
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
    let mut login = ServerLogin::new(offer(gate.identity), Nonce(random()), now)?;
    let deadline = login.poll_timeout();
    let greeting = login.poll_transmit().unwrap_or_default();
    let acceptor = TlsAcceptor::from(gate.identity.tls());
    let handshake = acceptor.accept_with(transport, |connection| {
        // Buffered until the server's own flight, which is a round trip before the handshake is complete.
        let _ = std::io::Write::write_all(&mut connection.writer(), &greeting);
    });
    let Ok(stream) = tokio::time::timeout_at(deadline.into(), handshake).await else {
        return Err(ProtocolError::LoginTimeout.into());
    };
    let stream =
        stream.map_err(|error| match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => Error::Tls(tls.to_string()),
            None => lost(&error),
        })?;
    if stream.get_ref().1.alpn_protocol() != Some(landline_proto::ALPN.as_bytes()) {
        return Err(Error::Tls(format!("the client does not speak {}", landline_proto::ALPN)));
    }
    let mut stream = TlsStream::Server(stream);
    let decided = decide(&mut stream, peer, &mut login, gate, claim).await;
    let deadline = login.poll_timeout();
    let failure = match decided.and_then(|accepted| Ok((admit(&accepted.session)?, accepted))) {
        Ok((admitted, accepted)) => match in_time(deadline, gate.audit.record(entry(&accepted.session, peer))).await {
            Ok(()) => {
                let (channel, session) = welcome(stream, login, accepted, deadline).await?;
                return Ok((channel, session, admitted));
            }
            Err(error) => error,
        },
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
        method: if session.attached { METHOD_ATTACH.to_owned() } else { session.method.clone() },
        key: session.key.clone(),
        peer,
        session: session.id.clone(),
    }
}

async fn welcome(
    mut stream: TlsStream<Box<dyn Transport>>,
    login: ServerLogin,
    accepted: Accepted,
    deadline: Instant,
) -> Result<(Channel, Session), Error> {
    let Accepted { session, proof } = accepted;
    let (user, key) = (session.user.clone(), session.key.clone());
    let attach = session.attach.as_ref().filter(|_| !session.attached).map(|secret| AttachSecret(*secret.bytes()));
    let welcome = Welcome { user, key, session: session.id.clone(), proof, attach };
    let (answer, decoder) = login.accept(&welcome)?;
    match tokio::time::timeout_at(deadline.into(), stream.write_all(&answer)).await {
        Ok(written) => written.map_err(|error| lost(&error))?,
        Err(_) => return Err(ProtocolError::LoginTimeout.into()),
    }
    Ok((Channel::new(stream, decoder), session))
}

fn offer(identity: &Identity) -> Offer {
    Offer {
        server: RELEASE.to_owned(),
        features: FEATURES.map(str::to_owned).to_vec(),
        methods: [METHOD_SSH_KEY, METHOD_INVITE, METHOD_SECRET, METHOD_ATTACH].map(str::to_owned).to_vec(),
        fingerprint: *identity.fingerprint().bytes(),
        transport: "tcp",
    }
}

/// Reads the login and decides it, by the deadline.
async fn decide(
    stream: &mut TlsStream<Box<dyn Transport>>,
    peer: SocketAddr,
    login: &mut ServerLogin,
    gate: Gate<'_>,
    claim: &mut Claim,
) -> Result<Accepted, Error> {
    let TlsStream::Server(server) = &*stream else { return Err(Error::Tls("not a server's stream".into())) };
    let binding = server
        .get_ref()
        .1
        .export_keying_material([0; 32], tls::EXPORTER_LABEL, None)
        .map_err(|error| Error::Tls(error.to_string()))?;
    let Gate { store, rights, signing, audit, .. } = gate;
    let mut place: Option<SemaphorePermit<'_>> = None;
    let attempt = loop {
        let deadline = login.poll_timeout();
        match in_time(deadline, event(stream, login)).await? {
            ServerEvent::Attempt(attempt) => break attempt,
            ServerEvent::Asked(keys) => {
                let key =
                    in_time(deadline, blocking(store, move |store| choose(&keys, &binding, peer.ip(), store))).await?;
                login.choose(key)?;
                let answer = login.poll_transmit().unwrap_or_default();
                let sent = async {
                    stream.write_all(&answer).await.map_err(|error| lost(&error))?;
                    stream.flush().await.map_err(|error| lost(&error))
                };
                in_time(deadline, sent).await?;
            }
            ServerEvent::Signing => {
                place = signing.try_acquire().ok();
                if place.is_some() {
                    login.extend();
                }
            }
        }
    };
    *claim =
        Claim { user: Some(attempt.login.user.to_string()), method: Some(attempt.login.proof.method().to_owned()) };
    let live = match &attempt.login.proof {
        Proof::Attach { session, .. } => gate.live.find(&session.to_string()),
        _ => None,
    };
    let (rights, audit) = (rights.clone(), audit.clone());
    let judge = move |store: &Store| judge(&attempt, live, &binding, peer.ip(), store, &rights, &audit);
    let judged = in_time(login.poll_timeout(), blocking(store, judge)).await;
    drop(place);
    judged
}

/// What the client wants next.
async fn event(stream: &mut TlsStream<Box<dyn Transport>>, login: &mut ServerLogin) -> Result<ServerEvent, Error> {
    loop {
        let bytes = stream.fill_buf().await.map_err(|error| lost(&error))?;
        if bytes.is_empty() {
            return Err(Error::Lost("the client closed it before it logged in".into()));
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

async fn in_time<T>(deadline: Instant, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout_at(deadline.into(), work).await.unwrap_or(Err(ProtocolError::LoginTimeout.into()))
}

/// Runs what asks the store where it may block.
async fn blocking<T: Send + 'static>(
    store: &Arc<Store>,
    work: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let store = store.clone();
    tokio::task::spawn_blocking(move || work(&store))
        .await
        .map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?
}

/// Which of the keys that the client asks about: the first that is stored for the user and may be used from `peer`, else any one, by
/// lot. So whoever has none of the user's keys sees the same, whether the user exists or not.
fn choose(keys: &Keys, binding: &[u8], peer: IpAddr, store: &Store) -> Result<usize, Error> {
    let records = store.keys_of(&keys.user)?.into_iter();
    let mut lines: Vec<String> = records.filter(|key| by_its_line(key, peer).is_ok()).map(|key| key.line).collect();
    let stored = lines.len();
    // These are compared to nothing, but take the time.
    lines.resize_with(stored.max(KEYS_COMPARED_MIN), || "x".repeat(80));
    let mut tags: Vec<KeyTag> = lines.iter().map(|line| key_tag(binding, line)).collect();
    tags.truncate(stored);
    let lot = u64::from_le_bytes(random()) % keys.keys.len().max(1) as u64;
    let lot = usize::try_from(lot).unwrap_or_default();
    Ok(keys.keys.iter().position(|key| tags.contains(key)).unwrap_or(lot))
}

/// Decides a login: the proof first, then whether the key, the invite or the secret is good. Blocking.
fn judge(
    attempt: &Attempt,
    live: Option<Session>,
    exporter: &[u8],
    peer: IpAddr,
    store: &Store,
    rights: &RightsFile,
    audit: &Audit,
) -> Result<Accepted, Error> {
    let login = &attempt.login;
    let user = &login.user;
    let transcript = attempt.transcript(exporter);
    let mut server_proof = None;
    let (key, command) = match &login.proof {
        Proof::SshKey { key, signature } => {
            let record = proved(store, user, key, &transcript, &signature.0)?;
            let record = record.ok_or_else(|| refused(user, "no account of this name has this key"))?;
            admit(user, record, peer)?
        }
        Proof::Invite { key, signature, token } => {
            proved(store, user, key, &transcript, &signature.0)?;
            let key = offered(user, key)?;
            store.redeem(token, user, &key, |is_open| {
                has_no_rights(user, is_open, rights)?;
                audit.record_blocking(Entry::Admin {
                    user: None,
                    session: None,
                    action: "invite-redeem".into(),
                    subject: user.to_string(),
                    detail: Some(format!("invite {}, {}", invite_id(token), key.fingerprint())),
                })
            })?;
            let record = store.key(user, &key)?.ok_or_else(|| refused(user, "the key was removed at once"))?;
            admit(user, record, peer)?
        }
        Proof::Secret { secret, binding, proof } => {
            // Known or not, the same work is done: one look-up and one comparison, with a key of nobody if there is none.
            let stored = store.secret_key(user, secret, *binding)?;
            let is_known = stored.is_some();
            let key = stored.unwrap_or_else(|| SecretKey::from_bytes([0; 32]));
            if !same(&key.client_proof(&transcript), proof) || !is_known {
                return Err(refused(user, "no account of this name has this secret"));
            }
            let name = format!("secret:{secret}");
            if let Some(objection) = store.objection(user, &name)? {
                return Err(refused(user, objection));
            }
            server_proof = Some(key.server_proof(&transcript));
            (name, None)
        }
        Proof::Attach { proof, .. } => {
            let session = attached(live, &transcript, proof, user, peer, store)?;
            return Ok(Accepted { session, proof: None });
        }
    };
    let session = Session {
        user: user.clone(),
        key,
        method: login.proof.method().to_owned(),
        id: HEXLOWER.encode(&random::<8>()),
        invited: matches!(login.proof, Proof::Invite { .. }),
        command,
        attach: login.attach.then(|| SecretKey::from_bytes(random())),
        attached: false,
    };
    Ok(Accepted { session, proof: server_proof })
}

/// Sees to it that whoever may choose a name gets none that somebody has in mind for another.
fn has_no_rights(user: &UserName, is_open: bool, rights: &RightsFile) -> Result<(), Error> {
    if is_open && rights.knows(user)? {
        let problem = format!("{user} has rights already; ask for an invite in that name");
        return Err(Error::here(ErrorCode::InviteUser, problem));
    }
    Ok(())
}

/// The live session to which this connection is attached, where its attach secret is proved, and what it was logged in with could
/// still be used, and from here.
fn attached(
    live: Option<Session>,
    transcript: &[u8; 64],
    proof: &Mac,
    user: &UserName,
    peer: IpAddr,
    store: &Store,
) -> Result<Session, Error> {
    let secret = live.as_ref().and_then(|session| session.attach.clone());
    let key = secret.clone().unwrap_or_else(|| SecretKey::from_bytes([0; 32]));
    let proved = same(&key.attach_proof(transcript), proof);
    let session = live.filter(|session| proved && secret.is_some() && session.user == *user);
    let session =
        session.ok_or_else(|| refused(user, "there is no such session, or its attach secret was not proved"))?;
    if let Some(objection) = objection(store, &session, &[peer])? {
        return Err(refused(user, objection));
    }
    Ok(Session { attached: true, ..session })
}

/// The stored key that equals the offered one, if there is one, once the signature was verified. Known or not, the same work is
/// done: one look-up and one verification, by the stored key if there is one.
fn proved(
    store: &Store,
    user: &UserName,
    key: &str,
    transcript: &[u8; 64],
    signature: &[u8],
) -> Result<Option<KeyRecord>, Error> {
    let offered = offered(user, key)?;
    let record = store.key(user, &offered)?;
    let stored = record.as_ref().and_then(|record| PublicKey::parse(&record.line));
    if !stored.as_ref().unwrap_or(&offered).verifies(transcript, signature) {
        return Err(refused(user, "the signature does not fit"));
    }
    Ok(record)
}

fn offered(user: &UserName, key: &str) -> Result<PublicKey, Error> {
    PublicKey::parse(key).ok_or_else(|| refused(user, "a key of a type that is not accepted"))
}

/// The fingerprint of a stored key that may be used from `peer` now, by what stands in its line, and its command if it is for one.
fn admit(user: &UserName, record: KeyRecord, peer: IpAddr) -> Result<(String, Option<String>), Error> {
    match by_its_line(&record, peer) {
        Ok(command) => Ok((record.fingerprint, command)),
        Err(reason) => Err(refused(user, format_args!("{}: {reason}", record.fingerprint))),
    }
}

/// The command that a stored key is for, if it is for one; why it may not be used otherwise.
pub(super) fn by_its_line(record: &KeyRecord, peer: IpAddr) -> Result<Option<String>, KeyLineError> {
    if record.disabled {
        return Err(KeyLineError::new("the account is disabled"));
    }
    let options = KeyOptions::parse(&record.options)?;
    options.admit(peer, unix_now())?;
    Ok(options.command().map(str::to_owned))
}

/// Why somebody is not let in, for the log: they all hear the same.
fn refused(user: &UserName, reason: impl std::fmt::Display) -> Error {
    Error::LoginRefused(format!("{user}: {reason}"))
}
