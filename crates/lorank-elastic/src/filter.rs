//! Filters as clauses of the engine's query language.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use lorank_core::{Filter, Test, Value, period_nanos_since_1970};
use serde_json::{Map, Value as Json, json};

use crate::Error;
use crate::field_types::{FieldType, Kind};

/// The clauses of filters, each of which must hold.
pub(crate) fn clauses(filters: &[Filter], types: &HashMap<String, FieldType>) -> Result<Vec<Json>, Error> {
    filters.iter().map(|filter| clause(&filter.field, &filter.test, types)).collect()
}

/// The clause of one condition. A value that does not fit the field's type is refused by the engine, with its reason.
pub(crate) fn clause(field: &str, test: &Test, types: &HashMap<String, FieldType>) -> Result<Json, Error> {
    let invalid = |problem: &str| Error::filters(field, problem);
    let Some(FieldType { name, kind }) = types.get(field) else {
        return Err(invalid("is not supported: the index has no such field"));
    };
    if *kind == Kind::Text {
        return Err(invalid("is not supported: the field is analyzed text without a sub-field `keyword`"));
    }
    let any_of = |values: &[Value]| {
        if *kind == Kind::Date {
            let clause = |value: &Value| on_date(name, value).ok_or_else(|| invalid("has a value that is not a date"));
            let clauses = values.iter().map(clause).collect::<Result<Vec<Json>, Error>>()?;
            return Ok(json!({"bool": {"should": clauses}}));
        }
        let values = values.iter().map(|value| comparable(value, *kind)).collect::<Option<Vec<Json>>>();
        let values =
            values.ok_or_else(|| invalid("has a value that cannot be compared (null, a list or an object)"))?;
        Ok(json!({"terms": {name: values}}))
    };
    match test {
        Test::AnyOf(values) => any_of(values),
        Test::NoneOf(values) => Ok(json!({"bool": {"must_not": [any_of(values)?]}})),
        Test::Range { lower, upper } => {
            let mut bounds = Map::new();
            for (bound, inclusive, exclusive) in [(lower, "gte", "gt"), (upper, "lte", "lt")] {
                let Some((value, is_inclusive)) = bound else { continue };
                let is_inclusive = *is_inclusive;
                if let Some(period) = period(value).filter(|_| *kind == Kind::Date) {
                    // `>=` and `<` are on the period's start, `>` and `<=` on its end.
                    let is_at_start = (inclusive == "gte") == is_inclusive;
                    let bound = if is_at_start { period.start() } else { period.end() };
                    bounds.insert((if is_inclusive { inclusive } else { exclusive }).to_owned(), Json::from(*bound));
                    bounds.insert("format".to_owned(), Json::from(MILLIS));
                    continue;
                }
                let value = comparable(value, *kind).ok_or_else(|| invalid("has a bound that cannot be compared"))?;
                bounds.insert((if is_inclusive { inclusive } else { exclusive }).to_owned(), value);
            }
            Ok(json!({"range": {name: bounds}}))
        }
        _ => Err(invalid("has an unsupported condition")),
    }
}

/// The engine's name of dates in milliseconds since 1970.
const MILLIS: &str = "epoch_millis";

/// The clause of a date, or of a year, month or day.
fn on_date(name: &str, value: &Value) -> Option<Json> {
    let bounds = match period(value) {
        Some(period) => json!({"gte": period.start(), "lte": period.end(), "format": MILLIS}),
        None => {
            let moment = comparable(value, Kind::Date)?;
            json!({"gte": moment, "lte": moment})
        }
    };
    Some(json!({"range": {name: bounds}}))
}

/// The first and the last millisecond since 1970 of a year, month or day; `None` for a point in time, whose precision is the
/// engine's. The engine itself reads a year as its first day.
fn period(value: &Value) -> Option<RangeInclusive<i64>> {
    const NANOS: i128 = 1_000_000;
    let period = period_nanos_since_1970(value.as_text()?)?;
    let millis = |nanos: i128| i64::try_from(nanos.div_euclid(NANOS)).ok();
    (period.start() < period.end()).then_some(())?;
    Some(millis(*period.start())?..=millis(*period.end())?)
}

/// A value as the engine compares it: texts are read by the field's type, as in lorank's own filters.
fn comparable(value: &Value, kind: Kind) -> Option<Json> {
    Some(match value {
        Value::Bool(value) => Json::from(*value),
        Value::Integer(number) => Json::from(*number),
        Value::Unsigned(number) => Json::from(*number),
        Value::Float(number) => Json::from(*number),
        // Texts compare by their digits, numbers by their value.
        Value::Decimal(number) if kind == Kind::Keyword => Json::from(number.as_str()),
        Value::Decimal(number) => Json::from(number.value()),
        Value::Text(text) => Json::from(&**text),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types() -> HashMap<String, FieldType> {
        let fields = [
            ("lang", "lang.keyword", Kind::Keyword),
            ("year", "year", Kind::Number),
            ("published", "published", Kind::Date),
            ("text", "text", Kind::Text),
        ];
        fields.map(|(name, by, kind)| (name.to_owned(), FieldType { name: by.to_owned(), kind })).into()
    }

    fn check(filter: &str, expected: Json) {
        let filter: Filter = filter.parse().unwrap();
        assert_eq!(clauses(&[filter], &types()).unwrap(), [expected]);
    }

    #[test]
    fn conditions_become_clauses() {
        check("lang=en", json!({"terms": {"lang.keyword": ["en"]}}));
        check("lang!=en", json!({"bool": {"must_not": [{"terms": {"lang.keyword": ["en"]}}]}}));
        check("year>=1990", json!({"range": {"year": {"gte": "1990"}}}));
        check("year<2000", json!({"range": {"year": {"lt": "2000"}}}));
    }

    /// A year, a month or a day is all of it, as in lorank's own filters.
    #[test]
    fn dates_may_be_periods() {
        let (start, end) = (1_704_067_200_000_i64, 1_735_689_599_999_i64);
        for (condition, key, bound) in [("<=", "lte", end), ("<", "lt", start), (">=", "gte", start), (">", "gt", end)]
        {
            check(
                &format!("published{condition}2024"),
                json!({"range": {"published": {key: bound, "format": "epoch_millis"}}}),
            );
        }
        let year = json!({"range": {"published": {"gte": start, "lte": end, "format": "epoch_millis"}}});
        let moment = "2024-05-01T12:00:00.123456789Z";
        let at = json!({"range": {"published": {"gte": moment, "lte": moment}}});
        check("published=2024", json!({"bool": {"should": [year]}}));
        check(&format!("published={moment}"), json!({"bool": {"should": [at]}}));
        check(&format!("published>{moment}"), json!({"range": {"published": {"gt": moment}}}));
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        for (field, test, part) in [
            ("nix", Test::AnyOf(vec!["a".into()]), "no such field"),
            ("text", Test::AnyOf(vec!["a".into()]), "analyzed text"),
            ("lang", Test::AnyOf(vec![Value::Null]), "cannot be compared"),
            ("year", Test::Range { lower: Some((Value::List(Vec::new()), true)), upper: None }, "cannot be compared"),
        ] {
            let error = clause(field, &test, &types()).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(field), "{error}");
        }
    }
}
