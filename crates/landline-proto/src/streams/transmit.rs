//! What goes out on the channel, and in which order.

use super::{
    Bytes, End, Stop, Streams,
    send::{Sending, Turn},
};
use crate::{BodySize, Limits, Message, ProtocolError, frame, message};

impl Streams {
    /// Whether a message of the service waits to be sent. A service that answers without limit asks
    /// before.
    pub fn has_queued_control(&self) -> bool {
        !self.control.is_empty()
    }

    /// Queues a message of the service, ahead of everything about streams.
    ///
    /// # Errors
    /// [`ProtocolError::FrameSize`] when it is too long for a header.
    pub fn send_control<M: Message>(&mut self, message: &M) -> Result<(), ProtocolError> {
        message::encode(message, None, &Limits::SESSION, &mut self.control)
    }

    /// Appends what to send next to `out`: all control messages, or one message about a stream.
    ///
    /// Call it when the channel takes more, and not before, so that a control message never waits
    /// behind content. `false` if there is nothing to send now.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        if !self.control.is_empty() {
            out.append(&mut self.control);
            return true;
        }
        if self.resume.is_pending() {
            return self.transmit_resume(out);
        }
        self.transmit_urgent(out) || self.transmit_turn(out)
    }

    /// Puts a stream that has something to send into the queue where it belongs, once.
    pub(super) fn schedule(&mut self, number: u64) {
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        let urgent = stream
            .receive
            .as_ref()
            .is_some_and(|receive| receive.ack_due() || receive.stop_due());
        if urgent && !stream.is_urgent {
            stream.is_urgent = true;
            self.urgent.push_back(number);
        }
        if stream.send.as_ref().is_some_and(Sending::has_turn) && !stream.has_turn {
            stream.has_turn = true;
            self.turns.push_back(number);
        }
    }

    /// One `ack` or `stop`.
    fn transmit_urgent(&mut self, out: &mut Vec<u8>) -> bool {
        while let Some(number) = self.urgent.pop_front() {
            let Some(stream) = self.streams.get_mut(&number) else {
                continue;
            };
            stream.is_urgent = false;
            let Some(receive) = stream.receive.as_mut() else {
                continue;
            };
            if receive.stop_due() {
                receive.set_stop_sent();
                let offset = receive.consumed();
                append(
                    &Stop {
                        stream: number,
                        offset,
                    },
                    None,
                    out,
                );
                self.forget_if_closed(number);
                return true;
            }
            if receive.ack_due() {
                append(&receive.ack(number), None, out);
                return true;
            }
        }
        false
    }

    /// One `bytes` or `end`, of the stream whose turn it is.
    fn transmit_turn(&mut self, out: &mut Vec<u8>) -> bool {
        while let Some(number) = self.turns.pop_front() {
            let Some(stream) = self.streams.get_mut(&number) else {
                continue;
            };
            stream.has_turn = false;
            let Some(send) = stream.send.as_mut() else {
                continue;
            };
            match send.next_turn() {
                None => continue,
                Some(Turn::End { offset }) => {
                    append(
                        &End {
                            stream: number,
                            offset,
                        },
                        None,
                        out,
                    );
                }
                Some(Turn::Bytes {
                    offset,
                    length,
                    blocked,
                }) => {
                    let bytes = Bytes {
                        stream: number,
                        offset,
                        blocked,
                    };
                    append(&bytes, Some(BodySize::Known(length)), out);
                    out.extend_from_slice(&frame::prefix(length as usize));
                    send.copy(offset, length, out);
                    self.content_sent += length;
                }
            }
            self.schedule(number);
            self.forget_if_closed(number);
            return true;
        }
        false
    }
}

/// Appends a message about streams. It always fits: all but `resume` are a few integers, and
/// [`Numbers`](super::numbers::Numbers) bounds how many streams `resume` can list.
pub(super) fn append<M: Message>(message: &M, body: Option<BodySize>, out: &mut Vec<u8>) {
    let encoded = message::encode(message, body, &Limits::SESSION, out);
    debug_assert_eq!(encoded, Ok(()));
}
