//! SSHSIG (OpenSSH's PROTOCOL.sshsig) over a login transcript.
//!
//! Neither this module nor an agent signs anything else. The signed data names our namespace, so a
//! signature is invalid for any other use of the key.

use aws_lc_rs::digest::{SHA512, digest};
use landline_proto::login::NAMESPACE;

use super::wire::{WireReader, put, strings};

const MAGIC: &[u8] = b"SSHSIG";
const VERSION: u32 = 1;
const HASH: &[u8] = b"sha512";

/// The data that a key signs for a transcript.
pub(super) fn signed_data(transcript: &[u8; 64]) -> Vec<u8> {
    let digest = digest(&SHA512, transcript);
    [
        MAGIC,
        &strings(&[NAMESPACE.as_bytes(), b"", HASH, digest.as_ref()]),
    ]
    .concat()
}

/// The blob of a signature by the key with the blob `key`.
pub(super) fn blob(key: &[u8], signature: &[u8]) -> Vec<u8> {
    let mut blob = blob_prefix(key);
    put(&mut blob, signature);
    blob
}

/// The signature in a blob, if the blob is exactly what `key` would produce.
pub(super) fn signature_in<'a>(blob: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let mut rest = WireReader(blob.strip_prefix(&blob_prefix(key)[..])?);
    let signature = rest.string()?;
    rest.end()?;
    Some(signature)
}

/// The part of the blob before the signature.
fn blob_prefix(key: &[u8]) -> Vec<u8> {
    [
        MAGIC,
        &VERSION.to_be_bytes(),
        &strings(&[key, NAMESPACE.as_bytes(), b"", HASH]),
    ]
    .concat()
}
