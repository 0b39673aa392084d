//! Reads the keys of a message from its header (`docs/protocol.md` section 3).
//!
//! serde alone is more lenient: it takes an array for an object, an object for a word, and null
//! only for a field that is an `Option`. These rules hold for every type, at every depth:
//!
//! - A key whose value is null is absent.
//! - A value has the JSON type of its field.
//! - An integer is from 0 to 2^63 - 1.

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, Expected, IntoDeserializer, MapAccess,
        SeqAccess, Unexpected, Visitor,
    },
};
use serde_json::{Error, Map, Value};

/// Reads a message, or a part of one.
///
/// # Errors
/// With the name of the key, if it is missing, or its value has the wrong type or range.
pub(crate) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Error> {
    T::deserialize(StrictValue(value))
}

/// A value that is read by the rules of the protocol.
struct StrictValue<'a>(&'a Value);

impl StrictValue<'_> {
    fn refuse<T>(&self, expected: &dyn Expected) -> Result<T, Error> {
        let found = match self.0 {
            Value::Null => Unexpected::Other("null"),
            Value::Bool(value) => Unexpected::Bool(*value),
            Value::Number(_) => Unexpected::Other("a number"),
            Value::String(text) => Unexpected::Str(text),
            Value::Array(_) => Unexpected::Other("an array"),
            Value::Object(_) => Unexpected::Other("an object"),
        };
        Err(Error::invalid_type(found, expected))
    }

    fn integer<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.as_u64() {
            Some(integer) if i64::try_from(integer).is_ok() => visitor.visit_u64(integer),
            _ if self.0.is_number() => Err(Error::custom("not an integer from 0 to 2^63 - 1")),
            _ => self.refuse(&visitor),
        }
    }

    fn string<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::String(text) => visitor.visit_str(text),
            _ => self.refuse(&visitor),
        }
    }

    fn array<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(Items(items.iter())),
            _ => self.refuse(&visitor),
        }
    }

    fn object<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(object) => visitor.visit_map(Entries {
                entries: object.iter(),
                value: None,
            }),
            _ => self.refuse(&visitor),
        }
    }

    /// A type that occurs in no message.
    fn unknown<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.refuse(&visitor)
    }
}

/// Methods of a deserializer that do the same.
macro_rules! methods {
    ($($what:ident: $($method:ident)*;)*) => {
        $($(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.$what(visitor)
        })*)*
    };
}

impl<'de> Deserializer<'de> for StrictValue<'_> {
    type Error = Error;

    methods! {
        integer: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
            deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64;
        string: deserialize_str deserialize_string deserialize_identifier;
        array: deserialize_seq;
        object: deserialize_map;
        unknown: deserialize_i128 deserialize_u128 deserialize_f32 deserialize_f64
            deserialize_char deserialize_bytes deserialize_byte_buf deserialize_unit;
    }

    /// The value as it is, for a type that is one of several.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::String(_) => self.string(visitor),
            Value::Array(_) => self.array(visitor),
            Value::Object(_) => self.object(visitor),
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                self.0.clone().deserialize_any(visitor)
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Bool(value) => visitor.visit_bool(*value),
            _ => self.refuse(&visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.object(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    /// One of several words.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::String(word) => visitor.visit_enum(word.as_str().into_deserializer()),
            _ => self.refuse(&visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.unknown(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.unknown(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.unknown(visitor)
    }
}

struct Items<'a>(std::slice::Iter<'a, Value>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let item = self.0.next();
        item.map(|item| seed.deserialize(StrictValue(item)))
            .transpose()
    }
}

/// The entries of an object that are not null.
struct Entries<'a> {
    entries: <&'a Map<String, Value> as IntoIterator>::IntoIter,
    /// The key that was read last, and its value.
    value: Option<(&'a str, &'a Value)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.entries.find(|(_, value)| !value.is_null()) else {
            return Ok(None);
        };
        self.value = Some((key, value));
        seed.deserialize(key.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (key, value) = self.value.take().unwrap_or(("", &Value::Null));
        seed.deserialize(StrictValue(value))
            .map_err(|error| Error::custom(format_args!("{key:?}: {error}")))
    }
}
