//! The server's side of the login.

use std::time::Instant;

use serde::Deserialize;

use super::Transcript;
use crate::{
    Item, Limits, MessageDecoder, ProtocolError, VERSION,
    header::integer,
    limits::LOGIN_TIME_MAX,
    message,
    messages::{Greeting, Login, Nonce, Welcome},
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
struct Choice {
    #[serde(deserialize_with = "integer")]
    version: u64,
    method: String,
}

/// Greets, takes one login, and hands it out for a decision. Reads nothing behind the login until it is accepted.
#[derive(Debug)]
pub struct ServerLogin {
    offer: Offer,
    nonce: Nonce,
    deadline: Instant,
    decoder: MessageDecoder,
    transmit: Vec<u8>,
    asked: bool,
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
        Ok(Self { offer, nonce, deadline: now + LOGIN_TIME_MAX, decoder, transmit, asked: false })
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

    /// Takes bytes from the client, advancing `input` past what was used. Once a login is there it is returned, and no
    /// more input is used until [`accept`](Self::accept).
    ///
    /// # Errors
    /// [`ProtocolError`] when the client breaks the protocol or chose a version or method that was not offered.
    pub fn handle_input(&mut self, input: &mut &[u8]) -> Result<Option<Attempt>, ProtocolError> {
        if self.asked {
            return Ok(None);
        }
        let Some(Item::Header(header)) = self.decoder.decode(input)? else { return Ok(None) };
        State::ServerLogin.check(&header)?;
        // Which other keys there are to be is a matter of version and method.
        let Choice { version, mut method } = header.read()?;
        if version != VERSION {
            return Err(ProtocolError::Version { theirs: version.to_string(), ours: VERSION.to_string() });
        }
        if !self.offer.methods.contains(&method) {
            method.truncate(method.floor_char_boundary(32));
            return Err(ProtocolError::Method { method, offered: self.offer.methods.join(",") });
        }
        let login: Login = header.read()?;
        self.asked = true;
        Ok(Some(Attempt { login, offer: self.offer.clone(), server_nonce: self.nonce }))
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
