//! The data types of RFC 4251, which OpenSSH's keys, signatures and agents use.

/// Reads from the front of a slice. Anything malformed is `None`.
pub(super) struct WireReader<'a>(pub(super) &'a [u8]);

impl<'a> WireReader<'a> {
    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.bytes(usize::try_from(length).ok()?)
    }

    /// Reads a positive mpint in its canonical form, without the leading zero byte.
    ///
    /// Zero is empty.
    pub(super) fn positive(&mut self) -> Option<&'a [u8]> {
        match self.string()? {
            [0, rest @ ..] => rest
                .first()
                .is_some_and(|first| *first >= 0x80)
                .then_some(rest),
            bytes => bytes
                .first()
                .is_none_or(|first| *first < 0x80)
                .then_some(bytes),
        }
    }

    /// Succeeds if nothing is left.
    pub(super) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// Appends a string.
pub(super) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    // No caller comes near 4 GiB.
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Appends a positive number, with or without leading zeros, as an mpint.
pub(super) fn put_positive(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = strip_zeros(bytes);
    if bytes.first().is_some_and(|first| *first >= 0x80) {
        put(out, &[&[0], bytes].concat());
    } else {
        put(out, bytes);
    }
}

/// Concatenates strings, each with its length.
pub(super) fn strings(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    parts.iter().for_each(|part| put(&mut out, part));
    out
}

/// Pads a number with leading zeros; `None` if it has more than `length` bytes.
pub(super) fn pad(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut bytes_with_zeros = vec![0; length.checked_sub(bytes.len())?];
    bytes_with_zeros.extend_from_slice(bytes);
    Some(bytes_with_zeros)
}

fn strip_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_mpint_is_accepted() {
        for (bytes, value) in [
            (&[][..], &[][..]),
            (&[1], &[1]),
            (&[0x7f], &[0x7f]),
            (&[0, 0x80], &[0x80]),
            (&[1, 0], &[1, 0]),
        ] {
            let mut written = Vec::new();
            put_positive(&mut written, &[&[0, 0][..], value].concat());
            assert_eq!(written, strings(&[bytes]));
            assert_eq!(WireReader(&written).positive(), Some(value));
        }
        for bytes in [&[0][..], &[0, 1], &[0x80], &[0xff, 1], &[0, 0, 0x80]] {
            assert_eq!(WireReader(&strings(&[bytes])).positive(), None, "{bytes:?}");
        }
        assert_eq!(WireReader(&[0, 0, 0, 2, 1]).string(), None);
        assert_eq!(WireReader(&[0, 0, 0]).number(), None);
    }
}
