//! Facet arguments: `lang`, `year=..1990,1990..2000,2000..`.

use std::num::NonZeroUsize;

use lorank_core::{FacetBy, FacetRequest, Test, Value};

/// A facet argument: a field, optionally with ranges.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TypedFacet {
    field: String,
    ranges: Vec<Test>,
}

impl TypedFacet {
    /// The facet request; without ranges, for the `top_n` most frequent values.
    pub(crate) fn request(&self, top_n: NonZeroUsize) -> FacetRequest {
        let by = match self.ranges.as_slice() {
            [] => FacetBy::Values { top_n },
            ranges => FacetBy::Ranges(ranges.to_vec()),
        };
        FacetRequest { field: self.field.clone(), by }
    }
}

/// Parses a facet. Ranges include their lower bound and exclude their upper bound; one bound may be missing.
pub(crate) fn parse_facet(text: &str) -> Result<TypedFacet, String> {
    let bad = || format!("`{text}` is not a facet; use `field`, or ranges such as `field=..1990,1990..2000,2000..`");
    let (field, ranges) = text.split_once('=').map_or((text, None), |(field, ranges)| (field, Some(ranges)));
    let ranges =
        ranges.map_or(Ok(Vec::new()), |ranges| ranges.split(',').map(range).collect::<Option<_>>().ok_or_else(bad))?;
    match field.trim() {
        "" => Err(bad()),
        field => Ok(TypedFacet { field: field.to_owned(), ranges }),
    }
}

fn range(text: &str) -> Option<Test> {
    let (lower, upper) = text.split_once("..")?;
    let bound = |text: &str, is_included| match text.trim() {
        "" => None,
        text => Some((bound_value(text), is_included)),
    };
    let (lower, upper): (Option<(Value, bool)>, _) = (bound(lower, true), bound(upper, false));
    (lower.is_some() || upper.is_some()).then_some(Test::Range { lower, upper })
}

/// A bound: an integer, or else a text that is parsed by the types of the field.
fn bound_value(text: &str) -> Value {
    let integer = text.parse().ok().filter(|integer: &i64| integer.to_string() == text);
    integer.map_or_else(|| text.into(), Value::Integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_facet_is_a_field_with_or_without_ranges() {
        let whole = |n, is_included| Some((Value::Integer(n), is_included));
        let date = |text: &str, is_included| Some((Value::from(text), is_included));
        for (text, field, ranges) in [
            ("lang", "lang", vec![]),
            (" author.name ", "author.name", vec![]),
            ("year=1990..2000", "year", vec![Test::Range { lower: whole(1990, true), upper: whole(2000, false) }]),
            (
                "year=..1990, 1990 ..",
                "year",
                vec![
                    Test::Range { lower: None, upper: whole(1990, false) },
                    Test::Range { lower: whole(1990, true), upper: None },
                ],
            ),
            ("n=-3..-1", "n", vec![Test::Range { lower: whole(-3, true), upper: whole(-1, false) }]),
            (
                "day=2020-01-01..2021-01-01",
                "day",
                vec![Test::Range { lower: date("2020-01-01", true), upper: date("2021-01-01", false) }],
            ),
        ] {
            assert_eq!(parse_facet(text), Ok(TypedFacet { field: field.to_owned(), ranges }), "{text}");
        }
    }

    #[test]
    fn what_is_no_facet_is_refused() {
        for text in ["", " ", "=1..2", "year=", "year=..", "year=1990", "year=1..2,", "year=1..2,3", "year=a-b"] {
            assert!(parse_facet(text).unwrap_err().contains("is not a facet"), "{text}");
        }
    }
}
