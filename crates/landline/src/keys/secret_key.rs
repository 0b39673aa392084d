//! Keys derived from a shared secret, and the proofs made with them (`docs/protocol.md` section 5).

use std::fmt;

use aws_lc_rs::hmac;
use landline_proto::{
    login::{BindingType, SecretId},
    messages::Mac,
};
use zeroize::Zeroizing;

use crate::crypto::Fingerprint;

const NAMESPACE: &[u8] = b"landline-secret-v1";

/// What proves a secret at one server, with one binding; the server stores it. Or a session's
/// attach secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl SecretKey {
    /// The key that proves `secret` at the server with this fingerprint.
    pub fn derive(secret: &[u8; 32], fingerprint: &Fingerprint, binding: BindingType) -> Self {
        let parts = [NAMESPACE, fingerprint.bytes(), binding.as_str().as_bytes()];
        Self(Zeroizing::new(mac(secret, &parts)))
    }

    /// A key of which the store knows the bytes, or a session's attach secret.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Its bytes, for the store and nothing else.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its name, which says nothing about it.
    pub fn id(&self) -> SecretId {
        let mac = mac(&self.0, &[b"id"]);
        SecretId(*mac.first_chunk().unwrap_or(&[0; 8]))
    }

    /// What the client proves a transcript with.
    pub fn client_proof(&self, transcript: &[u8; 64]) -> Mac {
        Mac(mac(&self.0, &[b"client", transcript]))
    }

    /// What a further connection of a session proves its transcript with, where this is the
    /// session's attach secret.
    pub fn attach_proof(&self, transcript: &[u8; 64]) -> Mac {
        Mac(mac(&self.0, &[b"attach", transcript]))
    }

    /// What the server proves a transcript with.
    pub fn server_proof(&self, transcript: &[u8; 64]) -> Mac {
        Mac(mac(&self.0, &[b"server", transcript]))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.id())
    }
}

/// HMAC-SHA256 (RFC 2104) of the parts, one after another.
fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.sign().as_ref());
    bytes
}
