//! TLS 1.3 as landline uses it (`docs/protocol.md` section 1).
//!
//! There is one provider, and there are no tickets and no early data. Certificates are pinned, and
//! the signature of the handshake is checked.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use landline_proto::ALPN;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, OtherError,
    ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs as provider, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    server::NoServerSessionStorage,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::{SecureStream, Transport, lost, read_ahead::ReadAhead, tcp::Line};
use crate::{Error, crypto::Fingerprint};

/// The label of the exporter that binds a login to its connection (RFC 9266).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// The crypto provider, with the cheapest sound cipher first.
///
/// The preferred key exchange resists quantum computers.
fn crypto() -> Arc<CryptoProvider> {
    use provider::cipher_suite::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };
    let cipher_suites = vec![
        TLS13_AES_128_GCM_SHA256,
        TLS13_AES_256_GCM_SHA384,
        TLS13_CHACHA20_POLY1305_SHA256,
    ];
    let kx_groups = vec![
        provider::kx_group::X25519MLKEM768,
        provider::kx_group::X25519,
    ];
    Arc::new(CryptoProvider {
        cipher_suites,
        kx_groups,
        ..provider::default_provider()
    })
}

/// The server's configuration for its certificate (DER) and key (PKCS #8 DER).
///
/// # Errors
/// [`Error::Tls`] if certificate and key do not match.
pub(crate) fn server_config(
    certificate: &[u8],
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, Error> {
    let certificate = CertificateDer::from(certificate.to_vec());
    let mut config = ServerConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(vec![certificate], key)
        })
        .map_err(|error| Error::Tls(error.to_string()))?;
    config.alpn_protocols = vec![ALPN.into()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    // The greeting follows the server's Finished, one round trip before the client's.
    config.send_half_rtt_data = true;
    Ok(Arc::new(config))
}

impl SecureStream for TlsStream<Box<dyn Transport>> {
    fn exporter(&self) -> Result<[u8; 32], Error> {
        let exported = match self {
            Self::Client(stream) => {
                let (_, connection) = stream.get_ref();
                connection.export_keying_material([0; 32], EXPORTER_LABEL, None)
            }
            Self::Server(stream) => {
                let (_, connection) = stream.get_ref();
                connection.export_keying_material([0; 32], EXPORTER_LABEL, None)
            }
        };
        exported.map_err(|error| Error::Tls(error.to_string()))
    }

    fn transport(&self) -> &'static str {
        "tcp"
    }

    fn limit_transit_time(&self, time: Duration) {
        transport_below(self).limit_transit_time(time);
    }

    fn limit_receive_buffer(&self, bytes: usize) {
        transport_below(self).limit_receive_buffer(bytes);
    }

    fn limit_unsent(&self, bytes: u32) {
        transport_below(self).limit_unsent(bytes);
    }

    fn line(&self) -> Option<Line> {
        transport_below(self).line()
    }

    fn into_transport(self: Box<Self>) -> Box<dyn Transport> {
        match *self {
            Self::Client(stream) => stream.into_inner().0,
            Self::Server(stream) => stream.into_inner().0,
        }
    }
}

fn transport_below(stream: &TlsStream<Box<dyn Transport>>) -> &dyn Transport {
    match stream {
        TlsStream::Client(stream) => &**stream.get_ref().0,
        TlsStream::Server(stream) => &**stream.get_ref().0,
    }
}

/// Runs the server's TLS handshake, with `greeting` in the server's first flight.
///
/// So the client has the greeting one round trip before the handshake is complete.
///
/// # Errors
/// [`Error::Tls`] for another protocol or a broken handshake, [`Error::Lost`].
pub(crate) async fn accept(
    transport: Box<dyn Transport>,
    config: Arc<ServerConfig>,
    greeting: &[u8],
) -> Result<Box<dyn SecureStream>, Error> {
    let transport: Box<dyn Transport> = Box::new(ReadAhead::new(transport));
    let handshake = TlsAcceptor::from(config).accept_with(transport, |connection| {
        // Buffered until the server's first flight.
        let _ = std::io::Write::write_all(&mut connection.writer(), greeting);
    });
    let stream = handshake.await.map_err(|error| {
        let tls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<TlsError>());
        tls.map_or_else(|| lost(&error), |tls| Error::Tls(tls.to_string()))
    })?;
    if stream.get_ref().1.alpn_protocol() != Some(ALPN.as_bytes()) {
        return Err(Error::Tls(format!("the client does not speak {ALPN}")));
    }
    Ok(Box::new(TlsStream::Server(stream)))
}

/// Runs the TLS handshake with the server whose certificate is `pin`.
///
/// `address` is the server's, for error messages.
///
/// # Errors
/// [`Error::ServerChanged`] or [`Error::ServerUnproven`] for the wrong server, [`Error::Tls`],
/// [`Error::Lost`].
pub async fn connect(
    transport: Box<dyn Transport>,
    address: &str,
    pin: Fingerprint,
) -> Result<Box<dyn SecureStream>, Error> {
    secure(transport, address, client_config(pin)?, Some(pin)).await
}

/// Runs the TLS handshake with any server, and returns its fingerprint.
///
/// The server proves that it has the key of its certificate. The client must send nothing on such a
/// connection.
///
/// # Errors
/// As [`connect`].
pub(crate) async fn connect_to_any(
    transport: Box<dyn Transport>,
    address: &str,
) -> Result<(Box<dyn SecureStream>, Fingerprint), Error> {
    let found = Arc::new(OnceLock::new());
    let config = config_for(Expected::Any(found.clone()))?;
    let stream = secure(transport, address, config, None).await?;
    match found.get() {
        Some(found) => Ok((stream, *found)),
        None => Err(Error::Tls(format!("{address} showed no certificate"))),
    }
}

async fn secure(
    transport: Box<dyn Transport>,
    address: &str,
    config: Arc<ClientConfig>,
    pin: Option<Fingerprint>,
) -> Result<Box<dyn SecureStream>, Error> {
    // No name is sent or checked: the certificate's fingerprint is the server's name.
    let name = ServerName::try_from("landline").map_err(|error| Error::Tls(error.to_string()))?;
    let transport: Box<dyn Transport> = Box::new(ReadAhead::new(transport));
    let stream = TlsConnector::from(config)
        .connect(name, transport)
        .await
        .map_err(|error| tls_error(&error, address, pin))?;
    if stream.get_ref().1.alpn_protocol() != Some(ALPN.as_bytes()) {
        return Err(Error::Tls(format!("{address} does not speak {ALPN}")));
    }
    Ok(Box::new(TlsStream::Client(stream)))
}

/// Maps a failed handshake to the error that names the cause.
fn tls_error(error: &std::io::Error, address: &str, pin: Option<Fingerprint>) -> Error {
    use CertificateError as C;
    use TlsError as T;
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<T>()) else {
        return lost(error);
    };
    match tls {
        T::InvalidCertificate(C::Other(other)) => {
            match (other.0.downcast_ref::<PinMismatch>(), pin) {
                (Some(PinMismatch { found }), Some(pin)) => Error::ServerChanged {
                    address: address.to_owned(),
                    pinned: pin.to_string(),
                    found: found.to_string(),
                },
                _ => Error::Tls(tls.to_string()),
            }
        }
        T::InvalidCertificate(C::BadSignature) => Error::ServerUnproven {
            address: address.to_owned(),
        },
        T::InvalidMessage(_) => {
            Error::Tls(format!("{address} answers with something that is not TLS"))
        }
        other => Error::Tls(other.to_string()),
    }
}

/// The client's configuration, which accepts only the server with this certificate.
///
/// # Errors
/// [`Error::Tls`] if the provider cannot do TLS 1.3, which would be a bug in the features of this
/// crate.
pub fn client_config(pin: Fingerprint) -> Result<Arc<ClientConfig>, Error> {
    config_for(Expected::Pin(pin))
}

fn config_for(expected: Expected) -> Result<Arc<ClientConfig>, Error> {
    let crypto = crypto();
    let verifier = Arc::new(PinVerifier {
        expected,
        crypto: crypto.clone(),
    });
    let mut config = ClientConfig::builder_with_provider(crypto)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Error::Tls(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.into()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(Arc::new(config))
}

/// The server presented another certificate than the pinned one.
#[derive(Debug, thiserror::Error)]
#[error("the certificate has the fingerprint {found}")]
pub(crate) struct PinMismatch {
    /// The fingerprint of the presented certificate.
    pub found: Fingerprint,
}

/// Which certificate is accepted.
#[derive(Debug)]
enum Expected {
    Pin(Fingerprint),
    /// Any; its fingerprint is stored in this cell.
    Any(Arc<OnceLock<Fingerprint>>),
}

/// Accepts only an expected certificate, and only from a server that has its key.
#[derive(Debug)]
struct PinVerifier {
    expected: Expected,
    crypto: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let found = Fingerprint::of_certificate(end_entity);
        match &self.expected {
            Expected::Pin(pin) if found == *pin => return Ok(ServerCertVerified::assertion()),
            Expected::Pin(_) => {}
            Expected::Any(place) => {
                let _ = place.set(found);
                return Ok(ServerCertVerified::assertion());
            }
        }
        Err(CertificateError::Other(OtherError(Arc::new(PinMismatch { found }))).into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::General("only TLS 1.3 is spoken here".into()))
    }

    /// Checks the handshake signature, without which a pin proves nothing.
    ///
    /// An attacker can present the certificate, but only its owner can sign with its key.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.crypto.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
