//! Frames, headers and messages.

use std::fmt;

use landline::server::message_types as all_types;
use landline_proto::{
    BodyEnd, BodySize, Header, Item, Limits, Message, MessageDecoder, Name, ProtocolError,
    frame::{FrameDecoder, FramePart, PREFIX_BYTES, prefix},
    limits::DATA_BYTES_MAX,
    message,
    messages::{ErrorMessage, Greeting, Login, Open, Ping, Pong, Welcome},
    streams,
};
use serde_json::Value;

use crate::{controls, segmentations};

/// The limit for headers that are encoded again, which may grow.
const ROOMY: Limits = Limits {
    header_bytes_max: i32::MAX as u32,
    data_bytes_max: Some(DATA_BYTES_MAX),
};

/// A frame of `payload`.
fn framed(payload: &[u8]) -> Vec<u8> {
    [&prefix(payload.len())[..], payload].concat()
}

/// The frame decoder. Any segmentation gives the same frames, and the frames make up the stream.
pub fn frame(input: &[u8]) {
    let Some((choice, step, stream)) = controls(input) else {
        return;
    };
    let limits = [0, 5, 4096, 65_536, DATA_BYTES_MAX, i32::MAX as u32];
    let limit = limits
        .get(usize::from(choice) % limits.len())
        .copied()
        .unwrap_or(0);
    let [whole, steps, bytes] = segmentations(stream, step).map(|pieces| frames(&pieces, limit));
    assert_eq!(whole, steps, "in steps of {step}");
    assert_eq!(whole, bytes, "in single bytes");

    let (frames, end) = whole;
    assert!(
        frames.iter().all(|frame| frame.len() <= limit as usize),
        "a frame above the limit"
    );
    let again: Vec<u8> = frames.iter().flat_map(|frame| framed(frame)).collect();
    assert!(
        stream.starts_with(&again),
        "other bytes than those of the stream"
    );
    if end == Ok(true) {
        assert_eq!(again, stream, "bytes were lost");
    }
}

/// The complete frames, and whether the stream may end here.
fn frames(pieces: &[&[u8]], limit: u32) -> (Vec<Vec<u8>>, Result<bool, ProtocolError>) {
    let (mut decoder, mut open, mut promised, mut done) =
        (FrameDecoder::default(), Vec::new(), 0, Vec::new());
    for piece in pieces {
        let mut input = *piece;
        loop {
            match decoder.decode(&mut input, limit) {
                Ok(None) => break,
                Ok(Some(FramePart::Start(length))) => promised = length as usize,
                Ok(Some(FramePart::Payload(bytes))) => {
                    assert!(!bytes.is_empty(), "an empty part of a payload");
                    open.extend_from_slice(bytes);
                }
                Ok(Some(FramePart::End)) => {
                    assert_eq!(
                        open.len(),
                        promised,
                        "a frame of another length than announced"
                    );
                    done.push(std::mem::take(&mut open));
                }
                Err(error) => return (done, Err(error)),
            }
        }
        assert!(input.is_empty(), "the decoder waits with input left");
    }
    (done, Ok(decoder.at_boundary()))
}

/// Headers. White space around a header changes nothing. Its messages and names round-trip.
pub fn header(input: &[u8]) {
    let decoded = Header::decode(input);
    let spaced = Header::decode(&[b" \n", input, b"\t\r "].concat());
    assert_eq!(
        decoded.as_ref().ok(),
        spaced.as_ref().ok(),
        "white space matters"
    );
    let Ok(header) = decoded else { return };

    assert_eq!(
        Header::decode(&rewritten(&header)).map(|again| shape(&again)),
        Ok(shape(&header))
    );
    survives::<Greeting>(&header);
    survives::<Login>(&header);
    survives::<Welcome>(&header);
    survives::<Open>(&header);
    survives::<Ping>(&header);
    survives::<Pong>(&header);
    survives::<ErrorMessage>(&header);
    survives::<streams::Bytes>(&header);
    survives::<streams::Ack>(&header);
    survives::<streams::End>(&header);
    survives::<streams::Stop>(&header);
    survives::<streams::Resume>(&header);
    let path = header
        .read::<Value>()
        .ok()
        .and_then(|object| object.get("path").cloned());
    if let Some(Ok(name)) = path.map(serde_json::from_value::<Name>) {
        let again = serde_json::to_value(&name).and_then(serde_json::from_value::<Name>);
        assert_eq!(again.ok(), Some(name), "another name");
    }
}

/// The fields that decide over the stream. Other keys are not compared, since a float may change
/// its last digit in JSON.
fn shape(header: &Header) -> (String, Option<BodySize>) {
    (header.kind().to_owned(), header.body())
}

/// The JSON of the header in another spelling.
fn rewritten(header: &Header) -> Vec<u8> {
    let mut object = header.read::<Value>().unwrap_or_default();
    // A key with null reads as absent, and this one is none of a message.
    if let (Some(BodySize::Unknown), Some(keys)) = (header.body(), object.as_object_mut()) {
        keys.insert("size".to_owned(), Value::Null);
    }
    let json = serde_json::to_vec(&object);
    assert!(json.is_ok(), "a header that cannot be written down");
    json.unwrap_or_default()
}

fn survives<M: Message + PartialEq + fmt::Debug>(header: &Header) {
    let Ok(message) = header.read::<M>() else {
        return;
    };
    let mut out = Vec::new();
    assert_eq!(
        message::encode(&message, header.body(), &ROOMY, &mut out),
        Ok(())
    );
    let again = Header::decode(out.get(PREFIX_BYTES..).unwrap_or_default());
    assert_eq!(
        again.as_ref().map(shape),
        Ok((M::TYPE.to_owned(), header.body()))
    );
    assert_eq!(again.and_then(|header| header.read::<M>()), Ok(message));
}

/// Headers of every type of message: a key that is null reads as one that is absent.
pub fn message_types(input: &[u8]) {
    let Ok(header) = Header::decode(input) else {
        return;
    };
    let mut bare = header.read::<Value>().unwrap_or_default();
    if let Some(keys) = bare.as_object_mut() {
        keys.retain(|_, value| !value.is_null());
    }
    let bare = serde_json::to_vec(&bare).map(|json| Header::decode(&json));
    for (_, kind) in all_types().filter(|(_, kind)| kind.name == header.kind()) {
        let bare = bare
            .as_ref()
            .is_ok_and(|bare| bare.as_ref().is_ok_and(|bare| kind.check(bare).is_ok()));
        assert_eq!(kind.check(&header).is_ok(), bare, "null is not absent");
    }
}

/// The events of the message decoder, with adjacent data merged.
#[derive(Debug, PartialEq)]
enum Event {
    Header(Header),
    Data(Vec<u8>),
    End(BodyEnd),
}

/// The state in which a stream ended.
#[derive(Debug, PartialEq)]
struct End {
    at_boundary: bool,
    in_body: bool,
}

/// The message decoder. Any segmentation gives the same events, bodies have their declared length,
/// and a complete stream round-trips.
pub fn message(input: &[u8]) {
    let Some((choice, step, stream)) = controls(input) else {
        return;
    };
    let limits = if choice % 2 == 0 {
        Limits::LOGIN
    } else {
        Limits::SESSION
    };
    let [whole, steps, bytes] = segmentations(stream, step).map(|pieces| messages(&pieces, limits));
    assert_eq!(whole, steps, "in steps of {step}");
    assert_eq!(whole, bytes, "in single bytes");

    let (events, end) = whole;
    check_bodies(&events, limits);
    if end
        != Ok(End {
            at_boundary: true,
            in_body: false,
        })
    {
        return;
    }
    let Some(again) = encoded(&events, limits) else {
        return;
    };
    let (events_again, end_again) = messages(&[&again], limits);
    assert_eq!(end_again, end);
    assert_eq!(shapes(&events_again), shapes(&events));
}

fn messages(pieces: &[&[u8]], limits: Limits) -> (Vec<Event>, Result<End, ProtocolError>) {
    let mut decoder = MessageDecoder::new(limits);
    let mut events = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        loop {
            match decoder.decode(&mut input) {
                Ok(None) => break,
                Ok(Some(Item::Header(header))) => events.push(Event::Header(header)),
                Ok(Some(Item::BodyEnd(how))) => events.push(Event::End(how)),
                Ok(Some(Item::Data(bytes))) => {
                    assert!(!bytes.is_empty(), "empty data");
                    match events.last_mut() {
                        Some(Event::Data(data)) => data.extend_from_slice(bytes),
                        _ => events.push(Event::Data(bytes.to_vec())),
                    }
                }
                Err(error) => return (events, Err(error)),
            }
        }
        assert!(input.is_empty(), "the decoder waits with input left");
    }
    (
        events,
        Ok(End {
            at_boundary: decoder.at_boundary(),
            in_body: decoder.in_body(),
        }),
    )
}

/// Checks that data and ends occur only in bodies, which have their declared length.
fn check_bodies(events: &[Event], limits: Limits) {
    let (mut body, mut received) = (None, 0);
    for event in events {
        match event {
            Event::Header(header) => {
                assert_eq!(body, None, "a header within a body");
                assert!(
                    header.body().is_none() || limits.data_bytes_max.is_some(),
                    "a body before login"
                );
                (body, received) = (header.body(), 0);
            }
            Event::Data(data) => {
                assert!(body.is_some(), "data without a body");
                received += data.len() as u64;
                if let Some(BodySize::Known(size)) = body {
                    assert!(received <= size, "more than declared");
                }
            }
            Event::End(how) => {
                match (body, how) {
                    (Some(BodySize::Known(size)), BodyEnd::Complete) => assert_eq!(received, size),
                    (Some(BodySize::Known(size)), BodyEnd::GivenUp) => assert!(received < size),
                    (Some(BodySize::Unknown), how) => assert_eq!(*how, BodyEnd::Complete),
                    (None, _) => assert!(body.is_some(), "an end without a body"),
                }
                body = None;
            }
        }
    }
}

/// The stream of these events, with as few frames as possible. `None` if a header exceeds its
/// limit.
fn encoded(events: &[Event], limits: Limits) -> Option<Vec<u8>> {
    let (mut out, mut body) = (Vec::new(), None);
    for event in events {
        match event {
            Event::Header(header) => {
                let json = rewritten(header);
                if json.len() > limits.header_bytes_max as usize {
                    return None;
                }
                out.extend(framed(&json));
                body = header.body();
            }
            Event::Data(data) => data
                .chunks(DATA_BYTES_MAX as usize)
                .for_each(|chunk| out.extend(framed(chunk))),
            Event::End(BodyEnd::Complete) if body != Some(BodySize::Unknown) => {}
            Event::End(_) => out.extend(framed(&[])),
        }
    }
    Some(out)
}

/// The events with the shape of each header, as text.
fn shapes(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .map(|event| match event {
            Event::Header(header) => format!("{:?}", shape(header)),
            other => format!("{other:?}"),
        })
        .collect()
}
