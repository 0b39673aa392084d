//! TLS 1.3 as the line uses it (`docs/protocol.md` section 1): one provider, no tickets, no early
//! data, pinned certificates whose handshake signature is really checked.

use std::sync::{Arc, OnceLock};

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

use crate::{Error, crypto::Fingerprint};

/// The label of the exporter that binds a login to its connection (RFC 9266).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// The one provider, with the cheapest sound cipher and the group that a quantum computer does not
/// break first.
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
/// [`Error::Tls`] when certificate and key do not belong together.
pub fn server_config(
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
    // The greeting travels behind the server's Finished, a round trip before the client's.
    config.send_half_rtt_data = true;
    Ok(Arc::new(config))
}

/// The client's configuration: only the server with this certificate will do.
///
/// # Errors
/// [`Error::Tls`] when the provider cannot do TLS 1.3, which would be a bug in this crate's
/// features.
pub fn client_config(pin: Fingerprint) -> Result<Arc<ClientConfig>, Error> {
    configured(Expected::Pin(pin))
}

/// The configuration of a client that wants to know who the server is, and the place where the
/// fingerprint of its certificate then stands. Whoever has the certificate's key is accepted:
/// nothing may be said on such a connection.
///
/// # Errors
/// As [`client_config`].
pub(crate) fn asking_config() -> Result<(Arc<ClientConfig>, Arc<OnceLock<Fingerprint>>), Error> {
    let found = Arc::new(OnceLock::new());
    Ok((configured(Expected::Anybody(found.clone()))?, found))
}

fn configured(expected: Expected) -> Result<Arc<ClientConfig>, Error> {
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

/// The server showed another certificate than the pinned one.
#[derive(Debug, thiserror::Error)]
#[error("the certificate has the fingerprint {found}")]
pub struct PinMismatch {
    /// The fingerprint of the certificate that was shown.
    pub found: Fingerprint,
}

/// Whose certificate will do.
#[derive(Debug)]
enum Expected {
    Pin(Fingerprint),
    /// Anybody's; whose it was is put here.
    Anybody(Arc<OnceLock<Fingerprint>>),
}

/// Accepts the pinned certificate and nothing else, and only from whoever has its key.
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
            Expected::Anybody(place) => {
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

    /// The check that makes a pin worth something: anyone can show the certificate, only its owner
    /// can sign with it.
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
