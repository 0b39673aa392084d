//! Headers: the JSON object that begins every message, parsed strictly.
//!
//! See `docs/protocol.md` section 3.

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::{ProtocolError, limits::NESTING_MAX, read};

/// The size of a message's body, as declared in its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodySize {
    /// This many bytes, in data frames.
    Known(u64),
    /// Data frames until an empty one.
    Unknown,
}

/// A header that follows the general rules.
///
/// It is a JSON object with a string `type` and without duplicate keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    kind: String,
    body: Option<BodySize>,
    object: Value,
}

impl Header {
    /// Parses the content of a header frame.
    ///
    /// # Errors
    /// [`ProtocolError::BadHeader`] with the problem and its position.
    pub fn decode(payload: &[u8]) -> Result<Self, ProtocolError> {
        let mut json = serde_json::Deserializer::from_slice(payload);
        let value = Strict { depth: 0 }
            .deserialize(&mut json)
            .and_then(|value| json.end().map(|()| value))
            .map_err(|error| ProtocolError::BadHeader(error.to_string()))?;
        let Value::Object(keys) = &value else {
            return Err(bad("not a JSON object"));
        };
        let Some(Value::String(kind)) = keys.get("type") else {
            return Err(bad("no string under \"type\""));
        };
        let body = match keys.get("size") {
            None => None,
            Some(Value::Null) => Some(BodySize::Unknown),
            Some(size) => match size.as_u64() {
                Some(bytes) if i64::try_from(bytes).is_ok() => Some(BodySize::Known(bytes)),
                _ => {
                    return Err(bad(
                        "\"size\" is neither null nor an integer from 0 to 2^63 - 1",
                    ));
                }
            },
        };
        Ok(Self {
            kind: kind.clone(),
            body,
            object: value,
        })
    }

    /// The message's type.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The declared body, if there is one.
    pub fn body(&self) -> Option<BodySize> {
        self.body
    }

    /// Reads the header as a message of type `T`. Unknown keys are ignored.
    ///
    /// A key whose value is null is absent.
    ///
    /// # Errors
    /// [`ProtocolError::BadHeader`] if a key is missing, or its value has the wrong type or range.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ProtocolError> {
        read::read(&self.object)
            .map_err(|error| ProtocolError::BadHeader(format!("in {:?}: {error}", self.kind)))
    }
}

fn bad(what: &str) -> ProtocolError {
    ProtocolError::BadHeader(what.to_owned())
}

/// Builds a [`Value`]; rejects duplicate keys and nesting past [`NESTING_MAX`].
#[derive(Clone, Copy)]
struct Strict {
    depth: u32,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= NESTING_MAX {
            return Err(E::custom(format_args!("nested deeper than {NESTING_MAX}")));
        }
        Ok(Self {
            depth: self.depth + 1,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(inner)?;
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!(
                    "the key {key:?} appears twice"
                )));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;

    /// Proves `json-bomb` in docs/faults.md.
    #[test]
    fn nesting_is_limited_to_16() {
        let nested = |levels: usize| {
            format!(
                "{{\"type\":\"x\",\"a\":{}{}}}",
                "[".repeat(levels),
                "]".repeat(levels)
            )
        };
        assert!(Header::decode(nested(15).as_bytes()).is_ok());
        let error = Header::decode(nested(16).as_bytes()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BadHeader, "{error}");
        assert!(Header::decode(nested(30_000).as_bytes()).is_err());
    }

    /// Proves `json-bomb` in docs/faults.md.
    #[test]
    fn duplicate_key_is_rejected_in_any_spelling() {
        for text in [
            r#"{"type":"a","type":"a"}"#,
            r#"{"type":"a","t\u0079pe":"b"}"#,
            r#"{"type":"a","x":{"k":1,"k":1}}"#,
        ] {
            let error = Header::decode(text.as_bytes()).unwrap_err();
            assert_eq!(error.code(), ErrorCode::BadHeader, "{error}");
        }
    }
}
