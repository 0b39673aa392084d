//! The sender's half of one stream.

use super::{OFFSET_MAX, buffer::Buffer, violation::StreamViolation};
use crate::limits::{STREAM_BYTES_MAX, STREAM_WINDOW_INITIAL};

/// What a sender has for the channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Content; [`Sending::copy`] has the bytes.
    Bytes {
        offset: u64,
        length: u64,
        blocked: bool,
    },
    /// The end.
    End { offset: u64 },
}

/// Holds the bytes that the receiver has not acknowledged, and never sends beyond its credit.
#[derive(Debug)]
pub(super) struct Sending {
    /// The bytes from `base` on: sent and not acknowledged, then not sent.
    data: Buffer,
    base: u64,
    /// What the receiver has acknowledged on this channel.
    acked: u64,
    /// The next offset to send on this channel.
    sent: u64,
    /// The highest `sent` of all channels: the receiver may ask to resume up to here.
    sent_max: u64,
    /// How far an earlier process may have sent: the receiver may ask to resume up to here, too.
    ahead_max: u64,
    /// Where the credit ends.
    limit: u64,
    held_bytes_max: u64,
    /// Nothing is added any more.
    finished: bool,
    end_sent: bool,
    /// The receiver reads no more.
    stopped: bool,
    /// Since the last message that said so, a write found too little credit.
    short_of_credit: bool,
}

impl Sending {
    pub(super) fn new(from: u64, ahead_max: u64, held_bytes_max: u64) -> Self {
        Self {
            data: Buffer::default(),
            base: from,
            acked: from,
            sent: from,
            sent_max: from,
            ahead_max,
            limit: from.saturating_add(STREAM_WINDOW_INITIAL).min(OFFSET_MAX),
            held_bytes_max,
            finished: false,
            end_sent: false,
            stopped: false,
            short_of_credit: false,
        }
    }

    /// The offset behind the last byte that was written.
    pub(super) fn written(&self) -> u64 {
        self.base + self.data.len()
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acked
    }

    /// How many bytes were sent on this channel and are not acknowledged.
    pub(super) fn unacknowledged(&self) -> u64 {
        self.sent.saturating_sub(self.acked)
    }

    pub(super) fn held(&self) -> u64 {
        self.data.len()
    }

    /// What is held beyond what every stream may hold.
    pub(super) fn extra(&self) -> u64 {
        self.held().saturating_sub(STREAM_WINDOW_INITIAL)
    }

    /// Takes as much of `bytes` as fits, or says that it never will.
    pub(super) fn write(&mut self, bytes: &[u8], extra_free: u64) -> Option<usize> {
        if self.finished {
            return None;
        }
        let (credit, memory) = (self.credit(), self.memory(extra_free));
        let room = usize::try_from(credit.min(memory)).unwrap_or(usize::MAX);
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.data.push(taken);
        if taken.len() < bytes.len() && credit <= memory {
            self.short_of_credit = true;
        }
        Some(taken.len())
    }

    /// How many bytes a write would take.
    pub(super) fn room(&self, extra_free: u64) -> usize {
        if self.finished {
            return 0;
        }
        usize::try_from(self.credit().min(self.memory(extra_free))).unwrap_or(usize::MAX)
    }

    fn credit(&self) -> u64 {
        self.limit.saturating_sub(self.written())
    }

    fn memory(&self, extra_free: u64) -> u64 {
        let own_share = STREAM_WINDOW_INITIAL.saturating_sub(self.held());
        self.held_bytes_max
            .saturating_sub(self.held())
            .min(own_share.saturating_add(extra_free))
    }

    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    pub(super) fn ack(&mut self, offset: u64, window: u64) -> Result<(), StreamViolation> {
        self.check_acknowledged(offset)?;
        self.limit = credit_end(offset, window, self.limit)?;
        self.acked = offset;
        self.release(offset);
        Ok(())
    }

    pub(super) fn stop(&mut self, offset: u64) -> Result<(), StreamViolation> {
        self.check_acknowledged(offset)?;
        self.acked = offset;
        self.drop_rest();
        Ok(())
    }

    /// Takes the lost channel into account: the end has to be said again.
    pub(super) fn suspend(&mut self) {
        self.end_sent = false;
    }

    /// The receiver reads on, on a new channel.
    pub(super) fn resume(
        &mut self,
        offset: u64,
        from: u64,
        window: u64,
    ) -> Result<(), StreamViolation> {
        if self.stopped {
            return Err(StreamViolation::Stopped);
        }
        check_offset(from, self.base, self.sent_max.max(self.ahead_max))?;
        check_offset(offset, 0, from)?;
        self.limit = credit_end(offset, window, from)?;
        self.acked = offset;
        self.release(offset);
        if from > self.written() {
            // An earlier process has sent this, so only the receiver still has it.
            self.data.clear();
            self.base = from;
        }
        self.sent = from;
        self.sent_max = self.sent_max.max(from);
        Ok(())
    }

    /// The receiver said on a new channel that it reads no more.
    pub(super) fn resume_stopped(&mut self, offset: u64) -> Result<(), StreamViolation> {
        check_offset(offset, 0, self.sent_max.max(self.ahead_max))?;
        self.acked = offset;
        self.sent = self.sent_max.max(offset);
        self.drop_rest();
        Ok(())
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Both last words are said.
    pub(super) fn is_closed(&self) -> bool {
        self.end_sent && self.stopped
    }

    pub(super) fn has_turn(&self) -> bool {
        self.sendable() > 0 || self.end_due()
    }

    /// What to send next; it counts as sent.
    pub(super) fn next_turn(&mut self) -> Option<Turn> {
        let offset = self.sent;
        let length = self.sendable().min(STREAM_BYTES_MAX);
        if length > 0 {
            self.sent += length;
            self.sent_max = self.sent_max.max(self.sent);
            let blocked = self.short_of_credit && self.sent == self.limit;
            if blocked {
                self.short_of_credit = false;
            }
            return Some(Turn::Bytes {
                offset,
                length,
                blocked,
            });
        }
        if !self.end_due() {
            return None;
        }
        self.end_sent = true;
        Some(Turn::End { offset })
    }

    /// Appends content that is held.
    pub(super) fn copy(&self, offset: u64, length: u64, out: &mut Vec<u8>) {
        self.data
            .copy(offset.saturating_sub(self.base), length, out);
    }

    fn sendable(&self) -> u64 {
        self.written().min(self.limit).saturating_sub(self.sent)
    }

    fn end_due(&self) -> bool {
        self.finished && !self.end_sent && self.sent == self.written()
    }

    fn check_acknowledged(&self, offset: u64) -> Result<(), StreamViolation> {
        if self.stopped {
            return Err(StreamViolation::Stopped);
        }
        check_offset(offset, self.acked, self.sent)
    }

    fn release(&mut self, offset: u64) {
        self.data.drop_front(offset.saturating_sub(self.base));
        self.base = self.base.max(offset);
    }

    fn drop_rest(&mut self) {
        self.data.clear();
        self.base = self.sent;
        // The end is here, on any later channel too.
        self.sent_max = self.sent;
        self.finished = true;
        self.stopped = true;
    }
}

fn check_offset(found: u64, min: u64, max: u64) -> Result<(), StreamViolation> {
    if (min..=max).contains(&found) {
        Ok(())
    } else {
        Err(StreamViolation::Offset { found, min, max })
    }
}

/// Where the credit ends, which is never before `limit`.
fn credit_end(offset: u64, window: u64, limit: u64) -> Result<u64, StreamViolation> {
    let found = offset.saturating_add(window);
    if (limit..=OFFSET_MAX).contains(&found) {
        Ok(found)
    } else {
        Err(StreamViolation::Window { found, limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const W: u64 = STREAM_WINDOW_INITIAL;

    fn sending() -> Sending {
        Sending::new(0, 0, 4 * W)
    }

    fn written(bytes: usize) -> Sending {
        let mut sending = sending();
        assert_eq!(sending.write(&vec![1; bytes], 0), Some(bytes));
        sending
    }

    #[test]
    fn write_is_limited_by_credit() {
        let mut sending = sending();
        assert_eq!(sending.write(&[1; 100_000], u64::MAX), Some(65_536));
        assert_eq!(sending.write(&[1], u64::MAX), Some(0));
        sending.next_turn();
        sending.ack(10, W).unwrap();
        assert_eq!(sending.write(&[1; 100], u64::MAX), Some(10));
    }

    #[test]
    fn write_takes_all_room() {
        let mut sending = sending();
        for (bytes, extra_free) in [(1000, 0), (100_000, 0), (1, u64::MAX)] {
            let room = sending.room(extra_free);
            let taken = sending.write(&vec![1; bytes], extra_free).unwrap();
            assert_eq!(taken, room.min(bytes));
        }
        sending.finish();
        assert_eq!(sending.room(u64::MAX), 0);
    }

    #[test]
    fn write_is_limited_by_own_memory() {
        let mut sending = sending();
        sending.ack(0, OFFSET_MAX).unwrap();
        assert_eq!(sending.write(&vec![1; 1_000_000], 10), Some(65_546));
        assert_eq!(
            sending.write(&vec![1; 1_000_000], u64::MAX),
            Some(262_144 - 65_546)
        );
        assert_eq!(sending.write(&[1], u64::MAX), Some(0));
    }

    #[test]
    fn messages_are_limited_and_end_comes_last() {
        let mut sending = sending();
        sending.ack(0, 2 * W).unwrap();
        sending.write(&vec![1; 70_000], u64::MAX);
        sending.finish();
        let turns: Vec<_> = std::iter::from_fn(|| sending.next_turn()).collect();
        assert_eq!(
            turns,
            [
                Turn::Bytes {
                    offset: 0,
                    length: 65_536,
                    blocked: false
                },
                Turn::Bytes {
                    offset: 65_536,
                    length: 4464,
                    blocked: false
                },
                Turn::End { offset: 70_000 },
            ]
        );
    }

    #[test]
    fn blocked_is_sent_once_per_exhausted_credit() {
        let mut sending = sending();
        sending.write(&vec![1; 65_536], 0);
        assert!(matches!(
            sending.next_turn(),
            Some(Turn::Bytes { blocked: false, .. })
        ));
        sending.write(&[1], 0);
        sending.ack(W, W).unwrap();
        sending.write(&vec![1; 65_536], 0);
        assert!(matches!(
            sending.next_turn(),
            Some(Turn::Bytes { blocked: true, .. })
        ));
        sending.ack(2 * W, W).unwrap();
        sending.write(&vec![1; 65_536], 0);
        assert!(matches!(
            sending.next_turn(),
            Some(Turn::Bytes { blocked: false, .. })
        ));
    }

    #[test]
    fn ack_out_of_range_is_rejected() {
        let mut sending = written(100);
        sending.next_turn();
        sending.ack(50, W).unwrap();
        let range = |found| {
            Err(StreamViolation::Offset {
                found,
                min: 50,
                max: 100,
            })
        };
        assert_eq!(sending.ack(49, 2 * W), range(49));
        assert_eq!(sending.ack(101, W), range(101));
        assert_eq!(sending.stop(49), range(49));
        assert_eq!(sending.stop(101), range(101));
    }

    #[test]
    fn credit_never_shrinks_or_overflows() {
        let mut sending = written(100);
        sending.next_turn();
        for window in [0, W - 51, OFFSET_MAX - 49, u64::MAX] {
            let result = sending.ack(50, window);
            assert!(
                matches!(result, Err(StreamViolation::Window { .. })),
                "{window}"
            );
        }
        assert_eq!(sending.ack(50, W - 50), Ok(()));
        assert_eq!(sending.ack(50, OFFSET_MAX - 50), Ok(()));
    }

    #[test]
    fn stop_drops_unsent_bytes() {
        let mut sending = written(1000);
        sending.next_turn();
        sending.ack(0, 2 * W).unwrap();
        sending.write(&[1; 1000], 0);
        sending.stop(300).unwrap();
        assert_eq!(sending.held(), 0);
        assert_eq!(sending.write(&[1], u64::MAX), None);
        assert_eq!(sending.next_turn(), Some(Turn::End { offset: 1000 }));
        assert_eq!(sending.next_turn(), None);
        assert!(sending.is_closed());
        assert_eq!(sending.ack(1000, W), Err(StreamViolation::Stopped));
        assert_eq!(sending.stop(1000), Err(StreamViolation::Stopped));
    }

    #[test]
    fn resumed_stream_continues_at_requested_byte() {
        let mut sending = Sending::new(0, 0, 4 * W);
        sending.write(b"0123456789", 0);
        sending.finish();
        while sending.next_turn().is_some() {}
        sending.suspend();
        sending.resume(3, 7, W).unwrap();
        assert_eq!(sending.held(), 7);
        let turn = sending.next_turn();
        let mut out = Vec::new();
        sending.copy(7, 3, &mut out);
        assert_eq!(out, b"789");
        assert_eq!(
            turn,
            Some(Turn::Bytes {
                offset: 7,
                length: 3,
                blocked: false
            })
        );
        assert_eq!(sending.next_turn(), Some(Turn::End { offset: 10 }));
    }

    #[test]
    fn resumed_stream_obeys_new_credit() {
        let mut sending = written(60_000);
        sending.suspend();
        sending.resume(0, 0, 100).unwrap();
        assert_eq!(
            sending.next_turn(),
            Some(Turn::Bytes {
                offset: 0,
                length: 100,
                blocked: false
            })
        );
        assert_eq!(sending.next_turn(), None);
    }

    #[test]
    fn end_after_stop_is_the_same_on_every_channel() {
        let mut sending = written(10);
        sending.next_turn();
        sending.suspend();
        sending.resume(0, 3, W).unwrap();
        sending.stop(2).unwrap();
        for _ in 0..2 {
            assert_eq!(sending.next_turn(), Some(Turn::End { offset: 3 }));
            sending.suspend();
            sending.resume_stopped(2).unwrap();
        }
    }

    #[test]
    fn resume_beyond_sent_bytes_is_rejected() {
        let mut sending = written(100);
        sending.next_turn();
        sending.ack(40, W).unwrap();
        sending.suspend();
        for (offset, from, window) in [(39, 39, W), (101, 101, W), (60, 50, W), (40, 60, 19)] {
            assert!(
                sending.resume(offset, from, window).is_err(),
                "{offset} {from} {window}"
            );
        }
        assert!(sending.resume_stopped(101).is_err());
        assert_eq!(sending.resume(30, 40, W), Ok(()));
    }
}
