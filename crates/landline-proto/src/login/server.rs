//! The server's side of the login.

use std::time::Instant;

use serde::Deserialize;

use super::{BindingType, METHOD_ATTACH, METHOD_PASSWORD, Transcript, UserName};
use crate::{
    Header, Item, Limits, MessageDecoder, ProtocolError, VERSION,
    limits::{KEYS_MAX, LOGIN_TIME_MAX, SIGNING_TIME_MAX},
    message,
    messages::{Blob, Choice, Evaluation, Greeting, Keys, Login, Nonce, Password, Welcome},
    state::{self, ProtocolState},
};

/// What a server offers in its greeting.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The name and release, for people.
    pub server: String,
    /// The names of the features.
    pub features: Vec<String>,
    /// The login methods in order of preference.
    pub methods: Vec<String>,
    /// SHA-256 of the server's certificate.
    pub fingerprint: [u8; 32],
    /// The transport's name in the transcript.
    pub transport: &'static str,
}

/// A message of the client before the login is accepted.
#[derive(Debug, Clone)]
pub enum ServerEvent {
    /// The client asks to choose one of these keys.
    ///
    /// Nothing more is read until [`ServerLogin::choose`].
    Asked(Keys),
    /// The client begins a login by password.
    ///
    /// Nothing more is read until [`ServerLogin::evaluate`].
    Password(Box<PasswordAttempt>),
    /// The client needs time for a person to confirm the signature.
    ///
    /// [`ServerLogin::extend`] grants it.
    Signing,
    /// The client sends its proof. Nothing more is read until [`ServerLogin::accept`].
    Attempt(Box<Attempt>),
}

/// A login that the caller has to accept or reject.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The client's message.
    pub login: Login,
    offer: Offer,
    server_nonce: Nonce,
}

impl Attempt {
    /// The transcript T of this attempt, given the output of the transport's exporter.
    pub fn transcript(&self, exporter: &[u8]) -> [u8; 64] {
        let Login {
            user, nonce, proof, ..
        } = &self.login;
        self.offer.transcript(
            proof.method(),
            proof.binding(),
            exporter,
            (user, nonce),
            &self.server_nonce,
        )
    }

    /// The transcript T of an attempt by the method `attach`.
    ///
    /// It has the binding type of the session's login.
    pub fn attach_transcript(&self, binding: BindingType, exporter: &[u8]) -> [u8; 64] {
        let claim = (&self.login.user, &self.login.nonce);
        self.offer
            .transcript(METHOD_ATTACH, binding, exporter, claim, &self.server_nonce)
    }
}

/// The begin of a login by password, which the caller has to evaluate.
#[derive(Debug, Clone)]
pub struct PasswordAttempt {
    /// The client's message.
    pub begin: Password,
    offer: Offer,
    server_nonce: Nonce,
}

impl PasswordAttempt {
    /// The transcript T, the same as that of the later [`Attempt`].
    pub fn transcript(&self, exporter: &[u8]) -> [u8; 64] {
        let claim = (&self.begin.user, &self.begin.nonce);
        self.offer.transcript(
            METHOD_PASSWORD,
            BindingType::TlsExporter,
            exporter,
            claim,
            &self.server_nonce,
        )
    }
}

impl Offer {
    fn transcript(
        &self,
        method: &str,
        binding_type: BindingType,
        exporter: &[u8],
        (user, client_nonce): (&UserName, &Nonce),
        server_nonce: &Nonce,
    ) -> [u8; 64] {
        Transcript {
            method,
            binding_type,
            binding: binding_type.bytes(exporter, &self.fingerprint),
            fingerprint: &self.fingerprint,
            transport: self.transport,
            version: VERSION,
            methods: &self.methods,
            user,
            client_nonce,
            server_nonce,
        }
        .digest()
    }
}

/// The parts of a login that decide how the rest is read.
#[derive(Deserialize)]
struct LoginKind {
    version: u64,
    method: String,
}

/// Sends the greeting, reads one login, and returns it for a decision.
///
/// Reads nothing after the login until it is accepted. Before the login, it accepts one `keys` and
/// one `signing`.
#[derive(Debug)]
pub struct ServerLogin {
    offer: Offer,
    nonce: Nonce,
    began: Instant,
    deadline: Instant,
    decoder: MessageDecoder,
    transmit: Vec<u8>,
    state: &'static ProtocolState,
    /// The user of a login by password that has begun, and the client nonce.
    begun: Option<(UserName, Nonce)>,
    /// Whether the caller has to answer an event.
    waits: bool,
}

impl ServerLogin {
    /// Begins a login at `now`, with a fresh nonce.
    ///
    /// [`poll_transmit`](Self::poll_transmit) returns the greeting at once.
    ///
    /// # Errors
    /// [`ProtocolError::FrameSize`] if the offer is too large for a header before the login.
    pub fn new(offer: Offer, nonce: Nonce, now: Instant) -> Result<Self, ProtocolError> {
        let greeting = Greeting {
            versions: vec![VERSION],
            server: offer.server.clone(),
            features: offer.features.clone(),
            methods: offer.methods.clone(),
            nonce,
        };
        let mut transmit = Vec::new();
        message::encode(&greeting, None, &Limits::LOGIN, &mut transmit)?;
        let decoder = MessageDecoder::new(Limits::LOGIN);
        let (state, waits) = (&state::SERVER_LOGIN, false);
        let deadline = now + LOGIN_TIME_MAX;
        Ok(Self {
            offer,
            nonce,
            began: now,
            deadline,
            decoder,
            transmit,
            state,
            begun: None,
            waits,
        })
    }

    /// Returns the next bytes to send, if there are any.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        (!self.transmit.is_empty()).then(|| std::mem::take(&mut self.transmit))
    }

    /// The deadline of the whole login, for [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Instant {
        self.deadline
    }

    /// Checks the deadline.
    ///
    /// # Errors
    /// [`ProtocolError::LoginTimeout`] from the deadline on.
    pub fn handle_timeout(&self, now: Instant) -> Result<(), ProtocolError> {
        if now >= self.deadline {
            Err(ProtocolError::LoginTimeout)
        } else {
            Ok(())
        }
    }

    /// Reads bytes from the client, and advances `input` past them.
    ///
    /// Returns `None` if it needs more bytes, or the caller has to answer an event.
    ///
    /// # Errors
    /// [`ProtocolError`] if the client violates the protocol, or chooses a version or method that
    /// was not offered.
    pub fn handle_input(
        &mut self,
        input: &mut &[u8],
    ) -> Result<Option<ServerEvent>, ProtocolError> {
        if self.waits {
            return Ok(None);
        }
        let Some(Item::Header(header)) = self.decoder.decode(input)? else {
            return Ok(None);
        };
        self.state.check(&header)?;
        self.waits = header.kind() != "signing";
        match header.kind() {
            "keys" => self.receive_keys(header.read()?).map(Some),
            "signing" => {
                self.state = &state::SERVER_SIGNING;
                Ok(Some(ServerEvent::Signing))
            }
            "password" => self.password(header.read()?).map(Some),
            _ => self.attempt(&header).map(Some),
        }
    }

    fn receive_keys(&mut self, keys: Keys) -> Result<ServerEvent, ProtocolError> {
        check_version(keys.version)?;
        let count = keys.keys.len();
        if !(1..=KEYS_MAX).contains(&count) {
            return Err(ProtocolError::BadHeader(format!(
                "in \"keys\": {count} keys instead of 1 to {KEYS_MAX}"
            )));
        }
        self.state = &state::SERVER_CHOSEN;
        Ok(ServerEvent::Asked(keys))
    }

    fn password(&mut self, begin: Password) -> Result<ServerEvent, ProtocolError> {
        check_version(begin.version)?;
        self.check_method(METHOD_PASSWORD.to_owned())?;
        self.state = &state::SERVER_PASSWORD;
        self.begun = Some((begin.user.clone(), begin.nonce));
        let attempt = PasswordAttempt {
            begin,
            offer: self.offer.clone(),
            server_nonce: self.nonce,
        };
        Ok(ServerEvent::Password(Box::new(attempt)))
    }

    fn attempt(&mut self, header: &Header) -> Result<ServerEvent, ProtocolError> {
        // Which other keys there are to be is a matter of version and method.
        let LoginKind { version, method } = header.read()?;
        check_version(version)?;
        self.check_method(method)?;
        let login: Login = header.read()?;
        self.check_begun(&login)?;
        let attempt = Attempt {
            login,
            offer: self.offer.clone(),
            server_nonce: self.nonce,
        };
        Ok(ServerEvent::Attempt(Box::new(attempt)))
    }

    fn check_method(&self, mut method: String) -> Result<(), ProtocolError> {
        if self.offer.methods.contains(&method) {
            return Ok(());
        }
        method.truncate(method.floor_char_boundary(32));
        Err(ProtocolError::Method {
            method,
            offered: self.offer.methods.join(","),
        })
    }

    /// Checks that a login by password continues `password`, and that no other login follows it.
    fn check_begun(&self, login: &Login) -> Result<(), ProtocolError> {
        let is_password = login.proof.method() == METHOD_PASSWORD;
        match &self.begun {
            None if is_password => Err(ProtocolError::UnexpectedMessage {
                found: "login by password".into(),
                expected: "password before it".into(),
            }),
            Some(begun) if !is_password || *begun != (login.user.clone(), login.nonce) => {
                Err(ProtocolError::BadHeader(
                    "in \"login\": another method, user or nonce than \"password\" has begun with"
                        .into(),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Answers [`ServerEvent::Password`] with KE2.
    ///
    /// [`poll_transmit`](Self::poll_transmit) returns the answer.
    ///
    /// # Errors
    /// [`ProtocolError::FrameSize`] if it is too large for a header before the login.
    pub fn evaluate(&mut self, ke2: Vec<u8>) -> Result<(), ProtocolError> {
        self.waits = false;
        message::encode(
            &Evaluation { ke2: Blob(ke2) },
            None,
            &Limits::LOGIN,
            &mut self.transmit,
        )
    }

    /// Answers [`ServerEvent::Asked`] with the key at this index, or with none.
    ///
    /// [`poll_transmit`](Self::poll_transmit) returns the answer.
    ///
    /// # Errors
    /// None in practice, because the message is small.
    pub fn choose(&mut self, key: Option<usize>) -> Result<(), ProtocolError> {
        self.waits = false;
        let key = key.map(|key| key as u64);
        message::encode(&Choice { key }, None, &Limits::LOGIN, &mut self.transmit)
    }

    /// Extends the login's time to 60 s from its beginning.
    pub fn extend(&mut self) {
        self.deadline = self.began + SIGNING_TIME_MAX;
    }

    /// Accepts the login. Returns `welcome` as bytes, and the decoder for further messages.
    ///
    /// # Errors
    /// [`ProtocolError::FrameSize`] if `welcome` is too large for a header before the login.
    pub fn accept(mut self, welcome: &Welcome) -> Result<(Vec<u8>, MessageDecoder), ProtocolError> {
        message::encode(welcome, None, &Limits::LOGIN, &mut self.transmit)?;
        self.decoder.set_limits(Limits::SESSION);
        Ok((self.transmit, self.decoder))
    }
}

fn check_version(theirs: u64) -> Result<(), ProtocolError> {
    if theirs == VERSION {
        return Ok(());
    }
    Err(ProtocolError::Version {
        theirs: theirs.to_string(),
        ours: VERSION.to_string(),
    })
}
