//! File names on the wire.

use std::fmt;

use data_encoding::BASE64;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A file's path or name as bytes: a string on the wire, or `{"b64": "..."}` where it is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(pub Vec<u8>);

/// A name that is not UTF-8.
#[derive(Serialize, Deserialize)]
struct Encoded {
    b64: String,
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Encoded {
                b64: BASE64.encode(&self.0),
            }
            .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or {\"b64\": string}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Name, E> {
        Ok(Name(text.as_bytes().to_vec()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Name, A::Error> {
        let Encoded { b64 } = Encoded::deserialize(MapAccessDeserializer::new(map))?;
        BASE64
            .decode(b64.as_bytes())
            .map(Name)
            .map_err(|error| A::Error::custom(format_args!("base64: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_without_utf8() {
        for bytes in [&b"plain"[..], "übung".as_bytes(), b"\xff\xfe", b""] {
            let json = serde_json::to_string(&Name(bytes.to_vec())).unwrap();
            assert_eq!(
                serde_json::from_str::<Name>(&json).unwrap().0,
                bytes,
                "{json}"
            );
        }
        assert_eq!(
            serde_json::to_string(&Name(vec![0xff])).unwrap(),
            r#"{"b64":"/w=="}"#
        );
        for wrong in [
            "7",
            "null",
            "[\"x\"]",
            "{}",
            r#"{"b64":7}"#,
            r#"{"b64":"/w"}"#,
        ] {
            assert!(serde_json::from_str::<Name>(wrong).is_err(), "{wrong}");
        }
    }
}
