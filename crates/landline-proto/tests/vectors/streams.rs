//! `streams.json`: what one side makes of the messages about its streams.

use landline_proto::{
    BodyEnd, BodySize, Header, Item, Limits, Message, MessageDecoder, ProtocolError,
    streams::{Bytes, End, Read, Side, StreamOptions, Streams, is_stream_message},
};
use serde_json::{Value, json};

use crate::{bytes, cases, cuts, error_of, name};

/// The header of a message about streams.
fn header(kind: &str, mut keys: Value) -> Header {
    keys["type"] = json!(kind);
    Header::decode(&serde_json::to_vec(&keys).unwrap()).unwrap()
}

fn transmit_all(streams: &mut Streams) {
    while streams.poll_transmit(&mut Vec::new()) {}
}

/// A side to which has happened what the case says.
fn side(case: &Value) -> Streams {
    let mut side = Streams::new(Side::Client, 0);
    for setup in case["streams"].as_array().unwrap() {
        let stream = setup["stream"].as_u64().unwrap();
        let options = StreamOptions {
            send_from: setup["sent"].as_u64().map(|_| 0),
            receive_from: setup["received"].as_u64().map(|_| 0),
            window_start: 0,
            ..StreamOptions::BOTH
        };
        assert!(side.add(stream, &options));
        if let Some(sent) = setup["sent"].as_u64().filter(|&sent| sent > 0) {
            let content = vec![0; usize::try_from(sent).unwrap()];
            assert_eq!(side.write(stream, &content), Some(content.len()));
        }
        if let Some(size) = setup["received"].as_u64().filter(|&size| size > 0) {
            let keys = json!({"stream": stream, "offset": 0, "size": size});
            side.handle_header(&header(Bytes::TYPE, keys)).unwrap();
            let content = vec![0; usize::try_from(size).unwrap()];
            side.handle_data(&content).unwrap();
        }
        if setup["ended"] == true {
            side.finish(stream);
        }
        if setup["stopped"] == true {
            side.stop(stream);
        }
        if let Some(end) = setup["end"].as_u64() {
            let keys = json!({"stream": stream, "offset": end});
            side.handle_header(&header(End::TYPE, keys)).unwrap();
        }
    }
    transmit_all(&mut side);
    if case["resumed"] == true {
        side.reconnect();
        transmit_all(&mut side);
    }
    side
}

/// What a message without a body means, as the vectors write it.
fn event(header: &Header, side: &Streams, streams: &[u64]) -> Value {
    let kind = header.kind();
    if !is_stream_message(header) {
        return json!({"control": kind});
    }
    if kind == "resume" {
        let is_open = |&&stream: &&u64| side.offsets(stream).is_some();
        let open: Vec<&u64> = streams.iter().filter(is_open).collect();
        return json!({"resume": open});
    }
    let keys: Value = header.read().unwrap();
    json!({kind: keys["stream"]})
}

fn replay(
    side: &mut Streams,
    pieces: &[&[u8]],
    streams: &[u64],
    events: &mut Vec<Value>,
) -> Result<bool, ProtocolError> {
    let mut decoder = MessageDecoder::new(Limits::SESSION);
    let mut body: Option<(u64, Vec<u8>)> = None;
    for piece in pieces {
        let mut input = *piece;
        while let Some(item) = decoder.decode(&mut input)? {
            match item {
                Item::Header(header) => {
                    if is_stream_message(&header) {
                        side.handle_header(&header)?;
                    }
                    if let Some(BodySize::Known(_)) = header.body() {
                        body = Some((header.read::<Bytes>()?.stream, Vec::new()));
                    } else {
                        events.push(event(&header, side, streams));
                    }
                }
                Item::Data(data) => {
                    side.handle_data(data)?;
                    body.as_mut().unwrap().1.extend_from_slice(data);
                }
                Item::BodyEnd(how) => {
                    let (stream, data) = body.take().unwrap();
                    if how == BodyEnd::Complete {
                        let data = data_encoding::HEXLOWER.encode(&data);
                        events.push(json!({"bytes": stream, "data": data}));
                    }
                }
            }
        }
    }
    Ok(decoder.at_boundary())
}

/// Reads the content of a stream that has not been read yet.
fn unread(side: &mut Streams, stream: u64) -> Vec<u8> {
    let mut content = Vec::new();
    while let Read::Bytes(bytes) = side.read(stream) {
        let length = bytes.len();
        content.extend_from_slice(bytes);
        side.consume(stream, length);
    }
    content
}

/// What the events say that a reader finds, after what it had before.
fn expected_content(setup: &Value, events: &[Value]) -> Vec<u8> {
    let before = usize::try_from(setup["received"].as_u64().unwrap()).unwrap();
    let mut content = vec![0; before];
    for event in events {
        if event["bytes"] == setup["stream"] {
            content.extend(bytes(&event["data"]));
        }
    }
    content
}

#[test]
fn streams_match_vectors() {
    for case in cases(
        include_str!("../../../../docs/vectors/streams.json"),
        "cases",
    ) {
        let setups = case["streams"].as_array().unwrap();
        let streams: Vec<u64> = setups
            .iter()
            .map(|setup| setup["stream"].as_u64().unwrap())
            .collect();
        let mut expected = case["events"].as_array().unwrap().clone();
        for event in &mut expected {
            if event.get("data").is_some() {
                event["data"] = json!(data_encoding::HEXLOWER.encode(&bytes(&event["data"])));
            }
        }
        let stream = bytes(&case["input"]);
        for pieces in cuts(&stream) {
            let what = format!("{}, in {} pieces", name(&case), pieces.len());
            let (mut side, mut events) = (side(&case), Vec::new());
            let end = replay(&mut side, &pieces, &streams, &mut events);
            assert_eq!(error_of(&end), case["error"], "{what}: {end:?}");
            assert_eq!(events, expected, "{what}");
            for setup in setups {
                let stream = setup["stream"].as_u64().unwrap();
                let is_read = setup.get("received").is_some() && setup["stopped"] != true;
                if is_read && side.offsets(stream).is_some() {
                    // Part of a message that was cut or given up may be there too.
                    let content = unread(&mut side, stream);
                    assert!(
                        content.starts_with(&expected_content(setup, &events)),
                        "{what}: other content"
                    );
                }
            }
        }
    }
}
