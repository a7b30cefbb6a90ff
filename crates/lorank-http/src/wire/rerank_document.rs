//! A document of a rerank request, and the text that is scored.

use lorank_core::DocumentId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::ServerError;

/// The number of hexadecimal digits of a text's digest that are used as a document id: 128 bits, so collisions are negligible.
const ID_DIGITS: usize = 32;

/// The maximum number of names in `rank_fields`.
const RANK_FIELDS_MAX: usize = 64;

/// A document: a string, or an object with fields.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(untagged, expecting = "expected a string or an object with fields")]
pub(crate) enum RerankDocument {
    /// A string.
    Text(String),
    /// An object. Its `text` is scored, or the fields in `rank_fields`.
    Fields(Map<String, Json>),
}

impl PartialSchema for RerankDocument {
    fn schema() -> RefOr<Schema> {
        let of_type = |kind| ObjectBuilder::new().schema_type(kind);
        let either = OneOfBuilder::new().item(of_type(Type::String)).item(of_type(Type::Object));
        let description = "A string, or an object whose `text`, or fields in `rank_fields`, are scored.";
        either.description(Some(description)).into()
    }
}

impl ToSchema for RerankDocument {}

impl RerankDocument {
    /// The text that is scored: the string, or the named fields of an object on lines of `name: value`, as Cohere's guide recommends.
    /// A null field counts as missing.
    pub(crate) fn text(&self, rank_fields: Option<&[String]>) -> String {
        let fields = match self {
            Self::Text(text) => return text.clone(),
            Self::Fields(fields) => fields,
        };
        let value = |name: &str| fields.get(name).filter(|value| !value.is_null());
        match (rank_fields, value("text")) {
            (None, Some(text)) => plain(text),
            (Some([one]), _) => value(one).map(plain).unwrap_or_default(),
            (Some(names), _) => lines(names.iter().filter_map(|name| Some((name.as_str(), value(name)?)))),
            (None, None) => lines(fields.keys().filter_map(|name| Some((name.as_str(), value(name)?)))),
        }
    }

    /// The id in events and exposures: `id` if it is a string or an integer, else a digest of the scored text.
    pub(crate) fn id(&self, text: &str) -> DocumentId {
        let own = self.fields().and_then(|fields| match fields.get("id")? {
            Json::String(id) if !id.is_empty() => Some(id.clone()),
            Json::Number(id) if !id.is_f64() => Some(id.to_string()),
            _ => None,
        });
        DocumentId::new(own.unwrap_or_else(|| blake3::hash(text.as_bytes()).to_hex()[..ID_DIGITS].to_owned()))
    }

    /// The scored text, for answers that return documents as strings.
    pub(crate) fn into_text(self, rank_fields: Option<&[String]>) -> String {
        match self {
            Self::Text(text) => text,
            fields @ Self::Fields(_) => fields.text(rank_fields),
        }
    }

    /// The document as an object, for answers.
    pub(crate) fn into_object(self) -> Map<String, Json> {
        match self {
            Self::Text(text) => Map::from_iter([("text".to_owned(), text.into())]),
            Self::Fields(fields) => fields,
        }
    }

    fn fields(&self) -> Option<&Map<String, Json>> {
        match self {
            Self::Text(_) => None,
            Self::Fields(fields) => Some(fields),
        }
    }

    /// Whether it is an object without any non-empty value.
    fn is_empty(&self) -> bool {
        self.fields().is_some_and(|fields| fields.values().all(Json::is_null))
    }
}

fn lines<'a>(fields: impl Iterator<Item = (&'a str, &'a Json)>) -> String {
    fields.map(|(name, value)| format!("{name}: {}", plain(value))).collect::<Vec<_>>().join("\n")
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Rejects objects without a text to score.
pub(crate) fn check_documents(list: &'static str, documents: &[RerankDocument]) -> Result<(), ServerError> {
    let Some(n) = documents.iter().position(RerankDocument::is_empty) else { return Ok(()) };
    let problem = "has no field with a value; add a `text`".to_owned();
    Err(ServerError::InvalidValue { field: format!("{list}[{n}]"), problem })
}

/// Rejects names that are not a field of any document, because they would have no effect.
pub(crate) fn check_rank_fields(names: &[String], documents: &[RerankDocument]) -> Result<(), ServerError> {
    let refused = |field: String, problem: String| Err(ServerError::InvalidValue { field, problem });
    let whole = || "rank_fields".to_owned();
    if names.is_empty() {
        return refused(whole(), "is empty; name the fields to score, or remove it".to_owned());
    }
    if names.len() > RANK_FIELDS_MAX {
        return refused(whole(), format!("names {} fields, and the maximum is {RANK_FIELDS_MAX}", names.len()));
    }
    let objects: Vec<&Map<String, Json>> = documents.iter().filter_map(RerankDocument::fields).collect();
    if objects.is_empty() {
        return refused(whole(), "names fields, but no document is an object".to_owned());
    }
    for (n, name) in names.iter().enumerate() {
        if !objects.iter().any(|fields| fields.contains_key(name)) {
            let known = objects.iter().take(100).flat_map(|fields| fields.keys().map(String::as_str));
            let meant = lorank_core::nearest_name(name, known).map(|known| format!("; did you mean `{known}`?"));
            let problem = format!("is not a field of any document{}", meant.unwrap_or_default());
            return refused(format!("rank_fields[{n}]"), problem);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_has_its_own_id_or_a_digest_of_its_text() {
        let id = |document: Json| {
            let document: RerankDocument = serde_json::from_value(document).unwrap();
            document.id(&document.text(None)).as_str().to_owned()
        };
        assert_eq!(id(json!({"id": "d7", "text": "a"})), "d7");
        assert_eq!(id(json!({"id": 7, "text": "a"})), "7");
        // The beginning of BLAKE3 of `a`.
        assert_eq!(id(json!("a")), "17762fddd969a453925d65717ac3eea2");
        for without in [json!({"text": "a"}), json!({"id": null, "text": "a"}), json!({"id": "", "text": "a"})] {
            assert_eq!(id(without), id(json!("a")));
        }
        assert_ne!(id(json!("a")), id(json!("b")));
    }

    #[test]
    fn documents_are_read_by_their_text_or_by_the_fields_that_are_named() {
        let check = |document: Json, rank_fields: Option<&[&str]>, expected: &str| {
            let document: RerankDocument = serde_json::from_value(document).unwrap();
            let rank_fields = rank_fields.map(|names| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
            assert_eq!(document.text(rank_fields.as_deref()), expected);
        };
        check(json!("plain"), None, "plain");
        check(json!("plain"), Some(&["title"]), "plain");
        check(json!({"text": "a", "title": "b"}), None, "a");
        check(json!({"text": "a", "title": "b"}), Some(&["title"]), "b");
        check(json!({"text": "a", "title": "b"}), Some(&["title", "text", "gone"]), "title: b\ntext: a");
        check(json!({"title": "b", "year": 3}), None, "title: b\nyear: 3");
        check(json!({"text": null, "title": "b", "year": null}), None, "title: b");
        check(json!({"text": null, "title": "b"}), Some(&["text", "title"]), "title: b");
        check(json!({"text": "a", "title": null}), Some(&["title"]), "");
        check(json!({"text": 5}), None, "5");
        check(json!({"text": ""}), None, "");
    }
}
