//! The mapping of documents to tantivy's schema.
//!
//! - `_id`: the id, as a term (to find and replace the document) and as a column (to break ties in byte order).
//! - One field for each text field, with its name: the terms for ranking, without stop words. With them, the length of a text would
//!   include stop words, and BM25 would lose 0.012 nDCG@10 on CISI.
//! - `_phrases.` and its name for each text field: all its terms with positions, for phrases and for queries of stop words.
//! - `_words.` and its name for each text field: its whole words, for prefixes and typos.
//! - `_folder`: the folder of a document that is a file, as a term, to delete the document when its file is deleted.
//! - `_source`: all fields except the id as one line of JSON, stored. A blob is exact, keeps the order of the keys, and needs one parse
//!   per document; stored tantivy fields would neither keep the order nor distinguish integers from floats.
//! - `_fields`: all fields except the id and the text fields, as columns (for filters) and as terms (for the query syntax). Dots in keys
//!   and nested objects are equivalent.
//! - `_fields_above_2_53`, `_fields_below_minus_2_53`: the integers of these fields that a float cannot represent, as columns (see
//!   [`columns`](crate::columns)).

use std::sync::Arc;

use lorank_core::{Fields, Value};
use tantivy::TantivyDocument;
use tantivy::schema::{
    FAST, Field, IndexRecordOption, JsonObjectOptions, OwnedValue, Schema, TextFieldIndexing, TextOptions, Value as _,
};

use crate::columns::{FIELDS, FIELDS_ABOVE, FIELDS_BELOW, FLOAT_INTEGER_MAX};
use crate::dates::moment_of;
use crate::document::text_of;
use crate::{Document, IndexSettings, json};

/// The name of the field that holds the id.
pub(crate) const ID: &str = "_id";
const FOLDER: &str = "_folder";
const SOURCE: &str = "_source";

/// Longer texts are stored but cannot be used in filters, because they would enlarge the dictionaries without being useful.
pub(crate) const KEYWORD_BYTES_MAX: usize = 1024;
/// The maximum length of a path to a filterable value. tantivy's path tables do not support keys of 64 KiB.
const PATH_BYTES_MAX: usize = 1024;
/// The depth to which tantivy indexes values in columns.
const DEPTH_MAX: usize = 20;

/// The fields of an index in tantivy's schema.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub schema: Schema,
    pub id: Field,
    /// One per text field, in their order.
    pub texts: Vec<Field>,
    /// All terms of each text field, in the same order.
    pub phrases: Vec<Field>,
    /// The whole words of each text field, in the same order.
    pub whole_words: Vec<Field>,
    pub folder: Field,
    source: Field,
    fields: Field,
    fields_above: Field,
    fields_below: Field,
}

impl Layout {
    pub(crate) fn new(settings: &IndexSettings) -> Self {
        let mut builder = Schema::builder();
        let whole =
            |option| TextFieldIndexing::default().set_tokenizer("raw").set_index_option(option).set_fieldnorms(false);
        let basic = whole(IndexRecordOption::Basic);
        let id_options = TextOptions::default().set_indexing_options(basic.clone()).set_fast("raw").set_stored();
        let id = builder.add_text_field(ID, id_options);
        let language = settings.language;
        let terms = TextFieldIndexing::default()
            .set_tokenizer(&language.terms_name())
            .set_index_option(IndexRecordOption::WithFreqs);
        let phrases = TextFieldIndexing::default()
            .set_tokenizer(&language.phrases_name())
            .set_index_option(IndexRecordOption::WithFreqsAndPositions);
        let whole_words = TextFieldIndexing::default()
            .set_tokenizer(&language.whole_words_name())
            .set_index_option(IndexRecordOption::Basic)
            .set_fieldnorms(false);
        let mut each = |prefix: &str, indexing: TextFieldIndexing| -> Vec<Field> {
            let options = TextOptions::default().set_indexing_options(indexing);
            let names = settings.text_fields.iter().map(|field| format!("{prefix}{}", field.name));
            names.map(|name| builder.add_text_field(&name, options.clone())).collect()
        };
        let texts = each("", terms);
        let phrases = each("_phrases.", phrases);
        let whole_words = each("_words.", whole_words);
        let folder = builder.add_text_field(FOLDER, TextOptions::default().set_indexing_options(basic.clone()));
        let source = builder.add_text_field(SOURCE, TextOptions::default().set_stored());
        let field_options =
            JsonObjectOptions::default().set_indexing_options(basic).set_fast("raw").set_expand_dots_enabled();
        let fields = builder.add_json_field(FIELDS, field_options);
        let number_options = JsonObjectOptions::from(FAST).set_expand_dots_enabled();
        let fields_above = builder.add_json_field(FIELDS_ABOVE, number_options.clone());
        let fields_below = builder.add_json_field(FIELDS_BELOW, number_options);
        let schema = builder.build();
        Self { schema, id, texts, phrases, whole_words, folder, source, fields, fields_above, fields_below }
    }

    /// The tantivy document, with the folder of its file. It must have passed [`Document::check`].
    pub(crate) fn to_tantivy(
        &self,
        document: &Document,
        folder: Option<&str>,
        settings: &IndexSettings,
    ) -> TantivyDocument {
        let mut out = TantivyDocument::new();
        out.add_text(self.id, document.id().as_str());
        if let Some(folder) = folder {
            out.add_text(self.folder, folder);
        }
        for (n, field) in settings.text_fields.iter().enumerate() {
            if let Ok(Some(text)) = text_of(document.fields(), &field.name) {
                for place in [self.texts[n], self.phrases[n], self.whole_words[n]] {
                    out.add_text(place, &text);
                }
            }
        }
        out.add_text(self.source, json::fields_to_json(document.fields()));
        let others = || document.fields().iter().filter(|(name, _)| !settings.is_text_field(name));
        out.add_field_value(self.fields, &filterable_object(others(), in_fields, 0, DEPTH_MAX));
        if others().any(|(_, value)| has_wide_integer(value)) {
            out.add_field_value(self.fields_above, &filterable_object(others(), in_fields_above, 0, DEPTH_MAX));
            out.add_field_value(self.fields_below, &filterable_object(others(), in_fields_below, 0, DEPTH_MAX));
        }
        out
    }

    /// The stored parts of a document; `None` if one is missing.
    pub(crate) fn stored(&self, document: &TantivyDocument) -> Option<StoredDocument> {
        let text = |field| document.get_first(field).and_then(|value| value.as_str()).map(str::to_owned);
        Some(StoredDocument { id: text(self.id)?, source: text(self.source)? })
    }
}

/// A document as stored.
pub(crate) struct StoredDocument {
    id: String,
    source: String,
}

impl StoredDocument {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The fields without the id.
    pub(crate) fn fields(&self) -> Result<Fields, serde_json::Error> {
        json::fields_from_json(&self.source)
    }
}

/// The filterable part of an object, with those of its single values that `place` accepts.
fn filterable_object<'a>(
    fields: impl IntoIterator<Item = &'a (String, Value)>,
    place: fn(&Value) -> Option<OwnedValue>,
    path_bytes: usize,
    depth_left: usize,
) -> OwnedValue {
    let mut object = Vec::new();
    for (name, value) in fields {
        let path_bytes = path_bytes + name.len() + 1;
        // tantivy uses these two characters to separate and end its paths.
        let name_fits = path_bytes <= PATH_BYTES_MAX && !name.contains(['\0', '\u{1}']);
        let value = if name_fits { filterable(value, place, path_bytes, depth_left) } else { None };
        object.extend(value.map(|value| (name.clone(), value)));
    }
    OwnedValue::Object(object)
}

fn filterable(
    value: &Value,
    place: fn(&Value) -> Option<OwnedValue>,
    path_bytes: usize,
    depth_left: usize,
) -> Option<OwnedValue> {
    let depth_left = depth_left.checked_sub(1)?;
    match value {
        Value::List(values) => {
            let values = values.iter().filter_map(|value| filterable(value, place, path_bytes, depth_left));
            Some(OwnedValue::Array(values.collect()))
        }
        Value::Object(fields) => Some(filterable_object(fields, place, path_bytes, depth_left)),
        value => place(value),
    }
}

/// The form of a value in `_fields`.
fn in_fields(value: &Value) -> Option<OwnedValue> {
    match value {
        Value::Bool(value) => Some(OwnedValue::Bool(*value)),
        Value::Integer(number) if is_wide(*number) => None,
        Value::Integer(number) => Some(OwnedValue::I64(*number)),
        Value::Float(number) => Some(OwnedValue::F64(*number)),
        Value::Decimal(number) => Some(OwnedValue::F64(number.value())),
        Value::Text(text) if text.len() > KEYWORD_BYTES_MAX => None,
        Value::Text(text) => Some(match moment_of(text) {
            Some(moment) => OwnedValue::Date(moment.to_column()),
            None => OwnedValue::Str(text.to_string()),
        }),
        _ => None,
    }
}

fn in_fields_above(value: &Value) -> Option<OwnedValue> {
    match value {
        Value::Integer(number) if *number > FLOAT_INTEGER_MAX => Some(OwnedValue::I64(*number)),
        Value::Unsigned(number) => Some(OwnedValue::U64(*number)),
        _ => None,
    }
}

fn in_fields_below(value: &Value) -> Option<OwnedValue> {
    match value {
        Value::Integer(number) if *number < -FLOAT_INTEGER_MAX => Some(OwnedValue::I64(*number)),
        _ => None,
    }
}

/// Whether a float cannot represent the integer.
fn is_wide(number: i64) -> bool {
    !(-FLOAT_INTEGER_MAX..=FLOAT_INTEGER_MAX).contains(&number)
}

fn has_wide_integer(value: &Value) -> bool {
    match value {
        Value::Integer(number) => is_wide(*number),
        Value::Unsigned(_) => true,
        Value::List(values) => values.iter().any(has_wide_integer),
        Value::Object(fields) => fields.iter().any(|(_, value)| has_wide_integer(value)),
        _ => false,
    }
}

/// The title and the text for the reranker: the text field `title`, and the others joined by a space. A field with a
/// single text is shared and not copied.
pub(crate) fn title_and_text(fields: &Fields, settings: &IndexSettings) -> (Option<Arc<str>>, Arc<str>) {
    let (mut title, mut texts) = (None, Vec::new());
    for field in &settings.text_fields {
        let Some(found) = shared_text_of(fields, &field.name) else { continue };
        if field.name == "title" {
            title = Some(found);
        } else if !found.is_empty() {
            texts.push(found);
        }
    }
    let text = match texts.as_slice() {
        [one] => one.clone(),
        several => several.join(" ").into(),
    };
    (title, text)
}

fn shared_text_of(fields: &Fields, name: &str) -> Option<Arc<str>> {
    match fields.iter().find(|(field, _)| field == name) {
        Some((_, Value::Text(text))) => Some(text.clone()),
        _ => text_of(fields, name).ok().flatten().map(Arc::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_and_texts_are_what_the_reranker_reads() {
        check_parts(&["title", "text"], r#"{"title":"T","text":"x"}"#, Some("T"), "x");
        check_parts(&["title", "text"], r#"{"title":"","text":"x"}"#, Some(""), "x");
        check_parts(&["title", "text"], r#"{"title":null,"text":"x"}"#, None, "x");
        check_parts(&["title"], r#"{"title":"T","text":"x"}"#, Some("T"), "");
        check_parts(&["b", "a", "c"], r#"{"a":"1","c":"2","b":"3","title":"T"}"#, None, "3 1 2");
        check_parts(&["a", "b", "c"], r#"{"a":"1","b":"","c":"2"}"#, None, "1 2");
    }

    fn check_parts(text_fields: &[&str], json: &str, title: Option<&str>, text: &str) {
        let text_fields = text_fields.iter().map(|field| field.parse().unwrap()).collect();
        let settings = IndexSettings { text_fields, ..IndexSettings::default() };
        let fields = json::fields_from_json(json).unwrap();
        assert_eq!(title_and_text(&fields, &settings), (title.map(Arc::from), Arc::from(text)), "{json}");
    }
}
