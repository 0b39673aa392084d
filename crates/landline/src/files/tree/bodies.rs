//! Sends and receives the two bodies of a tree's copy at the same time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use landline_proto::{
    BodyEnd, BodySize, ErrorCode, Message, ProtocolError, ProtocolState, limits::LINGER_TIME_MAX,
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::mpsc::{self, error::TryRecvError},
    time::Instant,
};

use crate::{
    Error,
    net::{Channel, DataFrame, Received},
};

/// The most bytes that are handed to the thread at once, unless a record is longer.
const CHUNK_BYTES: usize = 256 * 1024;
/// How long a thread of the server waits for a client that neither sends nor takes anything. It may
/// be making everything durable.
const STALL_TIME_MAX: Duration = Duration::from_secs(600);
/// How many chunks may wait to be sent.
const CHUNKS: usize = 4;
/// How many received chunks may wait: all answers to the entries that may be undecided fit, with
/// the longest paths, so that neither side waits for the other to read.
const INPUT_CHUNKS: usize = 160;

/// What a thread sends.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// More of the body.
    Bytes(Vec<u8>),
    /// The body ends here.
    End,
}

/// The ends of both bodies for the thread.
pub(in crate::files) struct ThreadEnds {
    out: mpsc::Sender<Outgoing>,
    pub(super) input: mpsc::Receiver<Vec<u8>>,
    /// Whether the thread waits for the peer.
    is_waiting: Arc<AtomicBool>,
}

/// The ends of both bodies for the connection.
pub(in crate::files) struct Bodies {
    out: mpsc::Receiver<Outgoing>,
    input: mpsc::Sender<Vec<u8>>,
    is_waiting: Arc<AtomicBool>,
    is_server: bool,
}

/// Makes the ends of both bodies, at a server or at a client.
pub(in crate::files) fn bodies(is_server: bool) -> (Bodies, ThreadEnds) {
    let (out_sender, out) = mpsc::channel(CHUNKS);
    let (input, input_receiver) = mpsc::channel(INPUT_CHUNKS);
    let is_waiting = Arc::new(AtomicBool::new(false));
    let ends = ThreadEnds {
        out: out_sender,
        input: input_receiver,
        is_waiting: is_waiting.clone(),
    };
    let connection = Bodies {
        out,
        input,
        is_waiting,
        is_server,
    };
    (connection, ends)
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
    pub(super) async fn run<M: Message + DeserializeOwned>(
        self,
        channel: &mut Channel,
        state: &ProtocolState,
        on_header: impl FnOnce(M),
    ) -> Result<(), Error> {
        let Self {
            mut out,
            input,
            is_waiting,
            is_server,
        } = self;
        // Bytes that were sent or received.
        let moved = AtomicU64::new(0);
        // Whether the peer's body has ended.
        let has_ended = AtomicBool::new(false);
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
                            frame.fill(|content| {
                                if let Some(place) = content.get_mut(..piece.len()) {
                                    place.copy_from_slice(piece);
                                }
                                Ok::<_, Error>(piece.len())
                            })?;
                            writer.send_data(&frame).await?;
                            moved.fetch_add(piece.len() as u64, Ordering::Relaxed);
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
                let problem = format!("in {:?}: \"size\" must be null", M::TYPE);
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
                        Received::Data(bytes) => {
                            moved.fetch_add(bytes as u64, Ordering::Relaxed);
                        }
                        Received::End(BodyEnd::GivenUp) => {
                            // The next message is the error that says why.
                            return Err(reader.interruption(state).await);
                        }
                        Received::End(_) => {
                            has_ended.store(true, Ordering::Relaxed);
                            break;
                        }
                    },
                }
            }
            if !buffer.is_empty() && input.send(buffer).await.is_err() {
                std::future::pending::<()>().await;
            }
            drop(input);
            Ok(())
        };
        let done = tokio::select! {
            done = both(sending, receiving) => done,
            error = stall(&is_waiting, &moved), if is_server => Err(error),
        };
        match done {
            Err(broken @ Error::Lost(_)) if has_ended.load(Ordering::Relaxed) => {
                let reason = reader.interruption(state);
                match tokio::time::timeout(LINGER_TIME_MAX, reason).await {
                    Ok(reason @ Error::Failed { .. }) => Err(reason),
                    _ => Err(broken),
                }
            }
            done => done,
        }
    }
}

/// Sends and receives until both have ended.
///
/// A peer that fails says why and closes, while bytes are on their way to it. Sending then breaks
/// before its reason was read.
async fn both(
    sending: impl Future<Output = Result<(), Error>>,
    receiving: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    tokio::pin!(sending, receiving);
    tokio::select! {
        received = &mut receiving => {
            received?;
            sending.await
        }
        sent = &mut sending => match sent {
            Ok(()) => receiving.await,
            Err(broken) => match tokio::time::timeout(LINGER_TIME_MAX, receiving).await {
                Ok(Err(reason @ Error::Failed { .. })) => Err(reason),
                _ => Err(broken),
            },
        },
    }
}

/// Waits until the thread has waited for the peer for [`STALL_TIME_MAX`], while no byte moved: it
/// must not be kept for as long as the peer likes.
async fn stall(is_waiting: &AtomicBool, moved: &AtomicU64) -> Error {
    let mut before = (moved.load(Ordering::Relaxed), Instant::now());
    loop {
        tokio::time::sleep(STALL_TIME_MAX / 8).await;
        let now = moved.load(Ordering::Relaxed);
        if now != before.0 || !is_waiting.load(Ordering::Relaxed) {
            before = (now, Instant::now());
        } else if before.1.elapsed() >= STALL_TIME_MAX {
            let message = "the copy did not move for ten minutes; run it again to continue";
            return Error::here(ErrorCode::Ended, message);
        }
    }
}

#[cfg(test)]
impl Bodies {
    /// The ends for a test that is the connection.
    pub(super) fn into_parts(self) -> (mpsc::Receiver<Outgoing>, mpsc::Sender<Vec<u8>>) {
        (self.out, self.input)
    }

    /// Hands bytes to the thread as if they were received. Returns whether there was space.
    pub(in crate::files) fn offer(&self, bytes: Vec<u8>) -> bool {
        self.input.try_send(bytes).is_ok()
    }
}

impl ThreadEnds {
    /// The ends for a task.
    pub(super) fn into_parts(self) -> (mpsc::Sender<Outgoing>, mpsc::Receiver<Vec<u8>>) {
        (self.out, self.input)
    }

    /// Sends bytes of this side's body.
    ///
    /// # Errors
    /// [`Error::Lost`] once the connection is gone.
    ///
    /// # Blocking
    /// Waits while the peer takes nothing.
    pub(in crate::files) fn send(&mut self, bytes: Vec<u8>) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.wait(|ends| ends.out.blocking_send(Outgoing::Bytes(bytes)))
            .map_err(|_| lost())
    }

    /// The next bytes of the peer's body; `None` at its end.
    ///
    /// # Blocking
    /// Waits while the peer sends nothing.
    pub(in crate::files) fn receive(&mut self) -> Option<Vec<u8>> {
        self.wait(|ends| ends.input.blocking_recv())
    }

    /// The next bytes of the peer's body if some have arrived; `Some(None)` at its end.
    pub(in crate::files) fn try_receive(&mut self) -> Option<Option<Vec<u8>>> {
        match self.input.try_recv() {
            Ok(bytes) => Some(Some(bytes)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(None),
        }
    }

    /// Does something that waits for the peer.
    fn wait<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.is_waiting.store(true, Ordering::Relaxed);
        let done = work(self);
        self.is_waiting.store(false, Ordering::Relaxed);
        done
    }

    /// Ends this side's body.
    ///
    /// # Errors
    /// [`Error::Lost`] once the connection is gone.
    ///
    /// # Blocking
    /// Waits while the peer takes nothing.
    pub(in crate::files) fn end(&mut self) -> Result<(), Error> {
        self.wait(|ends| ends.out.blocking_send(Outgoing::End))
            .map_err(|_| lost())
    }
}

fn lost() -> Error {
    Error::Lost("the copy was aborted".into())
}

#[cfg(test)]
mod tests {
    use landline_proto::{Limits, MessageDecoder, messages::ErrorMessage};

    use super::*;
    use crate::{
        files::tree::messages::{TREE, Tree},
        net::memory_pair,
    };

    #[tokio::test]
    async fn reason_of_a_peer_that_has_closed_is_read() {
        let (near, far) = memory_pair(1 << 20);
        let [mut near, mut far] =
            [near, far].map(|end| Channel::new(end, MessageDecoder::new(Limits::SESSION)));
        for channel in [&mut near, &mut far] {
            channel
                .send_with_body(&Tree::default(), BodySize::Unknown)
                .unwrap();
        }
        far.fail(&ErrorMessage::new(ErrorCode::NoSpace, "the disk is full"))
            .await;
        let (connection, mut ends) = bodies(false);
        let thread = std::thread::spawn(move || while ends.send(vec![0; 4096]).is_ok() {});
        let done = connection.run(&mut near, &TREE, |_: Tree| ()).await;
        assert_eq!(done.unwrap_err().code_str(), "no-space");
        thread.join().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_thread_that_waits_for_the_peer_is_ended() {
        let (is_waiting, moved) = (AtomicBool::new(false), AtomicU64::new(0));
        let long = 10 * STALL_TIME_MAX;
        // It works, for example on a slow disk.
        let busy = tokio::time::timeout(long, stall(&is_waiting, &moved)).await;
        assert!(busy.is_err());
        // It waits, but bytes move.
        is_waiting.store(true, Ordering::Relaxed);
        let flowing = async {
            loop {
                tokio::time::sleep(STALL_TIME_MAX / 2).await;
                moved.fetch_add(1, Ordering::Relaxed);
            }
        };
        tokio::select! {
            _ = stall(&is_waiting, &moved) => panic!("bytes moved"),
            () = flowing => {}
            () = tokio::time::sleep(long) => {}
        }
        let idle = tokio::time::timeout(long, stall(&is_waiting, &moved)).await;
        assert_eq!(idle.unwrap().code_str(), "ended");
    }
}
