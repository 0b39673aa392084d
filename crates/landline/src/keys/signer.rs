//! Private keys in memory.
//!
//! The cipher library that TLS also uses computes ECDSA and RSA. Its timing does not depend on the
//! key.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeyPairComponents},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
        ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, RSA_PKCS1_SHA512,
        RsaPublicKeyComponents,
    },
};
use ed25519_dalek::Signer as _;
use zeroize::Zeroizing;

use super::{
    public::Curve,
    wire::{WireReader, pad, put_positive, strings},
};

/// A private key that can sign.
pub(super) enum Signer {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    Ecdsa(Curve, Box<EcdsaKeyPair>),
    Rsa(Box<RsaKeyPair>),
}

impl Signer {
    /// Reads the fields after a key type's name in a private key file.
    ///
    /// Also returns the blob of the public key.
    pub(super) fn read(name: &[u8], reader: &mut WireReader<'_>) -> Option<(Self, Vec<u8>)> {
        if name == b"ssh-ed25519" {
            return Self::read_ed25519(reader);
        }
        if name == b"ssh-rsa" {
            return Self::read_rsa(reader);
        }
        let curve = Curve::ALL
            .into_iter()
            .find(|curve| curve.key_type().as_bytes() == name)?;
        Self::read_ecdsa(curve, reader)
    }

    fn read_ed25519(reader: &mut WireReader<'_>) -> Option<(Self, Vec<u8>)> {
        let public = reader.string()?;
        let seed = reader.string()?.strip_suffix(public)?;
        let key = ed25519_dalek::SigningKey::from_bytes(seed.try_into().ok()?);
        if key.verifying_key().as_bytes() != public {
            return None;
        }
        Some((
            Self::Ed25519(Box::new(key)),
            strings(&[b"ssh-ed25519", public]),
        ))
    }

    fn read_ecdsa(curve: Curve, reader: &mut WireReader<'_>) -> Option<(Self, Vec<u8>)> {
        let name = reader.string()?;
        let point = reader.string()?;
        // Shorter for one key in 256, and for half of the keys on the longest curve.
        let private = Zeroizing::new(pad(reader.positive()?, curve.bytes())?);
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            signing_algorithm(curve),
            &private,
            point,
        )
        .ok()?;
        let blob = strings(&[curve.key_type().as_bytes(), name, point]);
        Some((Self::Ecdsa(curve, Box::new(pair)), blob))
    }

    fn read_rsa(reader: &mut WireReader<'_>) -> Option<(Self, Vec<u8>)> {
        let n = reader.positive()?;
        let e = reader.positive()?;
        let d = reader.positive()?;
        let q_inverse = reader.positive()?;
        let p = reader.positive()?;
        let q = reader.positive()?;
        let d_p = reduce(d, p)?;
        let d_q = reduce(d, q)?;
        let pair = RsaKeyPair::from_components(&KeyPairComponents {
            public_key: RsaPublicKeyComponents { n, e },
            d,
            p,
            q,
            dP: &d_p,
            dQ: &d_q,
            qInv: q_inverse,
        })
        .ok()?;
        let mut blob = strings(&[b"ssh-rsa"]);
        put_positive(&mut blob, e);
        put_positive(&mut blob, n);
        Some((Self::Rsa(Box::new(pair)), blob))
    }

    /// Signs `message` in the form of SSH; `None` if the library fails.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Ed25519(key) => Some(strings(&[b"ssh-ed25519", &key.sign(message).to_bytes()])),
            Self::Ecdsa(curve, pair) => {
                let fixed = pair.sign(&random, message).ok()?;
                let (r, s) = fixed.as_ref().split_at_checked(curve.bytes())?;
                let mut numbers = Vec::new();
                put_positive(&mut numbers, r);
                put_positive(&mut numbers, s);
                Some(strings(&[curve.key_type().as_bytes(), &numbers]))
            }
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA512, &random, message, &mut signature)
                    .ok()?;
                Some(strings(&[b"rsa-sha2-512", &signature]))
            }
        }
    }
}

fn signing_algorithm(curve: Curve) -> &'static EcdsaSigningAlgorithm {
    match curve {
        Curve::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
        Curve::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        Curve::P521 => &ECDSA_P521_SHA512_FIXED_SIGNING,
    }
}

/// Computes d mod (prime - 1), which the library needs and OpenSSH does not store.
///
/// It works bit by bit, with the same steps for either value of a bit.
fn reduce(d: &[u8], prime: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    // One byte more than the prime, so that doubling fits. A prime is odd, so clearing its last bit
    // subtracts one.
    let mut modulus = Zeroizing::new(pad(prime, prime.len() + 1)?);
    *modulus.last_mut()? &= 0xfe;
    let mut rest = Zeroizing::new(vec![0_u8; modulus.len()]);
    let mut less = Zeroizing::new(vec![0_u8; modulus.len()]);
    for byte in d {
        for bit in (0..8).rev() {
            let mut carry = (byte >> bit) & 1;
            for digit in rest.iter_mut().rev() {
                let out = *digit >> 7;
                *digit = (*digit << 1) | carry;
                carry = out;
            }
            let mut borrow = 0_u16;
            for ((less, rest), modulus) in
                less.iter_mut().zip(rest.iter()).zip(modulus.iter()).rev()
            {
                let difference = u16::from(*rest)
                    .wrapping_sub(u16::from(*modulus))
                    .wrapping_sub(borrow);
                [*less, _] = difference.to_le_bytes();
                borrow = difference >> 15;
            }
            // All ones if the modulus did not fit.
            let [keep, _] = 0_u16.wrapping_sub(borrow).to_le_bytes();
            for (rest, less) in rest.iter_mut().zip(less.iter()) {
                *rest = (*rest & keep) | (*less & !keep);
            }
        }
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reduce_equals_remainder() {
        for (d, prime) in [
            (1_u64, 3_u32),
            (1_000_000_007, 65_537),
            (u64::MAX, 4_294_967_291),
            (0, 251),
            (255, 257),
            (65_536, 65_537),
        ] {
            let prime_bytes: Vec<u8> = prime
                .to_be_bytes()
                .into_iter()
                .skip_while(|byte| *byte == 0)
                .collect();
            let found = reduce(&d.to_be_bytes(), &prime_bytes).unwrap();
            let found = found
                .iter()
                .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            assert_eq!(found, d % u64::from(prime - 1), "{d} mod {prime}-1");
        }
    }
}
