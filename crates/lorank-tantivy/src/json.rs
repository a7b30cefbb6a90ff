//! Serialization of documents' values as JSON.
//!
//! Numbers survive a round trip: `serde_json`'s `float_roundtrip` parses floats exactly, and numbers in another notation than printed
//! (`3.50`, `1e3`) keep their digits. Keys keep their order.

use std::collections::{HashMap, HashSet};
use std::fmt;

use lorank_core::{Decimal, Fields, Value, shortened};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

/// A value that is serialized.
struct Written<'a>(&'a Value);

/// The fields as one line of JSON.
pub(crate) fn fields_to_json(fields: &Fields) -> String {
    serde_json::to_string(&WrittenFields(fields)).expect("every value has a JSON form")
}

/// Parses the output of [`fields_to_json`]: a JSON object. A duplicate key is an error.
pub(crate) fn fields_from_json(json: &str) -> Result<Fields, serde_json::Error> {
    let ReadFields(mut fields) = serde_json::from_str(json)?;
    if fields.iter().any(|(_, value)| holds_float(value)) {
        keep_digits_of_fields(&mut fields, json)?;
    }
    Ok(fields)
}

/// Parses any JSON value, with objects as in [`fields_from_json`].
pub(crate) fn value_from_json(json: &str) -> Result<Value, serde_json::Error> {
    let ReadValue(mut value) = serde_json::from_str(json)?;
    if holds_float(&value) {
        keep_digits(&mut value, serde_json::from_str(json)?)?;
    }
    Ok(value)
}

/// The first integer that does not fit in 64 bits: its field and its digits.
pub(crate) fn wide_integer(fields: &Fields) -> Option<(&str, &str)> {
    fields.iter().find_map(|(field, value)| Some((field.as_str(), wide_digits(value)?)))
}

fn wide_digits(value: &Value) -> Option<&str> {
    match value {
        // Integers that fit are not decimals, except for `-0`.
        Value::Decimal(number) => {
            Some(number.as_str()).filter(|digits| !digits.contains(['.', 'e', 'E']) && *digits != "-0")
        }
        Value::List(values) => values.iter().find_map(wide_digits),
        Value::Object(fields) => fields.iter().find_map(|(_, value)| wide_digits(value)),
        _ => None,
    }
}

/// Restores the digits of numbers in another notation than printed, which the parser does not keep. Only values with a float are parsed
/// again.
fn keep_digits(value: &mut Value, json: &RawValue) -> Result<(), serde_json::Error> {
    if !holds_float(value) {
        return Ok(());
    }
    match value {
        Value::List(values) => {
            let written: Vec<&RawValue> = serde_json::from_str(json.get())?;
            values.iter_mut().zip(written).try_for_each(|(value, json)| keep_digits(value, json))
        }
        Value::Object(fields) => keep_digits_of_fields(fields, json.get()),
        Value::Float(number) => {
            let digits = json.get();
            if serde_json::to_string(number)? != digits {
                *value = Decimal::parse(digits).map_or(Value::Float(*number), Value::Decimal);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn keep_digits_of_fields(fields: &mut Fields, json: &str) -> Result<(), serde_json::Error> {
    let written: HashMap<String, &RawValue> = serde_json::from_str(json)?;
    fields.iter_mut().try_for_each(|(name, value)| written.get(name).map_or(Ok(()), |json| keep_digits(value, json)))
}

fn holds_float(value: &Value) -> bool {
    match value {
        Value::Float(_) => true,
        Value::List(values) => values.iter().any(holds_float),
        Value::Object(fields) => fields.iter().any(|(_, value)| holds_float(value)),
        _ => false,
    }
}

/// A value parsed without an intermediate `serde_json::Value`.
struct ReadValue(Value);

/// Parsed fields.
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
        /// Up to this number of fields, duplicates are found by a linear search; larger objects use a hash table to avoid quadratic time.
        const LINEAR_MAX: usize = 32;
        let mut fields = Fields::new();
        let mut names: HashSet<String> = HashSet::new();
        while let Some((name, ReadValue(value))) = object.next_entry::<String, ReadValue>()? {
            if fields.len() == LINEAR_MAX {
                names.extend(fields.iter().map(|(name, _)| name.clone()));
            }
            let is_known = if fields.len() < LINEAR_MAX {
                fields.iter().any(|(known, _)| *known == name)
            } else {
                !names.insert(name.clone())
            };
            if is_known {
                return Err(A::Error::custom(format_args!("the key `{}` is given twice", shortened(&name))));
            }
            fields.push((name, value));
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
            Value::Decimal(number) => {
                let digits = RawValue::from_string(number.as_str().to_owned()).map_err(S::Error::custom)?;
                digits.serialize(serializer)
            }
            Value::Text(text) => serializer.serialize_str(text),
            Value::List(values) => serializer.collect_seq(values.iter().map(Written)),
            Value::Object(fields) => WrittenFields(fields).serialize(serializer),
            _ => Err(S::Error::custom("a kind of value that this version does not store")),
        }
    }
}

/// Fields that are serialized.
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
            r#"{"n":[3.50,1e3,-0,-0.0,1E+2,0.10,{"a":[1,2.0,2.00,"3.50"]}],"m":1.0,"k":1.00,"i":7}"#,
            r#"{"n":0.1000000000000000055511151231257827,"m":1e-400}"#,
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
            (r#"{"a": -0, "b": -0.0}"#, None),
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
            assert_eq!(wide_integer(&fields_from_json(json).unwrap()), expected, "{json}");
        }
    }

    #[test]
    fn a_key_that_is_given_twice_is_refused() {
        for json in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":{"c":[{"a":1,"a":2}]}}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":1.50,"a":2.50}"#,
            r#"{"a":99999999999999999999,"a":1}"#,
        ] {
            let error = fields_from_json(json).unwrap_err().to_string();
            assert!(error.starts_with("the key `a` is given twice at line 1"), "{json}: {error}");
        }
        // As few and as many keys as are looked up in the two ways.
        for n in [1, 2, 31, 32, 33, 34, 200] {
            let keys: Vec<String> = (0..n).map(|n| format!("\"{n}\":{n}")).collect();
            let once = fields_from_json(&format!("{{{}}}", keys.join(","))).unwrap();
            assert_eq!(once, (0..n).map(|n| (n.to_string(), Value::Integer(n))).collect::<Fields>());
            for twice in [0, n / 2, n - 1] {
                let error = fields_from_json(&format!("{{{},\"{twice}\":0}}", keys.join(","))).unwrap_err();
                assert!(error.to_string().starts_with(&format!("the key `{twice}` is given twice")), "{n}: {error}");
            }
        }
    }

    #[test]
    fn every_kind_of_value_is_read() {
        for (json, value) in [
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("-0", Value::Decimal(Decimal::parse("-0").unwrap())),
            ("-0.0", Value::Float(-0.0)),
            (" 2.50 ", Value::Decimal(Decimal::parse("2.50").unwrap())),
            ("9223372036854775807", Value::Integer(i64::MAX)),
            ("9223372036854775808", Value::Unsigned(1 << 63)),
            ("18446744073709551616", Value::Decimal(Decimal::parse("18446744073709551616").unwrap())),
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
