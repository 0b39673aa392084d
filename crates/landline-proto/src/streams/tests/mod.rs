//! Two machines that talk to each other, case by case. `tests/streams.rs` does it at random.

mod resume;

use super::*;
use crate::{
    BodySize, ErrorCode, Item, Limits, Message, MessageDecoder, frame,
    limits::{STREAM_BYTES_MAX, STREAMS_FIXED_MAX},
    message,
    messages::{Ping, Pong},
};

const POOL: u64 = 1 << 20;
const W: usize = STREAM_WINDOW_INITIAL as usize;

/// Nothing beyond the initial credit, so that no `ack` is due at first.
const PLAIN: StreamOptions = StreamOptions {
    window_start: STREAM_WINDOW_INITIAL,
    ..StreamOptions::BOTH
};

fn pair() -> (Streams, Streams) {
    let mut sides = (
        Streams::new(Side::Client, POOL),
        Streams::new(Side::Server, POOL),
    );
    for stream in 0..3 {
        assert!(sides.0.add(stream, &PLAIN) && sides.1.add(stream, &PLAIN));
    }
    sides
}

/// Feeds what one side sent into the other; returns the types of all messages.
fn feed(bytes: &[u8], to: &mut Streams) -> Result<Vec<String>, ProtocolError> {
    let (mut decoder, mut input) = (MessageDecoder::new(Limits::SESSION), bytes);
    let mut kinds = Vec::new();
    while let Some(item) = decoder.decode(&mut input)? {
        match item {
            Item::Header(header) => {
                if is_stream_message(&header) {
                    to.handle_header(&header)?;
                }
                kinds.push(header.kind().to_owned());
            }
            Item::Data(bytes) => to.handle_data(bytes)?,
            Item::BodyEnd(_) => {}
        }
    }
    Ok(kinds)
}

/// Everything that one side has to send, to the other.
fn pump(from: &mut Streams, to: &mut Streams) -> Vec<String> {
    let mut bytes = Vec::new();
    while from.poll_transmit(&mut bytes) {}
    feed(&bytes, to).unwrap()
}

fn events(streams: &mut Streams) -> Vec<StreamEvent> {
    std::iter::from_fn(|| streams.poll_event()).collect()
}

fn message<M: Message>(message: &M, body: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let size = body.map(|body| BodySize::Known(body.len() as u64));
    message::encode(message, size, &Limits::SESSION, &mut bytes).unwrap();
    for chunk in body.unwrap_or_default().chunks(STREAM_BYTES_MAX as usize) {
        bytes.extend_from_slice(&frame::prefix(chunk.len()));
        bytes.extend_from_slice(chunk);
    }
    bytes
}

fn first_header(mut bytes: &[u8]) -> Header {
    match MessageDecoder::new(Limits::SESSION).decode(&mut bytes) {
        Ok(Some(Item::Header(header))) => header,
        other => panic!("no header: {other:?}"),
    }
}

fn code(result: Result<Vec<String>, ProtocolError>) -> ErrorCode {
    result.unwrap_err().code()
}

#[test]
fn control_messages_go_before_everything_else() {
    let (mut client, mut server) = pair();
    server.write(0, b"to be read");
    pump(&mut server, &mut client);
    client.write(1, &[1; 100_000]);
    client.consume(0, 10);
    client.send_control(&Ping {}).unwrap();
    client.send_control(&Pong {}).unwrap();
    let kinds = pump(&mut client, &mut server);
    assert_eq!(kinds, ["ping", "pong", "ack", "bytes"]);
}

#[test]
fn unread_stream_delays_nothing() {
    let (mut client, mut server) = pair();
    while client.write(1, &[1; 50_000]) != Some(0) {}
    pump(&mut client, &mut server);
    for round in 0..100 {
        client.write(1, &[1; 50_000]);
        client.write(2, &[2; 30_000]);
        client.send_control(&Ping {}).unwrap();
        assert_eq!(pump(&mut client, &mut server), ["ping", "bytes"], "{round}");
        assert_eq!(server.read(2), Read::Bytes(&[2; 30_000]));
        server.consume(2, 30_000);
        pump(&mut server, &mut client);
    }
    assert_eq!(server.offsets(1).unwrap().received, W as u64);
    assert_eq!(server.memory_bytes(), W as u64);
}

#[test]
fn streams_take_turns() {
    let (mut client, mut server) = pair();
    for stream in 0..3 {
        pump(&mut server, &mut client);
        let ack = Ack {
            stream,
            offset: 0,
            window: 4 * W as u64,
        };
        feed(&message(&ack, None), &mut client).unwrap();
        assert_eq!(client.write(stream, &vec![0; 4 * W]), Some(4 * W));
    }
    let mut order = Vec::new();
    let mut bytes = Vec::new();
    while client.poll_transmit(&mut bytes) {
        let header = first_header(&bytes);
        order.push(header.read::<Bytes>().unwrap().stream);
        bytes.clear();
    }
    assert_eq!(order, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
}

#[test]
fn stream_is_forgotten_after_both_ends() {
    let (mut client, mut server) = pair();
    client.write(0, b"abc");
    client.finish(0);
    server.finish(0);
    assert_eq!(pump(&mut client, &mut server), ["bytes", "end"]);
    assert_eq!(pump(&mut server, &mut client), ["end"]);
    assert_eq!(pump(&mut client, &mut server), ["stop"]);
    assert!(client.offsets(0).is_some() && server.offsets(0).is_some());
    server.consume(0, 3);
    assert_eq!(pump(&mut server, &mut client), ["stop"]);
    assert!(client.offsets(0).is_none() && server.offsets(0).is_none());
    assert_eq!(client.write(0, b"x"), None);
    assert_eq!(client.read(0), Read::End);
    let late = message(
        &Stop {
            stream: 0,
            offset: 3,
        },
        None,
    );
    assert_eq!(code(feed(&late, &mut client)), ErrorCode::UnexpectedMessage);
}

#[test]
fn peer_that_stops_reading_is_sent_nothing() {
    let (mut client, mut server) = pair();
    client.write(1, &[1; 1000]);
    pump(&mut client, &mut server);
    server.consume(1, 400);
    server.stop(1);
    client.write(1, &[1; 500]);
    assert_eq!(pump(&mut client, &mut server), ["bytes"]);
    events(&mut client);
    assert_eq!(pump(&mut server, &mut client), ["stop"]);
    assert_eq!(
        events(&mut client),
        [StreamEvent::Stopped {
            stream: 1,
            offset: 400
        }]
    );
    assert_eq!(client.write(1, &[1; 500]), None);
    assert_eq!(pump(&mut client, &mut server), ["end"]);
    assert_eq!((client.memory_bytes(), server.memory_bytes()), (0, 0));
}

#[test]
fn opened_streams_carry_content_before_the_peer_answers() {
    let (mut client, mut server) = pair();
    let stream = client.open(&StreamOptions::BOTH).unwrap();
    assert_eq!(stream, 4);
    client.write(stream, b"hello");
    server.accept(stream, &StreamOptions::BOTH).unwrap();
    assert_eq!(pump(&mut client, &mut server), ["ack", "bytes"]);
    // The server refuses.
    server.stop(stream);
    server.finish(stream);
    assert_eq!(pump(&mut server, &mut client), ["ack", "stop", "end"][1..]);
    pump(&mut client, &mut server);
    assert!(client.offsets(stream).is_none() && server.offsets(stream).is_none());
}

#[test]
fn open_streams_are_limited_per_side() {
    let (mut client, mut server) = pair();
    for _ in 0..STREAMS_OPENED_MAX {
        let stream = client.open(&PLAIN).unwrap();
        server.accept(stream, &PLAIN).unwrap();
    }
    assert_eq!(client.open(&PLAIN), None);
    let error = server.accept(10_000, &PLAIN).unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnexpectedMessage);
    assert!(server.open(&PLAIN).is_some(), "the other side has its own");
    for side in [&mut client, &mut server] {
        side.stop(4);
        side.finish(4);
    }
    pump(&mut client, &mut server);
    pump(&mut server, &mut client);
    assert_eq!(client.open(&PLAIN), Some(4 + 2 * STREAMS_OPENED_MAX as u64));
}

#[test]
fn number_of_wrong_side_is_rejected() {
    let (mut client, mut server) = pair();
    for stream in [0, 2, 3, 7] {
        let error = server.accept(stream, &PLAIN).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BadHeader, "{stream}");
    }
    assert!(!client.add(2, &PLAIN), "twice");
    assert_eq!(client.accept(3, &PLAIN), Ok(()));
    assert!(!client.add(3, &PLAIN), "open");
}

#[test]
fn initial_window_is_granted_at_once() {
    let mut client = Streams::new(Side::Client, POOL);
    client.add(1, &StreamOptions::RECEIVE);
    let mut bytes = Vec::new();
    assert!(client.poll_transmit(&mut bytes));
    let ack: Ack = first_header(&bytes).read().unwrap();
    assert_eq!((ack.offset, ack.window), (0, 262_144));
}

#[test]
fn windows_of_all_streams_share_the_pool() {
    let mut client = Streams::new(Side::Client, 3 * STREAM_WINDOW_INITIAL);
    let options = StreamOptions {
        window_start: 3 * STREAM_WINDOW_INITIAL,
        ..StreamOptions::RECEIVE
    };
    for stream in 0..3 {
        client.add(stream, &options);
    }
    let mut bytes = Vec::new();
    while client.poll_transmit(&mut bytes) {}
    let mut server = Streams::new(Side::Server, POOL);
    for stream in 0..3 {
        server.add(stream, &StreamOptions::SEND);
    }
    feed(&bytes, &mut server).unwrap();
    let taken = [0, 1, 2].map(|stream| server.write(stream, &vec![0; 5 * W]).unwrap());
    assert_eq!(taken, [3 * W, 2 * W, W]);
}

#[test]
fn sender_holds_at_most_its_pool() {
    let mut server = Streams::new(Side::Server, STREAM_WINDOW_INITIAL);
    for stream in 0..3 {
        server.add(stream, &StreamOptions::SEND);
        let ack = Ack {
            stream,
            offset: 0,
            window: OFFSET_MAX,
        };
        feed(&message(&ack, None), &mut server).unwrap();
    }
    let taken = [0, 1, 2].map(|stream| server.write(stream, &vec![0; 5 * W]).unwrap());
    assert_eq!(taken, [2 * W, W, W]);
    while server.poll_transmit(&mut Vec::new()) {}
    assert_eq!(server.write(1, &[0]), Some(0), "sent is not acknowledged");
}

#[test]
fn window_grows_for_a_fast_reader() {
    let (mut client, mut server) = pair();
    let mut sizes = Vec::new();
    for _ in 0..6 {
        sizes.push(client.write(0, &vec![0; 100 * W]).unwrap() / W);
        pump(&mut client, &mut server);
        while let Read::Bytes(bytes) = server.read(0) {
            let length = bytes.len();
            server.consume(0, length);
        }
        pump(&mut server, &mut client);
    }
    // The pool of 1 MiB ends it.
    assert_eq!(sizes, [1, 2, 4, 8, 16, 17]);
}

#[test]
fn messages_for_the_wrong_direction_are_refused() {
    let mut client = Streams::new(Side::Client, POOL);
    client.add(0, &StreamOptions::SEND);
    client.add(1, &StreamOptions::RECEIVE);
    let (stream, offset) = (0, 0);
    let bytes = Bytes {
        stream,
        offset,
        blocked: false,
    };
    let ack = Ack {
        stream: 1,
        offset,
        window: 1 << 20,
    };
    for input in [
        message(&bytes, Some(b"x")),
        message(&End { stream, offset }, None),
        message(&ack, None),
        message(&Stop { stream: 1, offset }, None),
        message(&Stop { stream: 2, offset }, None),
    ] {
        assert_eq!(
            code(feed(&input, &mut client)),
            ErrorCode::UnexpectedMessage
        );
    }
}

#[test]
fn only_bytes_has_a_body() {
    let (mut client, _) = pair();
    let end = End {
        stream: 0,
        offset: 0,
    };
    let input = message(&end, Some(b"x"));
    assert_eq!(
        code(feed(&input, &mut client)),
        ErrorCode::UnexpectedMessage
    );
}

#[test]
fn aborted_content_ends_the_channel() {
    let (mut client, _) = pair();
    let bytes = Bytes {
        stream: 0,
        offset: 0,
        blocked: false,
    };
    let mut input = message(&bytes, Some(b"abc"));
    input.truncate(input.len() - 7);
    input.extend_from_slice(&[1, 0, 0, 0, b'a', 0, 0, 0, 0]);
    input.extend(message(
        &End {
            stream: 0,
            offset: 1,
        },
        None,
    ));
    assert_eq!(code(feed(&input, &mut client)), ErrorCode::BodySize);
}

#[test]
fn data_without_a_header_is_refused() {
    let (mut client, _) = pair();
    let error = client.handle_data(b"x").unwrap_err();
    assert_eq!(error.code(), ErrorCode::BodySize);
}
