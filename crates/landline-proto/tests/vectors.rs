#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test"
)]
//! Replays `docs/vectors/` against this crate: each stream whole, and one byte at a time.

#[path = "vectors/streams.rs"]
mod streams;

use data_encoding::HEXLOWER;
use landline_proto::{
    BodyEnd, BodySize, Header, Item, Limits, MessageDecoder, ProtocolError, VERSION,
    bundle::{PieceDecoder, PiecePart},
    frame::{FrameDecoder, FramePart},
    login::{Transcript, UserName},
    messages::Nonce,
};
use serde_json::{Value, json};

/// Bytes as the vectors write them: hexadecimal, or a list of hexadecimal and `{"repeat",
/// "count"}`.
fn bytes(value: &Value) -> Vec<u8> {
    let hex = |value: &Value| {
        HEXLOWER
            .decode(value.as_str().expect("hexadecimal").as_bytes())
            .expect("hexadecimal")
    };
    match value {
        Value::Array(parts) => parts
            .iter()
            .flat_map(|part| match part.get("repeat") {
                Some(unit) => {
                    hex(unit).repeat(usize::try_from(part["count"].as_u64().unwrap()).unwrap())
                }
                None => hex(part),
            })
            .collect(),
        _ => hex(value),
    }
}

fn bytes32(value: &Value) -> [u8; 32] {
    bytes(value).try_into().expect("32 bytes")
}

fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap().to_owned())
        .collect()
}

/// The cases of a file, with their names.
fn cases(text: &str, under: &str) -> Vec<Value> {
    let mut file: Value = serde_json::from_str(text).expect("a file of vectors");
    let Value::Array(cases) = file[under].take() else {
        panic!("no {under}")
    };
    assert!(!cases.is_empty(), "no {under}");
    cases
}

fn name(case: &Value) -> &str {
    case["name"].as_str().expect("a case has a name")
}

/// The stream in pieces: whole, and one byte at a time.
fn cuts(stream: &[u8]) -> [Vec<&[u8]>; 2] {
    [vec![stream], stream.chunks(1).collect()]
}

/// What went wrong, as the vectors name it.
fn error_of(end: &Result<bool, ProtocolError>) -> Value {
    match end {
        Ok(true) => Value::Null,
        Ok(false) => json!("cut"),
        Err(error) => json!(error.code().as_str()),
    }
}

fn frames(pieces: &[&[u8]], limit: u32, done: &mut Vec<Vec<u8>>) -> Result<bool, ProtocolError> {
    let (mut decoder, mut open, mut promised) = (FrameDecoder::default(), Vec::new(), 0);
    for piece in pieces {
        let mut input = *piece;
        while let Some(part) = decoder.decode(&mut input, limit)? {
            match part {
                FramePart::Start(length) => promised = length as usize,
                FramePart::Payload(payload) => open.extend_from_slice(payload),
                FramePart::End => {
                    assert_eq!(open.len(), promised);
                    done.push(std::mem::take(&mut open));
                }
            }
        }
        assert!(input.is_empty(), "input was left over");
    }
    Ok(decoder.at_boundary())
}

#[test]
fn frames_match_vectors() {
    for case in cases(include_str!("../../../docs/vectors/frames.json"), "cases") {
        let limit = u32::try_from(case["limit"].as_u64().unwrap()).unwrap();
        let stream = bytes(&case["input"]);
        let expected: Vec<Vec<u8>> = case["frames"]
            .as_array()
            .unwrap()
            .iter()
            .map(bytes)
            .collect();
        for pieces in cuts(&stream) {
            let mut done = Vec::new();
            let end = frames(&pieces, limit, &mut done);
            let count = pieces.len();
            assert_eq!(
                error_of(&end),
                case["error"],
                "{}, in {count} pieces: {end:?}",
                name(&case)
            );
            assert!(
                done == expected,
                "{}, in {count} pieces: other frames",
                name(&case)
            );
        }
    }
}

fn pieces(
    parts: &[&[u8]],
    done: &mut Vec<(u64, Vec<u8>)>,
    length: &mut Option<u64>,
) -> Result<bool, ProtocolError> {
    let (mut decoder, mut promised) = (PieceDecoder::default(), 0);
    let mut open = Vec::new();
    for part in parts {
        let mut input = *part;
        while let Some(part) = decoder.decode(&mut input)? {
            match part {
                PiecePart::Start { position, length } => {
                    promised = length as usize;
                    open.push((position, Vec::new()));
                }
                PiecePart::Content(content) => open.last_mut().unwrap().1.extend(content),
                PiecePart::End { position } => *length = Some(position),
            }
            if open
                .last()
                .is_some_and(|(_, content)| content.len() == promised)
            {
                done.append(&mut open);
            }
        }
        assert!(input.is_empty(), "input was left over");
    }
    Ok(decoder.at_boundary())
}

#[test]
fn pieces_match_vectors() {
    for case in cases(include_str!("../../../docs/vectors/bundle.json"), "cases") {
        let stream = bytes(&case["input"]);
        let expected: Vec<(u64, Vec<u8>)> = case["pieces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|piece| {
                (
                    piece["position"].as_u64().unwrap(),
                    bytes(&piece["content"]),
                )
            })
            .collect();
        for parts in cuts(&stream) {
            let (mut done, mut length) = (Vec::new(), None);
            let end = pieces(&parts, &mut done, &mut length);
            assert_eq!(error_of(&end), case["error"], "{}: {end:?}", name(&case));
            assert!(done == expected, "{}: other pieces", name(&case));
            assert_eq!(json!(length), case["length"], "{}", name(&case));
        }
    }
}

fn size_of(header: &Header) -> Value {
    match header.body() {
        None => json!("absent"),
        Some(BodySize::Unknown) => Value::Null,
        Some(BodySize::Known(size)) => json!(size),
    }
}

#[test]
fn headers_match_vectors() {
    for case in cases(include_str!("../../../docs/vectors/headers.json"), "cases") {
        let found = match Header::decode(&bytes(&case["input"])) {
            Ok(header) => json!({"type": header.kind(), "size": size_of(&header), "error": null}),
            Err(error) => json!({"type": null, "size": "absent", "error": error.code().as_str()}),
        };
        let expected = json!({"type": case["type"], "size": case["size"], "error": case["error"]});
        assert_eq!(found, expected, "{}", name(&case));
    }
}

/// Data with all that came since the last other event.
fn flush(data: &mut Vec<u8>, events: &mut Vec<(String, Vec<u8>)>) {
    if !data.is_empty() {
        events.push(("data".to_owned(), std::mem::take(data)));
    }
}

fn messages(
    pieces: &[&[u8]],
    limits: Limits,
    data: &mut Vec<u8>,
    events: &mut Vec<(String, Vec<u8>)>,
) -> Result<bool, ProtocolError> {
    let mut decoder = MessageDecoder::new(limits);
    for piece in pieces {
        let mut input = *piece;
        while let Some(item) = decoder.decode(&mut input)? {
            let event = match item {
                Item::Data(bytes) => {
                    assert!(!bytes.is_empty(), "empty data");
                    data.extend_from_slice(bytes);
                    continue;
                }
                Item::Header(header) => format!("header {}", header.kind()),
                Item::BodyEnd(BodyEnd::Complete) => "end complete".to_owned(),
                Item::BodyEnd(BodyEnd::GivenUp) => "end given-up".to_owned(),
            };
            flush(data, events);
            events.push((event, Vec::new()));
        }
        assert!(input.is_empty(), "input was left over");
    }
    Ok(decoder.at_boundary())
}

fn expected_event(event: &Value) -> (String, Vec<u8>) {
    let (key, value) = event.as_object().unwrap().iter().next().expect("an event");
    match key.as_str() {
        "data" => ("data".to_owned(), bytes(value)),
        _ => (format!("{key} {}", value.as_str().unwrap()), Vec::new()),
    }
}

#[test]
fn messages_match_vectors() {
    for case in cases(include_str!("../../../docs/vectors/messages.json"), "cases") {
        let limits = match case["limits"].as_str() {
            Some("login") => Limits::LOGIN,
            Some("session") => Limits::SESSION,
            _ => panic!("{}: what limits?", name(&case)),
        };
        let stream = bytes(&case["input"]);
        let expected: Vec<_> = case["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(expected_event)
            .collect();
        for pieces in cuts(&stream) {
            let (mut data, mut events) = (Vec::new(), Vec::new());
            let end = messages(&pieces, limits, &mut data, &mut events);
            flush(&mut data, &mut events);
            // Of a frame that was cut, what had arrived is dropped: the vectors have whole frames
            // only.
            if let (Ok(false), Some((kind, found))) = (&end, events.last_mut())
                && kind == "data"
            {
                let whole = expected
                    .last()
                    .filter(|(kind, _)| kind == "data")
                    .map_or(0, |(_, data)| data.len());
                found.truncate(whole);
                if found.is_empty() {
                    events.pop();
                }
            }
            let count = pieces.len();
            assert_eq!(
                error_of(&end),
                case["error"],
                "{}, in {count} pieces: {end:?}",
                name(&case)
            );
            let kinds = |events: &[(String, Vec<u8>)]| {
                events
                    .iter()
                    .map(|(kind, _)| kind.clone())
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                kinds(&events),
                kinds(&expected),
                "{}, in {count} pieces",
                name(&case)
            );
            assert!(
                events == expected,
                "{}, in {count} pieces: other data",
                name(&case)
            );
        }
    }
}

#[test]
fn transcripts_match_vectors() {
    for case in cases(
        include_str!("../../../docs/vectors/transcript.json"),
        "cases",
    ) {
        assert_eq!(case["alpn"], landline_proto::ALPN, "{}", name(&case));
        assert_eq!(case["version"], VERSION, "{}", name(&case));
        let user: Result<UserName, _> = case["user"].as_str().unwrap().parse();
        let user = user.unwrap_or_else(|error| panic!("{}: {error}", name(&case)));
        let found = Transcript {
            method: case["method"].as_str().unwrap(),
            binding_type: case["binding_type"].as_str().unwrap().parse().unwrap(),
            binding: &bytes(&case["binding"]),
            fingerprint: &bytes32(&case["fingerprint"]),
            transport: case["transport"].as_str().unwrap(),
            version: VERSION,
            methods: &strings(&case["methods"]),
            user: &user,
            client_nonce: &Nonce(bytes32(&case["client_nonce"])),
            server_nonce: &Nonce(bytes32(&case["server_nonce"])),
        };
        assert_eq!(
            HEXLOWER.encode(&found.digest()),
            case["transcript"].as_str().unwrap(),
            "{}",
            name(&case)
        );
    }
}
