//! The codecs that come with the crate.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::io;

use landline_socketserver::framing::{
    ByteOrder, Codec, Framed, JsonFrame, JsonFrames, SizedFrames,
};

/// Input that arrives in pieces of `step` bytes, and no output.
struct Pieces<'a>(&'a [u8], usize);

impl io::Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(self.0.len()).min(buffer.len());
        let (piece, rest) = self.0.split_at(count);
        buffer[..count].copy_from_slice(piece);
        self.0 = rest;
        Ok(count)
    }
}

impl io::Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All frames of `bytes`, which arrive in pieces of `step` bytes.
fn decode<C: Codec>(codec: C, bytes: &[u8], step: usize) -> io::Result<Vec<C::Frame>> {
    let mut framed = Framed::new(Pieces(bytes, step), codec);
    let mut frames = Vec::new();
    while let Some(frame) = framed.receive()? {
        frames.push(frame);
    }
    Ok(frames)
}

fn error<C: Codec>(codec: C, bytes: &[u8]) -> io::Error {
    decode(codec, bytes, 1).err().unwrap()
}

#[test]
fn sized_frames_are_those_of_python() {
    // struct.pack('<i', 2) + b'hi' + struct.pack('<i', 0) + struct.pack('<i', 300) + 300 * b'x'
    let mut bytes = b"\x02\0\0\0hi\0\0\0\0\x2c\x01\0\0".to_vec();
    bytes.extend([b'x'; 300]);
    let expected = [b"hi".to_vec(), vec![], vec![b'x'; 300]];
    for step in [1, 3, 1000] {
        let frames = decode(SizedFrames::new(ByteOrder::Little), &bytes, step).unwrap();
        assert_eq!(frames, expected);
    }
    let frames = decode(SizedFrames::new(ByteOrder::Big), b"\0\0\0\x02hi", 1).unwrap();
    assert_eq!(frames, [b"hi"]);
    let mut encoded = Vec::new();
    for frame in &expected {
        SizedFrames::default().encode(frame, &mut encoded).unwrap();
    }
    assert_eq!(encoded, bytes);
}

#[test]
fn bad_lengths_are_rejected_at_once() {
    let sized = || SizedFrames::default().bytes_max(1000);
    for bytes in [&(-1_i32).to_le_bytes(), &1001_i32.to_le_bytes()] {
        assert_eq!(error(sized(), bytes).kind(), io::ErrorKind::InvalidData);
    }
    // The error names the likely cause: the sender uses `!i`.
    assert!(
        error(sized(), b"\0\0\0\x05hello")
            .to_string()
            .contains(" 5)")
    );
    for cut in [&b"\x05\0\0\0hell"[..], b"\x05\0", b"\x05\0\0\0"] {
        assert_eq!(error(sized(), cut).kind(), io::ErrorKind::UnexpectedEof);
    }
    assert!(sized().encode(&vec![0; 1001], &mut Vec::new()).is_err());
}

#[test]
fn longest_frame_arrives() {
    let max = 16 * 1024 * 1024;
    let mut bytes = Vec::new();
    let sized = || SizedFrames::default().bytes_max(usize::MAX);
    sized().encode(&vec![7; max], &mut bytes).unwrap();
    assert_eq!(decode(sized(), &bytes, 64 * 1024).unwrap()[0].len(), max);
    assert!(sized().encode(&vec![7; max + 1], &mut bytes).is_err());
}

#[test]
fn json_frames_carry_header_and_body() {
    let json = || JsonFrames::new(ByteOrder::Little, "file_size");
    let text = br#"{"file_name": "a.txt", "file_size": 5}"#;
    let bytes = [&(text.len() as i32).to_le_bytes(), &text[..], b"hello"].concat();
    let twice = bytes.repeat(2);
    for step in [1, 7, 1000] {
        let frames = decode(json(), &twice, step).unwrap();
        assert_eq!(frames.len(), 2);
        for frame in frames {
            assert_eq!(frame.header["file_name"], "a.txt");
            assert_eq!(frame.body, b"hello");
        }
    }
    let mut encoded = Vec::new();
    let frame = JsonFrame {
        body: b"hello".to_vec(),
        ..JsonFrame::default()
    };
    json().encode(&frame, &mut encoded).unwrap();
    assert_eq!(encoded, b"\x0f\0\0\0{\"file_size\":5}hello");
}

#[test]
fn bad_json_headers_are_rejected() {
    let json = || JsonFrames::new(ByteOrder::Little, "size").body_bytes_max(1000);
    for header in [
        "not JSON",
        "[1]",
        "{}",
        r#"{"size": "5"}"#,
        r#"{"size": -1}"#,
        r#"{"size": 1.5}"#,
        r#"{"size": 1001}"#,
        r#"{"size": 99999999999999999999}"#,
    ] {
        let bytes = [&(header.len() as i32).to_le_bytes(), header.as_bytes()].concat();
        assert_eq!(
            error(json(), &bytes).kind(),
            io::ErrorKind::InvalidData,
            "{header}"
        );
    }
    let cut = b"\x0a\0\0\0{\"size\":5}hell";
    assert_eq!(error(json(), cut).kind(), io::ErrorKind::UnexpectedEof);
    let long = 65_537_i32.to_le_bytes();
    assert_eq!(error(json(), &long).kind(), io::ErrorKind::InvalidData);
}
