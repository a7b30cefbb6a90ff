//! Reads texts from stored or fast fields of an index with any schema.

use std::borrow::Cow;
use std::sync::Arc;

use tantivy::columnar::StrColumn;
use tantivy::schema::{Field, FieldType, Schema, Value};
use tantivy::{DocId, SegmentReader, TantivyDocument, TantivyError};

use super::passage::{DocRef, Passage};

/// The source of a field's text.
#[derive(Debug, Clone, PartialEq)]
enum FieldSource {
    /// The document store; the path leads into a JSON field, and is empty for other fields.
    Stored(Field, Vec<String>),
    /// The fast field with this name.
    Fast(String),
}

/// The fields that the reranker reads.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FieldSources {
    title: Option<FieldSource>,
    fields: Vec<FieldSource>,
}

/// Locates the fields in a schema.
///
/// # Errors
/// A field does not exist, is not a text field, or is neither stored nor fast.
pub(super) fn locate(schema: &Schema, title: Option<&str>, fields: &[String]) -> tantivy::Result<FieldSources> {
    let title = title.map(|name| field_source(schema, name)).transpose()?;
    let fields: Vec<FieldSource> =
        fields.iter().map(|name| field_source(schema, name)).collect::<tantivy::Result<_>>()?;
    if title.is_none() && fields.is_empty() {
        return Err(TantivyError::InvalidArgument("no text field for the reranker is given".to_owned()));
    }
    Ok(FieldSources { title, fields })
}

fn field_source(schema: &Schema, name: &str) -> tantivy::Result<FieldSource> {
    let (field, path) = find(schema, name)?;
    let (is_stored, is_fast) = match schema.get_field_entry(field).field_type() {
        FieldType::Str(options) if path.is_empty() => (options.is_stored(), options.is_fast()),
        FieldType::JsonObject(options) if !path.is_empty() => (options.is_stored(), options.is_fast()),
        FieldType::JsonObject(_) => {
            return Err(unreadable(name, "it is a JSON field; give a path into it (`field.path`)"));
        }
        _ => return Err(unreadable(name, "it is not a text field")),
    };
    if is_stored {
        return Ok(FieldSource::Stored(
            field,
            path.split('.').filter(|key| !key.is_empty()).map(str::to_owned).collect(),
        ));
    }
    let has_none = "it is neither stored nor fast; make it stored or fast, or provide the texts with `Texts::from_fn`";
    if is_fast { Ok(FieldSource::Fast(name.to_owned())) } else { Err(unreadable(name, has_none)) }
}

fn find<'a>(schema: &Schema, name: &'a str) -> tantivy::Result<(Field, &'a str)> {
    schema.find_field(name).ok_or_else(|| TantivyError::FieldNotFound(name.to_owned()))
}

fn unreadable(name: &str, problem: &str) -> TantivyError {
    TantivyError::SchemaError(format!("the reranker cannot read the field `{name}`: {problem}"))
}

/// Checks that ids can be read from a field.
pub(super) fn check_ids(schema: &Schema, name: &str) -> tantivy::Result<()> {
    let (field, path) = find(schema, name)?;
    let kind = schema.get_field_entry(field).field_type();
    let is_one = path.is_empty() && matches!(kind, FieldType::Str(_) | FieldType::U64(_) | FieldType::I64(_));
    if is_one && kind.is_fast() {
        return Ok(());
    }
    Err(TantivyError::SchemaError(format!(
        "`{name}` cannot be the id field: ids need a fast field with texts or whole numbers"
    )))
}

/// The id of each document in a field that passed [`check_ids`]; `None` for documents without a value.
pub(super) fn ids(documents: &[DocRef<'_>], name: &str) -> tantivy::Result<Vec<Option<String>>> {
    let mut ids = Vec::with_capacity(documents.len());
    for of_segment in documents.chunk_by(|a, b| a.address.segment_ord == b.address.segment_ord) {
        let segment = of_segment[0].segment;
        let docs = of_segment.iter().map(|document| document.address.doc_id);
        let columns = segment.fast_fields();
        match segment.schema().get_field_entry(find(segment.schema(), name)?.0).field_type() {
            FieldType::U64(_) => {
                let column = columns.u64(name)?;
                ids.extend(docs.map(|doc| column.first(doc).map(|id| id.to_string())));
            }
            FieldType::I64(_) => {
                let column = columns.i64(name)?;
                ids.extend(docs.map(|doc| column.first(doc).map(|id| id.to_string())));
            }
            _ => {
                let column = Reader::Fast(columns.str(name)?);
                let nothing_stored = TantivyDocument::default();
                let text = |doc| Ok(column.text(doc, &nothing_stored)?.map(Cow::into_owned));
                ids.extend(docs.map(text).collect::<tantivy::Result<Vec<_>>>()?);
            }
        }
    }
    Ok(ids)
}

/// The texts of documents, which must be ordered by address.
pub(super) fn read(documents: &[DocRef<'_>], title: Option<&str>, fields: &[String]) -> tantivy::Result<Vec<Passage>> {
    let mut passages = Vec::with_capacity(documents.len());
    for of_segment in documents.chunk_by(|a, b| a.address.segment_ord == b.address.segment_ord) {
        let segment = of_segment[0].segment;
        let sources = locate(segment.schema(), title, fields)?;
        read_segment(segment, of_segment, &sources, &mut passages)?;
    }
    Ok(passages)
}

fn read_segment(
    segment: &SegmentReader,
    documents: &[DocRef<'_>],
    sources: &FieldSources,
    passages: &mut Vec<Passage>,
) -> tantivy::Result<()> {
    let title = sources.title.as_ref().map(|source| Reader::open(source, segment)).transpose()?;
    let fields: Vec<Reader> =
        sources.fields.iter().map(|source| Reader::open(source, segment)).collect::<tantivy::Result<_>>()?;
    let is_stored = |reader: &Reader| matches!(reader, Reader::Stored(..));
    // A cache of one block suffices, because the documents are ordered by address.
    let needs_store = title.iter().chain(&fields).any(is_stored);
    let store = if needs_store { Some(segment.get_store_reader(1)?) } else { None };
    for document in documents {
        let doc = document.address.doc_id;
        let stored = store.as_ref().map(|store| store.get::<TantivyDocument>(doc)).transpose()?.unwrap_or_default();
        let title = title.as_ref().map(|reader| reader.text(doc, &stored)).transpose()?.flatten();
        let mut text = Cow::Borrowed("");
        for reader in &fields {
            push(&mut text, ' ', reader.text(doc, &stored)?.unwrap_or_default());
        }
        passages.push(Passage { title: title.map(Arc::from), text: text.into() });
    }
    Ok(())
}

/// A field of one segment.
enum Reader {
    Stored(Field, Vec<String>),
    /// `None` if no document of the segment has a value.
    Fast(Option<StrColumn>),
}

impl Reader {
    fn open(source: &FieldSource, segment: &SegmentReader) -> tantivy::Result<Self> {
        Ok(match source {
            FieldSource::Stored(field, path) => Self::Stored(*field, path.clone()),
            FieldSource::Fast(name) => Self::Fast(segment.fast_fields().str(name)?),
        })
    }

    /// The document's values, joined by line breaks; `None` without values.
    fn text<'a>(&self, doc: DocId, stored: &'a TantivyDocument) -> tantivy::Result<Option<Cow<'a, str>>> {
        let mut text = None;
        match self {
            Self::Stored(field, path) => stored.get_all(*field).for_each(|value| add_value(value, path, &mut text)),
            Self::Fast(None) => {}
            Self::Fast(Some(column)) => {
                for ordinal in column.ords().values_for_doc(doc) {
                    let mut value = String::new();
                    column.ord_to_str(ordinal, &mut value)?;
                    add(value.into(), &mut text);
                }
            }
        }
        Ok(text)
    }
}

/// Appends the texts of a stored value at the path.
fn add_value<'a, V: Value<'a>>(value: V, path: &[String], text: &mut Option<Cow<'a, str>>) {
    if let Some(values) = value.as_array() {
        values.for_each(|value| add_value(value, path, text));
    } else if let [key, rest @ ..] = path {
        let children = value.as_object().into_iter().flatten().filter(|(name, _)| name == key);
        children.for_each(|(_, child)| add_value(child, rest, text));
    } else if let Some(value) = value.as_str() {
        add(value.into(), text);
    } else if let Some(tokenized) = value.as_pre_tokenized_text() {
        add(tokenized.text.into(), text);
    }
}

fn add<'a>(value: Cow<'a, str>, text: &mut Option<Cow<'a, str>>) {
    push(text.get_or_insert_default(), '\n', value);
}

/// Appends a value. The first non-empty value is not copied.
fn push<'a>(text: &mut Cow<'a, str>, separator: char, value: Cow<'a, str>) {
    if text.is_empty() {
        *text = value;
    } else if !value.is_empty() {
        let text = text.to_mut();
        text.push(separator);
        text.push_str(&value);
    }
}
