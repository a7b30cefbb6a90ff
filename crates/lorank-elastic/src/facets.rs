//! Facets as the engine's aggregations.
//!
//! Each shard returns its most frequent values only, so the counts of many values are approximate. The engine says by how
//! much; a result that may be wrong is a [problem](RetrievalProblem::ApproximateCounts) of the answer.

use std::collections::HashMap;

use lorank_core::{Facet, FacetBy, FacetCounts, FacetRequest, RetrievalProblem, Value};
use serde_json::{Map, Value as Json, json};

use crate::field_types::{FieldType, Kind, orderable};
use crate::{Error, filter};

/// The number of values that each shard returns at least.
const SHARD_VALUES_MIN: usize = 1_000;
/// Up to this number, the engine counts distinct values almost exactly.
const DISTINCT_MAX: u64 = 40_000;

/// The aggregations for facets, in which the n-th facet has the names `n`, `n.distinct` and `n.missing`.
pub(crate) fn aggregations(
    facets: &[FacetRequest],
    types: &HashMap<String, FieldType>,
) -> Result<Map<String, Json>, Error> {
    let mut aggregations = Map::new();
    for (n, facet) in facets.iter().enumerate() {
        let field = orderable(&facet.field, types).map_err(|problem| invalid(&facet.field, &problem))?;
        match &facet.by {
            FacetBy::Values { top_n } => {
                let (top_n, shard_size) = (top_n.get(), top_n.get().saturating_mul(10).max(SHARD_VALUES_MIN));
                let order = json!([{"_count": "desc"}, {"_key": "asc"}]);
                let terms = json!({"field": field, "size": top_n, "shard_size": shard_size, "order": order});
                aggregations.insert(n.to_string(), json!({"terms": terms}));
                let distinct = json!({"field": field, "precision_threshold": DISTINCT_MAX});
                aggregations.insert(format!("{n}-distinct"), json!({"cardinality": distinct}));
                aggregations.insert(format!("{n}-missing"), json!({"missing": {"field": field}}));
            }
            FacetBy::Ranges(tests) => {
                let clauses = tests.iter().map(|test| filter::clause(&facet.field, test, types).map_err(of_facets));
                let clauses = clauses.collect::<Result<Vec<Json>, Error>>()?;
                aggregations.insert(n.to_string(), json!({"filters": {"filters": clauses}}));
            }
        }
    }
    Ok(aggregations)
}

fn invalid(field: &str, problem: &str) -> Error {
    Error::InvalidQuery { part: "facets", message: format!("the facet `{field}` {problem}") }
}

fn of_facets(error: Error) -> Error {
    match error {
        Error::InvalidQuery { message, .. } => Error::InvalidQuery { part: "facets", message },
        error => error,
    }
}

/// Reads the aggregations of an answer. Adds a problem for each facet whose counts may be wrong.
pub(crate) fn read(
    facets: &[FacetRequest],
    types: &HashMap<String, FieldType>,
    aggregations: &Map<String, Json>,
    problems: &mut Vec<RetrievalProblem>,
) -> Result<Vec<Facet>, Error> {
    let read_one = |(n, facet): (usize, &FacetRequest)| {
        let unreadable =
            || Error::BadAnswer { problem: format!("the counts of the facet `{}` are missing", facet.field) };
        let found = |name: String| aggregations.get(&name).ok_or_else(unreadable);
        let counted = found(n.to_string())?;
        let buckets = counted["buckets"].as_array().ok_or_else(unreadable)?;
        let count = |bucket: &Json| bucket["doc_count"].as_u64().ok_or_else(unreadable);
        let counts = match &facet.by {
            FacetBy::Ranges(tests) if tests.len() == buckets.len() => {
                let counts = tests.iter().zip(buckets).map(|(test, bucket)| Ok((test.clone(), count(bucket)?)));
                FacetCounts::Ranges(counts.collect::<Result<_, Error>>()?)
            }
            FacetBy::Ranges(_) => return Err(unreadable()),
            FacetBy::Values { .. } => {
                let kind = types.get(&facet.field).map(|field| field.kind);
                let top = buckets.iter().map(|bucket| Ok((key(bucket, kind).ok_or_else(unreadable)?, count(bucket)?)));
                let n_values = found(format!("{n}-distinct"))?["value"].as_u64().ok_or_else(unreadable)?;
                if counted["doc_count_error_upper_bound"].as_u64().unwrap_or(0) > 0 || n_values > DISTINCT_MAX {
                    problems.push(RetrievalProblem::ApproximateCounts { field: facet.field.clone() });
                }
                FacetCounts::Values {
                    top: top.collect::<Result<_, Error>>()?,
                    n_values: usize::try_from(n_values).unwrap_or(usize::MAX),
                    n_missing: count(found(format!("{n}-missing"))?)?,
                }
            }
        };
        Ok(Facet { field: facet.field.clone(), counts })
    };
    facets.iter().enumerate().map(read_one).collect()
}

/// The value of a bucket. Booleans and dates come as numbers, with a text beside them.
fn key(bucket: &Json, kind: Option<Kind>) -> Option<Value> {
    let text = bucket["key_as_string"].as_str();
    match (&bucket["key"], kind, text) {
        (Json::Number(_), Some(Kind::Boolean), Some(text)) => Some(Value::Bool(text == "true")),
        (Json::Number(_), Some(Kind::Date), Some(text)) => Some(text.into()),
        (key, ..) => Some(crate::values::value(key.clone())).filter(|value| *value != Value::Null),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn types() -> HashMap<String, FieldType> {
        let fields = [("lang", Kind::Keyword), ("year", Kind::Number), ("new", Kind::Boolean), ("text", Kind::Text)];
        fields.map(|(name, kind)| (name.to_owned(), FieldType { name: name.to_owned(), kind })).into()
    }

    fn by_values(field: &str) -> FacetRequest {
        FacetRequest { field: field.to_owned(), by: FacetBy::Values { top_n: NonZeroUsize::new(2).unwrap() } }
    }

    #[test]
    fn counts_are_read_in_the_order_of_the_facets() {
        let ranges = ["year<2000", "year>=2000"].map(|text| text.parse::<lorank_core::Filter>().unwrap().test);
        let ranges = FacetRequest { field: "year".to_owned(), by: FacetBy::Ranges(ranges.to_vec()) };
        let facets = [by_values("lang"), ranges, by_values("new")];
        let asked = aggregations(&facets, &types()).unwrap();
        assert_eq!(asked["0"]["terms"]["shard_size"], 1_000);
        assert_eq!(asked["1"]["filters"]["filters"][0], json!({"range": {"year": {"lt": "2000"}}}));
        let answer = json!({
            "0": {"doc_count_error_upper_bound": 2, "buckets": [{"key": "en", "doc_count": 7}, {"key": "de", "doc_count": 3}]},
            "0-distinct": {"value": 5}, "0-missing": {"doc_count": 1},
            "1": {"buckets": [{"doc_count": 4}, {"doc_count": 6}]},
            "2": {"doc_count_error_upper_bound": 0, "buckets": [{"key": 1, "key_as_string": "true", "doc_count": 9}]},
            "2-distinct": {"value": 1}, "2-missing": {"doc_count": 0}});
        let mut problems = Vec::new();
        let found = read(&facets, &types(), answer.as_object().unwrap(), &mut problems).unwrap();
        let top = vec![("en".into(), 7), ("de".into(), 3)];
        assert_eq!(found[0].counts, FacetCounts::Values { top, n_values: 5, n_missing: 1 });
        assert!(matches!(&found[1].counts, FacetCounts::Ranges(counts) if counts[1].1 == 6));
        let top = vec![(Value::Bool(true), 9)];
        assert_eq!(found[2].counts, FacetCounts::Values { top, n_values: 1, n_missing: 0 });
        assert_eq!(problems, [RetrievalProblem::ApproximateCounts { field: "lang".to_owned() }]);
    }

    #[test]
    fn text_cannot_be_counted() {
        for (field, part) in [("text", "analyzed text"), ("nix", "no such field")] {
            let error = aggregations(&[by_values(field)], &types()).unwrap_err();
            assert!(matches!(&error, Error::InvalidQuery { part: "facets", .. }), "{error}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
