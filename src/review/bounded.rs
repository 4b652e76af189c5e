//! JSON of any depth and any number of values, parsed within bounds.

use crate::limits;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::Cell;
use std::fmt;

/// A map with one member, without its texts.
const MAP: usize = 640;
/// Another member, or an item of a list.
const PLACE: usize = 64;

/// The error message for a body whose values take more.
pub(super) const TOO_MUCH: &str = "too many values";

/// Members without images, of which a real object may have very many.
const LEAN: &[&str] = &["managedFields", "env", "args", "command"];

/// The same, without those members: for a body that is otherwise [`TOO_MUCH`].
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Lean(pub(super) Value);

impl<'de> Deserialize<'de> for Lean {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, LEAN).map(Self)
    }
}

fn read<'de, D: Deserializer<'de>>(deserializer: D, without: &[&str]) -> Result<Value, D::Error> {
    let all = Level {
        left: limits::BODY_LEVELS,
        memory: &Cell::new(limits::BODY_MEMORY),
        without,
    };
    all.deserialize(deserializer)
}

/// A value whose parts below the 100th level are `null`. Users can nest parts of an object as deeply as the API server allows
/// (`metadata.managedFields`, custom kinds); its images must be judged anyway.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Bounded(pub(super) Value);

impl<'de> Deserialize<'de> for Bounded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, &[]).map(Self)
    }
}

/// What is read with this many levels left.
#[derive(Clone, Copy)]
struct Level<'a> {
    left: usize,
    /// For all levels together.
    memory: &'a Cell<usize>,
    /// Members to skip.
    without: &'a [&'a str],
}

impl Level<'_> {
    fn below(self) -> Self {
        Self {
            left: self.left.saturating_sub(1),
            ..self
        }
    }

    /// Takes this many bytes from the budget.
    fn take<E: Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.memory.get().checked_sub(bytes).ok_or_else(|| E::custom(TOO_MUCH))?;
        self.memory.set(left);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.left == 0 {
            // Skipped without recursion, whatever it contains.
            return deserializer.deserialize_ignored_any(IgnoredAny).map(|IgnoredAny| Value::Null);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
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
        self.take(value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        self.take(value.len())?;
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        while let Some(item) = items.next_element_seed(self.below())? {
            self.take(PLACE)?;
            read.push(item);
        }
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            if self.without.contains(&key.as_str()) {
                members.next_value::<IgnoredAny>()?;
                continue;
            }
            self.take(key.len() + if read.is_empty() { MAP } else { PLACE })?;
            read.insert(key, members.next_value_seed(self.below())?);
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
    fn what_would_take_too_much_memory_is_an_error() {
        let many = |item: &str, times: usize| format!("[{}{item}]", format!("{item},").repeat(times - 1));
        for (item, fit, do_not) in [
            ("0", 500_000, 1_000_000),
            (r#"{"":{}}"#, 60_000, 100_000),
            ("[]", 500_000, 1_000_000),
        ] {
            assert!(serde_json::from_str::<Bounded>(&many(item, fit)).is_ok(), "{item}");
            let error = serde_json::from_str::<Bounded>(&many(item, do_not)).unwrap_err();
            assert!(error.to_string().starts_with(TOO_MUCH), "{item}: {error}");
            let body = format!(r#"{{"env":{0},"image":"a","x":{{"env":{0}}}}}"#, many(item, do_not));
            assert!(serde_json::from_str::<Bounded>(&body).is_err());
            let Lean(read) = serde_json::from_str(&body).unwrap();
            assert_eq!(read, serde_json::json!({"image": "a", "x": {}}));
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
            assert_eq!(levels, depth.min(limits::BODY_LEVELS - 1), "{depth}");
        }
        assert!(serde_json::from_str::<Bounded>(&"[".repeat(200)).is_err());
    }
}
