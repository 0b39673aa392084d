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

/// A message of the server during the login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// The greeting, after which [`ClientLogin::transcript`] can be proved.
    Greeted,
    /// The server chose the key at this index of `keys`, or none.
    Chosen(Option<usize>),
    /// The server's answer to `password`.
    Evaluated(Evaluation),
    /// The login was accepted.
    Welcome(Welcome),
    /// The server rejected the login or aborted it.
    Refused(ErrorMessage),
}

/// Reads the greeting, sends a login, and reads the answer.
#[derive(Debug)]
pub struct ClientLogin {
    user: UserName,
    method: &'static str,
    fingerprint: [u8; 32],
    transport: &'static str,
    nonce: Nonce,
    greeting: Option<Greeting>,
    /// The number of keys in `keys`, until the server has chosen one.
    asked: Option<usize>,
    /// Whether `password` was sent and not answered yet.
    evaluates: bool,
    /// Whether to ask for an attach secret.
    attach: bool,
    decoder: MessageDecoder,
}

impl ClientLogin {
    /// Begins a login as `user` by `method`, with a fresh nonce.
    ///
    /// `fingerprint` is that of the certificate that the server has shown.
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

    /// Makes the login ask for an attach secret, to attach further connections to the session.
    pub fn ask_to_attach(&mut self) {
        self.attach = true;
    }

    /// The greeting, once it has arrived.
    pub fn greeting(&self) -> Option<&Greeting> {
        self.greeting.as_ref()
    }

    /// Reads bytes from the server, and advances `input` past them.
    ///
    /// Returns `None` if it needs more bytes.
    ///
    /// # Errors
    /// [`ProtocolError`] if the server violates the protocol, or supports none of the client's
    /// versions or methods.
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

    /// The transcript T with a binding of this type, given the output of the transport's exporter.
    ///
    /// `None` before the greeting.
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

    /// Appends `keys` to `out`. The answer is [`ClientEvent::Chosen`].
    ///
    /// # Errors
    /// [`ProtocolError::FrameSize`] if there are too many keys.
    pub fn ask(&mut self, keys: Vec<KeyTag>, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        self.asked = Some(keys.len());
        let keys = Keys {
            version: VERSION,
            user: self.user.clone(),
            keys,
        };
        message::encode(&keys, None, &Limits::LOGIN, out)
    }

    /// Appends `password` to `out`. The answer is [`ClientEvent::Evaluated`].
    ///
    /// # Errors
    /// [`ProtocolError::FrameSize`] if it is too large.
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

    /// Appends `signing` to `out`, because a person has to confirm the signature.
    ///
    /// Call it at most once, before [`login`](Self::login).
    ///
    /// # Errors
    /// None in practice, because the message is small.
    pub fn signing(&self, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        message::encode(&Signing {}, None, &Limits::LOGIN, out)
    }

    /// Appends the login to `out`, with a proof by the method of this login.
    ///
    /// `open` and the first request may follow without waiting for the answer.
    ///
    /// # Errors
    /// [`ProtocolError::FrameSize`] if the key or signature is too large for a header before the
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

    /// The decoder for the messages after `welcome`.
    pub fn into_session(self) -> MessageDecoder {
        self.decoder
    }

    fn check_choice(&mut self, choice: &Choice) -> Result<Option<usize>, ProtocolError> {
        let asked = self.asked.take().unwrap_or_default();
        let Some(number) = choice.key else {
            return Ok(None);
        };
        let key = usize::try_from(number).ok().filter(|&key| key < asked);
        key.map(Some).ok_or_else(|| {
            ProtocolError::BadHeader(format!("in \"choice\": there is no key {number}"))
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
                "in \"greeting\": {bad:?} is not the name of a method"
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

/// Checks the names of the methods, which the transcript joins by commas.
fn is_method_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
