//! One line of the log, and the chain that holds the lines together. No input and output.

use std::{fmt, time::SystemTime};

use data_encoding::HEXLOWER;
use serde_json::{Map, Value};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use super::Entry;
use crate::crypto::sha256;

/// The longest line, without its line feed.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// The SHA-256 of a line, without its line feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What the first line of all has in place of the hash of the one before it.
    pub const NONE: Self = Self([0; 32]);

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

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// The end of a chain: its last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// Its sequence number; 0 for a chain without lines.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

impl Tip {
    /// The end of a chain without lines.
    pub const START: Self = Self {
        seq: 0,
        hash: Hash::NONE,
    };

    /// The line for `entry` behind this one, and the end of the chain with it. Printable ASCII
    /// whatever the entry holds, and at most [`LINE_BYTES_MAX`] long: the texts of an entry
    /// that is longer are cut, and it says so (`"cut": true`).
    pub fn line(&self, time: SystemTime, entry: &Entry) -> (String, Self) {
        let seq = self.seq.saturating_add(1);
        let time = time_text(time.into());
        let head = head(seq, &time, &self.hash, "");
        let body = serde_json::to_string(entry).unwrap_or_default();
        let mut line = printable(&format!(
            "{head}{}",
            body.strip_prefix('{')
                .unwrap_or("\"event\":\"unwritable\"}")
        ));
        for longest in [4096, 1024, 256, 64] {
            if line.len() <= LINE_BYTES_MAX {
                break;
            }
            let mut fields = serde_json::to_value(entry).unwrap_or_default();
            let event = fields
                .as_object_mut()
                .and_then(|fields| fields.remove("event"))
                .unwrap_or_default();
            cut(&mut fields, longest);
            let rest = fields.to_string();
            line = printable(&format!(
                "{head}\"event\":{event},\"cut\":true,{}",
                rest.strip_prefix('{').unwrap_or("}")
            ));
        }
        let hash = Hash::of(line.as_bytes());
        (line, Self { seq, hash })
    }
}

/// A line that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its place in the chain, from 1.
    pub seq: u64,
    /// When, RFC 3339 in UTC with microseconds.
    pub time: String,
    /// The hash of the line before it.
    pub prev: Hash,
    /// What happened.
    pub event: String,
    /// The event's own fields.
    pub fields: Map<String, Value>,
}

impl Line {
    /// Reads a line without its line feed: only what [`Tip::line`] could have made of something.
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
                .and_then(Hash::parse)
                .ok_or("does not name the line before it")?,
            event: event
                .as_str()
                .ok_or("does not say what happened")?
                .to_owned(),
            fields,
        };
        let head = head(
            parsed.seq,
            &parsed.time,
            &parsed.prev,
            &format!("\"event\":{}", Value::from(&parsed.event[..])),
        );
        if !text.starts_with(&head) {
            return Err("does not begin as every line does");
        }
        Ok(parsed)
    }

    /// Whether the event concerns this user.
    pub fn is_of(&self, user: &str) -> bool {
        let is = |key: &str| self.fields.get(key).and_then(Value::as_str) == Some(user);
        is("user")
            || (self.event == "admin" && is("subject"))
            || (self.event == "more" && is("source"))
    }

    /// When it was written.
    pub(super) fn written(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::parse(&self.time, &Rfc3339).ok()
    }
}

/// How a line begins.
fn head(seq: u64, time: &str, prev: &Hash, event: &str) -> String {
    format!("{{\"seq\":{seq},\"time\":\"{time}\",\"prev\":\"{prev}\",{event}")
}

/// A time as it stands in the log: RFC 3339 in UTC with microseconds.
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

/// Cuts every text to so many characters and every list to so many items.
fn cut(value: &mut Value, longest: usize) {
    match value {
        Value::String(text) => {
            if let Some((end, _)) = text.char_indices().nth(longest) {
                text.truncate(end);
            }
        }
        Value::Array(items) => {
            items.truncate(longest);
            items.iter_mut().for_each(|item| cut(item, longest));
        }
        Value::Object(fields) => fields.values_mut().for_each(|field| cut(field, longest)),
        _ => {}
    }
}
