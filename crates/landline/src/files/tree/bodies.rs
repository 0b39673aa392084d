//! Sends and receives the two bodies of a tree's copy at the same time.

use landline_proto::{BodyEnd, BodySize, Message, ProtocolError, ProtocolState};
use tokio::sync::mpsc;

use super::messages::Tree;
use crate::{
    Error,
    net::{Channel, DataFrame, Received},
};

/// The most bytes that are handed to the thread at once, unless a record is longer.
const CHUNK_BYTES: usize = 256 * 1024;
/// How many chunks may wait in each direction.
const CHUNKS: usize = 4;

/// What a thread sends.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// More of the body.
    Bytes(Vec<u8>),
    /// The body ends here.
    End,
}

/// The ends of both bodies for the thread.
pub(super) struct ThreadEnds {
    pub(super) out: mpsc::Sender<Outgoing>,
    pub(super) input: mpsc::Receiver<Vec<u8>>,
}

/// The ends of both bodies for the connection.
pub(super) struct Bodies {
    out: mpsc::Receiver<Outgoing>,
    input: mpsc::Sender<Vec<u8>>,
}

/// Makes the ends of both bodies.
pub(super) fn bodies() -> (Bodies, ThreadEnds) {
    let (out_sender, out) = mpsc::channel(CHUNKS);
    let (input, input_receiver) = mpsc::channel(CHUNKS);
    let ends = ThreadEnds {
        out: out_sender,
        input: input_receiver,
    };
    (Bodies { out, input }, ends)
}

impl Bodies {
    /// Sends and receives until both bodies have ended. The header of this side's body was queued,
    /// that of the peer's body was received if `has_header`; otherwise it is due in `state`.
    ///
    /// If the thread ends early, this waits for ever: the thread's error says why.
    ///
    /// # Errors
    /// Errors of the peer, [`Error::Protocol`], [`Error::Lost`].
    ///
    /// # Cancel safety
    /// Not cancel-safe.
    pub(super) async fn run(
        self,
        channel: &mut Channel,
        state: &ProtocolState,
        on_header: impl FnOnce(Tree),
    ) -> Result<(), Error> {
        let Self { mut out, input } = self;
        let rate_limiter = channel.rate_limiter();
        let Channel { reader, writer, .. } = channel;
        let sending = async {
            let mut frame = DataFrame::new();
            loop {
                let next = match out.try_recv() {
                    Ok(next) => Some(next),
                    Err(_) => {
                        writer.flush().await?;
                        out.recv().await
                    }
                };
                match next {
                    Some(Outgoing::Bytes(bytes)) => {
                        for piece in bytes.chunks(DataFrame::CONTENT_BYTES) {
                            if let Some(rate_limiter) = &rate_limiter {
                                rate_limiter.ready().await;
                            }
                            frame.fill(|content| {
                                if let Some(place) = content.get_mut(..piece.len()) {
                                    place.copy_from_slice(piece);
                                }
                                Ok::<_, Error>(piece.len())
                            })?;
                            writer.send_data(&frame).await?;
                        }
                    }
                    Some(Outgoing::End) => {
                        writer.end_body();
                        return writer.flush().await;
                    }
                    None => std::future::pending().await,
                }
            }
        };
        let receiving = async {
            let header = reader.receive(state).await?;
            if header.body() != Some(BodySize::Unknown) {
                let problem = format!("in {:?}: \"size\" must be null", Tree::TYPE);
                return Err(ProtocolError::BadHeader(problem).into());
            }
            on_header(header.read()?);
            let mut buffer = Vec::new();
            loop {
                // The thread gets what was received as soon as it takes it. A busy thread gets more
                // at a time.
                let has_input = !buffer.is_empty();
                let is_full = buffer.len() >= CHUNK_BYTES;
                tokio::select! {
                    biased;
                    permit = input.reserve(), if has_input => match permit {
                        Ok(permit) => permit.send(std::mem::take(&mut buffer)),
                        Err(_) => std::future::pending().await,
                    },
                    received = reader.receive_data(&mut buffer), if !is_full => match received? {
                        Received::Data(_) => {}
                        Received::End(BodyEnd::GivenUp) => {
                            // The next message is the error that says why.
                            return Err(reader.interruption(state).await);
                        }
                        Received::End(_) => break,
                    },
                }
            }
            if !buffer.is_empty() && input.send(buffer).await.is_err() {
                std::future::pending::<()>().await;
            }
            drop(input);
            Ok(())
        };
        tokio::try_join!(sending, receiving)?;
        Ok(())
    }
}

impl ThreadEnds {
    /// Sends bytes of this side's body.
    ///
    /// # Errors
    /// [`Error::Lost`] once the connection is gone.
    ///
    /// # Blocking
    /// Waits while the peer takes nothing.
    pub(super) fn send(&self, bytes: Vec<u8>) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.out
            .blocking_send(Outgoing::Bytes(bytes))
            .map_err(|_| lost())
    }

    /// Ends this side's body.
    ///
    /// # Errors
    /// [`Error::Lost`] once the connection is gone.
    pub(super) fn end(&self) -> Result<(), Error> {
        self.out.blocking_send(Outgoing::End).map_err(|_| lost())
    }
}

fn lost() -> Error {
    Error::Lost("the copy was aborted".into())
}
