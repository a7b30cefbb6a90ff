//! Stored values as JSON.

use lorank_core::{Fields, Value};
use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

/// A stored value, serialized as JSON.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValueJson<'a>(pub &'a Value);

/// The stored fields of a document as a JSON object, in their stored order.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldsJson<'a>(Vec<(&'a str, &'a Value)>);

impl<'a> FieldsJson<'a> {
    /// The wanted fields that the document has; `None` for all fields.
    pub fn new(fields: &'a Fields, wanted: Option<&[String]>) -> Self {
        let is_wanted = |name: &str| wanted.is_none_or(|wanted| wanted.iter().any(|field| field == name));
        let fields = fields.iter().filter(|(name, _)| is_wanted(name));
        Self(fields.map(|(name, value)| (name.as_str(), value)).collect())
    }
}

impl Serialize for FieldsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        object(self.0.iter().copied(), self.0.len(), serializer)
    }
}

impl Serialize for ValueJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Integer(value) => serializer.serialize_i64(*value),
            Value::Unsigned(value) => serializer.serialize_u64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Decimal(number) => {
                let digits = RawValue::from_string(number.as_str().to_owned()).map_err(S::Error::custom)?;
                digits.serialize(serializer)
            }
            Value::Text(value) => serializer.serialize_str(value),
            Value::List(values) => serializer.collect_seq(values.iter().map(ValueJson)),
            Value::Object(fields) => {
                object(fields.iter().map(|(name, value)| (name.as_str(), value)), fields.len(), serializer)
            }
            // `Null`, and kinds of values that are added later, for which no better JSON is known.
            _ => serializer.serialize_unit(),
        }
    }
}

fn object<'a, S: Serializer>(
    fields: impl Iterator<Item = (&'a str, &'a Value)>,
    n_fields: usize,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(n_fields))?;
    for (name, value) in fields {
        map.serialize_entry(name, &ValueJson(value))?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: Value, expected: &str) {
        assert_eq!(serde_json::to_string(&ValueJson(&value)).unwrap(), expected);
    }

    #[test]
    fn values_are_written_exactly() {
        check(Value::Null, "null");
        check(Value::Bool(true), "true");
        check(Value::Integer(i64::MIN), "-9223372036854775808");
        check(Value::Unsigned(u64::MAX), "18446744073709551615");
        check(Value::Float(0.1), "0.1");
        check(Value::Float(2.0), "2.0");
        for digits in ["3.50", "-0", "1e3"] {
            check(Value::Decimal(lorank_core::Decimal::parse(digits).unwrap()), digits);
        }
        check(Value::from("\"é\"\n"), r#""\"é\"\n""#);
        check(Value::List(vec![Value::Null, Value::List(vec![])]), "[null,[]]");
        let fields = vec![("b".to_owned(), Value::Integer(1)), ("a".to_owned(), Value::Object(vec![]))];
        check(Value::Object(fields), r#"{"b":1,"a":{}}"#);
    }

    #[test]
    fn only_the_wanted_fields_are_written() {
        let fields = vec![("b".to_owned(), Value::Integer(1)), ("a".to_owned(), Value::Integer(2))];
        for (wanted, expected) in [
            (None, r#"{"b":1,"a":2}"#),
            (Some(vec!["a".to_owned(), "missing".to_owned()]), r#"{"a":2}"#),
            (Some(vec![]), "{}"),
        ] {
            let json = serde_json::to_string(&FieldsJson::new(&fields, wanted.as_deref())).unwrap();
            assert_eq!(json, expected, "{wanted:?}");
        }
    }
}
