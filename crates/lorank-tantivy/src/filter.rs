//! Filters: conditions on the columns of stored fields.
//!
//! A filter reads columns rather than terms, since a column knows a date to the nanosecond and a number exactly, where
//! tantivy's terms know a date to the second and its ranges over mixed numbers go wrong at the ends of the integers.
//! Only documents that the query's words match are looked at.
//!
//! Values compare by kind: numbers with numbers by value (`3` is `3.0`), dates with dates, booleans with booleans, and
//! other texts byte for byte. A field that holds fractions as well as integers beyond 2^53 knows the latter as the floats
//! nearest to them. Dates that do not fit in 64 bits of nanoseconds (before 1678, after 2261) count as keywords.

use std::ops::{Bound, RangeBounds};

use lorank_core::{Filter, Test, Value};
use tantivy::columnar::{Column, DynamicColumn, StrColumn};
use tantivy::query::doc_predicate_query::{
    ConstOrVariableSegmentPredicate, DocPredicate, DocPredicateQuery, SegmentDocPredicate,
};
use tantivy::query::{AllScorer, BoostQuery, Query};
use tantivy::{DateTime, DocId, SegmentReader};

use crate::dates::nanos_since_1970;
use crate::document::name_of;
use crate::number::Number;
use crate::schema::{FIELDS, ID};
use crate::{Error, IndexSettings};

/// The filter as a query that adds nothing to a score.
pub(crate) fn to_query(filter: &Filter, settings: &IndexSettings) -> Result<Box<dyn Query>, Error> {
    let invalid = |problem| Error::InvalidFilter { field: filter.field.clone(), problem };
    if settings.is_text_field(&filter.field) {
        return Err(invalid(
            "cannot work: the field is searched, and only the other fields can be filtered on".to_owned(),
        ));
    }
    let is_id = filter.field == settings.id_field || filter.field == ID;
    let column = if is_id { ID.to_owned() } else { format!("{FIELDS}.{}", filter.field.replace('\\', "\\\\")) };
    let accepted = Accepted::new(&filter.test, is_id).map_err(invalid)?;
    let predicate = DocPredicateQuery::from(ColumnPredicate { column, accepted });
    Ok(Box::new(BoostQuery::new(Box::new(predicate), 0.0)))
}

/// A value that can be compared with a column's.
#[derive(Debug, Clone, PartialEq)]
enum Scalar {
    Bool(bool),
    Number(Number),
    /// Nanoseconds since 1970.
    Date(i128),
    Text(String),
}

impl Scalar {
    fn new(value: &Value, is_id: bool) -> Result<Self, String> {
        match value {
            Value::Integer(number) if is_id => Ok(Self::Text(number.to_string())),
            Value::Unsigned(number) if is_id => Ok(Self::Text(number.to_string())),
            Value::Bool(value) => Ok(Self::Bool(*value)),
            Value::Integer(number) => Ok(Self::Number(Number::Integer((*number).into()))),
            Value::Unsigned(number) => Ok(Self::Number(Number::Integer((*number).into()))),
            Value::Float(number) if number.is_nan() => Err("compares with a number that is none".to_owned()),
            Value::Float(number) => Ok(Self::Number(Number::Float(*number))),
            Value::Text(text) => Ok(match nanos_since_1970(text).filter(|_| !is_id) {
                Some(nanos) if i64::try_from(nanos).is_ok() => Self::Date(nanos),
                _ => Self::Text(text.to_string()),
            }),
            other => Err(format!("compares with {}, where it needs a text, a number or a boolean", name_of(other))),
        }
    }

    fn number(self) -> Option<Number> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    fn date(self) -> Option<i128> {
        if let Self::Date(nanos) = self { Some(nanos) } else { None }
    }

    fn text(self) -> Option<String> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

/// Values of one kind that meet a test.
#[derive(Debug, Clone)]
enum Set<T> {
    /// These, in order.
    AnyOf(Vec<T>),
    /// Those within bounds.
    Range((Bound<T>, Bound<T>)),
}

impl<T: Ord> Set<T> {
    fn contains(&self, value: &T) -> bool {
        match self {
            Self::AnyOf(values) => values.binary_search(value).is_ok(),
            Self::Range(bounds) => bounds.contains(value),
        }
    }
}

impl Set<Number> {
    /// The numbers as a column of floats knows them: integers beyond 2^53 as the floats nearest to them.
    fn as_floats(&self) -> Self {
        match self.clone() {
            Self::AnyOf(numbers) => Self::AnyOf(numbers.into_iter().map(Number::as_float).collect()),
            Self::Range((lower, upper)) => Self::Range((lower.map(Number::as_float), upper.map(Number::as_float))),
        }
    }
}

/// The values of each kind that meet a test.
#[derive(Debug, Clone)]
struct Accepted {
    bools: Set<bool>,
    numbers: Set<Number>,
    dates: Set<i128>,
    texts: Set<String>,
}

impl Accepted {
    fn new(test: &Test, is_id: bool) -> Result<Self, String> {
        match test {
            Test::AnyOf(values) => Self::any_of(values, is_id),
            Test::Range { lower, upper } => Self::range(bound(lower, is_id)?, bound(upper, is_id)?),
            _ => Err("has a test that this version does not know".to_owned()),
        }
    }

    fn any_of(values: &[Value], is_id: bool) -> Result<Self, String> {
        let (mut bools, mut numbers, mut dates, mut texts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for value in values {
            match Scalar::new(value, is_id)? {
                Scalar::Bool(value) => bools.push(value),
                Scalar::Number(number) => numbers.push(number),
                Scalar::Date(nanos) => dates.push(nanos),
                Scalar::Text(text) => texts.push(text),
            }
        }
        Ok(Self { bools: sorted(bools), numbers: sorted(numbers), dates: sorted(dates), texts: sorted(texts) })
    }

    fn range(lower: Bound<Scalar>, upper: Bound<Scalar>) -> Result<Self, String> {
        let is_bool = |bound: &Bound<Scalar>| {
            matches!(bound, Bound::Included(Scalar::Bool(_)) | Bound::Excluded(Scalar::Bool(_)))
        };
        if is_bool(&lower) || is_bool(&upper) {
            return Err("has a boolean as a bound, and booleans have no order".to_owned());
        }
        Ok(Self {
            bools: within(&lower, &upper, |_| None),
            numbers: within(&lower, &upper, Scalar::number),
            dates: within(&lower, &upper, Scalar::date),
            texts: within(&lower, &upper, Scalar::text),
        })
    }
}

/// The values of one kind between two bounds. Bounds of another kind, or of two kinds, have none between them; no bounds
/// have all.
fn within<T>(lower: &Bound<Scalar>, upper: &Bound<Scalar>, kind: fn(Scalar) -> Option<T>) -> Set<T> {
    let of_kind = |bound: &Bound<Scalar>| match bound.clone().map(kind) {
        Bound::Included(value) => value.map(Bound::Included),
        Bound::Excluded(value) => value.map(Bound::Excluded),
        Bound::Unbounded => Some(Bound::Unbounded),
    };
    match (of_kind(lower), of_kind(upper)) {
        (Some(lower), Some(upper)) => Set::Range((lower, upper)),
        _ => Set::AnyOf(Vec::new()),
    }
}

fn bound(bound: &Option<(Value, bool)>, is_id: bool) -> Result<Bound<Scalar>, String> {
    match bound {
        None => Ok(Bound::Unbounded),
        Some((value, true)) => Scalar::new(value, is_id).map(Bound::Included),
        Some((value, false)) => Scalar::new(value, is_id).map(Bound::Excluded),
    }
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Set<T> {
    values.sort();
    Set::AnyOf(values)
}

/// A test on the columns of one path.
#[derive(Debug)]
struct ColumnPredicate {
    column: String,
    accepted: Accepted,
}

impl DocPredicate for ColumnPredicate {
    type SegmentDocPredicate = SegmentPredicate;

    fn doc_predicate(
        &self,
        segment: &SegmentReader,
    ) -> tantivy::Result<ConstOrVariableSegmentPredicate<SegmentPredicate>> {
        let mut columns = Vec::new();
        // These part paths in tantivy; no key that holds one has a column.
        if self.column.contains(['\0', '\u{1}']) {
            return Ok(ConstOrVariableSegmentPredicate::Const(false));
        }
        for handle in segment.fast_fields().dynamic_column_handles(&self.column)? {
            columns.extend(self.column_test(handle.open()?)?);
        }
        if columns.is_empty() {
            return Ok(ConstOrVariableSegmentPredicate::Const(false));
        }
        let necessary_condition = Box::new(AllScorer::new(segment.max_doc()));
        Ok(ConstOrVariableSegmentPredicate::Variable { predicate: SegmentPredicate { columns }, necessary_condition })
    }
}

impl ColumnPredicate {
    fn column_test(&self, column: DynamicColumn) -> tantivy::Result<Option<ColumnTest>> {
        let accepted = &self.accepted;
        Ok(match column {
            DynamicColumn::Bool(column) => Some(ColumnTest::Bool(column, accepted.bools.clone())),
            DynamicColumn::I64(column) => Some(ColumnTest::I64(column, accepted.numbers.clone())),
            DynamicColumn::U64(column) => Some(ColumnTest::U64(column, accepted.numbers.clone())),
            DynamicColumn::F64(column) => Some(ColumnTest::F64(column, accepted.numbers.as_floats())),
            DynamicColumn::DateTime(column) => Some(ColumnTest::Date(column, accepted.dates.clone())),
            DynamicColumn::Str(column) => {
                Some(ColumnTest::Text(column.ords().clone(), ordinals(&column, &accepted.texts)?))
            }
            DynamicColumn::IpAddr(_) | DynamicColumn::Bytes(_) => None,
        })
    }
}

/// The accepted texts by their place among a segment's texts, which are in byte order.
fn ordinals(column: &StrColumn, texts: &Set<String>) -> tantivy::Result<Set<u64>> {
    Ok(match texts {
        Set::AnyOf(texts) => {
            let places = texts.iter().map(|text| column.dictionary().term_ord(text.as_bytes()));
            Set::AnyOf(places.filter_map(Result::transpose).collect::<Result<_, _>>()?)
        }
        Set::Range((lower, upper)) => {
            let bytes = |bound: &Bound<String>| bound.as_ref().map(|text| text.as_bytes().to_vec());
            Set::Range(column.dictionary().term_bounds_to_ord(bytes(lower), bytes(upper))?)
        }
    })
}

/// A segment's column with the values that are accepted.
enum ColumnTest {
    Bool(Column<bool>, Set<bool>),
    I64(Column<i64>, Set<Number>),
    U64(Column<u64>, Set<Number>),
    F64(Column<f64>, Set<Number>),
    Date(Column<DateTime>, Set<i128>),
    Text(Column<u64>, Set<u64>),
}

impl ColumnTest {
    /// Whether one of the document's values is accepted.
    fn accepts(&self, doc: DocId) -> bool {
        match self {
            Self::Bool(column, set) => column.values_for_doc(doc).any(|value| set.contains(&value)),
            Self::I64(column, set) => column.values_for_doc(doc).any(|n| set.contains(&Number::Integer(n.into()))),
            Self::U64(column, set) => column.values_for_doc(doc).any(|n| set.contains(&Number::Integer(n.into()))),
            Self::F64(column, set) => column.values_for_doc(doc).any(|n| set.contains(&Number::Float(n))),
            Self::Date(column, set) => {
                column.values_for_doc(doc).any(|date| set.contains(&date.into_timestamp_nanos().into()))
            }
            Self::Text(column, set) => column.values_for_doc(doc).any(|ordinal| set.contains(&ordinal)),
        }
    }
}

/// The test on a segment's columns: a path may lead to values of several kinds.
struct SegmentPredicate {
    columns: Vec<ColumnTest>,
}

impl SegmentDocPredicate for SegmentPredicate {
    fn eval(&mut self, doc: DocId) -> bool {
        self.columns.iter().any(|column| column.accepts(doc))
    }
}
