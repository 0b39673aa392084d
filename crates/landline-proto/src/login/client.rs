//! The client's side of the login.

use super::{BindingType, Proof, Transcript, UserName};
use crate::{
    Item, Limits, MessageDecoder, ProtocolError, VERSION, message,
    messages::{
        Blob, Choice, ErrorMessage, Evaluation, Greeting, KeyTag, Keys, Login, Nonce, Password,
        Signing, Welcome,
    },
    state,
};

/// What the client waits for next, or got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// The server greeted: [`ClientLogin::transcript`] can be proved now.
    Greeted,
    /// The server chose the key at this place among those that it was asked about.
    Chosen(usize),
    /// The server's half of a login by password.
    Evaluated(Evaluation),
    /// The login was accepted.
    Welcome(Welcome),
    /// The server refused, or gave up.
    Refused(ErrorMessage),
}

/// Takes the greeting, sends a login, takes the answer.
#[derive(Debug)]
pub struct ClientLogin {
    user: UserName,
    method: &'static str,
    fingerprint: [u8; 32],
    transport: &'static str,
    nonce: Nonce,
    greeting: Option<Greeting>,
    /// How many keys the server was asked about, until it has chosen.
    asked: Option<usize>,
    /// A login by password was begun, and the server's half of it has not come yet.
    evaluates: bool,
    /// Whether the session is to give an attach secret.
    attach: bool,
    decoder: MessageDecoder,
}

impl ClientLogin {
    /// Begins a login as `user` by `method`, to the server whose certificate was found to have
    /// `fingerprint`, with a nonce that was never used before.
    pub fn new(
        user: UserName,
        method: &'static str,
        fingerprint: [u8; 32],
        transport: &'static str,
        nonce: Nonce,
    ) -> Self {
        let decoder = MessageDecoder::new(Limits::LOGIN);
        Self {
            user,
            method,
            fingerprint,
            transport,
            nonce,
            greeting: None,
            asked: None,
            evaluates: false,
            attach: false,
            decoder,
        }
    }

    /// Has the login ask for an attach secret, so that further connections can be attached to the
    /// session.
    pub fn ask_to_attach(&mut self) {
        self.attach = true;
    }

    /// The greeting, once it has come.
    pub fn greeting(&self) -> Option<&Greeting> {
        self.greeting.as_ref()
    }

    /// Takes bytes from the server, advancing `input` past what was used; `None` when it takes
    /// more.
    ///
    /// # Errors
    /// [`ProtocolError`] when the server breaks the protocol, or has no version or method in common
    /// with us.
    pub fn handle_input(
        &mut self,
        input: &mut &[u8],
    ) -> Result<Option<ClientEvent>, ProtocolError> {
        let Some(Item::Header(header)) = self.decoder.decode(input)? else {
            return Ok(None);
        };
        let state = match (&self.greeting, self.asked) {
            (None, _) => &state::CLIENT_GREETING,
            (Some(_), Some(_)) => &state::CLIENT_CHOICE,
            (Some(_), None) if self.evaluates => &state::CLIENT_EVALUATION,
            (Some(_), None) => &state::CLIENT_WELCOME,
        };
        state.check(&header)?;
        Ok(Some(match header.kind() {
            "error" => ClientEvent::Refused(header.read()?),
            "welcome" => {
                self.decoder.set_limits(Limits::SESSION);
                ClientEvent::Welcome(header.read()?)
            }
            "choice" => ClientEvent::Chosen(self.check_choice(&header.read()?)?),
            "evaluation" => {
                self.evaluates = false;
                ClientEvent::Evaluated(header.read()?)
            }
            _ => {
                self.greeting = Some(self.check_greeting(header.read()?)?);
                ClientEvent::Greeted
            }
        }))
    }

    /// T, with a binding of this type, where the transport's exporter gave `exporter`; `None`
    /// before the greeting.
    pub fn transcript(&self, binding_type: BindingType, exporter: &[u8]) -> Option<[u8; 64]> {
        let greeting = self.greeting.as_ref()?;
        let transcript = Transcript {
            method: self.method,
            binding_type,
            binding: binding_type.bytes(exporter, &self.fingerprint),
            fingerprint: &self.fingerprint,
            transport: self.transport,
            version: VERSION,
            methods: &greeting.methods,
            user: &self.user,
            client_nonce: &self.nonce,
            server_nonce: &greeting.nonce,
        };
        Some(transcript.digest())
    }

    /// Appends the question which of these keys the server would accept to `out`; the answer is
    /// [`ClientEvent::Chosen`].
    ///
    /// # Errors
    /// [`ProtocolError::FrameSize`] when there are too many.
    pub fn ask(&mut self, keys: Vec<KeyTag>, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        self.asked = Some(keys.len());
        let keys = Keys {
            version: VERSION,
            user: self.user.clone(),
            keys,
        };
        message::encode(&keys, None, &Limits::LOGIN, out)
    }

    /// Appends the first message of a login by password to `out`; the answer is
    /// [`ClientEvent::Evaluated`].
    ///
    /// # Errors
    /// [`ProtocolError::FrameSize`] when it does not fit.
    pub fn begin_password(&mut self, ke1: Vec<u8>, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        self.evaluates = true;
        let begin = Password {
            version: VERSION,
            user: self.user.clone(),
            nonce: self.nonce,
            ke1: Blob(ke1),
        };
        message::encode(&begin, None, &Limits::LOGIN, out)
    }

    /// Appends to `out` that the proof takes a person, and so some time. At most once, and before
    /// [`login`](Self::login).
    ///
    /// # Errors
    /// None in practice: it always fits.
    pub fn signing(&self, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        message::encode(&Signing {}, None, &Limits::LOGIN, out)
    }

    /// Appends the login to `out`, with a proof by the method that was begun. `open` and the first
    /// request may follow in the same flight.
    ///
    /// # Errors
    /// [`ProtocolError::FrameSize`] when the key or signature does not fit into a header before
    /// login.
    pub fn login(&self, proof: Proof, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        let login = Login {
            version: VERSION,
            user: self.user.clone(),
            nonce: self.nonce,
            attach: self.attach,
            proof,
        };
        message::encode(&login, None, &Limits::LOGIN, out)
    }

    /// The decoder for all that follows `welcome`.
    pub fn into_session(self) -> MessageDecoder {
        self.decoder
    }

    fn check_choice(&mut self, choice: &Choice) -> Result<usize, ProtocolError> {
        let asked = self.asked.take().unwrap_or_default();
        let key = usize::try_from(choice.key).ok().filter(|&key| key < asked);
        key.ok_or_else(|| {
            ProtocolError::BadHeader(format!("in \"choice\": there is no key {}", choice.key))
        })
    }

    fn check_greeting(&self, greeting: Greeting) -> Result<Greeting, ProtocolError> {
        if !greeting.versions.contains(&VERSION) {
            let theirs: Vec<String> = greeting
                .versions
                .iter()
                .take(8)
                .map(u64::to_string)
                .collect();
            return Err(ProtocolError::Version {
                theirs: theirs.join(","),
                ours: VERSION.to_string(),
            });
        }
        if let Some(bad) = greeting
            .methods
            .iter()
            .find(|method| !is_method_name(method))
        {
            return Err(ProtocolError::BadHeader(format!(
                "in \"greeting\": {bad:?} is no name of a method"
            )));
        }
        if !greeting.methods.iter().any(|method| method == self.method) {
            let offered = greeting.methods.join(",");
            return Err(ProtocolError::Method {
                method: self.method.to_owned(),
                offered,
            });
        }
        Ok(greeting)
    }
}

/// The methods are joined by commas in the transcript, so their names have none.
fn is_method_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
