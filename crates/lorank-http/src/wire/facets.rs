//! Facets as JSON: `{"lang": {"top_n": 5}, "year": {"ranges": [{"lt": 1990}, {"gte": 1990}]}}`, and their counts.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use lorank_core::{Facet, FacetBy, FacetCounts, FacetRequest, Test, Value};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json};
use utoipa::ToSchema;

use super::ValueJson;
use super::filters::read_range;
use crate::ServerError;

/// The default of `top_n`.
const TOP_N: NonZeroUsize = NonZeroUsize::new(10).expect("ten is not zero");

/// The facets of an answer, by field.
pub type FacetsJson<'a> = BTreeMap<&'a str, FacetJson<'a>>;

/// The document counts of a facet.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Facet)]
#[serde(untagged)]
pub enum FacetJson<'a> {
    /// Counts by value.
    Values {
        /// The most frequent values; ties are in the order of the values.
        values: Vec<ValueCountJson<'a>>,
        /// The number of distinct values.
        n_values: usize,
        /// The number of matching documents without a value.
        n_missing: u64,
    },
    /// Counts by range.
    Ranges {
        /// The ranges, in the order of the request.
        ranges: Vec<RangeCountJson<'a>>,
    },
}

/// A value and the number of documents with it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ValueCount)]
pub struct ValueCountJson<'a> {
    /// The value; dates are in RFC 3339 format.
    #[schema(value_type = Value)]
    pub value: ValueJson<'a>,
    /// The number of matching documents with this value.
    pub n_documents: u64,
}

/// A range and the number of documents with a value in it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = RangeCount)]
pub struct RangeCountJson<'a> {
    /// The bounds of the request: `gte`, `gt`, `lte`, `lt`.
    #[schema(value_type = Object)]
    pub range: BoundsJson<'a>,
    /// The number of matching documents with a value in the range.
    pub n_documents: u64,
}

/// The bounds of a range.
#[derive(Debug, Clone, PartialEq)]
pub struct BoundsJson<'a>(&'a Test);

impl Serialize for BoundsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Test::Range { lower, upper } = self.0 else { return serializer.collect_map::<&str, u8, _>([]) };
        let name = |is_included, included, excluded| if is_included { included } else { excluded };
        let lower = lower.as_ref().map(|(value, is_included)| (name(*is_included, "gte", "gt"), ValueJson(value)));
        let upper = upper.as_ref().map(|(value, is_included)| (name(*is_included, "lte", "lt"), ValueJson(value)));
        serializer.collect_map(lower.into_iter().chain(upper))
    }
}

impl<'a> FacetJson<'a> {
    /// The facets of an answer; `None` if none was requested.
    pub(crate) fn of_answer(facets: &'a [Facet]) -> Option<FacetsJson<'a>> {
        let facet = |facet: &'a Facet| (facet.field.as_str(), Self::from(&facet.counts));
        (!facets.is_empty()).then(|| facets.iter().map(facet).collect())
    }
}

impl<'a> From<&'a FacetCounts> for FacetJson<'a> {
    fn from(counts: &'a FacetCounts) -> Self {
        match counts {
            FacetCounts::Values { top, n_values, n_missing } => {
                let value = |(value, n): &'a (Value, u64)| ValueCountJson { value: ValueJson(value), n_documents: *n };
                Self::Values { values: top.iter().map(value).collect(), n_values: *n_values, n_missing: *n_missing }
            }
            FacetCounts::Ranges(counts) => {
                let range = |(test, n): &'a (Test, u64)| RangeCountJson { range: BoundsJson(test), n_documents: *n };
                Self::Ranges { ranges: counts.iter().map(range).collect() }
            }
        }
    }
}

/// Parses facets.
pub(crate) fn read(facets: Map<String, Json>) -> Result<Vec<FacetRequest>, ServerError> {
    facets.into_iter().map(|(field, facet)| Ok(FacetRequest { by: read_facet(&field, facet)?, field })).collect()
}

/// Parses one facet. An empty object stands for the ten most frequent values.
fn read_facet(field: &str, facet: Json) -> Result<FacetBy, ServerError> {
    let Json::Object(mut keys) = facet else {
        return Err(invalid(field, "is not an object; use `{}` to count values, or give `top_n` or `ranges`"));
    };
    let (top_n, ranges) = (keys.remove("top_n"), keys.remove("ranges"));
    if let Some(key) = keys.keys().next() {
        return Err(invalid(&format!("{field}.{key}"), "is unknown; the keys of a facet are `top_n` and `ranges`"));
    }
    match (top_n.filter(|it| !it.is_null()), ranges.filter(|it| !it.is_null())) {
        (Some(_), Some(_)) => {
            Err(invalid(field, "has both `top_n` and `ranges`; give one of them (all ranges are returned)"))
        }
        (None, None) => Ok(FacetBy::Values { top_n: TOP_N }),
        (Some(top_n), None) => {
            let number = top_n.as_u64().and_then(|n| NonZeroUsize::new(usize::try_from(n).ok()?));
            let problem = "is not a positive integer";
            Ok(FacetBy::Values { top_n: number.ok_or_else(|| invalid(&format!("{field}.top_n"), problem))? })
        }
        (None, Some(ranges)) => read_ranges(&format!("{field}.ranges"), ranges).map(FacetBy::Ranges),
    }
}

fn read_ranges(path: &str, ranges: Json) -> Result<Vec<Test>, ServerError> {
    let Json::Array(ranges) = ranges else { return Err(invalid(path, "is not an array of ranges")) };
    if ranges.is_empty() {
        return Err(invalid(path, "is an empty array"));
    }
    let range = |(n, range): (usize, Json)| match range {
        Json::Object(bounds) => read_range("facets", &format!("{path}[{n}]"), bounds),
        _ => Err(invalid(
            &format!("{path}[{n}]"),
            "is not an object; give bounds such as `{\"gte\": 1990, \"lt\": 2000}`",
        )),
    };
    ranges.into_iter().enumerate().map(range).collect()
}

fn invalid(path: &str, problem: &str) -> ServerError {
    ServerError::InvalidValue { field: format!("facets.{path}"), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_json(json: &str) -> Result<Vec<FacetRequest>, String> {
        read(serde_json::from_str(json).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn facets_count_values_or_ranges() {
        let values = |n| FacetBy::Values { top_n: NonZeroUsize::new(n).unwrap() };
        let range = |lower: Option<(Value, bool)>, upper| Test::Range { lower, upper };
        let whole = |n| (Value::Integer(n), true);
        for (json, by) in [
            (r#"{"f": {}}"#, values(10)),
            (r#"{"f": {"top_n": 3}}"#, values(3)),
            (r#"{"f": {"top_n": null, "ranges": null}}"#, values(10)),
            (r#"{"f": {"ranges": [{"gte": 1}]}}"#, FacetBy::Ranges(vec![range(Some(whole(1)), None)])),
            (
                r#"{"f": {"ranges": [{"lte": 1}, {"gt": "2020-01-01", "lte": 7}]}}"#,
                FacetBy::Ranges(vec![
                    range(None, Some(whole(1))),
                    range(Some(("2020-01-01".into(), false)), Some(whole(7))),
                ]),
            ),
        ] {
            assert_eq!(read_json(json), Ok(vec![FacetRequest { field: "f".to_owned(), by }]), "{json}");
        }
    }

    #[test]
    fn what_cannot_be_a_facet_is_refused_by_its_path() {
        for (json, expected) in [
            (r#"{"f": null}"#, "`facets.f` is not an object; use `{}` to count values, or give `top_n` or `ranges`"),
            (r#"{"f": 10}"#, "`facets.f` is not an object; use `{}` to count values, or give `top_n` or `ranges`"),
            (r#"{"f": {"size": 3}}"#, "`facets.f.size` is unknown; the keys of a facet are `top_n` and `ranges`"),
            (r#"{"f": {"top_n": 0}}"#, "`facets.f.top_n` is not a positive integer"),
            (r#"{"f": {"top_n": -1}}"#, "`facets.f.top_n` is not a positive integer"),
            (r#"{"f": {"top_n": 1.5}}"#, "`facets.f.top_n` is not a positive integer"),
            (r#"{"f": {"top_n": "3"}}"#, "`facets.f.top_n` is not a positive integer"),
            (r#"{"f": {"ranges": {}}}"#, "`facets.f.ranges` is not an array of ranges"),
            (r#"{"f": {"ranges": []}}"#, "`facets.f.ranges` is an empty array"),
            (r#"{"f": {"ranges": [{}]}}"#, "`facets.f.ranges[0]` has no bounds; give `gte`, `gt`, `lte` or `lt`"),
            (
                r#"{"f": {"ranges": [{"gte": 1}, 3]}}"#,
                "`facets.f.ranges[1]` is not an object; give bounds such as `{\"gte\": 1990, \"lt\": 2000}`",
            ),
            (
                r#"{"f": {"ranges": [{"from": 1}]}}"#,
                "`facets.f.ranges[0].from` is unknown; bounds are `gte`, `gt`, `lte` and `lt`",
            ),
            (
                r#"{"f": {"top_n": 1, "ranges": [{"gte": 1}]}}"#,
                "`facets.f` has both `top_n` and `ranges`; give one of them (all ranges are returned)",
            ),
        ] {
            assert_eq!(read_json(json), Err(expected.to_owned()), "{json}");
        }
    }

    #[test]
    fn bounds_are_written_as_they_were_read() {
        for bounds in [r#"{"gte":1}"#, r#"{"gt":0.5,"lte":"x"}"#, r#"{"lt":18446744073709551615}"#] {
            let test = read_range("facets", "f", serde_json::from_str(bounds).unwrap()).unwrap();
            assert_eq!(serde_json::to_string(&BoundsJson(&test)).unwrap(), bounds);
        }
    }
}
