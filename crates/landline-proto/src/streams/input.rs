//! What arrives on the channel.

use super::{
    Ack, Bytes, End, Resume, STATE, Stop, StreamEvent, StreamViolation, Streams,
    resume::out_of_turn,
};
use crate::{BodySize, Header, Message, ProtocolError};

impl Streams {
    /// Takes a header that [`is_stream_message`](super::is_stream_message). The body of a `bytes`
    /// goes to [`Streams::handle_data`].
    ///
    /// # Errors
    /// What section 13 of the protocol calls a violation; the channel is then lost.
    pub fn handle_header(&mut self, header: &Header) -> Result<(), ProtocolError> {
        if let Some((_, missing)) = self.body.take() {
            return Err(ProtocolError::BodySize {
                declared: missing,
                found: 0,
            });
        }
        STATE.check(header)?;
        if header.kind() == Resume::TYPE {
            return self.handle_resume(header.read()?);
        }
        if self.resume.is_awaited() {
            return Err(out_of_turn(header.kind(), Resume::TYPE));
        }
        match (header.kind(), header.body()) {
            (Bytes::TYPE, Some(BodySize::Known(size))) => self.handle_bytes(&header.read()?, size),
            (Ack::TYPE, _) => self.handle_ack(&header.read()?),
            (End::TYPE, _) => self.handle_end(&header.read()?),
            (Stop::TYPE, _) => self.handle_stop(&header.read()?),
            (kind, _) => Err(out_of_turn(kind, &STATE.expected())),
        }
    }

    /// Takes the next bytes of the body of a `bytes`, as they arrive.
    ///
    /// # Errors
    /// [`ProtocolError::BodySize`] for more bytes than the header announced.
    pub fn handle_data(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        let found = bytes.len() as u64;
        let (stream, missing) = self.body.take().unwrap_or_default();
        if found > missing {
            return Err(ProtocolError::BodySize {
                declared: missing,
                found,
            });
        }
        if found < missing {
            self.body = Some((stream, missing - found));
        }
        if let Some(receive) = self.receiving(stream) {
            receive.push(bytes);
            self.events.push_back(StreamEvent::Readable { stream });
        }
        Ok(())
    }

    /// What happened next. Take all of it after each input.
    pub fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }

    fn handle_bytes(&mut self, bytes: &Bytes, size: u64) -> Result<(), ProtocolError> {
        let stream = bytes.stream;
        self.receiving(stream)
            .ok_or(StreamViolation::NotOpen)
            .and_then(|receive| receive.begin(bytes.offset, size, bytes.blocked))
            .map_err(|violation| violation.on(stream))?;
        self.body = Some((stream, size));
        Ok(())
    }

    fn handle_ack(&mut self, ack: &Ack) -> Result<(), ProtocolError> {
        let stream = ack.stream;
        self.sending(stream)
            .ok_or(StreamViolation::NotOpen)
            .and_then(|send| send.ack(ack.offset, ack.window))
            .map_err(|violation| violation.on(stream))?;
        self.events.push_back(StreamEvent::Writable { stream });
        self.schedule(stream);
        Ok(())
    }

    fn handle_end(&mut self, end: &End) -> Result<(), ProtocolError> {
        let stream = end.stream;
        self.receiving(stream)
            .ok_or(StreamViolation::NotOpen)
            .and_then(|receive| receive.end(end.offset))
            .map_err(|violation| violation.on(stream))?;
        self.events.push_back(StreamEvent::Readable { stream });
        self.schedule(stream);
        self.forget_if_closed(stream);
        Ok(())
    }

    fn handle_stop(&mut self, stop: &Stop) -> Result<(), ProtocolError> {
        let (stream, offset) = (stop.stream, stop.offset);
        self.sending(stream)
            .ok_or(StreamViolation::NotOpen)
            .and_then(|send| send.stop(offset))
            .map_err(|violation| violation.on(stream))?;
        self.events
            .push_back(StreamEvent::Stopped { stream, offset });
        self.schedule(stream);
        self.forget_if_closed(stream);
        Ok(())
    }
}
