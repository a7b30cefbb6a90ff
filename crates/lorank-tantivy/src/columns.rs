//! Columns with the values of documents' fields.
//!
//! If a path has numbers of several kinds, tantivy stores them in one column as floats, which would round integers
//! beyond 2^53. Such integers therefore have their own columns, by sign, and every number is exact:
//! | values | column |
//! |---|---|
//! | floats, and integers from -2^53 to 2^53 | `_fields.PATH` |
//! | integers above 2^53 | `_fields_above_2_53.PATH` |
//! | integers below -2^53 | `_fields_below_minus_2_53.PATH` |
//! | booleans, texts, dates (as [`Moment`]s) | `_fields.PATH` |

use tantivy::SegmentReader;
use tantivy::columnar::{Column, ColumnType, DynamicColumn, StrColumn};
use tantivy::{DateTime, DocId};

use crate::dates::Moment;
use crate::number::Number;

/// The schema field with filterable values.
pub(crate) const FIELDS: &str = "_fields";
/// Integers above 2^53.
pub(crate) const FIELDS_ABOVE: &str = "_fields_above_2_53";
/// Integers below -2^53.
pub(crate) const FIELDS_BELOW: &str = "_fields_below_minus_2_53";

/// Floats represent integers exactly up to this value.
pub(crate) const FLOAT_INTEGER_MAX: i64 = 1 << 53;

/// The columns of one field in one segment.
pub(crate) struct FieldColumns {
    pub bools: Option<Column<bool>>,
    pub dates: Option<Column<DateTime>>,
    pub texts: Option<StrColumn>,
    numbers: Vec<NumberColumn>,
}

enum NumberColumn {
    I64(Column<i64>),
    U64(Column<u64>),
    F64(Column<f64>),
}

/// The kinds of values of a field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FieldTypes {
    pub bools: bool,
    pub numbers: bool,
    pub dates: bool,
    pub texts: bool,
}

impl FieldColumns {
    /// Opens the columns of a field; a dot in its name reaches into objects.
    pub(crate) fn open(segment: &SegmentReader, field: &str) -> tantivy::Result<Self> {
        let mut columns = Self { bools: None, dates: None, texts: None, numbers: Vec::new() };
        for name in names(field) {
            for handle in segment.fast_fields().dynamic_column_handles(&name)? {
                match handle.open()? {
                    DynamicColumn::Bool(column) => columns.bools = Some(column),
                    DynamicColumn::I64(column) => columns.numbers.push(NumberColumn::I64(column)),
                    DynamicColumn::U64(column) => columns.numbers.push(NumberColumn::U64(column)),
                    DynamicColumn::F64(column) => columns.numbers.push(NumberColumn::F64(column)),
                    DynamicColumn::DateTime(column) => columns.dates = Some(column),
                    DynamicColumn::Str(column) => columns.texts = Some(column),
                    DynamicColumn::IpAddr(_) | DynamicColumn::Bytes(_) => {}
                }
            }
        }
        Ok(columns)
    }

    /// Opens the column of the ids.
    pub(crate) fn open_ids(segment: &SegmentReader, id: &str) -> tantivy::Result<Self> {
        let texts = segment.fast_fields().str(id)?;
        Ok(Self { bools: None, dates: None, texts, numbers: Vec::new() })
    }

    /// Whether any of a document's numbers is accepted.
    pub(crate) fn any_number(&self, doc: DocId, mut accepts: impl FnMut(Number) -> bool) -> bool {
        self.numbers.iter().any(|column| match column {
            NumberColumn::I64(column) => column.values_for_doc(doc).any(|n| accepts(Number::Integer(n.into()))),
            NumberColumn::U64(column) => column.values_for_doc(doc).any(|n| accepts(Number::Integer(n.into()))),
            NumberColumn::F64(column) => column.values_for_doc(doc).any(|n| accepts(Number::Float(n))),
        })
    }

    /// Calls `action` for each of a document's numbers.
    pub(crate) fn for_each_number(&self, doc: DocId, mut action: impl FnMut(Number)) {
        self.any_number(doc, |number| {
            action(number);
            false
        });
    }

    /// Whether the segment has no values of the field.
    pub(crate) fn is_empty(&self) -> bool {
        self.bools.is_none() && self.dates.is_none() && self.texts.is_none() && self.numbers.is_empty()
    }

    /// The dates of a document, in the order of its list.
    pub(crate) fn dates_of(&self, doc: DocId) -> impl Iterator<Item = Moment> {
        self.dates.iter().flat_map(move |column| column.values_for_doc(doc).map(Moment::from_column))
    }
}

impl FieldTypes {
    /// Adds the kinds of values in a segment's columns of a field.
    pub(crate) fn add(&mut self, segment: &SegmentReader, field: &str) -> tantivy::Result<()> {
        for name in names(field) {
            for handle in segment.fast_fields().dynamic_column_handles(&name)? {
                match handle.column_type() {
                    ColumnType::Bool => self.bools = true,
                    ColumnType::I64 | ColumnType::U64 | ColumnType::F64 => self.numbers = true,
                    ColumnType::DateTime => self.dates = true,
                    ColumnType::Str => self.texts = true,
                    ColumnType::IpAddr | ColumnType::Bytes => {}
                }
            }
        }
        Ok(())
    }
}

/// The names of a field's columns in tantivy, which separates and ends paths with two characters that no key with a
/// column contains.
fn names(field: &str) -> impl Iterator<Item = String> {
    let is_name = !field.contains(['\0', '\u{1}']);
    let path = field.replace('\\', "\\\\");
    [FIELDS, FIELDS_ABOVE, FIELDS_BELOW]
        .into_iter()
        .filter(move |_| is_name)
        .map(move |place| format!("{place}.{path}"))
}
