//! One line of the log, and the hash chain that links the lines. No I/O.

use std::{fmt, time::SystemTime};

use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use crate::{activity::Activity, crypto::sha256};

/// The longest line, without its line feed, in bytes.
pub(crate) const LINE_BYTES_MAX: usize = 64 * 1024;
/// The bytes that are kept of a text that makes a line too long, and of further texts if the line
/// is still too long.
const CUT_BYTES: [usize; 3] = [4096, 1024, 64];

/// The SHA-256 of a line, without its line feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineHash(pub [u8; 32]);

impl LineHash {
    /// What the first line of all has in place of the hash of the one before it.
    pub(crate) const NONE: Self = Self([0; 32]);

    /// The hash of a line.
    pub fn of(line: &[u8]) -> Self {
        Self(sha256(line))
    }

    /// Reads 64 lower-case hexadecimal digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        HEXLOWER
            .decode(text.as_bytes())
            .ok()?
            .try_into()
            .ok()
            .map(Self)
    }
}

impl fmt::Display for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// The last line of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainHead {
    /// Its sequence number; 0 for an empty chain.
    pub seq: u64,
    /// Its hash.
    pub hash: LineHash,
}

impl ChainHead {
    /// The head of an empty chain.
    pub const START: Self = Self {
        seq: 0,
        hash: LineHash::NONE,
    };
}

/// Encodes the line of an activity behind `head`, without a line feed; returns it with the new
/// head.
///
/// The line is printable ASCII and at most `LINE_BYTES_MAX` long. In a longer one, each long text
/// is replaced by its beginning, its length in bytes and its SHA-256.
pub fn encode_line(head: &ChainHead, time: SystemTime, activity: &Activity) -> (String, ChainHead) {
    let seq = head.seq.saturating_add(1);
    let time = time_text(time.into());
    let start = line_start(seq, &time, &head.hash, "");
    let body = serde_json::to_string(activity).unwrap_or_default();
    let mut line = printable(&format!(
        "{start}{}",
        body.strip_prefix('{')
            .unwrap_or("\"event\":\"unwritable\"}")
    ));
    for bytes_max in CUT_BYTES {
        if line.len() <= LINE_BYTES_MAX {
            break;
        }
        let mut fields = serde_json::to_value(activity).unwrap_or_default();
        let event = fields
            .as_object_mut()
            .and_then(|fields| fields.remove("event"))
            .unwrap_or_default();
        cut(&mut fields, bytes_max);
        let rest = fields.to_string();
        line = printable(&format!(
            "{start}\"event\":{event},{}",
            rest.strip_prefix('{').unwrap_or("}")
        ));
    }
    let hash = LineHash::of(line.as_bytes());
    (line, ChainHead { seq, hash })
}

/// A line that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    /// The sequence number, from 1.
    pub seq: u64,
    /// When it was written: RFC 3339 in UTC with microseconds.
    pub time: String,
    /// The hash of the line before it.
    pub prev: LineHash,
    /// The name of the activity.
    pub event: String,
    /// The activity's own fields.
    pub fields: Map<String, Value>,
}

impl LogLine {
    /// Parses a line without its line feed. It accepts only what [`encode_line`] can return.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &[u8]) -> Result<Self, &'static str> {
        if line.len() > LINE_BYTES_MAX {
            return Err("is too long");
        }
        let text = str::from_utf8(line).map_err(|_| "is not ASCII")?;
        if !text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
            return Err("is not printable ASCII");
        }
        let mut fields: Map<String, Value> =
            serde_json::from_str(text).map_err(|_| "is not a JSON object")?;
        let mut take = |key: &str| fields.remove(key).ok_or("lacks a key that every line has");
        let (seq, time, prev, event) = (take("seq")?, take("time")?, take("prev")?, take("event")?);
        let parsed = Self {
            seq: seq
                .as_u64()
                .filter(|&seq| seq > 0)
                .ok_or("has no sequence number")?,
            time: time
                .as_str()
                .and_then(canonical_time)
                .ok_or("has no time")?,
            prev: prev
                .as_str()
                .and_then(LineHash::parse)
                .ok_or("does not name the line before it")?,
            event: event
                .as_str()
                .ok_or("does not say what happened")?
                .to_owned(),
            fields,
        };
        let start = line_start(
            parsed.seq,
            &parsed.time,
            &parsed.prev,
            &format!("\"event\":{}", Value::from(&parsed.event[..])),
        );
        if !text.starts_with(&start) {
            return Err("does not begin as every line does");
        }
        Ok(parsed)
    }

    /// Whether the event concerns this user.
    pub fn is_of(&self, user: &str) -> bool {
        let is = |key: &str| self.fields.get(key).and_then(Value::as_str) == Some(user);
        is("user")
            || (self.event == "admin" && is("subject"))
            || (self.event == "suppressed" && is("source"))
    }

    /// When it was written.
    pub(super) fn written(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::parse(&self.time, &Rfc3339).ok()
    }
}

/// The start of a line.
fn line_start(seq: u64, time: &str, prev: &LineHash, event: &str) -> String {
    format!("{{\"seq\":{seq},\"time\":\"{time}\",\"prev\":\"{prev}\",{event}")
}

/// A time in the log: RFC 3339 in UTC with microseconds.
pub(super) fn time_text(time: OffsetDateTime) -> String {
    let t = time.to_offset(UtcOffset::UTC);
    let (month, day) = (u8::from(t.month()), t.day());
    let (hour, minute, second, microsecond) = (t.hour(), t.minute(), t.second(), t.microsecond());
    format!(
        "{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{microsecond:06}Z",
        t.year()
    )
}

fn canonical_time(text: &str) -> Option<String> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    (time_text(time) == text).then(|| text.to_owned())
}

/// JSON with everything but printable ASCII escaped: no reader takes it for two lines, and no
/// terminal for a command.
fn printable(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if matches!(character, ' '..='~') {
            out.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// Cuts every text that is longer than `bytes_max`.
fn cut(value: &mut Value, bytes_max: usize) {
    match value {
        Value::String(text) if text.len() > bytes_max => {
            let end = text.floor_char_boundary(bytes_max);
            *value = json!({
                "start": text.get(..end).unwrap_or_default(),
                "bytes": text.len(),
                "sha256": LineHash::of(text.as_bytes()).to_string(),
            });
        }
        Value::Array(items) => items.iter_mut().for_each(|item| cut(item, bytes_max)),
        Value::Object(fields) => fields.values_mut().for_each(|field| cut(field, bytes_max)),
        _ => {}
    }
}
