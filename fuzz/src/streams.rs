//! Numbered streams on the receiving side.

use std::collections::BTreeMap;

use landline_proto::{
    BodySize, Header, Item, Limits, MessageDecoder, ProtocolError,
    frame::PREFIX_BYTES,
    limits::STREAM_WINDOW_INITIAL,
    message,
    streams::{Bytes, Read, Side, StreamEvent, StreamOptions, Streams, is_stream_message},
};

use crate::{controls, segmentations};

/// The memory that all streams share beyond their first credit.
const POOL: u64 = 200_000;

/// The bytes that may have arrived before, of a credit of 65,536.
const NEARLY_FULL: usize = 65_436;

/// The streams: both directions, only received, only sent.
const STREAMS: [(u64, StreamOptions); 3] = [
    (0, first_credit_only(StreamOptions::BOTH)),
    (1, first_credit_only(StreamOptions::RECEIVE)),
    (2, StreamOptions::SEND),
];

const fn first_credit_only(options: StreamOptions) -> StreamOptions {
    StreamOptions {
        window_start: STREAM_WINDOW_INITIAL,
        ..options
    }
}

/// The actions of this side, by the bits of a byte.
#[derive(Clone, Copy)]
struct Conduct {
    /// The channel continues a lost one.
    resumed: bool,
    /// The readers consume, and pending messages are sent.
    reads: bool,
    /// The reader of stream 1 has stopped.
    stopped: bool,
    /// Stream 1 has little credit left.
    nearly_full: bool,
}

/// The outcome of an input.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// Accepted headers, and events other than a need for more input.
    headers: Vec<Header>,
    events: Vec<StreamEvent>,
    /// The content of each stream.
    content: [Vec<u8>; 3],
    sent: Vec<u8>,
    error: Option<ProtocolError>,
}

/// Streams. Any segmentation gives the same result, memory is limited, and accepted content reaches
/// the reader. The output can be decoded.
pub fn streams(input: &[u8]) {
    let Some((choice, step, stream)) = controls(input) else {
        return;
    };
    let conduct = Conduct {
        resumed: choice & 1 != 0,
        reads: choice & 2 != 0,
        stopped: choice & 4 != 0,
        nearly_full: choice & 8 != 0,
    };
    let [whole, steps, bytes] = segmentations(stream, step).map(|pieces| run(&pieces, conduct));
    assert_eq!(whole, steps, "in steps of {step}");
    assert_eq!(whole, bytes, "in single bytes");

    let (mut decoder, mut sent) = (MessageDecoder::new(Limits::SESSION), &whole.sent[..]);
    loop {
        match decoder.decode(&mut sent) {
            Ok(None) => break,
            Ok(Some(Item::Header(header))) => assert!(is_stream_message(&header)),
            Ok(Some(Item::Data(_) | Item::BodyEnd(_))) => {}
            Err(error) => assert_eq!(None, Some(error), "the output cannot be decoded"),
        }
    }
    assert!(decoder.at_boundary(), "the output ends within a message");
}

fn side(conduct: Conduct) -> Streams {
    let mut side = Streams::new(Side::Client, POOL);
    for (stream, options) in &STREAMS {
        assert!(side.add(*stream, options));
        side.write(*stream, &[7; 100]);
    }
    if conduct.nearly_full {
        let bytes = Bytes {
            stream: 1,
            offset: 0,
            blocked: false,
        };
        let mut header = Vec::new();
        let size = Some(BodySize::Known(NEARLY_FULL as u64));
        let encoded = message::encode(&bytes, size, &Limits::SESSION, &mut header);
        let header = Header::decode(header.get(PREFIX_BYTES..).unwrap_or_default());
        let taken = encoded
            .and(header)
            .and_then(|header| side.handle_header(&header))
            .and_then(|()| side.handle_data(&[8; NEARLY_FULL]));
        assert_eq!(taken, Ok(()));
    }
    while side.poll_transmit(&mut Vec::new()) {}
    if conduct.stopped {
        side.stop(1);
    }
    if conduct.resumed {
        side.reconnect();
    }
    side
}

fn run(pieces: &[&[u8]], conduct: Conduct) -> Outcome {
    let mut side = side(conduct);
    let mut outcome = Outcome::default();
    let mut arrived = BTreeMap::new();
    if conduct.nearly_full {
        arrived.insert(1, vec![8; NEARLY_FULL]);
    }
    outcome.error = feed(&mut side, pieces, conduct, &mut outcome, &mut arrived).err();
    read(&mut side, &mut outcome);
    for (&(stream, _), found) in STREAMS.iter().zip(&outcome.content) {
        let arrived = arrived.remove(&stream).unwrap_or_default();
        // A stream that the peer no longer knows is dropped with its unread bytes.
        let is_gone = outcome.events.contains(&StreamEvent::Gone { stream });
        let is_stopped = conduct.stopped && stream == 1;
        if !is_gone && !is_stopped {
            assert_eq!(*found, arrived, "stream {stream} has other content");
        }
    }
    outcome
}

/// Feeds the stream to the side.
///
/// The side reads and sends only between messages, so that the segmentation does not matter.
fn feed(
    side: &mut Streams,
    pieces: &[&[u8]],
    conduct: Conduct,
    outcome: &mut Outcome,
    arrived: &mut BTreeMap<u64, Vec<u8>>,
) -> Result<(), ProtocolError> {
    let mut decoder = MessageDecoder::new(Limits::SESSION);
    // The stream whose content follows, if the last message was content.
    let mut content = None;
    for piece in pieces {
        let mut input = *piece;
        while let Some(item) = decoder.decode(&mut input)? {
            match item {
                Item::Header(header) => {
                    if conduct.reads {
                        read(side, outcome);
                        while side.poll_transmit(&mut outcome.sent) {}
                    }
                    content = None;
                    if is_stream_message(&header) {
                        side.handle_header(&header)?;
                        content = header
                            .read::<Bytes>()
                            .ok()
                            .filter(|_| header.body().is_some());
                        outcome.headers.push(header);
                    }
                }
                Item::Data(bytes) => {
                    if let Some(Bytes { stream, .. }) = content {
                        side.handle_data(bytes)?;
                        arrived.entry(stream).or_default().extend_from_slice(bytes);
                    }
                }
                Item::BodyEnd(_) => {}
            }
            take_events(side, outcome);
        }
    }
    Ok(())
}

fn take_events(side: &mut Streams, outcome: &mut Outcome) {
    while let Some(event) = side.poll_event() {
        if let StreamEvent::Writable { stream } = event {
            side.write(stream, &[9; 1000]);
        }
        if !matches!(event, StreamEvent::Readable { .. }) {
            outcome.events.push(event);
        }
    }
    let bound = 2 * (STREAMS.len() as u64 * STREAM_WINDOW_INITIAL + POOL);
    assert!(side.memory_bytes() <= bound, "too much memory");
}

fn read(side: &mut Streams, outcome: &mut Outcome) {
    for (&(stream, _), content) in STREAMS.iter().zip(&mut outcome.content) {
        while let Read::Bytes(bytes) = side.read(stream) {
            let length = bytes.len();
            content.extend_from_slice(bytes);
            side.consume(stream, length);
        }
    }
}
