//! SSHSIG (PROTOCOL.sshsig of OpenSSH) over a login transcript. Nothing else is ever signed, here
//! or by an agent: the namespace stands in what is signed, so a signature can be mistaken for no
//! other use of the key.

use aws_lc_rs::digest::{SHA512, digest};
use landline_proto::login::NAMESPACE;

use super::wire::{WireReader, put, strings};

const MAGIC: &[u8] = b"SSHSIG";
const VERSION: u32 = 1;
const HASH: &[u8] = b"sha512";

/// What a key signs for a transcript.
pub(super) fn signed_data(transcript: &[u8; 64]) -> Vec<u8> {
    let digest = digest(&SHA512, transcript);
    [
        MAGIC,
        &strings(&[NAMESPACE.as_bytes(), b"", HASH, digest.as_ref()]),
    ]
    .concat()
}

/// The blob with the signature of the key with the blob `key`.
pub(super) fn blob(key: &[u8], signature: &[u8]) -> Vec<u8> {
    let mut blob = front(key);
    put(&mut blob, signature);
    blob
}

/// The signature in a blob that is, byte for byte, what `key` would have made.
pub(super) fn signature_in<'a>(blob: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let mut rest = WireReader(blob.strip_prefix(&front(key)[..])?);
    let signature = rest.string()?;
    rest.end()?;
    Some(signature)
}

/// All that stands before the signature.
fn front(key: &[u8]) -> Vec<u8> {
    [
        MAGIC,
        &VERSION.to_be_bytes(),
        &strings(&[key, NAMESPACE.as_bytes(), b"", HASH]),
    ]
    .concat()
}
