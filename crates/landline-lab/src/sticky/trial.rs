//! One transport in one scenario, with real sockets.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use landline_proto::frame::{FrameDecoder, FramePart, PREFIX_BYTES, prefix};

use super::{BUFFER_BYTES, Message, Overrun, Part, PartKind, Receive, Scenario, Transport, Trial};
use crate::pair;

/// The pause between two small sends.
const PAUSE: Duration = Duration::from_millis(2);
/// The time for which the slow reader waits after the last send.
const SLEEP: Duration = Duration::from_millis(100);
/// The time limit for everything that must happen.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time after which no datagram is on its way on loopback.
const SILENCE: Duration = Duration::from_millis(150);
/// The overrun sends 8 MB, twice the usual buffers of a connection.
const OVERRUN_MESSAGES: usize = 8000;
const OVERRUN_BYTES: usize = 1000;
/// The time for which the reader of an overrun sleeps.
const OVERRUN_SLEEP: Duration = Duration::from_millis(300);
/// The maximum length of a frame in the lab.
const FRAME_BYTES_MAX: u32 = 1 << 16;

pub(super) fn run(
    transport: Transport,
    scenario: Scenario,
    sent: Vec<Message>,
) -> io::Result<Trial> {
    let (receives, decoded) = match transport {
        Transport::Datagrams => (datagrams(scenario, &sent)?, None),
        _ => stream(transport, scenario, &sent)?,
    };
    Ok(Trial {
        transport,
        scenario,
        sent,
        receives,
        decoded,
    })
}

/// Two ends of a connection that have exchanged a few bytes.
///
/// After that the reader delays its acknowledgements, to send them along with data.
fn warm_pair() -> io::Result<(TcpStream, TcpStream)> {
    let (mut sender, mut reader) = pair::connect()?;
    for stream in [&sender, &reader] {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
    }
    for _ in 0..4 {
        let mut byte = [0];
        sender.write_all(b"?")?;
        reader.read_exact(&mut byte)?;
        reader.write_all(b"!")?;
        sender.read_exact(&mut byte)?;
    }
    Ok((sender, reader))
}

fn stream(
    transport: Transport,
    scenario: Scenario,
    sent: &[Message],
) -> io::Result<(Vec<Receive>, Option<Vec<usize>>)> {
    let (mut sender, mut reader) = warm_pair()?;
    sender.set_nodelay(transport == Transport::NoDelay)?;
    let is_framed = transport == Transport::Framed;
    let sends: Vec<Vec<u8>> = sent
        .iter()
        .map(|message| encode(&message.payload, is_framed))
        .collect();
    let wire = sends.concat();
    let layout = layout(sent, is_framed);
    let (all_sent, wait) = mpsc::channel();
    let start = Instant::now();
    thread::scope(|scope| {
        // The sender keeps the connection open until all was read, since closing would flush it.
        let sending =
            scope.spawn(|| send_all(&sends, scenario, |bytes| sender.write_all(bytes), all_sent));
        delay_reader(scenario, &wait);
        let mut receives = Vec::new();
        let mut decoder = is_framed.then(LengthDecoder::default);
        let mut received = 0;
        let mut buffer = [0; BUFFER_BYTES];
        while received < wire.len() {
            let count = reader.read(&mut buffer)?;
            let arrived = buffer.get(..count).unwrap_or_default();
            if count == 0 || wire.get(received..received + count) != Some(arrived) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "what arrived is not what was sent",
                ));
            }
            receives.push(Receive {
                at: start.elapsed(),
                parts: parts_in_range(&layout, received, count),
            });
            if let Some(decoder) = &mut decoder {
                decoder.decode(arrived)?;
            }
            received += count;
        }
        sending
            .join()
            .map_err(|_| io::Error::other("the sender failed"))??;
        Ok((receives, decoder.map(|decoder| decoder.done)))
    })
}

fn datagrams(scenario: Scenario, sent: &[Message]) -> io::Result<Vec<Receive>> {
    let (reader, sender) = pair::connect_datagrams()?;
    reader.set_read_timeout(Some(SILENCE))?;
    let sends: Vec<Vec<u8>> = sent.iter().map(|message| message.payload.clone()).collect();
    let (all_sent, wait) = mpsc::channel();
    let start = Instant::now();
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            send_all(
                &sends,
                scenario,
                |bytes| sender.send(bytes).map(|_| ()),
                all_sent,
            )
        });
        delay_reader(scenario, &wait);
        let mut receives = Vec::new();
        let mut buffer = [0; BUFFER_BYTES];
        let mut next = 0;
        while receives.len() < sent.len() {
            let count = match reader.recv(&mut buffer) {
                Ok(count) => count,
                Err(error) if is_timeout(&error) => break,
                Err(error) => return Err(error),
            };
            // Datagrams on loopback keep their order, and some may be lost.
            let arrived = buffer.get(..count);
            let mut rest = (1..).zip(&sends).skip(next);
            let (message, whole) = rest
                .find(|(_, bytes)| bytes.get(..bytes.len().min(BUFFER_BYTES)) == arrived)
                .ok_or_else(|| {
                    io::Error::new(io::ErrorKind::InvalidData, "an unknown datagram arrived")
                })?;
            next = message;
            let part = Part {
                message,
                kind: PartKind::Payload,
                offset: 0,
                bytes: count,
                whole_bytes: whole.len(),
            };
            receives.push(Receive {
                at: start.elapsed(),
                parts: vec![part],
            });
        }
        sending
            .join()
            .map_err(|_| io::Error::other("the sender failed"))??;
        Ok(receives)
    })
}

/// Sends the messages of a scenario, then notifies the reader.
fn send_all(
    sends: &[Vec<u8>],
    scenario: Scenario,
    mut send: impl FnMut(&[u8]) -> io::Result<()>,
    all_sent: mpsc::Sender<()>,
) -> io::Result<()> {
    for bytes in sends {
        send(bytes)?;
        if scenario == Scenario::SmallSends {
            thread::sleep(PAUSE);
        }
    }
    // This fails if the reader has failed.
    let _ = all_sent.send(());
    Ok(())
}

fn delay_reader(scenario: Scenario, all_sent: &mpsc::Receiver<()>) {
    if scenario != Scenario::SmallSends {
        let _ = all_sent.recv_timeout(PATIENCE);
    }
    if scenario == Scenario::SlowReader {
        thread::sleep(SLEEP);
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn encode(payload: &[u8], is_framed: bool) -> Vec<u8> {
    let mut wire = if is_framed {
        prefix(payload.len()).to_vec()
    } else {
        Vec::new()
    };
    wire.extend_from_slice(payload);
    wire
}

/// The parts of the stream as it is sent.
fn layout(sent: &[Message], is_framed: bool) -> Vec<Part> {
    let whole = |message, kind, bytes| Part {
        message,
        kind,
        offset: 0,
        bytes,
        whole_bytes: bytes,
    };
    (1..)
        .zip(sent)
        .flat_map(|(number, message)| {
            let length = is_framed.then(|| whole(number, PartKind::Length, PREFIX_BYTES));
            let payload = whole(number, PartKind::Payload, message.payload.len());
            length.into_iter().chain([payload])
        })
        .collect()
}

/// The parts in `count` bytes of the stream from the offset `from`.
pub(super) fn parts_in_range(layout: &[Part], from: usize, count: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut start = 0;
    for whole in layout {
        let end = start + whole.bytes;
        let first = from.max(start);
        let last = (from + count).min(end);
        if first < last {
            parts.push(Part {
                offset: first - start,
                bytes: last - first,
                ..*whole
            });
        }
        start = end;
    }
    parts
}

/// landline's frame decoder, with the lengths of the payloads that it returned.
#[derive(Default)]
struct LengthDecoder {
    decoder: FrameDecoder,
    open: usize,
    done: Vec<usize>,
}

impl LengthDecoder {
    fn decode(&mut self, mut input: &[u8]) -> io::Result<()> {
        let wrong = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{error}"));
        while let Some(part) = self
            .decoder
            .decode(&mut input, FRAME_BYTES_MAX)
            .map_err(wrong)?
        {
            match part {
                FramePart::Start(_) => self.open = 0,
                FramePart::Payload(bytes) => self.open += bytes.len(),
                FramePart::End => self.done.push(self.open),
            }
        }
        Ok(())
    }
}

/// Sends far more than fits while the reader sleeps.
pub(super) fn overrun(transport: Transport) -> io::Result<Overrun> {
    let (arrived, send_time) = match transport {
        Transport::Datagrams => overrun_datagrams()?,
        _ => overrun_stream(transport)?,
    };
    Ok(Overrun {
        transport,
        sent: OVERRUN_MESSAGES,
        arrived,
        send_time,
    })
}

fn overrun_stream(transport: Transport) -> io::Result<(usize, Duration)> {
    let (mut sender, mut reader) = warm_pair()?;
    sender.set_nodelay(transport == Transport::NoDelay)?;
    let is_framed = transport == Transport::Framed;
    let message = encode(&[b'x'; OVERRUN_BYTES], is_framed);
    let total = message.len() * OVERRUN_MESSAGES;
    thread::scope(|scope| {
        let sending = scope.spawn(|| -> io::Result<Duration> {
            let start = Instant::now();
            for _ in 0..OVERRUN_MESSAGES {
                sender.write_all(&message)?;
            }
            Ok(start.elapsed())
        });
        thread::sleep(OVERRUN_SLEEP);
        let mut decoder = is_framed.then(LengthDecoder::default);
        let mut received = 0;
        let mut buffer = vec![0; 1 << 16];
        while received < total {
            let count = reader.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            if let Some(decoder) = &mut decoder {
                decoder.decode(buffer.get(..count).unwrap_or_default())?;
            }
            received += count;
        }
        let sending = sending
            .join()
            .map_err(|_| io::Error::other("the sender failed"))??;
        Ok((
            decoder.map_or(received / message.len(), |decoder| decoder.done.len()),
            sending,
        ))
    })
}

fn overrun_datagrams() -> io::Result<(usize, Duration)> {
    let (reader, sender) = pair::connect_datagrams()?;
    reader.set_read_timeout(Some(SILENCE))?;
    let message = [b'x'; OVERRUN_BYTES];
    let start = Instant::now();
    for _ in 0..OVERRUN_MESSAGES {
        // Some systems report a full buffer, others drop the datagram silently. It is lost anyway.
        let _ = sender.send(&message);
    }
    let sending = start.elapsed();
    thread::sleep(OVERRUN_SLEEP.saturating_sub(sending));
    let mut arrived = 0;
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        match reader.recv(&mut buffer) {
            Ok(OVERRUN_BYTES) => arrived += 1,
            Ok(_) => {}
            Err(error) if is_timeout(&error) => return Ok((arrived, sending)),
            Err(error) => return Err(error),
        }
    }
}
