//! The server's side of the login.

use std::time::Instant;

use serde::Deserialize;

use super::Transcript;
use crate::{
    Header, Item, Limits, MessageDecoder, ProtocolError, VERSION,
    header::integer,
    limits::{KEYS_MAX, LOGIN_TIME_MAX, SIGNING_TIME_MAX},
    message,
    messages::{Choice, Greeting, Keys, Login, Nonce, Welcome},
    order::State,
};

/// What a server offers in its greeting.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Name and release, for people.
    pub server: String,
    /// Features by name.
    pub features: Vec<String>,
    /// Login methods in order of preference.
    pub methods: Vec<String>,
    /// SHA-256 of the server's certificate.
    pub fingerprint: [u8; 32],
    /// The transport's name in the transcript.
    pub transport: &'static str,
}

/// What a client wants before it is logged in.
#[derive(Debug, Clone)]
pub enum ServerEvent {
    /// Which of these keys? Nothing more is read until [`ServerLogin::choose`].
    Asked(Keys),
    /// Its proof takes a person. [`ServerLogin::extend`] gives it the time, if it is to be had.
    Signing,
    /// To log in. Nothing more is read until [`ServerLogin::accept`].
    Attempt(Box<Attempt>),
}

/// A login that asks for a decision.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// What the client sent.
    pub login: Login,
    offer: Offer,
    server_nonce: Nonce,
}

impl Attempt {
    /// T for this attempt, with what the transport's exporter gives once its handshake is over.
    pub fn transcript(&self, exporter: &[u8]) -> [u8; 64] {
        let binding_type = self.login.proof.binding();
        Transcript {
            method: self.login.proof.method(),
            binding_type,
            binding: binding_type.bytes(exporter, &self.offer.fingerprint),
            fingerprint: &self.offer.fingerprint,
            transport: self.offer.transport,
            version: self.login.version,
            methods: &self.offer.methods,
            user: &self.login.user,
            client_nonce: &self.login.nonce,
            server_nonce: &self.server_nonce,
        }
        .digest()
    }
}

/// What decides how a login is read.
#[derive(Deserialize)]
struct Means {
    #[serde(deserialize_with = "integer")]
    version: u64,
    method: String,
}

/// Greets, takes one login, and hands it out for a decision. Reads nothing behind the login until it is accepted. Before
/// it, one question about keys and one word about a person are taken.
#[derive(Debug)]
pub struct ServerLogin {
    offer: Offer,
    nonce: Nonce,
    began: Instant,
    deadline: Instant,
    decoder: MessageDecoder,
    transmit: Vec<u8>,
    state: State,
    /// It is the caller's turn.
    waits: bool,
}

impl ServerLogin {
    /// Begins at `now`, with a nonce that was never used before. The greeting is ready for
    /// [`poll_transmit`](Self::poll_transmit) at once.
    ///
    /// # Errors
    /// [`ProtocolError::FrameSize`] when the offer does not fit into a header before login.
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
        let (state, waits) = (State::ServerLogin, false);
        Ok(Self { offer, nonce, began: now, deadline: now + LOGIN_TIME_MAX, decoder, transmit, state, waits })
    }

    /// Bytes to send, if there are any.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        (!self.transmit.is_empty()).then(|| std::mem::take(&mut self.transmit))
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called: the one deadline for all of the login.
    pub fn poll_timeout(&self) -> Instant {
        self.deadline
    }

    /// The time has come, or not yet.
    ///
    /// # Errors
    /// [`ProtocolError::LoginTimeout`] once the deadline is reached.
    pub fn handle_timeout(&self, now: Instant) -> Result<(), ProtocolError> {
        if now >= self.deadline { Err(ProtocolError::LoginTimeout) } else { Ok(()) }
    }

    /// Takes bytes from the client, advancing `input` past what was used; `None` when it takes more, or it is the caller's turn.
    ///
    /// # Errors
    /// [`ProtocolError`] when the client breaks the protocol or chose a version or method that was not offered.
    pub fn handle_input(&mut self, input: &mut &[u8]) -> Result<Option<ServerEvent>, ProtocolError> {
        if self.waits {
            return Ok(None);
        }
        let Some(Item::Header(header)) = self.decoder.decode(input)? else { return Ok(None) };
        self.state.check(&header)?;
        self.waits = header.kind() != "signing";
        match header.kind() {
            "keys" => self.asked(header.read()?).map(Some),
            "signing" => {
                self.state = State::ServerSigning;
                Ok(Some(ServerEvent::Signing))
            }
            _ => self.attempt(&header).map(Some),
        }
    }

    fn asked(&mut self, keys: Keys) -> Result<ServerEvent, ProtocolError> {
        check_version(keys.version)?;
        let count = keys.keys.len();
        if !(1..=KEYS_MAX).contains(&count) {
            return Err(ProtocolError::BadHeader(format!("in \"keys\": {count} keys instead of 1 to {KEYS_MAX}")));
        }
        self.state = State::ServerChosen;
        Ok(ServerEvent::Asked(keys))
    }

    fn attempt(&mut self, header: &Header) -> Result<ServerEvent, ProtocolError> {
        // Which other keys there are to be is a matter of version and method.
        let Means { version, mut method } = header.read()?;
        check_version(version)?;
        if !self.offer.methods.contains(&method) {
            method.truncate(method.floor_char_boundary(32));
            return Err(ProtocolError::Method { method, offered: self.offer.methods.join(",") });
        }
        let login: Login = header.read()?;
        let attempt = Attempt { login, offer: self.offer.clone(), server_nonce: self.nonce };
        Ok(ServerEvent::Attempt(Box::new(attempt)))
    }

    /// Answers [`ServerEvent::Asked`] with the key at this place. The answer is ready for [`poll_transmit`](Self::poll_transmit).
    ///
    /// # Errors
    /// None in practice: it always fits.
    pub fn choose(&mut self, key: usize) -> Result<(), ProtocolError> {
        self.waits = false;
        message::encode(&Choice { key: key as u64 }, None, &Limits::LOGIN, &mut self.transmit)
    }

    /// Gives the login 60 s in all, from when it began.
    pub fn extend(&mut self) {
        self.deadline = self.began + SIGNING_TIME_MAX;
    }

    /// Accepts the login: returns the bytes of `welcome` to send, and the decoder for all that follows.
    ///
    /// # Errors
    /// [`ProtocolError::FrameSize`] when `welcome` does not fit into a header before login.
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
    Err(ProtocolError::Version { theirs: theirs.to_string(), ours: VERSION.to_string() })
}
