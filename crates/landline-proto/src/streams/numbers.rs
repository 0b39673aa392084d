//! Which numbers a stream may have.

use super::{OFFSET_MAX, Side};
use crate::limits::STREAMS_FIXED_MAX;

/// Who opened a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opener {
    /// The service fixes the number for both sides.
    Service,
    Own,
    Peer,
}

/// Gives out numbers, each at most once, and checks those that the peer gives out.
#[derive(Debug)]
pub(super) struct Numbers {
    next_own: u64,
    next_peer: u64,
    fixed: Vec<u64>,
}

impl Numbers {
    pub(super) fn new(side: Side) -> Self {
        let (next_own, next_peer) = match side {
            Side::Client => (0, 1),
            Side::Server => (1, 0),
        };
        Self {
            next_own,
            next_peer,
            fixed: Vec::new(),
        }
    }

    /// Takes a number that the service fixes. Both sides open only higher ones from then on.
    pub(super) fn fix(&mut self, stream: u64) -> bool {
        let may = self.fixed.len() < STREAMS_FIXED_MAX
            && !self.fixed.contains(&stream)
            && stream < OFFSET_MAX;
        if may {
            self.fixed.push(stream);
            for next in [&mut self.next_own, &mut self.next_peer] {
                let parity = *next % 2;
                *next = (*next).max(stream + 1 + u64::from((stream + 1) % 2 != parity));
            }
        }
        may
    }

    /// The next number of this side.
    pub(super) fn open(&mut self) -> Option<u64> {
        let stream = self.next_own;
        if stream > OFFSET_MAX {
            return None;
        }
        self.next_own += 2;
        Some(stream)
    }

    /// Whether the peer may open this number; it is then used.
    pub(super) fn accept(&mut self, stream: u64) -> bool {
        let may =
            (self.next_peer..=OFFSET_MAX).contains(&stream) && stream % 2 == self.next_peer % 2;
        if may {
            self.next_peer = stream + 2;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_open_numbers_of_their_own_parity_upwards() {
        let mut client = Numbers::new(Side::Client);
        let mut server = Numbers::new(Side::Server);
        assert_eq!([client.open(), client.open()], [Some(0), Some(2)]);
        assert_eq!([server.open(), server.open()], [Some(1), Some(3)]);
        assert!(server.accept(2));
        assert!(!server.accept(2), "twice");
        assert!(!server.accept(0), "lower");
        assert!(!server.accept(5), "of the other side");
        assert!(server.accept(100));
    }

    #[test]
    fn numbers_above_the_fixed_ones_are_opened() {
        for fixed in [[0, 1, 2], [2, 1, 0], [2, 0, 1]] {
            let mut client = Numbers::new(Side::Client);
            assert!(fixed.iter().all(|&stream| client.fix(stream)));
            assert!(!client.fix(1), "twice");
            assert!(!client.accept(1), "a fixed one");
            assert_eq!(client.open(), Some(4));
            assert!(client.accept(3));
        }
    }

    #[test]
    fn highest_number_is_the_last() {
        let mut client = Numbers::new(Side::Client);
        assert!(client.accept(OFFSET_MAX));
        assert!(!client.accept(OFFSET_MAX) && !client.accept(OFFSET_MAX + 2));
        assert!(client.fix(OFFSET_MAX - 1));
        assert_eq!(client.open(), None);
    }
}
