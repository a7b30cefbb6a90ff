//! Filters: conditions on the columns of stored fields.
//!
//! Filters use columns and not terms, because columns represent dates and numbers exactly, while tantivy's terms have
//! dates with a resolution of seconds, and its ranges over mixed numbers are wrong at the ends of the integers. Only
//! documents that match the query's words are checked.
//!
//! A field has the types of its values in the index: booleans, numbers, dates, texts. A filter's value is
//! [interpreted](reading) as each of them. Numbers compare by value (`3` equals `3.0`), dates as points in time or with
//! a period, and other texts byte for byte. A field that no document has, or a value that fits none of the field's
//! types, is an error.

mod reading;

use std::ops::{Bound, RangeBounds};

use lorank_core::{Filter, Test, Value};
use tantivy::columnar::{Column, StrColumn};
use tantivy::query::doc_predicate_query::{
    ConstOrVariableSegmentPredicate, DocPredicate, DocPredicateQuery, SegmentDocPredicate,
};
use tantivy::query::{AllScorer, BoostQuery, Query};
use tantivy::{DocId, Searcher, SegmentReader};

use crate::columns::{FieldColumns, FieldTypes};
use crate::dates::{Moment, Period};
use crate::index::Parts;
use crate::number::Number;
use crate::schema::ID;
use crate::{Error, known_fields};

use reading::{Readings, Role};

/// Converts the filter to a query that does not affect scores.
///
/// # Errors
/// [`Error::InvalidFilter`] for a text field, a field that no document has, and a value that fits none of the field's
/// types.
pub(crate) fn to_query(filter: &Filter, parts: &Parts, searcher: &Searcher) -> Result<Box<dyn Query>, Error> {
    let invalid = |problem| Error::InvalidFilter { field: filter.field.clone(), problem };
    let field = Field::new(&filter.field, parts).map_err(invalid)?;
    let types = match &field {
        Field::Id => FieldTypes { texts: true, ..FieldTypes::default() },
        Field::Stored(name) => types_of(name, parts, searcher)?,
    };
    let (accepted, is_negated) = match (&filter.test, &field) {
        (Test::NoneOf(values), field) => (Accepted::any_of(values, types, field).map_err(invalid)?, true),
        (Test::AnyOf(values), field) => (Accepted::any_of(values, types, field).map_err(invalid)?, false),
        (Test::Range { lower, upper }, field) => {
            (Accepted::range(lower.as_ref(), upper.as_ref(), types, field).map_err(invalid)?, false)
        }
        _ => return Err(invalid("has an unsupported condition".to_owned())),
    };
    let predicate = DocPredicateQuery::from(FieldPredicate { field, accepted, is_negated });
    Ok(Box::new(BoostQuery::new(Box::new(predicate), 0.0)))
}

/// A filterable field.
#[derive(Debug, Clone)]
enum Field {
    Id,
    Stored(String),
}

impl Field {
    fn new(name: &str, parts: &Parts) -> Result<Self, String> {
        if parts.settings.is_text_field(name) {
            return Err("is not supported: text fields cannot be filtered on".to_owned());
        }
        Ok(if parts.settings.is_id_field(name) { Self::Id } else { Self::Stored(name.to_owned()) })
    }

    fn open(&self, segment: &SegmentReader) -> tantivy::Result<FieldColumns> {
        match self {
            Self::Id => FieldColumns::open_ids(segment, ID),
            Self::Stored(name) => FieldColumns::open(segment, name),
        }
    }

    fn read(&self, value: &Value, types: FieldTypes, role: Role) -> Result<Readings, String> {
        // Numeric ids have become texts.
        match (self, value) {
            (Self::Id, Value::Integer(id)) => Readings::new(&id.to_string().into(), types, role),
            (Self::Id, Value::Unsigned(id)) => Readings::new(&id.to_string().into(), types, role),
            _ => Readings::new(value, types, role),
        }
    }
}

/// The types of a field's values; all types in an index without documents, where no fields are known yet.
fn types_of(field: &str, parts: &Parts, searcher: &Searcher) -> Result<FieldTypes, Error> {
    if searcher.num_docs() == 0 {
        return Ok(FieldTypes { bools: true, numbers: true, dates: true, texts: true });
    }
    let types = known_fields::types_of(field, searcher).map_err(|source| parts.error("read from", source))?;
    if types == FieldTypes::default() {
        let problem = known_fields::unknown(field, parts, searcher)?;
        return Err(Error::InvalidFilter { field: field.to_owned(), problem });
    }
    Ok(types)
}

/// Values of one kind that satisfy a condition.
#[derive(Debug, Clone)]
enum Set<T> {
    /// These values, in order.
    AnyOf(Vec<T>),
    /// Values within bounds.
    Range((Bound<T>, Bound<T>)),
}

impl<T: Ord> Set<T> {
    fn sorted(mut values: Vec<T>) -> Self {
        values.sort();
        Self::AnyOf(values)
    }

    fn contains(&self, value: &T) -> bool {
        match self {
            Self::AnyOf(values) => values.binary_search(value).is_ok(),
            Self::Range(bounds) => bounds.contains(value),
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::AnyOf(values) if values.is_empty())
    }
}

/// Moments that satisfy a condition.
#[derive(Debug, Clone)]
enum Dates {
    /// Moments within these periods, which are ordered and disjoint.
    Within(Vec<Period>),
    Range((Bound<Moment>, Bound<Moment>)),
}

impl Dates {
    fn within(mut periods: Vec<Period>) -> Self {
        periods.sort_by_key(|period| period.first);
        let mut apart: Vec<Period> = Vec::with_capacity(periods.len());
        for period in periods {
            match apart.last_mut() {
                Some(last) if period.first <= last.last => last.last = last.last.max(period.last),
                _ => apart.push(period),
            }
        }
        Self::Within(apart)
    }

    fn contains(&self, moment: Moment) -> bool {
        match self {
            Self::Within(periods) => {
                let next = periods.partition_point(|period| period.first <= moment);
                next > 0 && moment <= periods[next - 1].last
            }
            Self::Range(bounds) => bounds.contains(&moment),
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Within(periods) if periods.is_empty())
    }
}

/// The values of each kind that satisfy a condition.
#[derive(Debug, Clone)]
struct Accepted {
    bools: Set<bool>,
    numbers: Set<Number>,
    dates: Dates,
    texts: Set<String>,
}

impl Accepted {
    fn any_of(values: &[Value], types: FieldTypes, field: &Field) -> Result<Self, String> {
        let (mut bools, mut numbers, mut dates, mut texts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for value in values {
            let readings = field.read(value, types, Role::Equal)?;
            bools.extend(readings.bool);
            numbers.extend(readings.number);
            dates.extend(readings.date);
            texts.extend(readings.text);
        }
        Ok(Self {
            bools: Set::sorted(bools),
            numbers: Set::sorted(numbers),
            dates: Dates::within(dates),
            texts: Set::sorted(texts),
        })
    }

    fn range(
        lower: Option<&(Value, bool)>,
        upper: Option<&(Value, bool)>,
        types: FieldTypes,
        field: &Field,
    ) -> Result<Self, String> {
        let read = |(value, is_included): &(Value, bool)| {
            field.read(value, types, Role::Bound).map(|readings| (readings, *is_included))
        };
        let (lower, upper) = (lower.map(read).transpose()?, upper.map(read).transpose()?);
        let accepted = Self {
            bools: within(&lower, &upper, |_| None).map_or_else(none, Set::Range),
            numbers: within(&lower, &upper, |readings| readings.number).map_or_else(none, Set::Range),
            dates: dates_within(&lower, &upper).map_or_else(|| Dates::Within(Vec::new()), Dates::Range),
            texts: within(&lower, &upper, |readings| readings.text.clone()).map_or_else(none, Set::Range),
        };
        let is_empty = accepted.numbers.is_empty() && accepted.dates.is_empty() && accepted.texts.is_empty();
        if is_empty { Err("has bounds of two types, which no value satisfies".to_owned()) } else { Ok(accepted) }
    }
}

fn none<T>() -> Set<T> {
    Set::AnyOf(Vec::new())
}

/// Converts the bounds to one kind; `None` if one of them has another kind.
fn within<T>(
    lower: &Option<(Readings, bool)>,
    upper: &Option<(Readings, bool)>,
    kind: fn(&Readings) -> Option<T>,
) -> Option<(Bound<T>, Bound<T>)> {
    let bound = |bound: &Option<(Readings, bool)>| match bound {
        None => Some(Bound::Unbounded),
        Some((readings, true)) => kind(readings).map(Bound::Included),
        Some((readings, false)) => kind(readings).map(Bound::Excluded),
    };
    Some((bound(lower)?, bound(upper)?))
}

/// The same for dates. A lower bound starts at the first moment of its period; an exclusive one after the last.
fn dates_within(
    lower: &Option<(Readings, bool)>,
    upper: &Option<(Readings, bool)>,
) -> Option<(Bound<Moment>, Bound<Moment>)> {
    let bound = |bound: &Option<(Readings, bool)>, is_lower: bool| match bound {
        None => Some(Bound::Unbounded),
        Some((readings, is_included)) => readings.date.map(|Period { first, last }| match (is_included, is_lower) {
            (true, true) => Bound::Included(first),
            (false, true) => Bound::Excluded(last),
            (true, false) => Bound::Included(last),
            (false, false) => Bound::Excluded(first),
        }),
    };
    Some((bound(lower, true)?, bound(upper, false)?))
}

/// A condition on the columns of a field.
#[derive(Debug)]
struct FieldPredicate {
    field: Field,
    accepted: Accepted,
    is_negated: bool,
}

impl DocPredicate for FieldPredicate {
    type SegmentDocPredicate = SegmentPredicate;

    fn doc_predicate(
        &self,
        segment: &SegmentReader,
    ) -> tantivy::Result<ConstOrVariableSegmentPredicate<SegmentPredicate>> {
        let columns = self.field.open(segment)?;
        if columns.is_empty() {
            return Ok(ConstOrVariableSegmentPredicate::Const(self.is_negated));
        }
        let texts = match &columns.texts {
            Some(column) => Some((column.ords().clone(), ordinals(column, &self.accepted.texts)?)),
            None => None,
        };
        let predicate =
            SegmentPredicate { columns, texts, accepted: self.accepted.clone(), is_negated: self.is_negated };
        let necessary_condition = Box::new(AllScorer::new(segment.max_doc()));
        Ok(ConstOrVariableSegmentPredicate::Variable { predicate, necessary_condition })
    }
}

/// The accepted texts as ordinals in the segment's dictionary, which is in byte order.
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

/// A condition on a segment's columns: a field may have values of several types.
struct SegmentPredicate {
    columns: FieldColumns,
    /// The ordinals of a document's texts, and the accepted ones.
    texts: Option<(Column<u64>, Set<u64>)>,
    accepted: Accepted,
    is_negated: bool,
}

impl SegmentDocPredicate for SegmentPredicate {
    fn eval(&mut self, doc: DocId) -> bool {
        let Self { columns, texts, accepted, .. } = self;
        let is_accepted = columns.any_number(doc, |number| accepted.numbers.contains(&number))
            || columns.dates_of(doc).any(|moment| accepted.dates.contains(moment))
            || texts.iter().any(|(column, set)| column.values_for_doc(doc).any(|place| set.contains(&place)))
            || columns
                .bools
                .iter()
                .any(|column| column.values_for_doc(doc).any(|value| accepted.bools.contains(&value)));
        is_accepted != self.is_negated
    }
}
