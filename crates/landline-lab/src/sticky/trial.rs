//! One way under one load, with real sockets.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use landline_proto::frame::{FrameDecoder, FramePart, PREFIX_BYTES, prefix};

use super::{BUFFER_BYTES, Kind, Load, Overrun, Part, Receive, Trial, Way};

/// Between two small sends.
const PAUSE: Duration = Duration::from_millis(2);
/// How long the slow reader stays away after all has been sent.
const SLEEP: Duration = Duration::from_millis(100);
/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(5);
/// After this long without a datagram, none is on its way on loopback.
const SILENCE: Duration = Duration::from_millis(150);
/// What the overrun sends: 8 MB, twice what the buffers of a connection usually hold.
const OVERRUN_MESSAGES: usize = 8000;
const OVERRUN_BYTES: usize = 1000;
/// How long its reader sleeps.
const OVERRUN_SLEEP: Duration = Duration::from_millis(300);
/// The largest frame of the lab.
const FRAME_BYTES_MAX: u32 = 1 << 16;

pub(super) fn run(way: Way, load: Load) -> io::Result<Trial> {
    let sent = load.messages().to_vec();
    let (receives, decoded) = match way {
        Way::Datagrams => (datagrams(load, &sent)?, None),
        _ => stream(way, load, &sent)?,
    };
    Ok(Trial {
        way,
        load,
        sent,
        receives,
        decoded,
    })
}

/// The bytes of a message: its number, over and over.
fn payload(message: usize, bytes: usize) -> Vec<u8> {
    vec![u8::try_from(message).unwrap_or(u8::MAX); bytes]
}

/// Two ends of a connection that have spoken before, as after any login: from then on the reader's
/// side acknowledges only after a moment, in the hope of something to send along.
fn acquainted_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut reader, _) = listener.accept()?;
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

fn stream(way: Way, load: Load, sent: &[usize]) -> io::Result<(Vec<Receive>, Option<Vec<usize>>)> {
    let (mut sender, mut reader) = acquainted_pair()?;
    sender.set_nodelay(way == Way::NoDelay)?;
    let is_framed = way == Way::Framed;
    let sends: Vec<Vec<u8>> = (1..)
        .zip(sent)
        .map(|(message, bytes)| on_wire(message, *bytes, is_framed))
        .collect();
    let wire = sends.concat();
    let layout = layout(sent, is_framed);
    let (all_sent, wait) = mpsc::channel();
    let start = Instant::now();
    thread::scope(|scope| {
        // The connection stays open until all has been read: its end would push out what waits.
        let sending =
            scope.spawn(|| send_all(&sends, load, |bytes| sender.write_all(bytes), all_sent));
        stay_away(load, &wait);
        let mut receives = Vec::new();
        let mut decoder = is_framed.then(Decoder::default);
        let mut have = 0;
        let mut buffer = [0; BUFFER_BYTES];
        while have < wire.len() {
            let count = reader.read(&mut buffer)?;
            let came = buffer.get(..count).unwrap_or_default();
            if count == 0 || wire.get(have..have + count) != Some(came) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "what arrived is not what was sent",
                ));
            }
            receives.push(Receive {
                at: start.elapsed(),
                parts: cut_out(&layout, have, count),
            });
            if let Some(decoder) = &mut decoder {
                decoder.take(came)?;
            }
            have += count;
        }
        sending
            .join()
            .map_err(|_| io::Error::other("the sender failed"))??;
        Ok((receives, decoder.map(|decoder| decoder.done)))
    })
}

fn datagrams(load: Load, sent: &[usize]) -> io::Result<Vec<Receive>> {
    let reader = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    reader.set_read_timeout(Some(SILENCE))?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    sender.connect(reader.local_addr()?)?;
    let sends: Vec<Vec<u8>> = (1..)
        .zip(sent)
        .map(|(message, bytes)| payload(message, *bytes))
        .collect();
    let (all_sent, wait) = mpsc::channel();
    let start = Instant::now();
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            send_all(
                &sends,
                load,
                |bytes| sender.send(bytes).map(|_| ()),
                all_sent,
            )
        });
        stay_away(load, &wait);
        let mut receives = Vec::new();
        let mut buffer = [0; BUFFER_BYTES];
        while receives.len() < sent.len() {
            let count = match reader.recv(&mut buffer) {
                Ok(count) => count,
                Err(error) if is_timeout(&error) => break,
                Err(error) => return Err(error),
            };
            let message = buffer.first().map_or(0, |number| usize::from(*number));
            let of = message
                .checked_sub(1)
                .and_then(|index| sent.get(index))
                .copied();
            let of = of.ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "an unknown datagram arrived")
            })?;
            let part = Part {
                message,
                kind: Kind::Payload,
                from: 0,
                bytes: count,
                of,
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

/// Sends as the load wants it, then says so.
fn send_all(
    sends: &[Vec<u8>],
    load: Load,
    mut send: impl FnMut(&[u8]) -> io::Result<()>,
    all_sent: mpsc::Sender<()>,
) -> io::Result<()> {
    for bytes in sends {
        send(bytes)?;
        if load == Load::Small {
            thread::sleep(PAUSE);
        }
    }
    // A reader that has failed does not listen any more.
    let _ = all_sent.send(());
    Ok(())
}

fn stay_away(load: Load, all_sent: &mpsc::Receiver<()>) {
    if load != Load::Small {
        let _ = all_sent.recv_timeout(PATIENCE);
    }
    if load == Load::Slow {
        thread::sleep(SLEEP);
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn on_wire(message: usize, bytes: usize, is_framed: bool) -> Vec<u8> {
    let mut wire = if is_framed {
        prefix(bytes).to_vec()
    } else {
        Vec::new()
    };
    wire.extend(payload(message, bytes));
    wire
}

/// What follows what in the stream.
fn layout(sent: &[usize], is_framed: bool) -> Vec<Part> {
    let whole = |message, kind, bytes| Part {
        message,
        kind,
        from: 0,
        bytes,
        of: bytes,
    };
    (1..)
        .zip(sent)
        .flat_map(|(message, bytes)| {
            let length = is_framed.then(|| whole(message, Kind::Length, PREFIX_BYTES));
            length
                .into_iter()
                .chain([whole(message, Kind::Payload, *bytes)])
        })
        .collect()
}

/// What lies in `count` bytes of the stream from the byte `from` on.
pub(super) fn cut_out(layout: &[Part], from: usize, count: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut start = 0;
    for whole in layout {
        let end = start + whole.bytes;
        let (first, last) = (from.max(start), (from + count).min(end));
        if first < last {
            parts.push(Part {
                from: first - start,
                bytes: last - first,
                ..*whole
            });
        }
        start = end;
    }
    parts
}

/// The product's own frame decoder, and the lengths of the messages that came out of it.
#[derive(Default)]
struct Decoder {
    decoder: FrameDecoder,
    open: usize,
    done: Vec<usize>,
}

impl Decoder {
    fn take(&mut self, mut input: &[u8]) -> io::Result<()> {
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
pub(super) fn overrun(way: Way) -> io::Result<Overrun> {
    let (arrived, sending) = match way {
        Way::Datagrams => overrun_datagrams()?,
        _ => overrun_stream(way)?,
    };
    Ok(Overrun {
        way,
        sent: OVERRUN_MESSAGES,
        arrived,
        sending,
    })
}

fn overrun_stream(way: Way) -> io::Result<(usize, Duration)> {
    let (mut sender, mut reader) = acquainted_pair()?;
    sender.set_nodelay(way == Way::NoDelay)?;
    let is_framed = way == Way::Framed;
    let message = on_wire(1, OVERRUN_BYTES, is_framed);
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
        let mut decoder = is_framed.then(Decoder::default);
        let mut have = 0;
        let mut buffer = vec![0; 1 << 16];
        while have < total {
            let count = reader.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            if let Some(decoder) = &mut decoder {
                decoder.take(buffer.get(..count).unwrap_or_default())?;
            }
            have += count;
        }
        let sending = sending
            .join()
            .map_err(|_| io::Error::other("the sender failed"))??;
        Ok((
            decoder.map_or(have / message.len(), |decoder| decoder.done.len()),
            sending,
        ))
    })
}

fn overrun_datagrams() -> io::Result<(usize, Duration)> {
    let reader = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    reader.set_read_timeout(Some(SILENCE))?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    sender.connect(reader.local_addr()?)?;
    let message = payload(1, OVERRUN_BYTES);
    let start = Instant::now();
    for _ in 0..OVERRUN_MESSAGES {
        // Some systems say that there is no room; others say nothing. Either way it is gone.
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
