//! The client's part of requests about entries.

use landline_proto::{BodyEnd, Message};

use super::{
    messages::{FAILED, RECORDS},
    records::{FileRecord, RecordDecoder},
};
use crate::{
    Error,
    net::{Channel, Received},
};

/// Sends a request about entries on a channel that has served another one.
///
/// # Errors
/// An error that the server sends, [`Error::Lost`], [`Error::Protocol`] if the path is
/// too long for a header.
pub async fn send(channel: &mut Channel, request: &impl Message) -> Result<(), Error> {
    channel.send(request)?;
    channel.flush().await
}

/// The records that answer a request.
///
/// After the last one, and after an error of the server that answers the request, the channel can
/// carry a further request.
pub struct RecordStream<'a> {
    channel: &'a mut Channel,
    decoder: RecordDecoder,
    buffer: Vec<u8>,
    state: StreamState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StreamState {
    /// The answer has not begun.
    Waiting,
    /// Within the body.
    Body,
    /// The last record was received, and the end of the body was not.
    Ending,
    /// After a body that ended early: an error follows.
    Failed,
    /// After the body.
    Ended,
}

impl<'a> RecordStream<'a> {
    /// The records that answer the request which was sent last.
    pub fn new(channel: &'a mut Channel) -> Self {
        Self {
            channel,
            decoder: RecordDecoder::default(),
            buffer: Vec::new(),
            state: StreamState::Waiting,
        }
    }

    /// The next records, as many as have arrived; `None` after the last ones.
    ///
    /// # Errors
    /// An error that the server sends, also in the middle; [`Error::Lost`], [`Error::Protocol`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next_batch(&mut self) -> Result<Option<Vec<FileRecord>>, Error> {
        let mut batch = Vec::new();
        loop {
            match self.state {
                StreamState::Waiting => {
                    self.channel.receive(&RECORDS).await?;
                    self.state = StreamState::Body;
                }
                StreamState::Body => match self.decoder.next_record()? {
                    Some(FileRecord::End(_)) => self.state = StreamState::Ending,
                    Some(record) => batch.push(record),
                    None if batch.is_empty() => self.receive().await?,
                    None => return Ok(Some(batch)),
                },
                StreamState::Failed => {
                    self.channel.receive(&FAILED).await?;
                }
                StreamState::Ending if batch.is_empty() => {
                    self.receive().await?;
                    self.decoder.finish()?;
                }
                StreamState::Ended if batch.is_empty() => return Ok(None),
                StreamState::Ending | StreamState::Ended => return Ok(Some(batch)),
            }
        }
    }

    /// Receives more of the body.
    async fn receive(&mut self) -> Result<(), Error> {
        match self.channel.receive_data(&mut self.buffer).await? {
            Received::Data(_) => {
                self.decoder.extend(&self.buffer);
                self.buffer.clear();
            }
            Received::End(BodyEnd::Complete) if self.state == StreamState::Ending => {
                self.state = StreamState::Ended;
            }
            Received::End(_) => self.state = StreamState::Failed,
        }
        Ok(())
    }
}
