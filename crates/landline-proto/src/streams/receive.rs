//! The receiver's half of one stream.

use super::{
    OFFSET_MAX, Read,
    buffer::Buffer,
    messages::{Ack, ResumeEntry},
    violation::StreamViolation,
};
use crate::limits::STREAM_WINDOW_INITIAL;

/// Checks what arrives, keeps it for the reader, and gives credit for what the reader consumed.
#[derive(Debug)]
pub(super) struct Receiving {
    /// The bytes from `consumed` to `received`; empty once the reader has stopped.
    data: Buffer,
    consumed: u64,
    received: u64,
    /// What this side has acknowledged.
    acked: u64,
    /// Where the credit ends that was given to the peer.
    limit: u64,
    /// How far the credit reaches beyond what is consumed.
    window: u64,
    window_max: u64,
    /// The window grew, and the peer has not been told.
    grant_due: bool,
    /// The peer said last that it ran out of credit.
    blocked: bool,
    end: Option<u64>,
    end_on_this_channel: bool,
    /// The reader reads no more: it has everything, or wants no more.
    stopped: bool,
    stop_sent: bool,
}

impl Receiving {
    /// A receiver that has consumed everything before `from`.
    pub(super) fn new(from: u64, window: u64, window_max: u64) -> Self {
        Self {
            data: Buffer::default(),
            consumed: from,
            received: from,
            acked: from,
            limit: from.saturating_add(STREAM_WINDOW_INITIAL).min(OFFSET_MAX),
            window,
            window_max,
            grant_due: window > STREAM_WINDOW_INITIAL,
            blocked: false,
            end: None,
            end_on_this_channel: false,
            stopped: false,
            stop_sent: false,
        }
    }

    pub(super) fn consumed(&self) -> u64 {
        self.consumed
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn buffered(&self) -> u64 {
        self.data.len()
    }

    /// What may be buffered beyond what every stream may buffer.
    pub(super) fn extra(&self) -> u64 {
        self.window.saturating_sub(STREAM_WINDOW_INITIAL)
    }

    /// Checks a header of content.
    pub(super) fn begin(
        &mut self,
        offset: u64,
        size: u64,
        blocked: bool,
    ) -> Result<(), StreamViolation> {
        if self.end.is_some() {
            return Err(StreamViolation::Ended);
        }
        if offset != self.received {
            return Err(StreamViolation::Offset {
                found: offset,
                min: self.received,
                max: self.received,
            });
        }
        if size == 0 {
            return Err(StreamViolation::Empty);
        }
        let found = offset.saturating_add(size);
        if found > self.limit {
            return Err(StreamViolation::Credit {
                found,
                limit: self.limit,
            });
        }
        self.blocked = blocked;
        Ok(())
    }

    /// Takes content that [`Receiving::begin`] has let pass.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.received += bytes.len() as u64;
        if !self.stopped {
            self.data.push(bytes);
        }
    }

    pub(super) fn end(&mut self, offset: u64) -> Result<(), StreamViolation> {
        if self.end_on_this_channel {
            return Err(StreamViolation::Ended);
        }
        // Of a stream that was stopped, a lost channel may have swallowed the last bytes, and a
        // new process of the sender does not know which ones it had sent.
        let (min, max) = if self.stopped {
            (self.consumed, self.limit)
        } else {
            (self.received, self.received)
        };
        let is_other = self.end.is_some_and(|end| end != offset) && !self.stopped;
        if !(min..=max).contains(&offset) || is_other {
            return Err(StreamViolation::Offset {
                found: offset,
                min,
                max,
            });
        }
        self.end = Some(offset);
        self.end_on_this_channel = true;
        self.stopped |= self.consumed == offset;
        Ok(())
    }

    pub(super) fn peek(&self, skip: u64) -> Read<'_> {
        let part = self.data.part(skip);
        if !part.is_empty() {
            Read::Bytes(part)
        } else if self.end.is_some() || self.stopped {
            Read::End
        } else {
            Read::Waiting
        }
    }

    /// The reader has done its part with the next bytes. The window grows by what is free if it
    /// kept the sender waiting and the reader did not.
    pub(super) fn consume(&mut self, bytes: u64, extra_free: u64) {
        let bytes = bytes.min(self.data.len());
        self.data.drop_front(bytes);
        self.consumed += bytes;
        if self.consumed < self.received || self.stopped {
            return;
        }
        if self.end == Some(self.consumed) {
            self.stopped = true;
        } else if self.blocked {
            let own_share = STREAM_WINDOW_INITIAL.saturating_sub(self.window);
            let more = self
                .window
                .min(self.window_max.saturating_sub(self.window))
                .min(own_share.saturating_add(extra_free));
            self.window += more;
            self.grant_due |= more > 0;
            self.blocked = false;
        }
    }

    /// The reader reads no more.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.data.clear();
    }

    pub(super) fn ack_due(&self) -> bool {
        let news = self.consumed - self.acked;
        let has_caught_up = self.consumed == self.received;
        !self.stopped
            && (self.grant_due || news > 0 && (has_caught_up || news >= self.window.div_ceil(2)))
    }

    /// The acknowledgement that is due; the credit in it is given.
    pub(super) fn ack(&mut self, stream: u64) -> Ack {
        self.grant();
        Ack {
            stream,
            offset: self.consumed,
            window: self.limit - self.consumed,
        }
    }

    pub(super) fn stop_due(&self) -> bool {
        self.stopped && !self.stop_sent
    }

    pub(super) fn set_stop_sent(&mut self) {
        self.stop_sent = true;
    }

    /// Takes the lost channel into account: the peer says the end again.
    pub(super) fn suspend(&mut self) {
        self.end_on_this_channel = false;
    }

    /// What to say on a new channel.
    pub(super) fn resume_entry(&mut self, stream: u64) -> ResumeEntry {
        if self.stopped {
            self.stop_sent = true;
        } else {
            self.grant();
        }
        let reads = !self.stopped;
        ResumeEntry {
            stream,
            offset: Some(self.consumed),
            window: reads.then_some(self.limit - self.consumed),
            from: (reads && self.received > self.consumed).then_some(self.received),
        }
    }

    /// Both last words are said.
    pub(super) fn is_closed(&self) -> bool {
        self.end_on_this_channel && self.stop_sent
    }

    fn grant(&mut self) {
        let limit = self.consumed.saturating_add(self.window).min(OFFSET_MAX);
        self.limit = self.limit.max(limit);
        self.acked = self.consumed;
        self.grant_due = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const W: u64 = STREAM_WINDOW_INITIAL;

    fn receiving() -> Receiving {
        Receiving::new(0, W, 8 * W)
    }

    fn feed(receiving: &mut Receiving, bytes: usize, blocked: bool) {
        receiving
            .begin(receiving.received, bytes as u64, blocked)
            .unwrap();
        receiving.push(&vec![1; bytes]);
    }

    #[test]
    fn content_beyond_credit_is_rejected_at_header() {
        let mut receiving = receiving();
        feed(&mut receiving, 65_000, false);
        let result = receiving.begin(65_000, 537, false);
        assert_eq!(
            result,
            Err(StreamViolation::Credit {
                found: 65_537,
                limit: 65_536
            })
        );
        feed(&mut receiving, 536, false);
    }

    #[test]
    fn credit_counts_only_when_sent() {
        let mut receiving = receiving();
        feed(&mut receiving, 65_536, false);
        receiving.consume(65_536, 0);
        assert!(receiving.begin(W, 1, false).is_err());
        assert!(receiving.ack_due());
        let ack = receiving.ack(5);
        assert_eq!((ack.offset, ack.window), (65_536, 65_536));
        feed(&mut receiving, 65_536, false);
    }

    #[test]
    fn content_of_wrong_size_or_offset_is_rejected() {
        let mut receiving = receiving();
        feed(&mut receiving, 10, false);
        assert_eq!(receiving.begin(10, 0, false), Err(StreamViolation::Empty));
        for found in [0, 9, 11, OFFSET_MAX] {
            assert_eq!(
                receiving.begin(found, 1, false),
                Err(StreamViolation::Offset {
                    found,
                    min: 10,
                    max: 10
                })
            );
        }
    }

    #[test]
    fn ack_is_due_after_half_a_window() {
        let mut receiving = receiving();
        feed(&mut receiving, 65_536, false);
        assert!(!receiving.ack_due());
        receiving.consume(32_767, 0);
        assert!(!receiving.ack_due());
        receiving.consume(1, 0);
        assert!(receiving.ack_due());
        receiving.ack(0);
        feed(&mut receiving, 1, false);
        receiving.consume(32_768, 0);
        receiving.ack(0);
        receiving.consume(1, 0);
        assert!(receiving.ack_due());
    }

    #[test]
    fn window_grows_only_if_sender_is_blocked() {
        let mut receiving = receiving();
        feed(&mut receiving, 65_536, false);
        receiving.consume(65_536, u64::MAX);
        receiving.ack(0);
        assert_eq!(receiving.window, W, "the sender was not blocked");
        feed(&mut receiving, 65_536, true);
        receiving.consume(65_535, u64::MAX);
        assert_eq!(receiving.window, W, "the reader lags");
        receiving.consume(1, u64::MAX);
        assert_eq!(receiving.window, 2 * W);
        assert_eq!(receiving.ack(0).window, 2 * W);
    }

    #[test]
    fn window_stays_within_maximum_and_pool() {
        let mut receiving = receiving();
        for (free, expected) in [(10, W + 10), (0, W + 10), (u64::MAX, 2 * W + 20)] {
            feed(&mut receiving, 1, true);
            receiving.consume(1, free);
            assert_eq!(receiving.window, expected);
            receiving.ack(0);
        }
        for _ in 0..5 {
            feed(&mut receiving, 1, true);
            receiving.consume(1, u64::MAX);
        }
        assert_eq!(receiving.window, 8 * W);
    }

    #[test]
    fn stopped_stream_discards_without_credit() {
        let mut receiving = receiving();
        feed(&mut receiving, 1000, false);
        receiving.stop();
        assert_eq!(receiving.buffered(), 0);
        feed(&mut receiving, 60_000, false);
        assert_eq!(receiving.buffered(), 0);
        assert!(!receiving.ack_due() && receiving.stop_due());
        let result = receiving.begin(61_000, 10_000, false);
        assert!(matches!(result, Err(StreamViolation::Credit { .. })));
        assert_eq!(receiving.peek(0), Read::End);
    }

    #[test]
    fn end_is_read_after_the_last_byte() {
        let mut receiving = receiving();
        feed(&mut receiving, 5, false);
        receiving.end(5).unwrap();
        assert_eq!(receiving.peek(0), Read::Bytes(&[1; 5]));
        assert!(!receiving.stop_due());
        receiving.consume(9, 0);
        assert_eq!(receiving.peek(0), Read::End);
        assert!(receiving.stop_due() && !receiving.is_closed());
        receiving.set_stop_sent();
        assert!(receiving.is_closed());
    }

    #[test]
    fn end_comes_once_at_received_length() {
        let mut receiving = receiving();
        feed(&mut receiving, 5, false);
        for offset in [0, 4, 6] {
            assert!(receiving.end(offset).is_err(), "{offset}");
        }
        receiving.end(5).unwrap();
        assert_eq!(receiving.end(5), Err(StreamViolation::Ended));
        let result = receiving.begin(5, 1, false);
        assert_eq!(result, Err(StreamViolation::Ended));
    }

    #[test]
    fn new_channel_asks_for_first_missing_byte() {
        let mut receiving = receiving();
        feed(&mut receiving, 100, false);
        receiving.consume(30, 0);
        receiving.suspend();
        let entry = receiving.resume_entry(4);
        assert_eq!(entry.stream, 4);
        assert_eq!(
            (entry.offset, entry.window, entry.from),
            (Some(30), Some(W), Some(100))
        );
        feed(&mut receiving, 65_466, false);
        assert_eq!(receiving.buffered(), W);
    }

    #[test]
    fn end_is_repeated_on_a_new_channel() {
        let mut receiving = receiving();
        feed(&mut receiving, 5, false);
        receiving.end(5).unwrap();
        receiving.suspend();
        assert_eq!(receiving.resume_entry(0).from, Some(5));
        assert!(receiving.end(6).is_err());
        assert_eq!(receiving.end(5), Ok(()));
        assert_eq!(receiving.end(5), Err(StreamViolation::Ended));
    }

    #[test]
    fn stop_is_repeated_on_a_new_channel() {
        let mut receiving = receiving();
        feed(&mut receiving, 50, false);
        receiving.consume(20, 0);
        receiving.stop();
        receiving.suspend();
        let entry = receiving.resume_entry(0);
        assert_eq!(
            (entry.offset, entry.window, entry.from),
            (Some(20), None, None)
        );
        assert!(!receiving.stop_due());
        assert_eq!(receiving.end(70), Ok(()), "20 bytes were lost on the way");
        assert!(receiving.is_closed());
    }
}
