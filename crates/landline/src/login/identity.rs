//! The server's identity: a self-signed P-256 certificate, made on first start.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use zeroize::Zeroizing;

use crate::{Error, crypto::Fingerprint, net::tls, paths::PrivateFolder};

const CERTIFICATE_FILE: &str = "identity.crt";
const KEY_FILE: &str = "identity.key";
/// More than any certificate or key of this release needs.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// A server's certificate and key.
pub struct Identity {
    fingerprint: Fingerprint,
    tls: Arc<ServerConfig>,
}

impl Identity {
    /// Loads the identity in `folder`, or creates one on first start.
    ///
    /// It creates none if `is_known`, because clients may then have pinned the missing one.
    ///
    /// # Errors
    /// [`Error::State`] if the certificate is missing, has no key or does not match it, or if
    /// others can read the key.
    ///
    /// # Blocking
    /// Reads and writes files.
    pub fn load_or_create(folder: &PrivateFolder, is_known: bool) -> Result<Self, Error> {
        let certificate = folder.read(CERTIFICATE_FILE, FILE_BYTES_MAX)?;
        let key = folder.read_secret(KEY_FILE, FILE_BYTES_MAX)?;
        match (certificate, key) {
            (Some(certificate), Some(key)) => Self::from_der(&certificate, key)
                .map_err(|error| Error::state(folder.path_of(CERTIFICATE_FILE).display(), error)),
            // The certificate is written last, so a key alone is an interrupted first start.
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

    /// The fingerprint of the identity in `folder`, if there is one.
    ///
    /// # Errors
    /// [`Error::State`] if the certificate cannot be read.
    ///
    /// # Blocking
    /// Reads a file.
    pub(crate) fn fingerprint_in(folder: &PrivateFolder) -> Result<Option<Fingerprint>, Error> {
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
