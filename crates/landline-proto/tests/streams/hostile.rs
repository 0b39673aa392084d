//! A peer that follows no rule.

use landline_proto::{
    BodySize, Header, Message,
    limits::STREAM_WINDOW_INITIAL,
    messages::Ping,
    streams::{Ack, Bytes, End, Read, Resume, ResumeEntry, Side, Stop, StreamOptions, Streams},
};
use proptest::prelude::*;
use serde_json::json;

const STREAMS: u64 = 4;
const POOL: u64 = 100_000;

/// What the peer sends, or this side does in between.
#[derive(Debug, Clone)]
enum Step {
    Header(Header),
    Data(usize),
    /// Whole content of this size, where the stream continues.
    Content(u64, usize),
    /// All the credit that there can be.
    Grant(u64),
    Write(u64, usize),
    Read(u64),
    Stop(u64),
    Finish(u64),
    Accept(u64),
    Open,
    Transmit,
    Reconnect,
}

fn integer() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..3u64,
        2 => (0..3u64).prop_map(|steps| steps * STREAM_WINDOW_INITIAL),
        1 => 0..200_000u64,
        1 => Just(i64::MAX as u64),
    ]
}

fn header<M: Message>(message: &M, body: Option<BodySize>) -> Header {
    let mut object = serde_json::to_value(message).unwrap();
    object["type"] = json!(M::TYPE);
    match body {
        None => {}
        Some(BodySize::Unknown) => object["size"] = json!(null),
        Some(BodySize::Known(size)) => object["size"] = json!(size),
    }
    Header::decode(&serde_json::to_vec(&object).unwrap()).unwrap()
}

fn body() -> impl Strategy<Value = Option<BodySize>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(BodySize::Unknown)),
        9 => integer().prop_map(|size| Some(BodySize::Known(size))),
    ]
}

fn any_header() -> impl Strategy<Value = Header> {
    let stream = 0..STREAMS + 2;
    let optional = || proptest::option::of(integer());
    let entry = (stream.clone(), optional(), optional(), optional()).prop_map(
        |(stream, offset, window, from)| ResumeEntry {
            stream,
            offset,
            window,
            from,
        },
    );
    prop_oneof![
        4 => (stream.clone(), integer(), any::<bool>(), body()).prop_map(
            |(stream, offset, blocked, body)| header(&Bytes { stream, offset, blocked }, body)),
        2 => (stream.clone(), integer(), integer()).prop_map(
            |(stream, offset, window)| header(&Ack { stream, offset, window }, None)),
        1 => (stream.clone(), integer(), body())
            .prop_map(|(stream, offset, body)| header(&End { stream, offset }, body)),
        1 => (stream, integer())
            .prop_map(|(stream, offset)| header(&Stop { stream, offset }, None)),
        1 => proptest::collection::vec(entry, 0..6)
            .prop_map(|streams| header(&Resume { streams }, None)),
        1 => Just(header(&Ping {}, None)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let stream = 0..STREAMS + 2;
    prop_oneof![
        12 => any_header().prop_map(Step::Header),
        6 => prop_oneof![0..3usize, 0..70_000usize].prop_map(Step::Data),
        6 => (stream.clone(), 60_000..70_000usize)
            .prop_map(|(stream, bytes)| Step::Content(stream, bytes)),
        1 => stream.clone().prop_map(Step::Grant),
        3 => (stream.clone(), 0..400_000usize).prop_map(|(stream, bytes)| Step::Write(stream, bytes)),
        2 => stream.clone().prop_map(Step::Read),
        1 => stream.clone().prop_map(Step::Stop),
        1 => stream.prop_map(Step::Finish),
        1 => integer().prop_map(Step::Accept),
        1 => Just(Step::Open),
        4 => Just(Step::Transmit),
        1 => Just(Step::Reconnect),
    ]
}

fn send_content(streams: &mut Streams, stream: u64, bytes: usize) {
    let bytes_header = Bytes {
        stream,
        offset: streams.offsets(stream).map_or(0, |at| at.received),
        blocked: true,
    };
    let size = Some(BodySize::Known(bytes as u64));
    if streams.handle_header(&header(&bytes_header, size)).is_ok() {
        streams.handle_data(&vec![0; bytes]).unwrap();
    }
}

/// Does one step, and returns how many streams it opened. Errors of the peer are passed over, which
/// a service would not do.
fn apply(streams: &mut Streams, step: &Step) -> u64 {
    let mut opened = false;
    match *step {
        Step::Header(ref header) => drop(streams.handle_header(header)),
        Step::Data(bytes) => drop(streams.handle_data(&vec![0; bytes])),
        Step::Content(stream, bytes) => send_content(streams, stream, bytes),
        Step::Grant(stream) => {
            let offset = streams.offsets(stream).map_or(0, |at| at.acknowledged);
            let window = i64::MAX as u64 - offset;
            let ack = Ack {
                stream,
                offset,
                window,
            };
            drop(streams.handle_header(&header(&ack, None)));
        }
        Step::Write(stream, bytes) => {
            streams.write(stream, &vec![0; bytes]);
        }
        Step::Read(stream) => {
            if let Read::Bytes(bytes) = streams.read(stream) {
                let length = bytes.len();
                streams.consume(stream, length);
            }
        }
        Step::Stop(stream) => streams.stop(stream),
        Step::Finish(stream) => streams.finish(stream),
        Step::Accept(stream) => opened = streams.accept(stream, &StreamOptions::BOTH).is_ok(),
        Step::Open => opened = streams.open(&StreamOptions::BOTH).is_some(),
        Step::Transmit => {
            streams.poll_transmit(&mut Vec::new());
        }
        Step::Reconnect => streams.reconnect(),
    }
    while streams.poll_event().is_some() {}
    u64::from(opened)
}

proptest! {
    #[test]
    fn hostile_peer_causes_no_panic_and_no_growth(
        steps in proptest::collection::vec(step(), 0..300),
    ) {
        let mut streams = Streams::new(Side::Client, POOL);
        for stream in 0..STREAMS {
            streams.add(stream, &StreamOptions::BOTH);
        }
        let mut opened = STREAMS;
        for step in &steps {
            opened += apply(&mut streams, step);
            let bound = 2 * (opened * STREAM_WINDOW_INITIAL + POOL);
            prop_assert!(streams.memory_bytes() <= bound);
        }
    }
}
