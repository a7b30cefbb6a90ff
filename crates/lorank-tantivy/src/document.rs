//! Documents: an id, the text fields, and all other fields unchanged.

use std::borrow::Cow;

use lorank_core::{DocumentId, Fields, Value, json_hint, syntax_problem};

use crate::{Error, IndexSettings, json};

/// The maximum length of an id in bytes, which is that of a path.
const ID_BYTES_MAX: usize = 4096;

/// The maximum nesting of values. The reader of stored documents supports 128 levels.
const DEPTH_MAX: usize = 100;

/// A document: its id, and its other fields in their original order.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    id: DocumentId,
    fields: Fields,
}

impl Document {
    /// A document with an id and other fields. Whether an index can store it is checked when it is added.
    pub fn new(id: DocumentId, fields: Fields) -> Self {
        Self { id, fields }
    }

    /// Parses a JSON object. The id, a string or an integer of up to 64 bits, is taken from the settings' id field or
    /// from `_id`; if the settings name no id field and the document has none, the id is a digest of the document.
    ///
    /// # Errors
    /// The JSON, the id or a field is invalid.
    pub fn from_json(json: &[u8], settings: &IndexSettings) -> Result<Self, Error> {
        let text = std::str::from_utf8(json).map_err(|error| Error::NotUtf8 { column: error.valid_up_to() + 1 })?;
        match json::value_from_json(text).map_err(|error| not_json(text, &error))? {
            Value::Object(fields) => {
                if let Some((field, digits)) = json::wide_integer(&fields) {
                    return Err(too_wide(field.to_owned(), digits));
                }
                Self::from_fields(fields, settings)
            }
            other => Err(Error::NotAnObject { found: name_of(&other) }),
        }
    }

    /// Takes the id out of the fields, or computes one if the settings name no id field, and checks that an index with
    /// these settings can store the document.
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

    /// The document's id.
    pub fn id(&self) -> &DocumentId {
        &self.id
    }

    /// The fields without the id, in their original order.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Checks that an index with these settings can store the document.
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
            text_of(&self.fields, &field.name)
                .map_err(|found| invalid(&field.name, format!("is a text field, but contains {found}")))?;
        }
        Ok(())
    }

    /// Whether a text field contains other characters than spaces.
    pub(crate) fn has_text(&self, settings: &IndexSettings) -> bool {
        settings
            .text_fields
            .iter()
            .any(|field| matches!(text_of(&self.fields, &field.name), Ok(Some(text)) if !text.trim().is_empty()))
    }
}

/// The id in a value.
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

/// The field that was probably meant as the id: its name differs only in case or surrounding spaces.
fn misnamed_id(fields: &Fields, settings: &IndexSettings) -> Option<String> {
    let id_field = settings.id_field();
    let is_like = |name: &str| name.trim().eq_ignore_ascii_case(id_field) || name.trim().eq_ignore_ascii_case("_id");
    fields.iter().map(|(name, _)| name).find(|name| is_like(name)).cloned()
}

/// What the hash of a document's fields is for. A change of what is hashed needs another text here.
const DIGEST_CONTEXT: &str = "lorank 2025-11-29 id of a document without one v1";

/// A hash of a document's fields in 32 hexadecimal digits. Neither the order of keys nor the digits of a number count, so the same
/// document has the same id however it is written.
fn digest(fields: &Fields) -> String {
    let mut hasher = blake3::Hasher::new_derive_key(DIGEST_CONTEXT);
    hasher.update(json::fields_to_json(&sorted(fields)).as_bytes());
    hasher.finalize().to_hex()[..32].to_owned()
}

/// The fields with their keys in order at every level, and numbers without digits of their own.
fn sorted(fields: &Fields) -> Fields {
    fn sorted_value(value: &Value) -> Value {
        match value {
            Value::List(values) => Value::List(values.iter().map(sorted_value).collect()),
            Value::Object(fields) => Value::Object(sorted(fields)),
            Value::Decimal(number) => Value::Float(number.value()),
            other => other.clone(),
        }
    }
    let mut fields: Fields = fields.iter().map(|(name, value)| (name.clone(), sorted_value(value))).collect();
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    fields
}

fn too_wide(field: String, digits: &str) -> Error {
    let shown = if digits.len() > 40 { format!("{}...", &digits[..40]) } else { digits.to_owned() };
    let problem = format!(
        "contains the integer `{shown}`, which does not fit in 64 bits; write it as a string, in double quotes"
    );
    Error::InvalidField { field, problem }
}

fn check_id(id: &str) -> Result<(), &'static str> {
    match id.len() {
        0 => Err("empty"),
        1..=ID_BYTES_MAX => Ok(()),
        _ => Err("exceeds 4096 bytes"),
    }
}

fn check_value(value: &Value, depth_left: usize) -> Result<(), &'static str> {
    if depth_left == 0 {
        return Err("has more than 100 nested levels");
    }
    match value {
        Value::Float(number) if !number.is_finite() => Err("contains a number that is not finite"),
        Value::List(values) => values.iter().try_for_each(|value| check_value(value, depth_left - 1)),
        Value::Object(fields) => fields.iter().try_for_each(|(_, value)| check_value(value, depth_left - 1)),
        _ => Ok(()),
    }
}

/// The text of a field: a string unchanged, a number in decimal form, the texts of a list, one per line. `None` if the
/// field is missing or null; the kind of the value as error if it has no text.
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

/// The text of a string or number: tools that guess types convert titles like `1984` to numbers.
fn plain_text(value: &Value) -> Result<Cow<'_, str>, &'static str> {
    match value {
        Value::Text(text) => Ok(Cow::Borrowed(text)),
        Value::Integer(number) => Ok(number.to_string().into()),
        Value::Unsigned(number) => Ok(number.to_string().into()),
        Value::Float(number) => Ok(number.to_string().into()),
        Value::Decimal(number) => Ok(number.to_string().into()),
        other => Err(name_of(other)),
    }
}

/// The name among unsearched fields that most likely contains a document's text: a common one, or else the first.
pub(crate) fn likely_text_field<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const USUAL: [&str; 9] =
        ["text", "content", "contents", "body", "passage", "document", "description", "abstract", "title"];
    let names: Vec<&str> = names.into_iter().collect();
    let usual = USUAL.iter().find_map(|usual| names.iter().find(|name| name.eq_ignore_ascii_case(usual)));
    usual.or_else(|| names.first()).copied()
}

/// The kind of a value with its article, for messages.
pub(crate) fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Integer(_) | Value::Unsigned(_) | Value::Float(_) | Value::Decimal(_) => "a number",
        Value::Text(_) => "a text",
        Value::List(_) => "a list",
        Value::Object(_) => "an object",
        _ => "something else",
    }
}

/// Describes invalid JSON with its position, and a hint if possible.
fn not_json(text: &str, error: &serde_json::Error) -> Error {
    let whole = error.to_string();
    let message = whole.rsplit_once(" at line ").map_or(whole.as_str(), |(message, _)| message);
    let line = text.split('\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let is_end_of_a_line =
        error.is_eof() || (message == "trailing characters" && line.trim_end().ends_with([',', ':']));
    let hint = if is_end_of_a_line {
        Some(
            "write each document on one line; this looks like pretty-printed JSON, which `jq -c .` converts".to_owned(),
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
            "not valid JSON at column 8: the text ends within an object; write each document on one line",
        );
        check_refused(b"[1]", "expected a JSON object, found a list");
        check_refused(b"{\"id\": 1, \"id\": 2}", "not valid JSON at column 18: the key `id` is given twice");
        check_refused(b"{\"id\": \"\xff\"}", "invalid UTF-8 at column 9");
        check_refused(b"{\"ID\": 1}", "no id: the field `id` is missing; rename `ID` to `id`");
        check_refused(b"{\"id\": 1.5}", "the id in the field `id` is a number; an id must be a string or an integer");
        check_refused(
            b"{\"id\": 99999999999999999999}",
            "the field `id` contains the integer `99999999999999999999`, which does not fit in 64 bits; write it as a string",
        );
        check_refused(
            b"{\"id\": 1, \"a\": {\"n\": [-9223372036854775809]}}",
            "the field `a` contains the integer `-92233",
        );
        check_refused(b"{\"_id\": null}", "the id in the field `_id` is null; an id");
        check_refused(b"{\"id\": \"\"}", "is empty");
        check_refused(format!("{{\"id\": \"{}\"}}", "x".repeat(5000)).as_bytes(), "exceeds 4096 bytes");
        check_refused(b"{\"id\": 1, \"title\": {}}", "the field `title` is a text field, but contains an object");
        check_refused(
            b"{\"id\": 1, \"text\": [\"a\", true]}",
            "the field `text` is a text field, but contains a boolean",
        );
        check_refused(
            format!("{{\"id\": 1, \"x\": {}1{}}}", "[".repeat(101), "]".repeat(101)).as_bytes(),
            "nested levels",
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
                "the text ends within an object; write each document on one line; this looks like pretty-printed JSON",
            ),
            (
                "  \"id\": \"1\",",
                "not valid JSON at column 7: there is more after the end of the value; write each document on",
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
