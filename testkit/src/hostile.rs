//! A server that shows any certificate and sends any bytes.

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    thread::JoinHandle,
};

use landline::{
    login::Identity,
    paths::PrivateFolder,
    proto::{Header, Item, Limits, MessageDecoder},
};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use serde_json::{Value, json};

use crate::frame;

/// A listening hostile server.
pub struct HostileServer {
    /// Its address.
    pub address: String,
    /// The fingerprint of its certificate.
    pub fingerprint: String,
    thread: Option<JoinHandle<()>>,
}

/// The connection of one client.
pub struct Hostile {
    stream: StreamOwned<ServerConnection, TcpStream>,
    decoder: MessageDecoder,
    unread: Vec<u8>,
}

impl HostileServer {
    /// Serves `connections` clients in sequence, each with `act`.
    ///
    /// It presents the certificate of the identity in `certificate_of` and signs with the key in
    /// `key_of`. Folders without an identity get a new one.
    pub fn start(
        certificate_of: &Path,
        key_of: &Path,
        connections: usize,
        act: impl Fn(&mut Hostile) -> io::Result<()> + Send + 'static,
    ) -> Self {
        let identity = |path: &Path| {
            let folder = PrivateFolder::open_or_create(path).expect("a folder");
            Identity::load_or_create(&folder, false)
                .expect("an identity")
                .fingerprint()
                .to_string()
        };
        let fingerprint = identity(certificate_of);
        identity(key_of);
        let certificate = fs::read(certificate_of.join("identity.crt")).expect("a certificate");
        let key = fs::read(key_of.join("identity.key")).expect("a key");
        let config = config(certificate, key);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let thread = std::thread::spawn(move || {
            for _ in 0..connections {
                let Ok((tcp, _)) = listener.accept() else {
                    return;
                };
                // Most tests expect that the client disconnects, so errors are ignored.
                let _ = Hostile::accept(tcp, config.clone()).and_then(|mut client| {
                    act(&mut client)?;
                    client.stream.conn.send_close_notify();
                    client.stream.flush()?;
                    client.drain()
                });
            }
        });
        Self {
            address,
            fingerprint,
            thread: Some(thread),
        }
    }

    /// Waits until all clients were served.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the hostile server did not fail");
        }
    }
}

/// A TLS configuration whose certificate and key need not match.
fn config(certificate: Vec<u8>, key: Vec<u8>) -> Arc<ServerConfig> {
    #[derive(Debug)]
    struct Always(Arc<CertifiedKey>);
    impl ResolvesServerCert for Always {
        fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(self.0.clone())
        }
    }
    let key = PrivateKeyDer::try_from(key).expect("a key");
    let key = aws_lc_rs::sign::any_supported_type(&key).expect("a supported key");
    let certified = CertifiedKey::new(vec![CertificateDer::from(certificate)], key);
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Always(Arc::new(certified))));
    config.alpn_protocols = vec![landline::proto::ALPN.into()];
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

impl Hostile {
    fn accept(mut tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        let mut connection = ServerConnection::new(config).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp)?;
        }
        let stream = StreamOwned::new(connection, tcp);
        Ok(Self {
            stream,
            decoder: MessageDecoder::new(Limits::SESSION),
            unread: Vec::new(),
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

    /// Sends a valid greeting.
    pub fn greet(&mut self) -> io::Result<()> {
        self.send_json(&json!({
            "type": "greeting", "versions": [1], "server": "hostile", "features": [],
            "methods": ["ssh-key", "invite", "secret", "password"], "nonce": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        }))
    }

    /// Greets and accepts any login. Returns the first request.
    pub fn welcome(&mut self) -> io::Result<Header> {
        self.greet()?;
        let login: Value = self.header()?.read().expect("a login");
        self.send_json(&json!({
            "type": "welcome", "user": login["user"], "key": "SHA256:x", "session": "0000000000000000",
        }))?;
        self.header()?; // open
        self.header()
    }

    /// The next header from the client.
    pub fn header(&mut self) -> io::Result<Header> {
        loop {
            let mut input = &self.unread[..];
            let item = self.decoder.decode(&mut input).map_err(io::Error::other)?;
            let header = match item {
                Some(Item::Header(header)) => Some(header),
                Some(_) => None,
                None => {
                    let mut buffer = [0; 16 * 1024];
                    let length = self.stream.read(&mut buffer)?;
                    if length == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.unread.extend_from_slice(&buffer[..length]);
                    continue;
                }
            };
            let used = self.unread.len() - input.len();
            self.unread.drain(..used);
            if let Some(header) = header {
                return Ok(header);
            }
        }
    }

    fn drain(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        while self.stream.read(&mut buffer)? > 0 {}
        Ok(())
    }
}
