//! Documents: an id, the texts that are searched, and everything else as it came.

use std::borrow::Cow;

use lorank_core::{DocumentId, Fields, Value, json_hint, syntax_problem};

use crate::{Error, IndexSettings, json};

/// The longest id in bytes: as long as a path can be.
const ID_BYTES_MAX: usize = 4096;

/// How deep values may nest. The reader of stored documents stops at 128 levels.
const DEPTH_MAX: usize = 100;

/// A document: its id, and its other fields in their written order.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    id: DocumentId,
    fields: Fields,
}

impl Document {
    /// A document of an id and its other fields. Whether an index can hold it is seen when it is added.
    pub fn new(id: DocumentId, fields: Fields) -> Self {
        Self { id, fields }
    }

    /// Reads one JSON object. Its id, a text or an integer of up to 64 bits, is taken from the settings' id field or else from `_id`;
    /// where the settings name no id field and the document has none, it is a digest of the document.
    ///
    /// # Errors
    /// What is wrong with the JSON, the id or a field.
    pub fn from_json(json: &[u8], settings: &IndexSettings) -> Result<Self, Error> {
        let text = std::str::from_utf8(json).map_err(|error| Error::NotUtf8 { column: error.valid_up_to() + 1 })?;
        match json::value_from_json(text).map_err(|error| not_json(text, &error))? {
            Value::Object(fields) => {
                if let Some((field, digits)) = json::wide_integer(text, &fields) {
                    return Err(too_wide(field, digits));
                }
                Self::from_fields(fields, settings)
            }
            other => Err(Error::NotAnObject { found: name_of(&other) }),
        }
    }

    /// Takes the id out of the fields, or makes one where the settings name no field for it, and makes sure that an index with these
    /// settings can hold the document.
    pub(crate) fn from_fields(mut fields: Fields, settings: &IndexSettings) -> Result<Self, Error> {
        let names = [settings.id_field(), "_id"];
        let place = names.iter().find_map(|name| fields.iter().position(|(field, _)| field == name));
        let id = match place {
            Some(place) => {
                let (id_field, id) = fields.remove(place);
                id_of(id).map_err(|problem| Error::InvalidId { id_field, problem })?
            }
            None => {
                let misnamed = misnamed_id(&fields, settings);
                if settings.id_field.is_some() || misnamed.is_some() {
                    return Err(Error::NoId { id_field: settings.id_field().to_owned(), misnamed });
                }
                digest(&fields)
            }
        };
        let document = Self::new(DocumentId::new(id), fields);
        document.check_fields(settings)?;
        Ok(document)
    }

    /// The id.
    pub fn id(&self) -> &DocumentId {
        &self.id
    }

    /// The fields but the id, in their written order.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Makes sure that an index with these settings can hold the document.
    pub(crate) fn check(&self, settings: &IndexSettings) -> Result<(), Error> {
        let id_field = || settings.id_field().to_owned();
        check_id(self.id.as_str())
            .map_err(|problem| Error::InvalidId { id_field: id_field(), problem: problem.to_owned() })?;
        self.check_fields(settings)
    }

    fn check_fields(&self, settings: &IndexSettings) -> Result<(), Error> {
        let invalid = |field: &str, problem: String| Error::InvalidField { field: field.to_owned(), problem };
        for (name, value) in &self.fields {
            check_value(value, DEPTH_MAX).map_err(|problem| invalid(name, problem.to_owned()))?;
        }
        for field in &settings.text_fields {
            text_of(&self.fields, &field.name).map_err(|found| {
                invalid(&field.name, format!("is searched, and holds {found} where it needs a text"))
            })?;
        }
        Ok(())
    }

    /// Whether a text field holds anything but spaces.
    pub(crate) fn has_text(&self, settings: &IndexSettings) -> bool {
        settings
            .text_fields
            .iter()
            .any(|field| matches!(text_of(&self.fields, &field.name), Ok(Some(text)) if !text.trim().is_empty()))
    }
}

/// The id that a value is.
fn id_of(value: Value) -> Result<String, String> {
    let id = match value {
        Value::Text(id) => id.to_string(),
        Value::Integer(id) => id.to_string(),
        Value::Unsigned(id) => id.to_string(),
        other => return Err(name_of(&other).to_owned()),
    };
    check_id(&id).map_err(str::to_owned)?;
    Ok(id)
}

/// The field that was surely meant to hold the id: its name differs in case or in spaces around it alone.
fn misnamed_id(fields: &Fields, settings: &IndexSettings) -> Option<String> {
    let id_field = settings.id_field();
    let is_like = |name: &str| name.trim().eq_ignore_ascii_case(id_field) || name.trim().eq_ignore_ascii_case("_id");
    fields.iter().map(|(name, _)| name).find(|name| is_like(name)).cloned()
}

/// What the hash of a document's fields is for. A change of what is hashed needs another text here.
const DIGEST_CONTEXT: &str = "lorank 2025-11-29 id of a document without one v1";

/// A hash of a document's fields in 32 hexadecimal digits. The order of keys does not count, so the same document has the same id
/// however it is written.
fn digest(fields: &Fields) -> String {
    let mut hasher = blake3::Hasher::new_derive_key(DIGEST_CONTEXT);
    hasher.update(json::fields_to_json(&sorted(fields)).as_bytes());
    hasher.finalize().to_hex()[..32].to_owned()
}

/// The fields with their keys in order at every level.
fn sorted(fields: &Fields) -> Fields {
    fn sorted_value(value: &Value) -> Value {
        match value {
            Value::List(values) => Value::List(values.iter().map(sorted_value).collect()),
            Value::Object(fields) => Value::Object(sorted(fields)),
            other => other.clone(),
        }
    }
    let mut fields: Fields = fields.iter().map(|(name, value)| (name.clone(), sorted_value(value))).collect();
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    fields
}

fn too_wide(field: String, digits: &str) -> Error {
    let shown = if digits.len() > 40 { format!("{}...", &digits[..40]) } else { digits.to_owned() };
    let problem =
        format!("holds the integer `{shown}`, which does not fit in 64 bits; write it as a text, in double quotes");
    Error::InvalidField { field, problem }
}

fn check_id(id: &str) -> Result<(), &'static str> {
    match id.len() {
        0 => Err("empty"),
        1..=ID_BYTES_MAX => Ok(()),
        _ => Err("longer than 4096 bytes"),
    }
}

fn check_value(value: &Value, depth_left: usize) -> Result<(), &'static str> {
    if depth_left == 0 {
        return Err("nests deeper than 100 levels");
    }
    match value {
        Value::Float(number) if !number.is_finite() => Err("holds a number that is not finite"),
        Value::List(values) => values.iter().try_for_each(|value| check_value(value, depth_left - 1)),
        Value::Object(fields) => fields.iter().try_for_each(|(_, value)| check_value(value, depth_left - 1)),
        _ => Ok(()),
    }
}

/// The text of a field: a text as it is, a number in its decimal form, the texts of a list one a line.
/// `None` where the field is missing or null; the name of what it holds instead where that is no text.
pub(crate) fn text_of<'a>(fields: &'a Fields, name: &str) -> Result<Option<Cow<'a, str>>, &'static str> {
    let Some((_, value)) = fields.iter().find(|(field, _)| field == name) else { return Ok(None) };
    match value {
        Value::Null => Ok(None),
        Value::List(values) => {
            let texts = values.iter().filter(|value| **value != Value::Null).map(plain_text);
            Ok(Some(texts.collect::<Result<Vec<_>, _>>()?.join("\n").into()))
        }
        value => plain_text(value).map(Some),
    }
}

/// The text of a text or a number: titles like `1984` arrive as numbers from tools that guess types.
fn plain_text(value: &Value) -> Result<Cow<'_, str>, &'static str> {
    match value {
        Value::Text(text) => Ok(Cow::Borrowed(text)),
        Value::Integer(number) => Ok(number.to_string().into()),
        Value::Unsigned(number) => Ok(number.to_string().into()),
        Value::Float(number) => Ok(number.to_string().into()),
        other => Err(name_of(other)),
    }
}

/// Of the names of fields that are not searched, the one that most likely holds a document's text: one that people give to it, or else
/// the first.
pub(crate) fn likely_text_field<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const USUAL: [&str; 9] =
        ["text", "content", "contents", "body", "passage", "document", "description", "abstract", "title"];
    let names: Vec<&str> = names.into_iter().collect();
    let usual = USUAL.iter().find_map(|usual| names.iter().find(|name| name.eq_ignore_ascii_case(usual)));
    usual.or_else(|| names.first()).copied()
}

/// A value's kind with its article, for messages.
pub(crate) fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Integer(_) | Value::Unsigned(_) | Value::Float(_) => "a number",
        Value::Text(_) => "a text",
        Value::List(_) => "a list",
        Value::Object(_) => "an object",
        _ => "something else",
    }
}

/// What is wrong with a text that is not JSON, and where, with what to do where that can be told.
fn not_json(text: &str, error: &serde_json::Error) -> Error {
    let whole = error.to_string();
    let message = whole.rsplit_once(" at line ").map_or(whole.as_str(), |(message, _)| message);
    let line = text.split('\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let is_end_of_a_line =
        error.is_eof() || (message == "trailing characters" && line.trim_end().ends_with([',', ':']));
    let hint = if is_end_of_a_line {
        Some(
            "each document stands on one line, and this looks like pretty-printed JSON; rewrite it (`jq -c .`)"
                .to_owned(),
        )
    } else {
        json_hint(message, line, error.column())
    };
    let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
    Error::NotJson { line: error.line(), column: error.column(), problem: syntax_problem(message) + &hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_texts_or_integers() {
        check_id_of(r#"{"id": "a"}"#, "a");
        check_id_of(r#"{"id": 7}"#, "7");
        check_id_of(r#"{"id": -7}"#, "-7");
        check_id_of(r#"{"id": 18446744073709551615}"#, "18446744073709551615");
        check_id_of(r#"{"_id": "b"}"#, "b");
        check_id_of(r#"{"_id": "b", "id": "a"}"#, "a");
    }

    fn check_id_of(json: &str, id: &str) {
        let document = Document::from_json(json.as_bytes(), &IndexSettings::default()).unwrap();
        assert_eq!(document.id().as_str(), id);
    }

    #[test]
    fn what_is_no_document_says_why() {
        check_refused(
            b"{\"id\": 1",
            "not valid JSON at column 8: the text ends within an object; each document stands on one line",
        );
        check_refused(b"[1]", "a list, where a document is a JSON object");
        check_refused(b"{\"id\": \"\xff\"}", "not valid UTF-8: a bad byte at column 9");
        check_refused(b"{\"ID\": 1}", "no id: the field `id` is missing; rename `ID` to `id`");
        check_refused(b"{\"id\": 1.5}", "the id in the field `id` is a number, where an id is a text or an integer");
        check_refused(
            b"{\"id\": 99999999999999999999}",
            "the field `id` holds the integer `99999999999999999999`, which does not fit in 64 bits; write it as a text",
        );
        check_refused(
            b"{\"id\": 1, \"a\": {\"n\": [-9223372036854775809]}}",
            "the field `a` holds the integer `-92233",
        );
        check_refused(b"{\"_id\": null}", "the id in the field `_id` is null, where");
        check_refused(b"{\"id\": \"\"}", "is empty");
        check_refused(format!("{{\"id\": \"{}\"}}", "x".repeat(5000)).as_bytes(), "longer than 4096 bytes");
        check_refused(b"{\"id\": 1, \"title\": {}}", "the field `title` is searched, and holds an object where it");
        check_refused(b"{\"id\": 1, \"text\": [\"a\", true]}", "the field `text` is searched, and holds a boolean");
        check_refused(
            format!("{{\"id\": 1, \"x\": {}1{}}}", "[".repeat(101), "]".repeat(101)).as_bytes(),
            "nests deeper",
        );
        check_refused(
            format!("{{\"id\": 1, \"x\": {}", "[".repeat(100_000)).as_bytes(),
            "values are nested too deeply",
        );
    }

    #[test]
    fn what_is_almost_json_says_what_json_has() {
        for (json, problem) in [
            (
                "{",
                "the text ends within an object; each document stands on one line, and this looks like pretty-printed JSON",
            ),
            (
                "  \"id\": \"1\",",
                "not valid JSON at column 7: there is more after the end of the value; each document stands on",
            ),
            (r#"{"id": "a", "t": "apple \ud83d"}"#, "a lone surrogate"),
            (r#"{"id": "a", "t": "apple \ude00\ud83d x"}"#, "a lone surrogate"),
            (r#"{"id": "a", "t": "\ud83d\ud83d"}"#, "a lone surrogate"),
            (r#"{"id": "a", "t": "\ud83d\n"}"#, "a lone surrogate"),
            ("{'id': 1}", "use double quotes for strings and keys"),
            ("{\"id\": 1, \"n\": NaN}", "`NaN` is not a JSON number"),
            ("{\"id\": 1, \"n\": -Infinity}", "`Infinity` is not a JSON number"),
            ("{\"id\": 1} {\"id\": 2}", "write one document per line"),
            (
                "{\"id\":\n 1,\n \"n\": True}",
                "not valid JSON at its line 3, column 7: a value is expected; write `true`",
            ),
        ] {
            check_refused(json.as_bytes(), problem);
        }
    }

    fn check_refused(json: &[u8], problem: &str) {
        let error = Document::from_json(json, &IndexSettings::default()).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }

    #[test]
    fn texts_come_from_texts_numbers_and_lists() {
        check_text(r#"{"id": 1}"#, None);
        check_text(r#"{"id": 1, "text": null}"#, None);
        check_text(r#"{"id": 1, "text": ""}"#, Some(""));
        check_text(r#"{"id": 1, "text": 1984}"#, Some("1984"));
        check_text(r#"{"id": 1, "text": ["a", null, "b", 2.5]}"#, Some("a\nb\n2.5"));
        check_text(r#"{"id": 1, "text": []}"#, Some(""));
    }

    fn check_text(json: &str, text: Option<&str>) {
        let document = Document::from_json(json.as_bytes(), &IndexSettings::default()).unwrap();
        assert_eq!(text_of(document.fields(), "text").unwrap().as_deref(), text, "{json}");
    }

    #[test]
    fn documents_of_ones_own_making_are_checked_too() {
        let settings = IndexSettings::default();
        let with = |value| Document::new(DocumentId::new("a"), vec![("x".to_owned(), value)]).check(&settings);
        assert!(with(Value::Float(f64::NAN)).is_err());
        let nested = (0..200).fold(Value::Null, |inner, _| Value::List(vec![inner]));
        assert!(with(nested).is_err());
        assert!(Document::new(DocumentId::new(""), Fields::new()).check(&settings).is_err());
    }
}
