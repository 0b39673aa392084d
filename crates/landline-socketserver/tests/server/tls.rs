//! TLS as a wrapper, with a library that this crate does not know.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread,
};

use landline_socketserver::{
    Bind, Server, Stopper, blocking,
    tasks::{TaskConnection, TaskHandler},
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

/// Sends one received byte back, over any stream.
#[derive(Clone)]
struct Once;

impl<S: Read + Write> blocking::Handler<S> for Once {
    fn handle(&mut self, connection: &mut blocking::Connection<S>) -> io::Result<()> {
        let mut byte = [0];
        connection.read_exact(&mut byte)?;
        connection.write_all(&byte)?;
        connection.flush()
    }
}

impl<S: tokio::io::AsyncRead + AsyncWrite + Unpin + Send> TaskHandler<S> for Once {
    async fn handle(&mut self, connection: &mut TaskConnection<S>) -> io::Result<()> {
        let byte = connection.read_u8().await?;
        connection.write_u8(byte).await?;
        connection.shutdown().await
    }
}

fn configurations() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

fn ask(client: Arc<ClientConfig>, server: SocketAddr) -> u8 {
    let connection = ClientConnection::new(client, "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(server).unwrap());
    stream.write_all(&[7]).unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    byte[0]
}

#[test]
fn blocking_handler_serves_over_tls() {
    let (server_side, client_side) = configurations();
    let listener = Bind::new().tcp("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (stopper, shutdown) = Stopper::new().unwrap();
    let tls = move |socket: blocking::Timed<TcpStream>| {
        let connection = ServerConnection::new(server_side.clone()).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(stream)
    };
    let serving = thread::spawn(move || Server::new(listener, Once).wrap(tls).threads(&shutdown));
    assert_eq!(ask(client_side, address), 7);
    stopper.stop();
    serving.join().unwrap().unwrap();
}

#[test]
fn async_handler_serves_over_tls() {
    let (server_side, client_side) = configurations();
    let listener = Bind::new().tcp("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (stopper, shutdown) = Stopper::new().unwrap();
    let serving = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let acceptor = TlsAcceptor::from(server_side);
        let server = Server::new(listener, Once).wrap(move |stream| acceptor.accept(stream));
        runtime.block_on(server.tasks(&shutdown))
    });
    assert_eq!(ask(client_side, address), 7);
    stopper.stop();
    serving.join().unwrap().unwrap();
}
