//! Random names and bytes.

/// A random name for a staging file: `.landline-`, 16 hex digits and `.part`.
///
/// [`check_component`](crate::name::check_component) rejects such names from a peer.
///
/// # Panics
/// If the operating system provides no random numbers.
pub fn staging_name() -> String {
    format!(".landline-{}.part", random_digits())
}

/// 16 random hexadecimal digits.
pub(super) fn random_digits() -> String {
    format!("{:016x}", random_u64())
}

/// Whether the bytes look like [`random_digits`].
pub(super) fn is_random_digits(bytes: &[u8]) -> bool {
    bytes.len() == 16
        && bytes
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A fast generator of bytes that do not compress (xorshift64); not for secrets.
pub(super) struct RandomBytes(u64);

impl RandomBytes {
    pub(super) fn new() -> Self {
        Self(random_u64() | 1)
    }

    pub(super) fn fill(&mut self, buffer: &mut [u8]) {
        for piece in buffer.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            let bytes = self.0.to_le_bytes();
            piece.copy_from_slice(bytes.get(..piece.len()).unwrap_or_default());
        }
    }
}

#[allow(
    clippy::expect_used,
    reason = "without random names no file can be created safely"
)]
fn random_u64() -> u64 {
    getrandom::u64().expect("the operating system gives random numbers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{NameError, check_component};

    #[test]
    fn staging_name_from_peer_is_rejected() {
        let name = staging_name();
        assert_eq!(check_component(name.as_bytes()), Err(NameError::Staging));
        assert_ne!(name, staging_name());
    }

    #[test]
    fn random_bytes_fill_odd_lengths() {
        let mut random = RandomBytes::new();
        let mut buffer = [0; 1001];
        random.fill(&mut buffer);
        let zeroes = buffer.iter().filter(|&&byte| byte == 0).count();
        assert!(zeroes < 30, "{zeroes} of 1001 bytes are zero");
    }
}
