//! Documents' values to JSON and back.
//!
//! Numbers come back as they went: `serde_json`'s `float_roundtrip` reads every float to the bit, and `preserve_order`
//! keeps the keys in their written order.

use std::collections::{HashMap, HashSet};
use std::fmt;

use lorank_core::{Fields, Value};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value as Json;

/// A value with its JSON form.
struct Written<'a>(&'a Value);

/// The fields as one line of JSON.
pub(crate) fn fields_to_json(fields: &Fields) -> String {
    serde_json::to_string(&WrittenFields(fields)).expect("every value has a JSON form")
}

/// Reads what [`fields_to_json`] wrote. Each text is copied once, into the value that hits and candidates share.
pub(crate) fn fields_from_json(json: &str) -> Result<Fields, serde_json::Error> {
    let ReadFields(fields) = serde_json::from_str(json)?;
    Ok(fields)
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

/// A value read from its JSON form.
struct Read(Value);

/// Fields read from their JSON form.
struct ReadFields(Fields);

impl<'de> Deserialize<'de> for Read {
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

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
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
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Read(value)) = list.next_element()? {
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

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Fields, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, Read(value))) = object.next_entry()? {
            fields.push((name, value));
        }
        Ok(last_of_equal_keys(fields))
    }
}

/// The fields with the last value of each key, where its first one stood.
fn last_of_equal_keys(fields: Fields) -> Fields {
    let mut seen = HashSet::with_capacity(fields.len());
    if fields.iter().all(|(name, _)| seen.insert(name.as_str())) {
        return fields;
    }
    let mut index: HashMap<String, usize> = HashMap::new();
    let mut distinct: Fields = Vec::new();
    for (name, value) in fields {
        match index.get(&name) {
            Some(&at) => distinct[at].1 = value,
            None => {
                index.insert(name.clone(), distinct.len());
                distinct.push((name, value));
            }
        }
    }
    distinct
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
