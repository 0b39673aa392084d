//! The client's login over a transport.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use landline_proto::{
    ErrorCode, Limits, Message,
    limits::LOGIN_TIME_MAX,
    login::{BindingType, ClientEvent, ClientLogin, METHOD_INVITE, METHOD_SECRET, METHOD_SSH_KEY, Proof, UserName},
    message,
    messages::{Blob, Greeting, Mac, Nonce, Open, Token, Welcome},
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt};
use tokio_rustls::{TlsConnector, TlsStream};

use super::{Fingerprint, Secret, UserKey, random, same};
use crate::{
    Error,
    net::{
        Channel, Transport, lost,
        tls::{self, PinMismatch},
    },
};

/// What a client logs in with.
pub struct Credential {
    /// Who.
    pub user: UserName,
    /// By what.
    pub means: Means,
}

/// By what somebody logs in.
#[derive(Clone)]
pub enum Means {
    /// A key that the server knows.
    Key(Arc<UserKey>),
    /// An invite: the key is then registered.
    Invite(Arc<UserKey>, Token),
    /// A secret that the server knows too.
    Secret(Arc<Secret>),
}

impl Means {
    /// The method of the login.
    fn method(&self) -> &'static str {
        match self {
            Self::Key(_) => METHOD_SSH_KEY,
            Self::Invite(..) => METHOD_INVITE,
            Self::Secret(_) => METHOD_SECRET,
        }
    }

    /// What ties the login to the connection.
    fn binding(&self) -> BindingType {
        match self {
            Self::Key(_) | Self::Invite(..) => BindingType::TlsExporter,
            Self::Secret(secret) => secret.binding,
        }
    }

    /// The proof, and what the server has to prove.
    fn prove(&self, transcript: &[u8; 64]) -> Result<(Proof, Option<Mac>), Error> {
        let signed = |key: &UserKey| Ok::<_, Error>((key.public().line(), Blob(key.sign(transcript)?)));
        Ok(match self {
            Self::Key(key) => {
                let (key, signature) = signed(key)?;
                (Proof::SshKey { key, signature }, None)
            }
            Self::Invite(key, token) => {
                let (key, signature) = signed(key)?;
                (Proof::Invite { key, signature, token: *token }, None)
            }
            Self::Secret(secret) => {
                let key = secret.key();
                let (binding, proof) = (secret.binding, key.client_proof(transcript));
                (Proof::Secret { secret: key.id(), binding, proof }, Some(key.server_proof(transcript)))
            }
        })
    }
}

/// How long the steps of a login took.
#[derive(Debug, Clone, Copy)]
pub struct LoginTiming {
    /// The TLS handshake and the greeting.
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

/// Logs in over `transport` to the server with the certificate `pin`, and opens a channel for `service` with `request` as its
/// first message, all in one flight. `address` is the server's, for error messages.
///
/// # Errors
/// [`Error::ServerChanged`], [`Error::ServerUnproven`] or [`Error::SecretUnproven`] for the wrong server, [`Error::Failed`] when the server refuses,
/// [`Error::Tls`], [`Error::Protocol`], [`Error::Lost`], and `login-timeout` after 10 s.
pub async fn connect(
    transport: Box<dyn Transport>,
    address: &str,
    pin: Fingerprint,
    credential: &Credential,
    service: &str,
    request: &impl Message,
) -> Result<Login, Error> {
    let attempt = async {
        let start = Instant::now();
        let mut stream = handshake(transport, address, pin).await?;
        let (user, method) = (credential.user.clone(), credential.means.method());
        let mut login = ClientLogin::new(user, method, *pin.bytes(), "tcp", Nonce(random()));
        event(&mut stream, &mut login).await?;
        let tls = start.elapsed();

        let start = Instant::now();
        let (flight, expected) = flight(&stream, &login, &credential.means, service, request)?;
        stream.write_all(&flight).await.map_err(|error| lost(&error))?;
        stream.flush().await.map_err(|error| lost(&error))?;
        let ClientEvent::Welcome(welcome) = event(&mut stream, &mut login).await? else {
            return Err(Error::Lost("the server answered the login with something else".into()));
        };
        let proved = match (&expected, &welcome.proof) {
            (None, _) => true,
            (Some(expected), Some(proof)) => same(expected, proof),
            (Some(_), None) => false,
        };
        if !proved {
            return Err(Error::SecretUnproven { address: address.to_owned() });
        }
        let greeting = login.greeting().cloned();
        let greeting = greeting.ok_or_else(|| Error::Lost("the server did not greet".into()))?;
        let timing = LoginTiming { tls, login: start.elapsed() };
        Ok(Login { channel: Channel::new(stream, login.into_session()), greeting, welcome, timing })
    };
    match tokio::time::timeout(LOGIN_TIME_MAX, attempt).await {
        Ok(result) => result,
        Err(_) => Err(Error::here(ErrorCode::LoginTimeout, "the server did not complete the login within 10 s")),
    }
}

/// Login, `open` and the first request; and what the server has to prove.
fn flight(
    stream: &TlsStream<Box<dyn Transport>>,
    login: &ClientLogin,
    means: &Means,
    service: &str,
    request: &impl Message,
) -> Result<(Vec<u8>, Option<Mac>), Error> {
    let TlsStream::Client(client) = stream else { return Err(Error::Tls("not a client's stream".into())) };
    let exporter = client
        .get_ref()
        .1
        .export_keying_material([0; 32], tls::EXPORTER_LABEL, None)
        .map_err(|error| Error::Tls(error.to_string()))?;
    let transcript = login.transcript(means.binding(), &exporter);
    let transcript = transcript.ok_or_else(|| Error::Lost("the server did not greet".into()))?;
    let (proof, expected) = means.prove(&transcript)?;
    let mut flight = Vec::new();
    login.login(proof, &mut flight)?;
    message::encode(&Open { service: service.to_owned() }, None, &Limits::SESSION, &mut flight)?;
    message::encode(request, None, &Limits::SESSION, &mut flight)?;
    Ok((flight, expected))
}

/// TLS, with the pin checked.
async fn handshake(
    transport: Box<dyn Transport>,
    address: &str,
    pin: Fingerprint,
) -> Result<TlsStream<Box<dyn Transport>>, Error> {
    let connector = TlsConnector::from(tls::client_config(pin)?);
    // No name is sent or checked: the certificate's fingerprint is the server's name.
    let name = ServerName::try_from("landline").map_err(|error| Error::Tls(error.to_string()))?;
    let stream = connector.connect(name, transport).await.map_err(|error| tls_error(&error, address, pin))?;
    if stream.get_ref().1.alpn_protocol() != Some(landline_proto::ALPN.as_bytes()) {
        return Err(Error::Tls(format!("{address} does not speak {}", landline_proto::ALPN)));
    }
    Ok(TlsStream::Client(stream))
}

/// Whose fault a failed handshake is.
fn tls_error(error: &std::io::Error, address: &str, pin: Fingerprint) -> Error {
    use rustls::{CertificateError as C, Error as T};
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<T>()) else {
        return lost(error);
    };
    match tls {
        T::InvalidCertificate(C::Other(other)) => match other.0.downcast_ref::<PinMismatch>() {
            Some(PinMismatch { found }) => {
                Error::ServerChanged { address: address.to_owned(), pinned: pin.to_string(), found: found.to_string() }
            }
            None => Error::Tls(tls.to_string()),
        },
        T::InvalidCertificate(C::BadSignature) => Error::ServerUnproven { address: address.to_owned() },
        T::InvalidMessage(_) => Error::Tls(format!("{address} answers with something that is not TLS")),
        other => Error::Tls(other.to_string()),
    }
}

/// The next event of the login; a refusal is an error.
async fn event(stream: &mut TlsStream<Box<dyn Transport>>, login: &mut ClientLogin) -> Result<ClientEvent, Error> {
    loop {
        let bytes = poll_fn(|cx| Pin::new(&mut *stream).poll_fill_buf(cx).map_ok(<[u8]>::to_vec)).await;
        let bytes = bytes.map_err(|error| lost(&error))?;
        if bytes.is_empty() {
            return Err(Error::Lost("the server closed it before the login was complete".into()));
        }
        let mut input = &bytes[..];
        let event = login.handle_input(&mut input)?;
        stream.consume(bytes.len() - input.len());
        match event {
            Some(ClientEvent::Refused(error)) => return Err(Error::from_peer(error)),
            Some(event) => return Ok(event),
            None => {}
        }
    }
}
