//! The input of a command on its way to the server, and what of it may have to be sent again.

use std::collections::VecDeque;

use landline_proto::streams::Streams;

use super::messages::STDIN;

/// The program's input on its way to the server.
pub(super) struct ClientInput {
    /// What there is no credit for yet.
    waiting: VecDeque<u8>,
    /// What the server has not acknowledged, for another channel.
    unacknowledged: VecDeque<u8>,
    /// How many bytes came before these.
    acknowledged: u64,
    has_ended: bool,
    /// Whether nothing is given any more.
    pub(super) is_closed: bool,
    /// Whether the user leaves once all input is on its way.
    pub(super) is_leaving: bool,
}

impl ClientInput {
    pub(super) fn new(begin: u64) -> Self {
        Self {
            waiting: VecDeque::new(),
            unacknowledged: VecDeque::new(),
            acknowledged: begin,
            has_ended: false,
            is_closed: false,
            is_leaving: false,
        }
    }

    /// Whether the user leaves, and all input was given to the stream.
    pub(super) fn is_left(&self) -> bool {
        self.is_leaving && self.waiting.is_empty()
    }

    pub(super) fn takes_more(&self) -> bool {
        self.waiting.is_empty() && !self.is_closed
    }

    pub(super) fn push(&mut self, bytes: Vec<u8>, streams: &mut Streams) {
        if !self.has_ended {
            self.waiting = bytes.into();
            self.write(streams);
        }
    }

    pub(super) fn write(&mut self, streams: &mut Streams) {
        if let Some(offsets) = streams.offsets(STDIN) {
            let count = offsets.acknowledged.saturating_sub(self.acknowledged);
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            self.unacknowledged
                .drain(..count.min(self.unacknowledged.len()));
            self.acknowledged = self.acknowledged.max(offsets.acknowledged);
        }
        let waiting = self.waiting.make_contiguous();
        match streams.write(STDIN, waiting) {
            Some(written) => self.unacknowledged.extend(self.waiting.drain(..written)),
            None => self.waiting.clear(),
        }
        if self.has_ended && self.waiting.is_empty() {
            streams.finish(STDIN);
        }
    }

    /// Goes back to this offset, to send what comes after it again; `false` if it is not here.
    pub(super) fn go_back(&mut self, offset: u64) -> bool {
        let Some(count) = offset.checked_sub(self.acknowledged) else {
            return false;
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > self.unacknowledged.len() {
            return false;
        }
        self.unacknowledged.drain(..count);
        self.acknowledged = offset;
        let mut waiting = std::mem::take(&mut self.unacknowledged);
        waiting.append(&mut self.waiting);
        self.waiting = waiting;
        true
    }

    /// Continues at this offset, without what was not acknowledged.
    pub(super) fn begin_at(&mut self, offset: u64) {
        self.unacknowledged.clear();
        self.acknowledged = offset;
    }

    pub(super) fn finish(&mut self, streams: &mut Streams) {
        self.has_ended = true;
        if self.waiting.is_empty() {
            streams.finish(STDIN);
        }
    }

    /// The program reads no more: what comes is dropped.
    pub(super) fn stop(&mut self, streams: &mut Streams) {
        self.waiting.clear();
        self.unacknowledged.clear();
        self.has_ended = true;
        streams.finish(STDIN);
    }
}
