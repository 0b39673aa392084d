//! The transcript that both sides must agree on.
//!
//! It has everything that an attacker in the middle might want to change.

use sha2::{Digest, Sha256, Sha512};

use super::{BindingType, UserName};
use crate::{
    ALPN, frame,
    messages::{KeyTag, Nonce},
};

/// The namespace of SSHSIG signatures over a transcript, and the transcript's own first field.
pub const NAMESPACE: &str = "landline-auth-v1";

/// The first field of a key's tag.
const KEY_TAG: &str = "landline-key-v1";

/// Makes the tag of a key on the connection with this binding.
///
/// `key` is as in an authorized_keys line without comment. An observer who does not know the key
/// learns nothing about it, and cannot recognize it on another connection.
pub fn key_tag(binding: &[u8], key: &str) -> KeyTag {
    let mut hash = Sha256::new();
    for bytes in [KEY_TAG.as_bytes(), binding, key.as_bytes()] {
        hash.update(frame::prefix(bytes.len()));
        hash.update(bytes);
    }
    KeyTag(hash.finalize().into())
}

/// The fields of a transcript (`docs/protocol.md` section 5).
#[derive(Debug, Clone, Copy)]
pub struct Transcript<'a> {
    /// The login method.
    pub method: &'a str,
    /// The type of the channel binding.
    pub binding_type: BindingType,
    /// The channel binding's bytes.
    pub binding: &'a [u8],
    /// SHA-256 of the server's certificate.
    pub fingerprint: &'a [u8; 32],
    /// The transport: `tcp`.
    pub transport: &'a str,
    /// The protocol version in use.
    pub version: u64,
    /// The methods of the greeting, in its order.
    pub methods: &'a [String],
    /// The user to log in as.
    pub user: &'a UserName,
    /// The client nonce.
    pub client_nonce: &'a Nonce,
    /// The server nonce.
    pub server_nonce: &'a Nonce,
}

impl Transcript<'_> {
    /// Computes T, the 64 bytes that a method proves.
    pub fn digest(&self) -> [u8; 64] {
        let mut hash = Sha512::new();
        let mut field = |bytes: &[u8]| {
            hash.update(frame::prefix(bytes.len()));
            hash.update(bytes);
        };
        field(NAMESPACE.as_bytes());
        field(self.method.as_bytes());
        field(self.binding_type.as_str().as_bytes());
        field(self.binding);
        field(self.fingerprint);
        field(self.transport.as_bytes());
        field(ALPN.as_bytes());
        field(self.version.to_string().as_bytes());
        field(self.methods.join(",").as_bytes());
        field(self.user.as_str().as_bytes());
        field(&self.client_nonce.0);
        field(&self.server_nonce.0);
        hash.finalize().into()
    }
}
