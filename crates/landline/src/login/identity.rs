//! The server's identity: a self-signed P-256 certificate, made on first start and kept.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use zeroize::Zeroizing;

use crate::{Error, crypto::Fingerprint, net::tls, paths::PrivateFolder};

const CERTIFICATE_FILE: &str = "identity.crt";
const KEY_FILE: &str = "identity.key";
/// Far beyond any certificate or key that this release makes.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// A server's certificate and key.
pub struct Identity {
    fingerprint: Fingerprint,
    tls: Arc<ServerConfig>,
}

impl Identity {
    /// Loads the identity kept in `folder`, or makes one where there is none and, as it `is_known`
    /// to nobody, there has not been one. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where the certificate is missing, or there without its key, the key can be
    /// read by others, or they do not belong together.
    pub fn load_or_create(folder: &PrivateFolder, is_known: bool) -> Result<Self, Error> {
        let certificate = folder.read(CERTIFICATE_FILE, FILE_BYTES_MAX)?;
        let key = folder.read_secret(KEY_FILE, FILE_BYTES_MAX)?;
        match (certificate, key) {
            (Some(certificate), Some(key)) => Self::from_der(&certificate, key)
                .map_err(|error| Error::state(folder.path_of(CERTIFICATE_FILE).display(), error)),
            // The certificate is written last: a key alone is a first start that was cut off.
            (None, _) if !is_known => Self::create(folder),
            (None, _) => {
                let problem = "is missing, and it is what people know this server by; put it back from a backup, together with identity.key";
                Err(Error::state(
                    folder.path_of(CERTIFICATE_FILE).display(),
                    problem,
                ))
            }
            (Some(_), None) => Err(Error::state(
                folder.path_of(KEY_FILE).display(),
                "the certificate is there and its key is missing",
            )),
        }
    }

    /// The fingerprint of the identity that is kept in `folder`, if there is one. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where the certificate cannot be read.
    pub fn fingerprint_in(folder: &PrivateFolder) -> Result<Option<Fingerprint>, Error> {
        let certificate = folder.read(CERTIFICATE_FILE, FILE_BYTES_MAX)?;
        Ok(certificate.map(|certificate| Fingerprint::of_certificate(&certificate)))
    }

    /// The fingerprint that clients pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The TLS configuration with this identity.
    pub fn tls(&self) -> Arc<ServerConfig> {
        self.tls.clone()
    }

    fn create(folder: &PrivateFolder) -> Result<Self, Error> {
        let failed = |error: rcgen::Error| {
            Error::Tls(format!("cannot make the server's certificate: {error}"))
        };
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let params = CertificateParams::new(vec!["landline".to_owned()]).map_err(failed)?;
        let certificate = params.self_signed(&pair).map_err(failed)?;
        let key = Zeroizing::new(pair.serialize_der());
        folder.write(KEY_FILE, &key)?;
        folder.write(CERTIFICATE_FILE, certificate.der())?;
        Self::from_der(certificate.der(), key)
    }

    fn from_der(certificate: &[u8], key: Zeroizing<Vec<u8>>) -> Result<Self, Error> {
        let key = PrivateKeyDer::try_from(key.to_vec())
            .map_err(|problem| Error::Tls(problem.to_owned()))?;
        let tls = tls::server_config(certificate, key)?;
        Ok(Self {
            fingerprint: Fingerprint::of_certificate(certificate),
            tls,
        })
    }
}
