//! Messages: a header and perhaps a body (`docs/protocol.md` section 3).

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    BodySize, Header, Limits, ProtocolError,
    frame::{self, FrameDecoder, FramePart},
};

/// A type of message: the keys of its header and the name under `"type"`.
///
/// Fields named `type` or `size` are reserved for the protocol.
pub trait Message: Serialize + DeserializeOwned {
    /// The name under `"type"`.
    const TYPE: &'static str;
}

/// A type of message, without its Rust type: for what all of them have in common.
#[derive(Debug, Clone, Copy)]
pub struct MessageType {
    /// The name under `"type"`.
    pub name: &'static str,
    check: fn(&Header) -> Result<(), ProtocolError>,
}

impl MessageType {
    /// The type of `M`.
    pub const fn of<M: Message>() -> Self {
        Self {
            name: M::TYPE,
            check: |header| header.read::<M>().map(drop),
        }
    }

    /// Checks that a header has the keys of this type.
    ///
    /// # Errors
    /// Those of [`Header::read`].
    pub fn check(&self, header: &Header) -> Result<(), ProtocolError> {
        (self.check)(header)
    }
}

/// Appends the header frame of `message` to `out`.
///
/// `body` is the body that the caller sends next.
///
/// # Errors
/// [`ProtocolError::FrameSize`] if the header exceeds `limits`; `out` is then unchanged.
pub fn encode<M: Message>(
    message: &M,
    body: Option<BodySize>,
    limits: &Limits,
    out: &mut Vec<u8>,
) -> Result<(), ProtocolError> {
    #[derive(Serialize)]
    struct Envelope<'a, M> {
        r#type: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        size: Option<Option<u64>>,
        #[serde(flatten)]
        keys: &'a M,
    }
    let size = body.map(|body| match body {
        BodySize::Known(bytes) => Some(bytes),
        BodySize::Unknown => None,
    });
    let json = serde_json::to_vec(&Envelope {
        r#type: M::TYPE,
        size,
        keys: message,
    })
    .map_err(|error| ProtocolError::BadHeader(error.to_string()))?;
    if json.len() > limits.header_bytes_max as usize {
        let length = i32::try_from(json.len()).unwrap_or(i32::MAX);
        return Err(ProtocolError::FrameSize {
            length,
            limit: limits.header_bytes_max,
        });
    }
    out.extend_from_slice(&frame::prefix(json.len()));
    out.extend_from_slice(&json);
    Ok(())
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEnd {
    /// The body is complete.
    Complete,
    /// The sender aborted the body; the next header says why.
    GivenUp,
}

/// The next item that [`MessageDecoder::decode`] found.
#[derive(Debug, PartialEq)]
pub enum Item<'a> {
    /// A header. If [`Header::body`] is `Some`, data and an end follow.
    Header(Header),
    /// The next bytes of the body, borrowed from the input; never empty.
    Data(&'a [u8]),
    /// The body is over.
    BodyEnd(BodyEnd),
}

/// Decodes messages from a stream that may be split at any byte.
///
/// It tracks bodies and holds at most one header.
#[derive(Debug)]
pub struct MessageDecoder {
    limits: Limits,
    frames: FrameDecoder,
    state: DecoderState,
}

#[derive(Debug)]
enum DecoderState {
    /// Before or within a header frame, with the bytes received so far.
    Header(Vec<u8>),
    /// Within a body: bytes received in all, and bytes of the current frame.
    Body {
        size: BodySize,
        received: u64,
        frame: u32,
        /// The longest body of unknown size.
        bytes_max: u64,
    },
}

impl MessageDecoder {
    /// A decoder at the start of a stream.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            frames: FrameDecoder::default(),
            state: DecoderState::Header(Vec::new()),
        }
    }

    /// Sets the limits from the next frame on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether the stream may end here: between two messages.
    pub fn at_boundary(&self) -> bool {
        matches!(&self.state, DecoderState::Header(_)) && self.frames.at_boundary()
    }

    /// Whether a body has started and not ended.
    pub fn in_body(&self) -> bool {
        matches!(&self.state, DecoderState::Body { .. })
    }

    /// Whether all bytes of a body of known size have been received, so that its end needs no
    /// further input.
    pub fn is_body_complete(&self) -> bool {
        matches!(
            &self.state,
            DecoderState::Body { size: BodySize::Known(size), received, .. } if size == received
        )
    }

    /// Limits the body that has just started.
    ///
    /// The size of a body of known size was checked with its header.
    pub fn set_body_bytes_max(&mut self, limit: u64) {
        if let DecoderState::Body { bytes_max, .. } = &mut self.state {
            *bytes_max = limit;
        }
    }

    /// Decodes the next item, and advances `input`; `None` if it needs more input.
    ///
    /// # Errors
    /// Any [`ProtocolError`] of section 3; the stream is then unusable.
    pub fn decode<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Item<'a>>, ProtocolError> {
        match &mut self.state {
            DecoderState::Header(payload) => {
                while let Some(part) = self.frames.decode(input, self.limits.header_bytes_max)? {
                    match part {
                        FramePart::Start(_) => payload.clear(),
                        FramePart::Payload(bytes) => payload.extend_from_slice(bytes),
                        FramePart::End => {
                            let header = Header::decode(payload)?;
                            return self.begin(header).map(Some);
                        }
                    }
                }
                Ok(None)
            }
            DecoderState::Body {
                size: BodySize::Known(size),
                received,
                ..
            } if received == size => Ok(Some(self.end(BodyEnd::Complete))),
            DecoderState::Body { .. } => self.decode_body(input),
        }
    }

    fn begin(&mut self, header: Header) -> Result<Item<'static>, ProtocolError> {
        if header.body().is_some() && self.limits.data_bytes_max.is_none() {
            return Err(ProtocolError::BodyBeforeLogin);
        }
        self.state = match header.body() {
            None => DecoderState::Header(Vec::new()),
            Some(size) => DecoderState::Body {
                size,
                received: 0,
                frame: 0,
                bytes_max: u64::MAX,
            },
        };
        Ok(Item::Header(header))
    }

    fn end(&mut self, how: BodyEnd) -> Item<'static> {
        self.state = DecoderState::Header(Vec::new());
        Item::BodyEnd(how)
    }

    fn decode_body<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Item<'a>>, ProtocolError> {
        let DecoderState::Body {
            size,
            received,
            frame,
            bytes_max,
        } = &mut self.state
        else {
            return Ok(None);
        };
        let limit = self.limits.data_bytes_max.unwrap_or(0);
        while let Some(part) = self.frames.decode(input, limit)? {
            match part {
                FramePart::Start(bytes) => {
                    *frame = bytes;
                    let declared = match *size {
                        BodySize::Known(declared) => declared,
                        BodySize::Unknown => *bytes_max,
                    };
                    let found = received.saturating_add(u64::from(bytes));
                    if found > declared {
                        return Err(ProtocolError::BodySize { declared, found });
                    }
                }
                FramePart::Payload(bytes) => {
                    *received = received.saturating_add(bytes.len() as u64);
                    // Decode the end of the frame first: it shows whether the body is complete.
                    if let BodySize::Known(declared) = *size
                        && *received == declared
                    {
                        self.frames.decode(input, limit)?;
                    }
                    return Ok(Some(Item::Data(bytes)));
                }
                FramePart::End if *frame == 0 => {
                    let how = match size {
                        BodySize::Known(_) => BodyEnd::GivenUp,
                        BodySize::Unknown => BodyEnd::Complete,
                    };
                    return Ok(Some(self.end(how)));
                }
                FramePart::End => {}
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    struct Note {
        text: String,
    }

    impl Message for Note {
        const TYPE: &'static str = "note";
    }

    /// Events, with the data of a body merged, as the protocol defines them.
    fn events(stream: &[u8], cuts: &[usize]) -> Result<(Vec<String>, bool), ProtocolError> {
        let mut decoder = MessageDecoder::new(Limits::SESSION);
        let mut events: Vec<String> = Vec::new();
        let (mut from, mut data) = (0, Vec::new());
        for &to in cuts.iter().chain([&stream.len()]) {
            let mut input = &stream[from..to];
            from = to;
            while let Some(item) = decoder.decode(&mut input)? {
                match item {
                    Item::Header(header) => events.push(header.read::<Note>()?.text),
                    Item::Data(bytes) => data.extend_from_slice(bytes),
                    Item::BodyEnd(how) => {
                        events.push(format!("{how:?} {:?}", std::mem::take(&mut data)))
                    }
                }
            }
        }
        Ok((events, decoder.at_boundary()))
    }

    fn stream(
        notes: &[(String, Option<Vec<u8>>, bool)],
        frame_bytes: usize,
    ) -> (Vec<u8>, Vec<String>) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for (text, body, known) in notes {
            let size = body.as_ref().map(|body| match known {
                true => BodySize::Known(body.len() as u64),
                false => BodySize::Unknown,
            });
            encode(
                &Note { text: text.clone() },
                size,
                &Limits::SESSION,
                &mut bytes,
            )
            .unwrap();
            expected.push(text.clone());
            let Some(body) = body else { continue };
            for piece in body.chunks(frame_bytes) {
                bytes.extend_from_slice(&frame::prefix(piece.len()));
                bytes.extend_from_slice(piece);
            }
            if !known {
                bytes.extend_from_slice(&frame::prefix(0));
            }
            expected.push(format!("Complete {body:?}"));
        }
        (bytes, expected)
    }

    proptest! {
        #[test]
        fn segmentation_does_not_change_messages(
            notes in proptest::collection::vec(
                (".{0,20}", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)), any::<bool>()), 0..6),
            frame_bytes in 1usize..100,
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..60),
        ) {
            let (stream, expected) = stream(&notes, frame_bytes);
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            prop_assert_eq!(events(&stream, &cuts).unwrap(), (expected, true));
        }

        /// Proves `panic` in docs/faults.md.
        #[test]
        fn garbage_neither_panics_nor_stalls(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = events(&bytes, &[]);
        }
    }

    #[test]
    fn aborted_body_differs_from_complete_one() {
        let mut bytes = Vec::new();
        encode(
            &Note { text: "a".into() },
            Some(BodySize::Known(5)),
            &Limits::SESSION,
            &mut bytes,
        )
        .unwrap();
        bytes.extend_from_slice(&[2, 0, 0, 0, 7, 7, 0, 0, 0, 0]);
        assert_eq!(events(&bytes, &[]).unwrap().0, ["a", "GivenUp [7, 7]"]);
    }

    /// Proves `json-bomb` in docs/faults.md.
    #[test]
    fn body_beyond_size_is_rejected_at_frame() {
        let mut bytes = Vec::new();
        encode(
            &Note { text: "a".into() },
            Some(BodySize::Known(5)),
            &Limits::SESSION,
            &mut bytes,
        )
        .unwrap();
        bytes.extend_from_slice(&[6, 0, 0, 0]);
        assert_eq!(
            events(&bytes, &[]),
            Err(ProtocolError::BodySize {
                declared: 5,
                found: 6
            })
        );
    }

    #[test]
    fn open_body_beyond_limit_is_rejected_at_frame() {
        let mut bytes = Vec::new();
        let note = Note { text: "a".into() };
        encode(&note, Some(BodySize::Unknown), &Limits::SESSION, &mut bytes).unwrap();
        bytes.extend_from_slice(&[2, 0, 0, 0, 7, 7, 1, 0, 0, 0]);
        let mut decoder = MessageDecoder::new(Limits::SESSION);
        let mut input = &bytes[..];
        assert!(matches!(
            decoder.decode(&mut input),
            Ok(Some(Item::Header(_)))
        ));
        decoder.set_body_bytes_max(2);
        assert_eq!(decoder.decode(&mut input), Ok(Some(Item::Data(&[7, 7]))));
        let expected = ProtocolError::BodySize {
            declared: 2,
            found: 3,
        };
        assert_eq!(decoder.decode(&mut input), Err(expected));
    }

    /// Proves `work-before-login` in docs/faults.md.
    #[test]
    fn body_before_login_is_rejected() {
        for size in [BodySize::Known(0), BodySize::Unknown] {
            let mut bytes = Vec::new();
            encode(
                &Note { text: "a".into() },
                Some(size),
                &Limits::SESSION,
                &mut bytes,
            )
            .unwrap();
            let result = MessageDecoder::new(Limits::LOGIN).decode(&mut &bytes[..]);
            assert_eq!(result, Err(ProtocolError::BodyBeforeLogin));
        }
    }
}
