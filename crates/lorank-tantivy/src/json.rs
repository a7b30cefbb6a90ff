//! Documents' values to JSON and back.
//!
//! Numbers come back as they went: `serde_json`'s `float_roundtrip` reads every float to the bit, and `preserve_order`
//! keeps the keys in their written order.

use lorank_core::{Fields, Value};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value as Json;

/// A value with its JSON form.
struct Written<'a>(&'a Value);

/// The fields as one line of JSON.
pub(crate) fn fields_to_json(fields: &Fields) -> String {
    serde_json::to_string(&WrittenFields(fields)).expect("every value has a JSON form")
}

/// Reads what [`fields_to_json`] wrote.
pub(crate) fn fields_from_json(json: &str) -> Result<Fields, serde_json::Error> {
    serde_json::from_str(json).map(fields_of)
}

/// The fields of a JSON object.
pub(crate) fn fields_of(object: serde_json::Map<String, Json>) -> Fields {
    object.into_iter().map(|(name, value)| (name, value_of(value))).collect()
}

fn value_of(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Value::Integer(integer),
            (None, Some(unsigned)) => Value::Unsigned(unsigned),
            (None, None) => Value::Float(number.as_f64().expect("a JSON number is an integer or a float")),
        },
        Json::String(text) => Value::Text(text.into()),
        Json::Array(values) => Value::List(values.into_iter().map(value_of).collect()),
        Json::Object(object) => Value::Object(fields_of(object)),
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
    fn the_last_of_two_equal_keys_counts() {
        assert_eq!(fields_from_json(r#"{"a":1,"a":2}"#).unwrap(), vec![("a".to_owned(), Value::Integer(2))]);
    }
}
