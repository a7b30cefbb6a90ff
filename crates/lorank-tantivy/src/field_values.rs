//! Values of stored fields in columns, for sorting and counting.
//!
//! A path can have values of several kinds, each in its own column. Here they form one list of values with one order:
//! booleans, numbers by value, dates, and other texts in byte order.

use lorank_core::Value;
use tantivy::time::OffsetDateTime;
use tantivy::time::format_description::well_known::Rfc3339;
use tantivy::{DocId, Searcher, SegmentReader};

use crate::columns::{FieldColumns, FieldTypes};
use crate::index::Parts;
use crate::known_fields;
use crate::number::Number;
use crate::schema::ID;

/// A value in a segment's columns. A text is represented by its ordinal in the segment's dictionary, which is in byte
/// order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SegmentValue {
    Bool(bool),
    Number(Number),
    /// Nanoseconds since 1970.
    Date(i128),
    Text(u64),
}

/// A value that is independent of segments.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FieldValue {
    Bool(bool),
    Number(Number),
    /// Nanoseconds since 1970.
    Date(i128),
    Text(String),
}

/// A segment's columns of one field.
pub(crate) struct ValueColumns(FieldColumns);

impl ValueColumns {
    /// Opens the columns of a name from [`column_of`].
    pub(crate) fn open(column: &str, segment: &SegmentReader) -> tantivy::Result<Self> {
        let columns =
            if column == ID { FieldColumns::open_ids(segment, ID) } else { FieldColumns::open(segment, column) };
        columns.map(Self)
    }

    /// The values of a document, in no particular order.
    pub(crate) fn for_each_value(&self, doc: DocId, mut action: impl FnMut(SegmentValue)) {
        let Self(columns) = self;
        columns.for_each_number(doc, |number| action(SegmentValue::Number(number)));
        columns.dates_of(doc).for_each(|moment| action(SegmentValue::Date(moment.nanos())));
        if let Some(column) = &columns.bools {
            column.values_for_doc(doc).map(SegmentValue::Bool).for_each(&mut action);
        }
        if let Some(column) = &columns.texts {
            column.ords().values_for_doc(doc).map(SegmentValue::Text).for_each(action);
        }
    }

    /// The value, with the text itself in place of its ordinal.
    pub(crate) fn resolve(&self, value: SegmentValue) -> tantivy::Result<FieldValue> {
        Ok(match value {
            SegmentValue::Bool(value) => FieldValue::Bool(value),
            SegmentValue::Number(number) => FieldValue::Number(number),
            SegmentValue::Date(nanos) => FieldValue::Date(nanos),
            SegmentValue::Text(ordinal) => {
                let mut text = String::new();
                if let Some(column) = &self.0.texts {
                    column.ord_to_str(ordinal, &mut text)?;
                }
                FieldValue::Text(text)
            }
        })
    }
}

impl From<FieldValue> for Value {
    fn from(value: FieldValue) -> Self {
        match value {
            FieldValue::Bool(value) => Self::Bool(value),
            FieldValue::Number(Number::Integer(number)) => match (i64::try_from(number), u64::try_from(number)) {
                (Ok(number), _) => Self::Integer(number),
                (_, Ok(number)) => Self::Unsigned(number),
                _ => Self::Float(number as f64),
            },
            // A field with fractions stores its integers as floats.
            FieldValue::Number(Number::Float(number)) if is_exact_integer(number) => Self::Integer(number as i64),
            FieldValue::Number(Number::Float(number)) => Self::Float(number),
            FieldValue::Date(nanos) => Self::Text(date_text(nanos).into()),
            FieldValue::Text(text) => Self::Text(text.into()),
        }
    }
}

/// Whether a float is an integer that it represents uniquely.
fn is_exact_integer(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0
}

/// A point in time in RFC 3339 form.
fn date_text(nanos: i128) -> String {
    let date = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok();
    date.and_then(|date| date.format(&Rfc3339).ok()).unwrap_or_else(|| nanos.to_string())
}

/// The name of a stored field's columns.
///
/// # Errors
/// Why the field has none, phrased to follow its name.
pub(crate) fn column_of(field: &str, parts: &Parts, searcher: &Searcher) -> Result<String, String> {
    if parts.settings.is_text_field(field) {
        return Err("is not supported: text fields cannot be sorted or counted".to_owned());
    }
    if parts.settings.is_id_field(field) {
        return Ok(ID.to_owned());
    }
    // Without documents, no field is missing.
    if searcher.num_docs() == 0 || types_of(field, searcher)? != FieldTypes::default() {
        return Ok(field.to_owned());
    }
    Err(known_fields::unknown(field, parts, searcher).unwrap_or_else(|error| error.to_string()))
}

/// Checks that some document has a number, a boolean or a date in a field.
///
/// # Errors
/// Why no document has one, phrased to follow the field's name.
pub(crate) fn check_numeric(field: &str, parts: &Parts, searcher: &Searcher) -> Result<(), String> {
    let column = column_of(field, parts, searcher)?;
    let types = types_of(field, searcher)?;
    if column != ID && (searcher.num_docs() == 0 || types.numbers || types.bools || types.dates) {
        return Ok(());
    }
    Err("holds only texts, but an expression needs numbers, booleans or dates".to_owned())
}

fn types_of(field: &str, searcher: &Searcher) -> Result<FieldTypes, String> {
    known_fields::types_of(field, searcher).map_err(|error| format!("cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_one_order_across_kinds() {
        let in_order = [
            FieldValue::Bool(false),
            FieldValue::Bool(true),
            FieldValue::Number(Number::Float(-1e300)),
            FieldValue::Number(Number::Integer(3)),
            FieldValue::Number(Number::Float(3.5)),
            FieldValue::Number(Number::Integer(u64::MAX.into())),
            FieldValue::Date(-1),
            FieldValue::Date(0),
            FieldValue::Text(String::new()),
            FieldValue::Text("a".to_owned()),
        ];
        assert!(in_order.is_sorted());
        assert_eq!(FieldValue::Number(Number::Float(3.0)), FieldValue::Number(Number::Integer(3)));
    }

    #[test]
    fn values_are_stored_values_again() {
        for (value, expected) in [
            (FieldValue::Number(Number::Integer(-3)), Value::Integer(-3)),
            (FieldValue::Number(Number::Integer(u64::MAX.into())), Value::Unsigned(u64::MAX)),
            (FieldValue::Number(Number::Float(0.5)), Value::Float(0.5)),
            (FieldValue::Number(Number::Float(-3.0)), Value::Integer(-3)),
            (FieldValue::Number(Number::Float(1e300)), Value::Float(1e300)),
            (FieldValue::Date(1), Value::from("1970-01-01T00:00:00.000000001Z")),
            (FieldValue::Text("x".to_owned()), Value::from("x")),
        ] {
            assert_eq!(Value::from(value), expected);
        }
    }
}
