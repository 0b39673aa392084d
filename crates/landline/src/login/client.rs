//! The client's login over a transport.

use std::time::{Duration, Instant};

use bytes::Bytes;
use landline_proto::{
    ErrorCode, Limits, Message,
    limits::{LOGIN_TIME_MAX, SIGNING_TIME_MAX},
    login::{ClientEvent, ClientLogin, Proof, UserName, key_tag},
    message,
    messages::{AttachSecret, Blob, Evaluation, Greeting, Mac, Nonce, Open, Welcome},
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

use super::{AuthMethod, Credential, KeyCandidates, key_candidates::blocking};
use crate::{
    Error,
    crypto::{Fingerprint, is_same_mac, random},
    keys::SecretKey,
    net::{
        Channel, DialedStream, SecureStream, lost,
        tls::{self},
    },
    password::{Password, PasswordLogin, PasswordParties},
};

/// A signature that takes longer than this takes a person: the server is told.
const SIGNING_IS_SLOW: Duration = Duration::from_secs(1);

/// How long the steps of a login took.
#[derive(Debug, Clone, Copy)]
pub struct LoginTiming {
    /// The TLS handshake and the greeting; through ssh, from the first byte that came back.
    pub tls: Duration,
    /// From the greeting to `welcome`.
    pub login: Duration,
}

/// A login that was accepted.
pub struct Login {
    /// The channel, with the answer to the first request on its way.
    pub channel: Channel,
    /// The server's greeting.
    pub greeting: Greeting,
    /// The server's welcome.
    pub welcome: Welcome,
    /// How long it took.
    pub timing: LoginTiming,
}

impl Login {
    /// What further connections to the same server are attached to this session with, where the
    /// login by `method` has asked for it.
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

/// What a channel is opened with: the service and its first request, ready to be sent.
#[derive(Debug, Clone)]
pub struct FirstRequest(Bytes);

impl FirstRequest {
    /// A channel for `service` whose first request follows, because it has a body.
    ///
    /// # Errors
    /// None in practice: it always fits.
    pub fn open(service: &str) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        let open = Open {
            service: service.to_owned(),
        };
        message::encode(&open, None, &Limits::SESSION, &mut bytes)?;
        Ok(Self(bytes.into()))
    }

    /// A channel for `service` whose first request is `request`, which has no body.
    ///
    /// # Errors
    /// [`landline_proto::ProtocolError::FrameSize`] where the request is too long for a header.
    pub fn new(service: &str, request: &impl Message) -> Result<Self, Error> {
        let mut bytes = Self::open(service)?.0.to_vec();
        message::encode(request, None, &Limits::SESSION, &mut bytes)?;
        Ok(Self(bytes.into()))
    }

    /// Opens a channel on a connection that has logged in without one.
    ///
    /// # Errors
    /// What the server says, [`Error::Lost`].
    pub async fn send(&self, channel: &mut Channel) -> Result<(), Error> {
        channel.writer.send_encoded(&self.0);
        channel.flush().await
    }
}

/// Logs in over `line` to the server with the certificate `pin`. With `first` it opens a channel in
/// the same flight. `address` is the server's, for error messages.
///
/// # Errors
/// [`Error::ServerChanged`], [`Error::ServerUnproven`] or [`Error::SecretUnproven`] for the wrong
/// server, [`Error::KeyLocked`] when the server chose a key that is still locked, [`Error::Failed`]
/// when it refuses, [`Error::Tls`], [`Error::Protocol`], [`Error::Lost`], and `login-timeout` after
/// 10 s, or 60 s with a key in an agent. What ssh takes until it is let in does not count; where it
/// is not: [`Error::Ssh`].
pub async fn connect(
    line: DialedStream,
    address: &str,
    pin: Fingerprint,
    credential: &Credential,
    first: Option<&FirstRequest>,
) -> Result<Login, Error> {
    let start = Instant::now();
    let method = &credential.method;
    let (ready, first_byte) = (line.ready(), line.first_byte);
    let begun = in_time_after(ready, LOGIN_TIME_MAX, async {
        let mut stream = tls::connect(line.transport, address, pin).await?;
        let start = first_byte.and_then(|first| first.moment()).unwrap_or(start);
        let (user, name) = (credential.user.clone(), method.name());
        let mut login = ClientLogin::new(
            user,
            name,
            *pin.bytes(),
            stream.transport(),
            Nonce(random()),
        );
        if credential.attachable {
            login.ask_to_attach();
        }
        event(&mut *stream, &mut login).await?;
        let tls = start.elapsed();
        let exporter = stream.exporter()?;
        if let AuthMethod::Keys(keys) = method {
            keys.note_methods(login.greeting().map_or(&[], |greeting| &greeting.methods));
            choice(&mut *stream, &mut login, keys, &exporter).await?;
        }
        Ok((stream, login, start, tls, exporter))
    });
    let (mut stream, mut login, start, tls, exporter) = begun.await?;
    let time = if method.may_take_a_person() {
        SIGNING_TIME_MAX
    } else {
        LOGIN_TIME_MAX
    };
    in_time(time, async {
        let transcript = login.transcript(method.binding(), &exporter);
        let transcript =
            transcript.ok_or_else(|| Error::Lost("the server did not greet".into()))?;
        let (proof, expected) = match method {
            AuthMethod::Password(typed) => {
                let parties = (credential.user.clone(), pin);
                (
                    by_password(
                        &mut *stream,
                        &mut login,
                        &typed.password(),
                        parties,
                        transcript,
                    )
                    .await?,
                    None,
                )
            }
            method => proof(&mut *stream, &login, method, transcript).await?,
        };
        let mut flight = Vec::new();
        login.login(proof, &mut flight)?;
        if let Some(FirstRequest(first)) = first {
            flight.extend_from_slice(first);
        }
        send(&mut *stream, &flight).await?;
        let ClientEvent::Welcome(welcome) = event(&mut *stream, &mut login).await? else {
            return Err(Error::Lost(
                "the server answered the login with something else".into(),
            ));
        };
        let proved = match (&expected, &welcome.proof) {
            (None, _) => true,
            (Some(expected), Some(proof)) => is_same_mac(expected, proof),
            (Some(_), None) => false,
        };
        if !proved {
            return Err(Error::SecretUnproven {
                address: address.to_owned(),
            });
        }
        let greeting = login.greeting().cloned();
        let greeting = greeting.ok_or_else(|| Error::Lost("the server did not greet".into()))?;
        let timing = LoginTiming {
            tls,
            login: start.elapsed().saturating_sub(tls),
        };
        Ok(Login {
            channel: Channel::new(stream, login.into_session()),
            greeting,
            welcome,
            timing,
        })
    })
    .await
}

/// The fingerprint of the certificate of the server at the other end of `line`, which has proved
/// that it is its own; nothing more is said. `address` is the server's, for error messages.
///
/// # Errors
/// [`Error::ServerUnproven`], [`Error::Tls`], [`Error::Lost`], [`Error::Ssh`], and `login-timeout`
/// after 10 s.
pub async fn fingerprint(line: DialedStream, address: &str) -> Result<Fingerprint, Error> {
    in_time_after(line.ready(), LOGIN_TIME_MAX, async {
        let (mut stream, found) = tls::connect_to_any(line.transport, address).await?;
        // To the server this is a client that changed its mind.
        let _ = stream.shutdown().await;
        Ok(found)
    })
    .await
}

async fn in_time<T>(
    time: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    in_time_after(std::future::ready(()), time, work).await
}

/// The same where the time only counts once `begun` has completed.
async fn in_time_after<T>(
    begun: impl Future<Output = ()>,
    time: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let over = async {
        begun.await;
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

/// Has the server choose one of several keys.
async fn choice(
    stream: &mut dyn SecureStream,
    login: &mut ClientLogin,
    keys: &KeyCandidates,
    exporter: &[u8],
) -> Result<(), Error> {
    if keys.key().is_none() {
        let tags = keys
            .keys()
            .iter()
            .map(|key| key_tag(exporter, &key.public().line()))
            .collect();
        let mut question = Vec::new();
        login.ask(tags, &mut question)?;
        send(stream, &question).await?;
        if let ClientEvent::Chosen(key) = event(stream, login).await? {
            keys.choose(key);
        }
    }
    match keys.key() {
        Some(key) if key.is_locked() => Err(Error::KeyLocked {
            path: key.to_string(),
        }),
        _ => Ok(()),
    }
}

/// The proof of a password, with the server's half of it. That opens with the right password alone,
/// at the right server.
async fn by_password(
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
    let ClientEvent::Evaluated(Evaluation { ke2 }) = event(stream, login).await? else {
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
            // Nothing more is said; the server counts it as a refused login.
            let _ = stream.shutdown().await;
            Err(Error::here(
                ErrorCode::LoginRefused,
                "user or password not accepted",
            ))
        }
    }
}

/// The proof, which may take a person: then the server is told.
async fn proof(
    stream: &mut dyn SecureStream,
    login: &ClientLogin,
    method: &AuthMethod,
    transcript: [u8; 64],
) -> Result<(Proof, Option<Mac>), Error> {
    let (may_be_slow, method) = (method.may_take_a_person(), method.clone());
    let proving = blocking(move || method.prove(&transcript));
    tokio::pin!(proving);
    tokio::select! {
        biased;
        proved = &mut proving => return proved,
        () = tokio::time::sleep(SIGNING_IS_SLOW), if may_be_slow => {}
    }
    let mut word = Vec::new();
    login.signing(&mut word)?;
    send(stream, &word).await?;
    proving.await
}

async fn send(stream: &mut dyn SecureStream, bytes: &[u8]) -> Result<(), Error> {
    stream
        .write_all(bytes)
        .await
        .map_err(|error| lost(&error))?;
    stream.flush().await.map_err(|error| lost(&error))
}

/// The next event of the login; a refusal is an error.
async fn event(
    stream: &mut dyn SecureStream,
    login: &mut ClientLogin,
) -> Result<ClientEvent, Error> {
    loop {
        let bytes = stream.fill_buf().await.map_err(|error| lost(&error))?;
        if bytes.is_empty() {
            return Err(Error::Lost(
                "the server closed it before the login was complete".into(),
            ));
        }
        let mut input = bytes;
        let event = login.handle_input(&mut input)?;
        let used = bytes.len() - input.len();
        stream.consume(used);
        match event {
            Some(ClientEvent::Refused(error)) => return Err(Error::from_peer(error)),
            Some(event) => return Ok(event),
            None => {}
        }
    }
}
