//! Filters as JSON: `{"year": {"gte": 1990, "lt": 2000}, "lang": "en", "tag": ["a", "b"], "state": {"ne": "draft"}}`; and in
//! query strings, with the operators of the command line.

use lorank_core::{Filter, FilterSyntaxError, Test, Value};
use serde_json::{Map, Value as Json};

use crate::ServerError;

/// The key of the filters.
const ROOT: &str = "filters";

/// Parses filters. All conditions must hold, so their order is irrelevant.
pub(crate) fn read(filters: Map<String, Json>) -> Result<Vec<Filter>, ServerError> {
    let mut read = Vec::with_capacity(filters.len());
    for (field, conditions) in filters {
        let tests = read_tests(&field, conditions)?;
        read.extend(tests.into_iter().map(|test| Filter { field: field.clone(), test }));
    }
    Ok(read)
}

/// Adds a filter of a query string to the previous ones. Equalities on the same field are alternatives; all other conditions must
/// hold together.
pub(crate) fn add_text(text: &str, filters: &mut Map<String, Json>) -> Result<(), ServerError> {
    let Filter { field, test } = text.parse().map_err(|error: FilterSyntaxError| ServerError::InvalidValue {
        field: "filter".to_owned(),
        problem: format!("is invalid: {error}"),
    })?;
    let conditions = filters.entry(field.as_str()).or_insert_with(|| Json::Object(Map::new()));
    let conditions = conditions.as_object_mut().expect("it was made an object");
    let mut extend = |key: &str, values: Vec<Value>| {
        let known = conditions.entry(key).or_insert_with(|| Json::Array(Vec::new()));
        known
            .as_array_mut()
            .expect("it was made a list")
            .extend(values.iter().filter_map(Value::as_text).map(Json::from));
    };
    match test {
        Test::AnyOf(values) => extend("eq", values),
        Test::NoneOf(values) => extend("ne", values),
        Test::Range { lower, upper } => {
            let bounds = [(lower, ["gt", "gte"]), (upper, ["lt", "lte"])];
            for (bound, keys) in bounds {
                let Some((value, is_included)) = bound else { continue };
                let bound = value.as_text().map(Json::from).unwrap_or_default();
                if conditions.insert(keys[usize::from(is_included)].to_owned(), bound).is_some() {
                    return Err(invalid(ROOT, &field, "has two lower or two upper bounds"));
                }
            }
        }
        _ => return Err(invalid(ROOT, &field, "has a condition that this version does not support")),
    }
    Ok(())
}

/// A value matches documents with this value, an array those with any of the values, an object those that meet all its conditions.
fn read_tests(field: &str, test: Json) -> Result<Vec<Test>, ServerError> {
    match test {
        Json::Object(conditions) => read_conditions(field, conditions),
        values => Ok(vec![Test::AnyOf(read_values(field, values)?)]),
    }
}

fn read_conditions(field: &str, mut conditions: Map<String, Json>) -> Result<Vec<Test>, ServerError> {
    const KNOWN: [&str; 6] = ["eq", "ne", "gte", "gt", "lte", "lt"];
    if let Some(unknown) = conditions.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        let problem = "is unknown; conditions are `eq`, `ne`, `gte`, `gt`, `lte` and `lt`";
        return Err(invalid(ROOT, &format!("{field}.{unknown}"), problem));
    }
    let mut tests = Vec::new();
    if let Some(values) = conditions.shift_remove("eq") {
        tests.push(Test::AnyOf(read_values(&format!("{field}.eq"), values)?));
    }
    if let Some(values) = conditions.shift_remove("ne") {
        tests.push(Test::NoneOf(read_values(&format!("{field}.ne"), values)?));
    }
    if !conditions.is_empty() {
        tests.push(read_range(ROOT, field, conditions)?);
    }
    if tests.is_empty() {
        return Err(invalid(ROOT, field, "has no condition; give `eq`, `ne`, `gte`, `gt`, `lte` or `lt`"));
    }
    Ok(tests)
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
            return Err(invalid(root, &format!("{path}.{name}"), "is a boolean, which cannot be a bound"));
        }
        let bound = read_value(root, &format!("{path}.{name}"), bound)?;
        if side.replace((bound, is_included)).is_some() {
            return Err(invalid(root, path, "has two lower or two upper bounds"));
        }
    }
    if lower.is_none() && upper.is_none() {
        return Err(invalid(root, path, "has no bounds; give `gte`, `gt`, `lte` or `lt`"));
    }
    Ok(Test::Range { lower, upper })
}

/// A value, or an array of values.
fn read_values(path: &str, values: Json) -> Result<Vec<Value>, ServerError> {
    match values {
        Json::Array(values) if values.is_empty() => {
            Err(invalid(ROOT, path, "is an empty array, which matches no document"))
        }
        Json::Array(values) => values.into_iter().map(|value| read_value(ROOT, path, value)).collect(),
        value => Ok(vec![read_value(ROOT, path, value)?]),
    }
}

fn read_value(root: &str, path: &str, value: Json) -> Result<Value, ServerError> {
    match value {
        Json::Bool(value) => Ok(Value::Bool(value)),
        Json::String(text) => Ok(Value::Text(text.into())),
        Json::Number(number) => {
            let whole = number.as_i64().map(Value::Integer).or_else(|| number.as_u64().map(Value::Unsigned));
            whole.or_else(|| number.as_f64().map(Value::Float)).ok_or_else(|| invalid(root, path, "is out of range"))
        }
        Json::Null => Err(invalid(root, path, "is null; the values of a filter are strings, numbers and booleans")),
        Json::Array(_) | Json::Object(_) => Err(invalid(root, path, "is nested too deeply for a filter")),
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
            (r#"{"f": {"eq": "a"}}"#, any_of(&["a".into()])),
            (r#"{"f": {"ne": [1, "a"]}}"#, Test::NoneOf(vec![whole(1), "a".into()])),
            (r#"{"f": {"ne": true}}"#, Test::NoneOf(vec![Value::Bool(true)])),
        ] {
            assert_eq!(read_json(json), Ok(vec![Filter { field: "f".to_owned(), test }]), "{json}");
        }
    }

    #[test]
    fn what_cannot_be_a_filter_is_refused_by_its_path() {
        for (json, expected) in [
            (r#"{"f": null}"#, "`filters.f` is null; the values of a filter are strings, numbers and booleans"),
            (r#"{"f": []}"#, "`filters.f` is an empty array, which matches no document"),
            (r#"{"f": [[1]]}"#, "`filters.f` is nested too deeply for a filter"),
            (r#"{"f": {}}"#, "`filters.f` has no condition; give `eq`, `ne`, `gte`, `gt`, `lte` or `lt`"),
            (
                r#"{"f": {"min": 1}}"#,
                "`filters.f.min` is unknown; conditions are `eq`, `ne`, `gte`, `gt`, `lte` and `lt`",
            ),
            (r#"{"f": {"gt": true}}"#, "`filters.f.gt` is a boolean, which cannot be a bound"),
            (r#"{"f": {"gt": {}}}"#, "`filters.f.gt` is nested too deeply for a filter"),
            (r#"{"f": {"gt": 1, "gte": 2}}"#, "`filters.f` has two lower or two upper bounds"),
        ] {
            assert_eq!(read_json(json), Err(expected.to_owned()), "{json}");
        }
    }

    #[test]
    fn query_strings_say_what_json_says() {
        for (texts, json) in [
            (&["year=2023"][..], r#"{"year": {"eq": ["2023"]}}"#),
            (&["lang=en,de"], r#"{"lang": {"eq": ["en", "de"]}}"#),
            (&["lang=en", "lang=de"], r#"{"lang": {"eq": ["en", "de"]}}"#),
            (&["lang!=en", "lang!=de"], r#"{"lang": {"ne": ["en", "de"]}}"#),
            (&["year>=1990", "year<2000"], r#"{"year": {"gte": "1990", "lt": "2000"}}"#),
            (&["year>1990", "year<=2000", "a=b"], r#"{"year": {"gt": "1990", "lte": "2000"}, "a": {"eq": ["b"]}}"#),
            (&["year>=1990", "year!=1995"], r#"{"year": {"gte": "1990", "ne": ["1995"]}}"#),
        ] {
            let mut filters = Map::new();
            texts.iter().for_each(|text| add_text(text, &mut filters).unwrap());
            assert_eq!(Json::Object(filters), serde_json::from_str::<Json>(json).unwrap(), "{texts:?}");
        }
        let mut filters = Map::new();
        add_text("a>=1", &mut filters).unwrap();
        for (text, expected) in [
            ("a>=2", "`filters.a` has two lower or two upper bounds"),
            ("a", "`filter` is invalid: `a` is not a filter: it has no operator"),
        ] {
            let error = add_text(text, &mut filters).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
