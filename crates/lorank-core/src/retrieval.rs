//! Requests to a first stage with sorting and facets, and their results.

use std::convert::Infallible;
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use crate::{Candidate, Deadline, Query, Test, Value};

/// A request to a first stage.
#[derive(Debug, Clone, Copy)]
pub struct Retrieval<'a> {
    /// The query.
    pub query: &'a Query,
    /// The maximum number of candidates.
    pub depth: NonZeroUsize,
    /// The sort keys, the first one first; if empty, candidates are ordered by the first stage's score.
    pub sort: &'a [SortKey],
    /// The facets, counted over all matching documents.
    pub facets: &'a [FacetRequest],
    /// Stored fields that the caller reads as numbers, booleans or dates. A field that no document has, or without such
    /// values, is an [`InvalidQuery`](crate::InvalidQuery) for `rank_by`.
    pub numeric_fields: &'a [&'a str],
    /// The point in time after which nobody waits for the result. A first stage that calls another service hands it on;
    /// others ignore it.
    pub deadline: Option<Deadline>,
    /// Whether the caller calls [`FirstStage::snippets`](crate::FirstStage::snippets) for some of the candidates. A first
    /// stage that marks terms while it searches does so only then.
    pub snippets: bool,
}

impl<'a> Retrieval<'a> {
    /// The best candidates of a query by the first stage's score, without facets, snippets and deadline.
    pub fn new(query: &'a Query, depth: NonZeroUsize) -> Self {
        Self { query, depth, sort: &[], facets: &[], numeric_fields: &[], deadline: None, snippets: false }
    }
}

/// The result of a first stage.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Retrieved {
    /// The candidates, in order.
    pub candidates: Vec<Candidate>,
    /// The number of matching documents, candidates included.
    pub total_hits: TotalHits,
    /// One result per requested facet, in their order.
    pub facets: Vec<Facet>,
    /// The reasons for which the result may be incomplete.
    pub problems: Vec<RetrievalProblem>,
}

/// A reason for which the result of a first stage may be incomplete.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetrievalProblem {
    /// Some shards of a distributed index failed, so their documents are missing.
    ShardsFailed {
        /// The number of failed shards.
        n_failed: u64,
        /// The number of all shards.
        n_shards: u64,
        /// The engine's reason of the first failure.
        reason: String,
    },
    /// The engine stopped at the deadline, and returned what it had found.
    TimedOut,
    /// The counts of a facet are approximate, because shards return only their most frequent values.
    ApproximateCounts {
        /// The facet's field.
        field: String,
    },
}

impl RetrievalProblem {
    /// The kind of the problem as one word.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::ShardsFailed { .. } => "shards_failed",
            Self::TimedOut => "first_stage_timed_out",
            Self::ApproximateCounts { .. } => "approximate_counts",
        }
    }
}

impl fmt::Display for RetrievalProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShardsFailed { n_failed, n_shards, reason } => {
                write!(
                    f,
                    "{n_failed} of {n_shards} shards of the first stage failed, so documents are missing: {reason}"
                )
            }
            Self::TimedOut => f.write_str(
                "the first stage stopped at its deadline, so documents may be missing; allow more time, or match fewer \
                 documents",
            ),
            Self::ApproximateCounts { field } => {
                write!(
                    f,
                    "the counts of the facet `{field}` are approximate, because shards count only their most frequent values"
                )
            }
        }
    }
}

/// The number of documents that match a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TotalHits {
    /// The exact number.
    Exactly(u64),
    /// A lower bound.
    AtLeast(u64),
}

/// Zero documents.
impl Default for TotalHits {
    fn default() -> Self {
        Self::Exactly(0)
    }
}

impl TotalHits {
    /// The number of documents, or its lower bound.
    pub const fn n(self) -> u64 {
        match self {
            Self::Exactly(n) | Self::AtLeast(n) => n,
        }
    }

    /// `eq` for an exact number, `gte` for a lower bound, as in Elasticsearch.
    pub const fn relation(self) -> &'static str {
        match self {
            Self::Exactly(_) => "eq",
            Self::AtLeast(_) => "gte",
        }
    }

    /// The total for `n_found` candidates if at most `depth` were requested.
    pub const fn of_found(n_found: usize, depth: NonZeroUsize) -> Self {
        if n_found < depth.get() { Self::Exactly(n_found as u64) } else { Self::AtLeast(n_found as u64) }
    }
}

/// A stored field to sort by.
///
/// Documents without the field come last in both orders. For several values, the lowest counts in ascending order and
/// the highest in descending order. Booleans come before numbers, numbers before dates, and dates before other texts,
/// which are in byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortKey {
    /// The field's name; a dot reaches into an object (`author.name`).
    pub field: String,
    /// The sort order.
    pub order: SortOrder,
}

/// Writes the text form: `year:asc`, `year:desc`.
impl fmt::Display for SortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match self.order {
            SortOrder::Ascending => "asc",
            SortOrder::Descending => "desc",
        };
        write!(f, "{}:{order}", self.field)
    }
}

/// Parses `year` or `year:asc` for ascending order and `year:desc` for descending order; other text after a colon is
/// part of the name.
impl FromStr for SortKey {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let order = |word: &str| match word {
            _ if word.eq_ignore_ascii_case("asc") => Some(SortOrder::Ascending),
            _ if word.eq_ignore_ascii_case("desc") => Some(SortOrder::Descending),
            _ => None,
        };
        let parts = text.rsplit_once(':').and_then(|(field, word)| Some((field, order(word)?)));
        let (field, order) = parts.unwrap_or((text, SortOrder::default()));
        Ok(Self { field: field.trim().to_owned(), order })
    }
}

/// A sort order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SortOrder {
    /// Lowest first.
    #[default]
    Ascending,
    /// Highest first.
    Descending,
}

/// A request to count documents by a stored field, over all documents that match the query and its filters.
#[derive(Debug, Clone, PartialEq)]
pub struct FacetRequest {
    /// The field's name; a dot reaches into an object (`author.name`).
    pub field: String,
    /// What is counted.
    pub by: FacetBy,
}

/// The counting method of a facet.
#[derive(Debug, Clone, PartialEq)]
pub enum FacetBy {
    /// The documents of each value.
    Values {
        /// The maximum number of values to return.
        top_n: NonZeroUsize,
    },
    /// The documents that meet each of these conditions.
    Ranges(Vec<Test>),
}

/// The counts of a facet. Each is the number of hits that the query would have with the value or range as an additional
/// filter.
#[derive(Debug, Clone, PartialEq)]
pub struct Facet {
    /// The field's name.
    pub field: String,
    /// The counts.
    pub counts: FacetCounts,
}

/// The counts of a facet.
#[derive(Debug, Clone, PartialEq)]
pub enum FacetCounts {
    /// Of values.
    Values {
        /// The most frequent values with their numbers of documents; ties in the order of the values.
        top: Vec<(Value, u64)>,
        /// The number of distinct values.
        n_values: usize,
        /// The number of documents without a value.
        n_missing: u64,
    },
    /// Of ranges: each with its number of documents, in the requested order.
    Ranges(Vec<(Test, u64)>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sort_keys_are_names_with_an_order() {
        for (text, field, order) in [
            ("year", "year", SortOrder::Ascending),
            ("year:asc", "year", SortOrder::Ascending),
            ("year:DESC", "year", SortOrder::Descending),
            ("author.name:desc", "author.name", SortOrder::Descending),
            ("dc:date", "dc:date", SortOrder::Ascending),
            ("dc:date:desc", "dc:date", SortOrder::Descending),
            (":desc", "", SortOrder::Descending),
            ("desc", "desc", SortOrder::Ascending),
            ("", "", SortOrder::Ascending),
        ] {
            assert_eq!(text.parse(), Ok(SortKey { field: field.to_owned(), order }), "{text}");
        }
    }

    #[test]
    fn fewer_candidates_than_were_asked_for_are_all() {
        let depth = NonZeroUsize::new(3).unwrap();
        for (n_found, n, relation) in [(0, 0, "eq"), (2, 2, "eq"), (3, 3, "gte")] {
            let total = TotalHits::of_found(n_found, depth);
            assert_eq!((total.n(), total.relation()), (n, relation));
        }
    }
}
