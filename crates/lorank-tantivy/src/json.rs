//! Documents' values to JSON and back.
//!
//! Numbers come back as they went: `serde_json`'s `float_roundtrip` reads every float to the bit. Keys keep their written
//! order.

use std::collections::HashMap;
use std::fmt;

use lorank_core::{Fields, Value};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A value with its JSON form.
struct Written<'a>(&'a Value);

/// The fields as one line of JSON.
pub(crate) fn fields_to_json(fields: &Fields) -> String {
    serde_json::to_string(&WrittenFields(fields)).expect("every value has a JSON form")
}

/// Reads what [`fields_to_json`] wrote: a JSON object, the last of two equal keys in the place of the first.
pub(crate) fn fields_from_json(json: &str) -> Result<Fields, serde_json::Error> {
    serde_json::from_str(json).map(|ReadFields(fields)| fields)
}

/// Reads any JSON value, its objects as [`fields_from_json`] does.
pub(crate) fn value_from_json(json: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(json).map(|ReadValue(value)| value)
}

/// The first integer of a JSON object that does not fit in 64 bits, with the object's key that holds it. It was read as a float, which
/// keeps about 16 of its digits.
pub(crate) fn wide_integer<'a>(json: &'a str, fields: &Fields) -> Option<(String, &'a str)> {
    if fields.iter().any(|(_, value)| holds_wide_float(value)) { find_wide_integer(json) } else { None }
}

/// Whether a float is as large as the integers that do not fit.
fn holds_wide_float(value: &Value) -> bool {
    const WIDE: f64 = 9_223_372_036_854_775_808.0;
    match value {
        Value::Float(number) => number.abs() >= WIDE,
        Value::List(values) => values.iter().any(holds_wide_float),
        Value::Object(fields) => fields.iter().any(|(_, value)| holds_wide_float(value)),
        _ => false,
    }
}

/// Looks through the tokens of an object that has been read before.
fn find_wide_integer(json: &str) -> Option<(String, &str)> {
    let (mut depth, mut key, mut at) = (0_usize, "", 0);
    while let Some(byte) = json.as_bytes().get(at) {
        let token = &json[at..];
        let length = match byte {
            b'"' => {
                let length = string_length(token);
                if depth == 1 && token[length..].trim_start().starts_with(':') {
                    key = &token[..length];
                }
                length
            }
            b'-' | b'0'..=b'9' => {
                let is_part = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
                let number = &token[..token.find(|c| !is_part(c)).unwrap_or(token.len())];
                let is_integer = !number.contains(['.', 'e', 'E']);
                if is_integer && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return Some((serde_json::from_str(key).unwrap_or_default(), number));
                }
                number.len()
            }
            b'{' | b'[' => {
                depth += 1;
                1
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                1
            }
            _ => 1,
        };
        at += length;
    }
    None
}

/// The bytes of the string that a text begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(text.len(), |end| end + 2)
}

/// A value read from its JSON form, without a `serde_json::Value` in between.
struct ReadValue(Value);

/// Fields read from their JSON form.
struct ReadFields(Fields);

impl<'de> Deserialize<'de> for ReadValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

impl<'de> Deserialize<'de> for ReadFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor).map(Self)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
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

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Unsigned(value), Value::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(ReadValue(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Value, A::Error> {
        FieldsVisitor.visit_map(object).map(Value::Object)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Fields, A::Error> {
        /// Up to so many fields are looked through one by one; objects of more get a table, or a hostile one would take
        /// time that grows with the square of its size.
        const LINEAR_MAX: usize = 32;
        let mut fields = Fields::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        while let Some((name, ReadValue(value))) = object.next_entry::<String, ReadValue>()? {
            if fields.len() == LINEAR_MAX && places.is_empty() {
                places.extend(fields.iter().enumerate().map(|(n, (name, _))| (name.clone(), n)));
            }
            let place = if places.is_empty() {
                fields.iter().position(|(known, _)| *known == name)
            } else {
                places.get(&name).copied()
            };
            match place {
                Some(place) => fields[place].1 = value,
                None => {
                    if !places.is_empty() {
                        places.insert(name.clone(), fields.len());
                    }
                    fields.push((name, value));
                }
            }
        }
        Ok(fields)
    }
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Integer(value) => serializer.serialize_i64(*value),
            Value::Unsigned(value) => serializer.serialize_u64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Text(text) => serializer.serialize_str(text),
            Value::List(values) => serializer.collect_seq(values.iter().map(Written)),
            Value::Object(fields) => WrittenFields(fields).serialize(serializer),
            _ => Err(serde::ser::Error::custom("a kind of value that this version does not store")),
        }
    }
}

/// Fields with their JSON form.
struct WrittenFields<'a>(&'a Fields);

impl Serialize for WrittenFields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, &Written(value))?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_comes_back_as_it_went() {
        for json in [
            r#"{"z":1,"a":{"y":[null,true,"é\u0000\""],"b":-0.0}}"#,
            r#"{"n":[-9223372036854775808,18446744073709551615,1.1,5e-324,123456.7890123]}"#,
            r#"{"":{}}"#,
        ] {
            let fields = fields_from_json(json).unwrap();
            assert_eq!(fields_to_json(&fields), json);
        }
    }

    proptest! {
        #[test]
        fn floats_are_read_to_the_bit(float in any::<f64>().prop_filter("finite", |float| float.is_finite())) {
            let json = fields_to_json(&vec![("x".to_owned(), Value::Float(float))]);
            let Value::Float(read) = fields_from_json(&json).unwrap()[0].1 else { panic!("no float: {json}") };
            prop_assert_eq!(read.to_bits(), float.to_bits());
        }
    }

    #[test]
    fn integers_beyond_64_bits_are_found() {
        for (json, expected) in [
            (r#"{"n": 99999999999999999999}"#, Some(("n", "99999999999999999999"))),
            (r#"{"n": 18446744073709551616}"#, Some(("n", "18446744073709551616"))),
            (r#"{"n": -9223372036854775809}"#, Some(("n", "-9223372036854775809"))),
            (r#"{"a": 1e20, "b": [1, {"c": 99999999999999999999}]}"#, Some(("b", "99999999999999999999"))),
            (r#"{"a\"\u00e9": {"n": 1e20, "m":99999999999999999999}}"#, Some(("a\"é", "99999999999999999999"))),
            (
                r#"{"n": 100000000000000000000000000000000000000000}"#,
                Some(("n", "100000000000000000000000000000000000000000")),
            ),
            (r#"{"n": 18446744073709551615, "m": -9223372036854775808}"#, None),
            (r#"{"n": 1e20, "m": -1.5E300, "k": 99999999999999999999.0}"#, None),
            (r#"{"n": 1e20, "t": "99999999999999999999", "99999999999999999999": "\\"}"#, None),
            (r#"{"n": 1e20, "t": "a\" 99999999999999999999"}"#, None),
            (r#"{}"#, None),
        ] {
            let found = wide_integer(json, &fields_from_json(json).unwrap());
            assert_eq!(found, expected.map(|(key, digits)| (key.to_owned(), digits)), "{json}");
        }
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        assert_eq!(fields_from_json(r#"{"a":1,"a":2}"#).unwrap(), vec![("a".to_owned(), Value::Integer(2))]);
        // As few and as many as are looked up in the two ways.
        for n in [2, 31, 32, 33, 200] {
            let once: Vec<String> = (0..n).map(|n| format!("\"{n}\":{n}")).collect();
            let again: Vec<String> = (0..n).rev().map(|n| format!("\"{n}\":{}", n + 1)).collect();
            let fields = fields_from_json(&format!("{{{},{}}}", once.join(","), again.join(","))).unwrap();
            assert_eq!(fields, (0..n).map(|n| (n.to_string(), Value::Integer(n + 1))).collect::<Fields>());
        }
    }

    #[test]
    fn every_kind_of_value_is_read() {
        for (json, value) in [
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("-0", Value::Float(-0.0)),
            ("9223372036854775807", Value::Integer(i64::MAX)),
            ("9223372036854775808", Value::Unsigned(1 << 63)),
            ("18446744073709551616", Value::Float(18446744073709551616.0)),
            (r#""a\nb""#, Value::Text("a\nb".into())),
            ("[1, []]", Value::List(vec![Value::Integer(1), Value::List(Vec::new())])),
            (
                r#"{"b": {"a": null}}"#,
                Value::Object(vec![("b".to_owned(), Value::Object(vec![("a".to_owned(), Value::Null)]))]),
            ),
        ] {
            assert_eq!(value_from_json(json).unwrap(), value, "{json}");
        }
        for json in ["", "1 2", "[1,]", "{\"a\"}", "1e999", "\"\\ud800\""] {
            assert!(value_from_json(json).is_err(), "{json}");
        }
        assert!(fields_from_json("[]").is_err() && fields_from_json("1").is_err());
    }
}
