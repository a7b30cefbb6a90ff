//! Documents of the engine as stored values.

use std::sync::Arc;

use lorank_core::{Fields, Value};
use serde_json::{Map, Value as Json};

/// The fields of a document's `_source`, in their order.
pub(crate) fn fields(source: Map<String, Json>) -> Fields {
    source.into_iter().map(|(name, json)| (name, value(json))).collect()
}

pub(crate) fn value(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(value),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => Value::Integer(number),
            (None, Some(number), _) => Value::Unsigned(number),
            (None, None, Some(number)) => Value::Float(number),
            (None, None, None) => Value::Null,
        },
        Json::String(text) => Value::Text(text.into()),
        Json::Array(values) => Value::List(values.into_iter().map(value).collect()),
        Json::Object(object) => Value::Object(fields(object)),
    }
}

/// The text of a field, which a dot in its name may reach into objects for. A list's texts are joined by spaces.
pub(crate) fn text(fields: &Fields, name: &str) -> Option<Arc<str>> {
    match find(fields, name)? {
        Value::Text(text) => Some(text.clone()),
        Value::List(values) => {
            let texts: Vec<&str> = values.iter().filter_map(Value::as_text).collect();
            Some(texts.join(" ").into())
        }
        _ => None,
    }
}

/// The value of a field as an id: a text or a whole number.
pub(crate) fn id(fields: &Fields, name: &str) -> Option<String> {
    match find(fields, name)? {
        Value::Text(text) => Some(text.to_string()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Unsigned(number) => Some(number.to_string()),
        _ => None,
    }
}

fn find<'a>(fields: &'a Fields, name: &str) -> Option<&'a Value> {
    let named = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value);
    if let Some(value) = named(name) {
        return Some(value);
    }
    // A document may write `{"a.b": ..}` or `{"a": {"b": ..}}` for the same field.
    name.match_indices('.').find_map(|(dot, _)| match named(&name[..dot])? {
        Value::Object(inner) => find(inner, &name[dot + 1..]),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_and_ids_are_found_by_name() {
        let source =
            json!({"title": "t", "a": {"b": {"c": "deep"}}, "x.y": "flat", "tags": ["one", 2, "three"], "n": 7});
        let fields = fields(source.as_object().unwrap().clone());
        for (name, expected) in [
            ("title", Some("t")),
            ("a.b.c", Some("deep")),
            ("x.y", Some("flat")),
            ("tags", Some("one three")),
            ("n", None),
            ("nix", None),
            ("a.nix", None),
        ] {
            assert_eq!(text(&fields, name).as_deref(), expected, "{name}");
        }
        assert_eq!(
            (id(&fields, "n").as_deref(), id(&fields, "title").as_deref(), id(&fields, "a")),
            (Some("7"), Some("t"), None)
        );
    }
}
