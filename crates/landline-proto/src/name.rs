//! File names on the wire.

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A file's path or name as bytes: a string on the wire, or `{"b64": "..."}` where it is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Wire {
    Text(String),
    Bytes { b64: String },
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Wire::Bytes {
                b64: BASE64.encode(&self.0),
            }
            .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Wire::deserialize(deserializer) {
            Ok(Wire::Text(text)) => Ok(Self(text.into_bytes())),
            Ok(Wire::Bytes { b64 }) => BASE64
                .decode(b64.as_bytes())
                .map(Self)
                .map_err(|error| D::Error::custom(format_args!("a name's base64: {error}"))),
            Err(_) => Err(D::Error::custom(
                "a name that is neither a string nor {\"b64\": string}",
            )),
        }
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
        assert!(serde_json::from_str::<Name>("7").is_err());
    }
}
