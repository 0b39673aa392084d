//! A client that sends any bytes over real TLS.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    sync::Arc,
    time::Duration,
};

use landline::{
    crypto::Fingerprint,
    keys::{SecretKey, UserKey},
    login::Secret,
    net::tls,
    password::{Password, PasswordLogin, PasswordParties},
    proto::{
        Header, Item, Limits, MessageDecoder,
        login::{
            BindingType, METHOD_ATTACH, METHOD_INVITE, METHOD_PASSWORD, METHOD_SECRET,
            METHOD_SSH_KEY, Transcript,
        },
        messages::{Blob, Evaluation, Greeting, Nonce},
    },
};
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use serde_json::{Value, json};

/// The client nonce of every login.
pub const NONCE: Nonce = Nonce([7; 32]);

/// A frame with this payload.
pub fn frame(payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = (payload.len() as i32).to_le_bytes().to_vec();
    frame.extend_from_slice(payload);
    frame
}

/// Connects from this address of the loopback network, so that one machine has many sources.
pub fn dial_from(source: Ipv4Addr, address: &str) -> io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let address: SocketAddrV4 = address.parse().expect("an IPv4 address and a port");
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrV4::new(source, 0))?;
    connect(&socket, &address)?;
    Ok(socket.into())
}

/// A TLS connection to a server, over which a test can send anything.
pub struct RawClient {
    stream: StreamOwned<ClientConnection, TcpStream>,
    decoder: MessageDecoder,
    unread: Vec<u8>,
    fingerprint: Fingerprint,
    /// The server's greeting, after [`greet`](Self::greet).
    pub greeting: Option<Greeting>,
}

impl RawClient {
    /// Connects and completes TLS, as a client that has pinned `fingerprint`.
    pub fn connect(address: &str, fingerprint: &str) -> io::Result<Self> {
        let fingerprint: Fingerprint = fingerprint.parse().expect("a fingerprint");
        let config = tls::client_config(fingerprint).expect("a TLS configuration");
        Self::connect_with(address, fingerprint, config)
    }

    /// Connects from this address of the loopback network, such as 127.1.2.3.
    pub fn connect_from(source: Ipv4Addr, address: &str, fingerprint: &str) -> io::Result<Self> {
        let fingerprint: Fingerprint = fingerprint.parse().expect("a fingerprint");
        let config = tls::client_config(fingerprint).expect("a TLS configuration");
        Self::over(dial_from(source, address)?, fingerprint, config)
    }

    /// Connects with this TLS configuration.
    pub fn connect_with(
        address: &str,
        fingerprint: Fingerprint,
        config: Arc<ClientConfig>,
    ) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?, fingerprint, config)
    }

    fn over(
        tcp: TcpStream,
        fingerprint: Fingerprint,
        config: Arc<ClientConfig>,
    ) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(Duration::from_secs(60)))?;
        let name = ServerName::try_from("landline").expect("a name");
        let mut connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut tcp = tcp;
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp)?;
        }
        let stream = StreamOwned::new(connection, tcp);
        let decoder = MessageDecoder::new(Limits::SESSION);
        Ok(Self {
            stream,
            decoder,
            unread: Vec::new(),
            fingerprint,
            greeting: None,
        })
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Sends a header.
    pub fn send_json(&mut self, header: &Value) -> io::Result<()> {
        self.send(&frame(header.to_string()))
    }

    /// Waits until the unread bytes are enough, and returns a copy of them.
    /// [`header`](Self::header) still reads them.
    pub fn bytes(&mut self, is_enough: impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
        while !is_enough(&self.unread) {
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => self.unread.extend_from_slice(&buffer[..length]),
            }
        }
        Ok(self.unread.clone())
    }

    /// The next header. Bodies are skipped. `None` if the server has finished.
    pub fn header(&mut self) -> io::Result<Option<Header>> {
        loop {
            let mut input = &self.unread[..];
            let item = self
                .decoder
                .decode(&mut input)
                .expect("the server follows the protocol");
            let item = item.map(|item| match item {
                Item::Header(header) => Some(header),
                _ => None,
            });
            let used = self.unread.len() - input.len();
            self.unread.drain(..used);
            match item {
                Some(Some(header)) => return Ok(Some(header)),
                Some(None) => continue,
                None => {}
            }
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer)? {
                0 => return Ok(None),
                length => self.unread.extend_from_slice(&buffer[..length]),
            }
        }
    }

    /// The code of the next error, or of the next answer with a code. Other headers are skipped.
    /// `None` if the server finishes without an error.
    pub fn error_code(&mut self) -> io::Result<Option<String>> {
        while let Some(header) = self.header()? {
            if ["error", "reset", "closed"].contains(&header.kind()) {
                let error: Value = header.read().expect("an error");
                return Ok(error["code"].as_str().map(str::to_owned));
            }
        }
        Ok(None)
    }

    /// Waits for the greeting.
    pub fn greet(&mut self) -> io::Result<()> {
        let header = self.header()?.expect("a greeting");
        if header.kind() == "error" {
            let error: Value = header.read().expect("an error");
            return Err(io::Error::other(error["code"].to_string()));
        }
        self.greeting = Some(header.read().expect("a greeting"));
        Ok(())
    }

    /// A login by `key` for `user`, which redeems `token` if given. The test may alter it.
    pub fn login_header(&self, user: &str, key: &UserKey, token: Option<&str>) -> Value {
        let method = if token.is_some() {
            METHOD_INVITE
        } else {
            METHOD_SSH_KEY
        };
        let transcript = self.transcript(user, method, BindingType::TlsExporter, |_| {});
        let signature = key.sign(&transcript).expect("a signature");
        let mut header = json!({
            "type": "login", "version": 1, "user": user, "method": method, "nonce": NONCE,
            "key": key.public().line(), "signature": Blob(signature),
        });
        if let Some(token) = token {
            header["token"] = token.into();
        }
        header
    }

    /// A login by `secret` for `user`. The test may alter it.
    pub fn secret_header(&self, user: &str, secret: &Secret) -> Value {
        let transcript = self.transcript(user, METHOD_SECRET, secret.binding, |_| {});
        let key = secret.key();
        json!({
            "type": "login", "version": 1, "user": user, "method": METHOD_SECRET, "nonce": NONCE,
            "secret": key.id(), "binding": secret.binding, "proof": key.client_proof(&transcript),
        })
    }

    /// A login that attaches this connection to `session` of `user`. The test may alter it.
    pub fn attach_header(&self, user: &str, session: &str, secret: &SecretKey) -> Value {
        self.attach_header_bound(user, session, secret, BindingType::TlsExporter)
    }

    /// The same for a session whose login used this binding.
    pub fn attach_header_bound(
        &self,
        user: &str,
        session: &str,
        secret: &SecretKey,
        binding: BindingType,
    ) -> Value {
        let transcript = self.transcript(user, METHOD_ATTACH, binding, |_| {});
        json!({
            "type": "login", "version": 1, "user": user, "method": METHOD_ATTACH, "nonce": NONCE,
            "session": session, "proof": secret.attach_proof(&transcript),
        })
    }

    /// The first message of a login by `password` for `user`. The test may alter it.
    ///
    /// [`password_header`](Self::password_header) continues with the returned state.
    pub fn begin_password(&self, user: &str, password: &str) -> (Value, PasswordLogin) {
        let password = Password::from_bytes(password.as_bytes()).expect("a password");
        let (ke1, begun) = PasswordLogin::begin(&password).expect("the login begins");
        (
            json!({"type": "password", "version": 1, "user": user, "nonce": NONCE, "ke1": Blob(ke1)}),
            begun,
        )
    }

    /// The last message of a login by password, from the server's answer. `None` if the answer does
    /// not open.
    pub fn password_header(
        &self,
        user: &str,
        begun: PasswordLogin,
        evaluation: &Evaluation,
    ) -> Option<Value> {
        let transcript = self.transcript(user, METHOD_PASSWORD, BindingType::TlsExporter, |_| {});
        let name = user.parse().expect("a user name");
        let parties = PasswordParties {
            user: &name,
            server: self.fingerprint,
        };
        let ke3 = Blob(begun.finish(&evaluation.ke2.0, parties, &transcript)?);
        Some(json!({
            "type": "login", "version": 1, "user": user, "method": METHOD_PASSWORD, "nonce": NONCE, "ke3": ke3,
        }))
    }

    /// The transcript of a login on this connection, as altered by `spoil`.
    pub fn transcript(
        &self,
        user: &str,
        method: &str,
        binding_type: BindingType,
        spoil: impl FnOnce(&mut Transcript<'_>),
    ) -> [u8; 64] {
        let greeting = self.greeting.as_ref().expect("greeted");
        let exporter = self.exporter();
        let mut transcript = Transcript {
            method,
            binding_type,
            binding: binding_type.bytes(&exporter, self.fingerprint.bytes()),
            fingerprint: self.fingerprint.bytes(),
            transport: "tcp",
            version: 1,
            methods: &greeting.methods,
            user: &user.parse().expect("a user name"),
            client_nonce: &NONCE,
            server_nonce: &greeting.nonce,
        };
        spoil(&mut transcript);
        transcript.digest()
    }

    /// The TLS exporter value that binds a login to this connection.
    pub fn exporter(&self) -> [u8; 32] {
        self.stream
            .conn
            .export_keying_material([0; 32], tls::EXPORTER_LABEL, None)
            .expect("an exporter")
    }

    /// Greets and logs in. Returns the type of the answer.
    pub fn login(&mut self, user: &str, key: &UserKey, token: Option<&str>) -> io::Result<String> {
        self.greet()?;
        let login = self.login_header(user, key, token);
        self.send_json(&login)?;
        Ok(self.header()?.expect("an answer").kind().to_owned())
    }

    /// Ends TLS properly.
    pub fn finish(&mut self) -> io::Result<()> {
        self.stream.conn.send_close_notify();
        self.stream.flush()
    }
}
