//! JSON of any depth, read to a bounded one.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Levels of a body that are kept; `serde_json` itself gives up at 128. No pod spec lies half as deep.
const LEVELS: usize = 100;

/// A value whose parts below the 100th level are `null`. A user can make some part of an object nest as deep as the API server
/// admits (`metadata.managedFields`, a custom kind); the review must be answered, and the images be judged, all the same.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Bounded(pub(super) Value);

impl<'de> Deserialize<'de> for Bounded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Level(LEVELS).deserialize(deserializer).map(Self)
    }
}

/// What is read with so many levels left.
#[derive(Clone, Copy)]
struct Level(usize);

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.0 == 0 {
            // Passed over without recursion, whatever it holds.
            return deserializer.deserialize_ignored_any(IgnoredAny).map(|IgnoredAny| Value::Null);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let below = Self(self.0 - 1);
        let mut read = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            read.push(item);
        }
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let below = Self(self.0 - 1);
        let mut read = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            read.insert(key, members.next_value_seed(below)?);
        }
        Ok(Value::Object(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shallow_values_are_read_as_they_are() {
        let text = r#"{"a":[null,true,-1,18446744073709551615,1.5,"x\n\u00e9",{}],"b":{"c":[[]]},"a2":"","b":1}"#;
        let Bounded(read) = serde_json::from_str(text).unwrap();
        assert_eq!(read, serde_json::from_str::<Value>(text).unwrap());
        for broken in ["", "[1,", r#"{"a"}"#, "[1] 2", r#"{"a":"#, "[nul]", "1e999"] {
            let ours = serde_json::from_str::<Bounded>(broken).is_err();
            assert_eq!(ours, serde_json::from_str::<Value>(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn what_lies_too_deep_is_passed_over() {
        for depth in [99, 100, 101, 127, 128, 500_000] {
            let text = format!(r#"{{"deep":{}1{},"after":2}}"#, "[".repeat(depth), "]".repeat(depth));
            let Bounded(read) = serde_json::from_str(&text).unwrap();
            assert_eq!(read["after"], 2, "{depth}");
            let mut at = &read["deep"];
            let mut levels = 0;
            while let Some(next) = at.get(0) {
                (at, levels) = (next, levels + 1);
            }
            assert_eq!(levels, depth.min(LEVELS - 1), "{depth}");
        }
        assert!(serde_json::from_str::<Bounded>(&"[".repeat(200)).is_err());
    }
}
