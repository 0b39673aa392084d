//! Keys derived from shared secrets, and their proofs (`docs/protocol.md` section 5).

use std::fmt;

use aws_lc_rs::hmac;
use landline_proto::{
    login::{BindingType, SecretId},
    messages::Mac,
};
use zeroize::Zeroizing;

use crate::crypto::Fingerprint;

const NAMESPACE: &[u8] = b"landline-secret-v1";

/// A key that proves a shared secret to one server, or a session's attach secret.
///
/// The server stores the key, not the secret. Each channel binding has its own key.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl SecretKey {
    /// The key that proves `secret` to the server with this fingerprint.
    pub(crate) fn derive(
        secret: &[u8; 32],
        fingerprint: &Fingerprint,
        binding: BindingType,
    ) -> Self {
        let parts = [NAMESPACE, fingerprint.bytes(), binding.as_str().as_bytes()];
        Self(Zeroizing::new(mac(secret, &parts)))
    }

    /// A key from the bytes in the store, or a session's attach secret.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes of the key, for the store only.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The id of the key, which reveals nothing about it.
    pub fn id(&self) -> SecretId {
        let mac = mac(&self.0, &[b"id"]);
        SecretId(*mac.first_chunk().unwrap_or(&[0; 8]))
    }

    /// The proof that the client sends for a transcript.
    pub fn client_proof(&self, transcript: &[u8; 64]) -> Mac {
        Mac(mac(&self.0, &[b"client", transcript]))
    }

    /// The proof that a further connection sends, if this is an attach secret.
    pub fn attach_proof(&self, transcript: &[u8; 64]) -> Mac {
        Mac(mac(&self.0, &[b"attach", transcript]))
    }

    /// The proof that the server sends for a transcript.
    pub fn server_proof(&self, transcript: &[u8; 64]) -> Mac {
        Mac(mac(&self.0, &[b"server", transcript]))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.id())
    }
}

/// HMAC-SHA256 (RFC 2104) of the concatenated parts.
fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.sign().as_ref());
    bytes
}
