//! Filters as JSON: `{"year": {"gte": 1990, "lt": 2000}, "lang": "en", "tag": ["a", "b"]}`.

use lorank_core::{Filter, Test, Value};
use serde_json::{Map, Value as Json};

use crate::ServerError;

/// The key that filters stand under.
const ROOT: &str = "filters";

/// Reads filters. Every condition must hold, so their order means nothing.
pub(crate) fn read(filters: Map<String, Json>) -> Result<Vec<Filter>, ServerError> {
    filters.into_iter().map(|(field, test)| Ok(Filter { test: read_test(&field, test)?, field })).collect()
}

/// One value: equal to it. A list: equal to one of them. An object: bounds.
fn read_test(field: &str, test: Json) -> Result<Test, ServerError> {
    match test {
        Json::Object(bounds) => read_range(ROOT, field, bounds),
        Json::Array(values) if values.is_empty() => {
            Err(invalid(ROOT, field, "is an empty list, which no document can match"))
        }
        Json::Array(values) => {
            let values = values.into_iter().map(|value| read_value(ROOT, field, value));
            Ok(Test::AnyOf(values.collect::<Result<_, _>>()?))
        }
        value => Ok(Test::AnyOf(vec![read_value(ROOT, field, value)?])),
    }
}

/// The bounds of a range; errors name the path below the key `root`.
pub(super) fn read_range(root: &str, path: &str, bounds: Map<String, Json>) -> Result<Test, ServerError> {
    let (mut lower, mut upper) = (None, None);
    for (name, bound) in bounds {
        let (side, is_included) = match name.as_str() {
            "gte" => (&mut lower, true),
            "gt" => (&mut lower, false),
            "lte" => (&mut upper, true),
            "lt" => (&mut upper, false),
            _ => {
                return Err(invalid(
                    root,
                    &format!("{path}.{name}"),
                    "is unknown; bounds are `gte`, `gt`, `lte` and `lt`",
                ));
            }
        };
        if bound.is_boolean() {
            return Err(invalid(root, &format!("{path}.{name}"), "is true or false, which cannot be a bound"));
        }
        let bound = read_value(root, &format!("{path}.{name}"), bound)?;
        if side.replace((bound, is_included)).is_some() {
            return Err(invalid(root, path, "has two bounds on one side"));
        }
    }
    if lower.is_none() && upper.is_none() {
        return Err(invalid(root, path, "has no bounds; give `gte`, `gt`, `lte` or `lt`"));
    }
    Ok(Test::Range { lower, upper })
}

fn read_value(root: &str, path: &str, value: Json) -> Result<Value, ServerError> {
    match value {
        Json::Bool(value) => Ok(Value::Bool(value)),
        Json::String(text) => Ok(Value::Text(text.into())),
        Json::Number(number) => {
            let whole = number.as_i64().map(Value::Integer).or_else(|| number.as_u64().map(Value::Unsigned));
            whole.or_else(|| number.as_f64().map(Value::Float)).ok_or_else(|| invalid(root, path, "is out of range"))
        }
        Json::Null => Err(invalid(root, path, "is null; a filter takes texts, numbers, true and false")),
        Json::Array(_) | Json::Object(_) => Err(invalid(root, path, "is nested too deep for a filter")),
    }
}

fn invalid(root: &str, path: &str, problem: &str) -> ServerError {
    ServerError::InvalidValue { field: format!("{root}.{path}"), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_json(json: &str) -> Result<Vec<Filter>, String> {
        read(serde_json::from_str(json).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn tests_are_values_lists_or_bounds() {
        let any_of = |values: &[Value]| Test::AnyOf(values.to_vec());
        let whole = |n| Value::Integer(n);
        for (json, test) in [
            (r#"{"f": "en"}"#, any_of(&["en".into()])),
            (r#"{"f": true}"#, any_of(&[Value::Bool(true)])),
            (r#"{"f": -3}"#, any_of(&[whole(-3)])),
            (r#"{"f": 18446744073709551615}"#, any_of(&[Value::Unsigned(u64::MAX)])),
            (r#"{"f": [0.5, "a"]}"#, any_of(&[Value::Float(0.5), "a".into()])),
            (
                r#"{"f": {"gte": 1990, "lt": 2000}}"#,
                Test::Range { lower: Some((whole(1990), true)), upper: Some((whole(2000), false)) },
            ),
            (r#"{"f": {"gt": "a"}}"#, Test::Range { lower: Some(("a".into(), false)), upper: None }),
            (r#"{"f": {"lte": 0.5}}"#, Test::Range { lower: None, upper: Some((Value::Float(0.5), true)) }),
        ] {
            assert_eq!(read_json(json), Ok(vec![Filter { field: "f".to_owned(), test }]), "{json}");
        }
    }

    #[test]
    fn what_cannot_be_a_filter_is_refused_by_its_path() {
        for (json, expected) in [
            (r#"{"f": null}"#, "`filters.f` is null; a filter takes texts, numbers, true and false"),
            (r#"{"f": []}"#, "`filters.f` is an empty list, which no document can match"),
            (r#"{"f": [[1]]}"#, "`filters.f` is nested too deep for a filter"),
            (r#"{"f": {}}"#, "`filters.f` has no bounds; give `gte`, `gt`, `lte` or `lt`"),
            (r#"{"f": {"min": 1}}"#, "`filters.f.min` is unknown; bounds are `gte`, `gt`, `lte` and `lt`"),
            (r#"{"f": {"gt": true}}"#, "`filters.f.gt` is true or false, which cannot be a bound"),
            (r#"{"f": {"gt": {}}}"#, "`filters.f.gt` is nested too deep for a filter"),
            (r#"{"f": {"gt": 1, "gte": 2}}"#, "`filters.f` has two bounds on one side"),
        ] {
            assert_eq!(read_json(json), Err(expected.to_owned()), "{json}");
        }
    }
}
