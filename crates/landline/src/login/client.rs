//! The client's login over a transport.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use landline_proto::{
    ErrorCode,
    bundle::BUNDLE_FEATURE,
    limits::{LOGIN_TIME_MAX, SIGNING_TIME_MAX},
    login::{BundleId, ClientEvent, ClientLogin, Proof, UserName, key_tag},
    messages::{AttachSecret, Blob, Evaluation, Greeting, Mac, Nonce, Welcome},
};
use log::debug;
use tokio::io::AsyncWriteExt;

use super::{
    AuthMethod, Credential, FirstRequest, KeyCandidates,
    first_request::{has_feature, send_parts},
    key_candidates::blocking,
};
use crate::{
    Error,
    crypto::{Fingerprint, is_same_mac, random},
    keys::{SecretKey, UserKey},
    net::{
        BundleHandle, BundleShare, BundledStream, Channel, DialedStream, SecureStream, lost,
        tls::{self},
    },
    password::{Password, PasswordLogin, PasswordParties},
};

/// After this time the client tells the server that a person has to sign.
const SLOW_SIGNING_TIME: Duration = Duration::from_secs(1);

/// How long the steps of a login took.
#[derive(Debug, Clone, Copy)]
pub struct LoginTiming {
    /// The TLS handshake and the greeting.
    ///
    /// Through ssh it counts from the first byte that arrived.
    pub tls: Duration,
    /// From the greeting to `welcome`.
    pub login: Duration,
}

/// A login that was accepted.
pub struct Login {
    /// The channel. The answer to the first request has not been received.
    pub channel: Channel,
    /// The way to add connections to the channel, if it is a bundle.
    pub(crate) bundle: Option<ChannelBundle>,
    /// The server's greeting.
    pub greeting: Greeting,
    /// The server's welcome.
    pub welcome: Welcome,
    /// How long the login took.
    pub timing: LoginTiming,
}

/// A channel that several connections can carry.
#[derive(Clone)]
pub struct ChannelBundle {
    /// Its id.
    pub(crate) id: BundleId,
    /// The way to add connections.
    pub(crate) handle: BundleHandle,
}

impl Login {
    /// Opens a channel on a connection that logged in without one, as a bundle if it has an id and
    /// the server can do that.
    ///
    /// # Errors
    /// An error that the server sends, [`Error::Lost`].
    pub(crate) async fn open(
        &mut self,
        first: &FirstRequest,
        bundle: Option<BundleId>,
    ) -> Result<(), Error> {
        let features = &self.greeting.features;
        let bundle = bundle.filter(|_| has_feature(features, BUNDLE_FEATURE));
        let first = first.for_server(features);
        send_parts(&mut self.channel, first.encode(bundle)?).await?;
        self.set_bundle(first, bundle);
        Ok(())
    }

    /// Continues as a bundle, after [`FirstRequest::encode`] was sent.
    fn set_bundle(&mut self, first: &FirstRequest, bundle: Option<BundleId>) {
        self.bundle = bundle.map(|id| {
            let written = first.length();
            let stream = self.channel.take_stream();
            let stream = BundledStream::new(stream, written, BundleShare::default());
            let handle = stream.handle();
            self.channel.set_stream(Box::new(stream));
            ChannelBundle { id, handle }
        });
    }

    /// The credential that attaches further connections to this session.
    ///
    /// `None` unless the login by `method` asked for an attach secret.
    pub fn attachment(&self, method: &AuthMethod) -> Option<Credential> {
        let AttachSecret(secret) = self.welcome.attach?;
        let method = AuthMethod::Attach {
            session: self.welcome.session.parse().ok()?,
            secret: SecretKey::from_bytes(secret),
            binding: method.binding(),
        };
        Some(Credential::new(self.welcome.user.clone(), method))
    }
}

/// Logs in to the server with the certificate `pin`.
///
/// With `first` it opens a channel in the same flight. `address` is the server's, for error
/// messages. The time limit is 10 s, or 60 s with a key in an agent. It starts when the server can
/// be expected to answer, so the time that ssh takes does not count.
///
/// # Errors
/// - [`Error::ServerChanged`], [`Error::ServerUnproven`], [`Error::SecretUnproven`]: the wrong
///   server.
/// - [`Error::KeyLocked`]: the server chose a key that is still locked.
/// - [`Error::KeysRefused`]: the server would accept none of several keys.
/// - [`Error::Failed`]: the server rejects the login, or `login-timeout`.
/// - [`Error::Ssh`], [`Error::Tls`], [`Error::Protocol`], [`Error::Lost`].
pub async fn connect(
    dialed: DialedStream,
    address: &str,
    pin: Fingerprint,
    credential: &Credential,
    first: Option<&FirstRequest>,
) -> Result<Login, Error> {
    connect_bundled(dialed, address, pin, credential, first, None).await
}

/// As [`connect`]. With an id the channel is a bundle, if the server can do that.
pub(crate) async fn connect_bundled(
    dialed: DialedStream,
    address: &str,
    pin: Fingerprint,
    credential: &Credential,
    first: Option<&FirstRequest>,
    bundle: Option<BundleId>,
) -> Result<Login, Error> {
    let start = Instant::now();
    let method = &credential.method;
    let ready = dialed.ready();
    let first_byte = dialed.first_byte;
    let begun = with_timeout_after(ready, LOGIN_TIME_MAX, async {
        let mut stream = tls::connect(dialed.transport, address, pin).await?;
        let start = first_byte.and_then(|first| first.moment()).unwrap_or(start);
        let mut login = ClientLogin::new(
            credential.user.clone(),
            method.name(),
            *pin.bytes(),
            stream.transport(),
            Nonce(random()),
        );
        if credential.attachable {
            login.ask_to_attach();
        }
        next_event(&mut *stream, &mut login).await?;
        let tls = start.elapsed();
        trace_greeting(&login, tls);
        let exporter = stream.exporter()?;
        if let AuthMethod::Keys(keys) = method {
            keys.set_methods(login.greeting().map_or(&[], |greeting| &greeting.methods));
            choose_key(&mut *stream, &mut login, keys, &exporter).await?;
        }
        Ok((stream, login, start, tls, exporter))
    });
    let (mut stream, mut login, start, tls, exporter) = begun.await?;
    let time = if method.may_need_user() {
        SIGNING_TIME_MAX
    } else {
        LOGIN_TIME_MAX
    };
    let accepted = with_timeout(time, async {
        let transcript = login.transcript(method.binding(), &exporter);
        let transcript =
            transcript.ok_or_else(|| Error::Lost("the server did not greet".into()))?;
        let (proof, expected) = match method {
            AuthMethod::Password(prompt) => {
                let parties = (credential.user.clone(), pin);
                (
                    prove_password(
                        &mut *stream,
                        &mut login,
                        &prompt.password(),
                        parties,
                        transcript,
                    )
                    .await?,
                    None,
                )
            }
            method => prove(&mut *stream, &login, method, transcript).await?,
        };
        let mut flight = Vec::new();
        debug!("logging in as {} by {}", credential.user, method.name());
        login.login(proof, &mut flight)?;
        let greeting = login.greeting().cloned();
        let greeting = greeting.ok_or_else(|| Error::Lost("the server did not greet".into()))?;
        let bundle = bundle.filter(|_| has_feature(&greeting.features, BUNDLE_FEATURE));
        let first = first.map(|first| first.for_server(&greeting.features));
        let mut body = Bytes::new();
        if let Some(first) = first {
            let [head, rest] = first.encode(bundle)?;
            flight.extend_from_slice(&head);
            body = rest;
        }
        send(&mut *stream, &flight).await?;
        let (welcome, sent) = log_in(&mut *stream, &mut login, &body).await?;
        if !is_proved(expected.as_ref(), welcome.proof.as_ref()) {
            return Err(Error::SecretUnproven {
                address: address.to_owned(),
            });
        }
        trace_welcome(&welcome, start.elapsed().saturating_sub(tls));
        Ok((welcome, greeting, first, bundle, body.slice(sent..)))
    });
    let (welcome, greeting, first, bundle, rest) = accepted.await?;
    let timing = LoginTiming {
        tls,
        login: start.elapsed().saturating_sub(tls),
    };
    // On a slow connection this takes longer than a login may.
    send(&mut *stream, &rest).await?;
    let channel = Channel::new(stream, login.into_session());
    let mut accepted = Login {
        channel: channel.with_features(greeting.features.clone()),
        bundle: None,
        greeting,
        welcome,
        timing,
    };
    if let Some(first) = first {
        accepted.set_bundle(first, bundle);
    }
    Ok(accepted)
}

/// Waits until the server has accepted the login, and sends the body of the first request
/// meanwhile. Returns also how much of the body was sent.
async fn log_in(
    stream: &mut dyn SecureStream,
    login: &mut ClientLogin,
    body: &[u8],
) -> Result<(Welcome, usize), Error> {
    let (mut sent, mut not_sent) = (0, None);
    let event = poll_fn(|cx| {
        while let Some(rest) = body.get(sent..).filter(|rest| !rest.is_empty())
            && not_sent.is_none()
        {
            match Pin::new(&mut *stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => not_sent = Some(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => sent += written,
                Poll::Ready(Err(error)) => not_sent = Some(error),
                Poll::Pending => break,
            }
        }
        if sent == body.len()
            && let Poll::Ready(Err(error)) = Pin::new(&mut *stream).poll_flush(cx)
        {
            not_sent.get_or_insert(error);
        }
        poll_event(stream, login, cx)
    })
    .await;
    // If the server takes no more, it may have said why.
    match (event, not_sent) {
        (Ok(ClientEvent::Welcome(_)) | Err(Error::Lost(_)), Some(error)) => Err(lost(&error)),
        (Ok(ClientEvent::Welcome(welcome)), None) => Ok((welcome, sent)),
        (Ok(_), _) => Err(Error::Lost(
            "the server answered the login with something else".into(),
        )),
        (Err(error), _) => Err(error),
    }
}

/// Whether the server has proved what it had to.
fn is_proved(expected: Option<&Mac>, found: Option<&Mac>) -> bool {
    match (expected, found) {
        (None, _) => true,
        (Some(expected), Some(found)) => is_same_mac(expected, found),
        (Some(_), None) => false,
    }
}

fn trace_greeting(login: &ClientLogin, time: Duration) {
    if let Some(greeting) = login.greeting() {
        let methods = greeting.methods.join(", ");
        debug!(
            "secured by TLS 1.3 after {time:.1?}; {} takes {methods}",
            greeting.server
        );
    }
}

fn trace_welcome(welcome: &Welcome, time: Duration) {
    let Welcome {
        user, key, session, ..
    } = welcome;
    debug!("logged in as {user} with {key} after {time:.1?} (session {session})");
}

/// Fetches the fingerprint of a server.
///
/// The server proves that it has the key of its certificate. The client sends nothing else.
/// `address` is the server's, for error messages.
///
/// # Errors
/// [`Error::ServerUnproven`], [`Error::Tls`], [`Error::Lost`], [`Error::Ssh`], and `login-timeout`
/// after 10 s.
pub async fn fingerprint(dialed: DialedStream, address: &str) -> Result<Fingerprint, Error> {
    with_timeout_after(dialed.ready(), LOGIN_TIME_MAX, async {
        let (mut stream, found) = tls::connect_to_any(dialed.transport, address).await?;
        // To the server this is a client that aborts before its login.
        let _ = stream.shutdown().await;
        Ok(found)
    })
    .await
}

async fn with_timeout<T>(
    time: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    with_timeout_after(std::future::ready(()), time, work).await
}

/// As [`with_timeout`], with a time that starts when `ready` completes.
async fn with_timeout_after<T>(
    ready: impl Future<Output = ()>,
    time: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let over = async {
        ready.await;
        tokio::time::sleep(time).await;
    };
    tokio::select! {
        biased;
        done = work => done,
        () = over => {
            let message = format!("the server did not complete the login within {} s", time.as_secs());
            Err(Error::here(ErrorCode::LoginTimeout, message))
        }
    }
}

/// Asks the server which key it would accept, unless that is known.
async fn choose_key(
    stream: &mut dyn SecureStream,
    login: &mut ClientLogin,
    keys: &KeyCandidates,
    exporter: &[u8],
) -> Result<(), Error> {
    if keys.key().is_none() {
        let candidates = keys.remaining();
        let tag = |key: &Arc<UserKey>| key_tag(exporter, &key.public().line());
        debug!("asking the server about {} keys", candidates.len());
        let mut question = Vec::new();
        login.ask(candidates.iter().map(tag).collect(), &mut question)?;
        send(stream, &question).await?;
        let ClientEvent::Chosen(chosen) = next_event(stream, login).await? else {
            return Err(Error::Lost("the server did not choose a key".into()));
        };
        match chosen.and_then(|key| candidates.get(key)) {
            Some(key) => {
                debug!("the server accepts the key {key}");
                keys.choose(key.clone());
            }
            None => {
                debug!("the server accepts none of them");
                // The client sends nothing more.
                let _ = stream.shutdown().await;
                return Err(Error::KeysRefused {
                    keys: keys.refused(),
                });
            }
        }
    }
    match keys.key() {
        Some(key) if key.is_locked() => Err(Error::KeyLocked {
            path: key.to_string(),
        }),
        _ => Ok(()),
    }
}

/// Proves a password, with the answer of the server.
///
/// The answer opens only with the right password, at the right server.
async fn prove_password(
    stream: &mut dyn SecureStream,
    login: &mut ClientLogin,
    password: &Password,
    (user, server): (UserName, Fingerprint),
    transcript: [u8; 64],
) -> Result<Proof, Error> {
    let (ke1, begun) = PasswordLogin::begin(password)?;
    let mut first = Vec::new();
    login.begin_password(ke1, &mut first)?;
    send(stream, &first).await?;
    let ClientEvent::Evaluated(Evaluation { ke2 }) = next_event(stream, login).await? else {
        return Err(Error::Lost(
            "the server answered the password with something else".into(),
        ));
    };
    let finished = blocking(move || {
        let parties = PasswordParties {
            user: &user,
            server,
        };
        Ok(begun.finish(&ke2.0, parties, &transcript))
    });
    match finished.await? {
        Some(ke3) => Ok(Proof::Password { ke3: Blob(ke3) }),
        None => {
            // The client sends nothing more. The server counts a rejected login.
            let _ = stream.shutdown().await;
            Err(Error::here(
                ErrorCode::LoginRefused,
                "user or password not accepted",
            ))
        }
    }
}

/// Proves the login; tells the server if that takes a person.
async fn prove(
    stream: &mut dyn SecureStream,
    login: &ClientLogin,
    method: &AuthMethod,
    transcript: [u8; 64],
) -> Result<(Proof, Option<Mac>), Error> {
    let may_be_slow = method.may_need_user();
    let method = method.clone();
    let proving = blocking(move || method.prove(&transcript));
    tokio::pin!(proving);
    tokio::select! {
        biased;
        proved = &mut proving => return proved,
        () = tokio::time::sleep(SLOW_SIGNING_TIME), if may_be_slow => {}
    }
    let mut message = Vec::new();
    login.signing(&mut message)?;
    send(stream, &message).await?;
    proving.await
}

async fn send(stream: &mut dyn SecureStream, bytes: &[u8]) -> Result<(), Error> {
    stream
        .write_all(bytes)
        .await
        .map_err(|error| lost(&error))?;
    stream.flush().await.map_err(|error| lost(&error))
}

/// Waits for the next event of the login; a rejection is an error.
async fn next_event(
    stream: &mut dyn SecureStream,
    login: &mut ClientLogin,
) -> Result<ClientEvent, Error> {
    poll_fn(|cx| poll_event(stream, login, cx)).await
}

fn poll_event(
    stream: &mut dyn SecureStream,
    login: &mut ClientLogin,
    cx: &mut Context<'_>,
) -> Poll<Result<ClientEvent, Error>> {
    loop {
        let filled = ready!(Pin::new(&mut *stream).poll_fill_buf(cx));
        let bytes = filled.map_err(|error| lost(&error))?;
        if bytes.is_empty() {
            return Poll::Ready(Err(Error::Lost(
                "the server closed it before the login was complete".into(),
            )));
        }
        let mut input = bytes;
        let event = login.handle_input(&mut input)?;
        let used = bytes.len() - input.len();
        Pin::new(&mut *stream).consume(used);
        match event {
            Some(ClientEvent::Refused(error)) => {
                return Poll::Ready(Err(Error::from_peer(error)));
            }
            Some(event) => return Poll::Ready(Ok(event)),
            None => {}
        }
    }
}
