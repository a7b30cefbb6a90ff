//! Counts of documents by stored fields, over all matching documents.
//!
//! tantivy's aggregations are not suitable: their term counts are approximate across segments, and they compare mixed
//! numbers as floats. Here a count is exact: it is the number of hits that the query would have with the value or range
//! as an additional filter. Values are compared as in filters, and a range is counted by its filter.

use std::collections::BTreeMap;
use std::mem;

use lorank_core::{Facet, FacetBy, FacetCounts, FacetRequest, Filter, Test, Value};
use tantivy::collector::{Collector, SegmentCollector};
use tantivy::query::{EnableScoring, Scorer, Weight};
use tantivy::{DocId, DocSet, Score, Searcher, SegmentOrdinal, SegmentReader};

use crate::Error;
use crate::field_values::{FieldValue, SegmentValue, ValueColumns, column_of};
use crate::filter;
use crate::index::Parts;

/// The maximum number of distinct values of a facet: each takes memory while the request is processed.
const VALUES_MAX: usize = 65_536;

/// Counts facets. It is collected together with the query.
pub(crate) struct FacetCounter {
    facets: Vec<Plan>,
}

/// The method of counting one facet.
enum Plan {
    /// Counts the documents of each value in this column.
    Values(String),
    /// Counts the documents that match each of these.
    Ranges(Vec<Box<dyn Weight>>),
}

/// The counts of one facet so far.
pub(crate) enum Counts {
    Values { counts: BTreeMap<FieldValue, u64>, n_missing: u64, is_overfull: bool },
    Ranges(Vec<u64>),
}

impl FacetCounter {
    /// Creates counters for these facets.
    ///
    /// # Errors
    /// A field that cannot be counted, or an invalid range.
    pub(crate) fn new(requests: &[FacetRequest], parts: &Parts, searcher: &Searcher) -> Result<Self, Error> {
        let facets = requests.iter().map(|request| Plan::new(request, parts, searcher));
        Ok(Self { facets: facets.collect::<Result<_, _>>()? })
    }
}

impl Plan {
    fn new(request: &FacetRequest, parts: &Parts, searcher: &Searcher) -> Result<Self, Error> {
        let invalid = |problem| Error::InvalidFacet { field: request.field.clone(), problem };
        let column = column_of(&request.field, parts, searcher).map_err(invalid)?;
        match &request.by {
            FacetBy::Values { .. } => Ok(Self::Values(column)),
            FacetBy::Ranges(tests) => {
                let weights = tests.iter().map(|test| weight(&request.field, test, parts, searcher));
                Ok(Self::Ranges(weights.collect::<Result<_, _>>()?))
            }
        }
    }
}

fn weight(field: &str, test: &Test, parts: &Parts, searcher: &Searcher) -> Result<Box<dyn Weight>, Error> {
    let filter = Filter { field: field.to_owned(), test: test.clone() };
    let query = filter::to_query(&filter, parts, searcher).map_err(|error| match error {
        Error::InvalidFilter { field, problem } => Error::InvalidFacet { field, problem },
        other => other,
    })?;
    let scoring = EnableScoring::disabled_from_searcher(searcher);
    query.weight(scoring).map_err(|source| parts.error("search", source))
}

/// The facets in their returned form.
///
/// # Errors
/// A facet with too many values.
pub(crate) fn finish(requests: &[FacetRequest], counts: Vec<Counts>) -> Result<Vec<Facet>, Error> {
    let finished = requests.iter().zip(counts).map(|(request, counts)| {
        let counts = match (counts, &request.by) {
            (Counts::Values { is_overfull: true, .. }, _) => {
                let problem = format!(
                    "has more than {VALUES_MAX} distinct values among the matching documents; \
                     count ranges, or filter"
                );
                return Err(Error::InvalidFacet { field: request.field.clone(), problem });
            }
            (Counts::Values { counts, n_missing, .. }, FacetBy::Values { top_n }) => {
                let n_values = counts.len();
                FacetCounts::Values { top: most_frequent(counts, top_n.get()), n_values, n_missing }
            }
            (Counts::Ranges(counts), FacetBy::Ranges(tests)) => {
                FacetCounts::Ranges(tests.iter().cloned().zip(counts).collect())
            }
            _ => unreachable!("a facet is counted as requested"),
        };
        Ok(Facet { field: request.field.clone(), counts })
    });
    finished.collect()
}

fn most_frequent(counts: BTreeMap<FieldValue, u64>, top_n: usize) -> Vec<(Value, u64)> {
    let mut counts: Vec<(FieldValue, u64)> = counts.into_iter().collect();
    // The sort is stable, so equal counts stay in the order of their values.
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    counts.truncate(top_n);
    counts.into_iter().map(|(value, n)| (value.into(), n)).collect()
}

impl Collector for FacetCounter {
    type Fruit = Vec<Counts>;
    type Child = SegmentFacets;

    fn for_segment(&self, _: SegmentOrdinal, reader: &SegmentReader) -> tantivy::Result<SegmentFacets> {
        let facets = self.facets.iter().map(|plan| SegmentFacet::new(plan, reader));
        Ok(SegmentFacets { facets: facets.collect::<tantivy::Result<_>>()? })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, segments: Vec<tantivy::Result<Vec<Counts>>>) -> tantivy::Result<Vec<Counts>> {
        let mut merged: Vec<Counts> = self.facets.iter().map(Counts::none).collect();
        for segment in segments {
            for (all, counts) in merged.iter_mut().zip(segment?) {
                all.add(counts);
            }
        }
        Ok(merged)
    }
}

impl Counts {
    fn none(plan: &Plan) -> Self {
        match plan {
            Plan::Values(_) => Self::Values { counts: BTreeMap::new(), n_missing: 0, is_overfull: false },
            Plan::Ranges(weights) => Self::Ranges(vec![0; weights.len()]),
        }
    }

    fn add(&mut self, other: Self) {
        match (self, other) {
            (
                Self::Values { counts, n_missing, is_overfull },
                Self::Values { counts: more, n_missing: n, is_overfull: over },
            ) => {
                for (value, n) in more {
                    *counts.entry(value).or_default() += n;
                }
                *n_missing += n;
                *is_overfull |= over || counts.len() > VALUES_MAX;
            }
            (Self::Ranges(counts), Self::Ranges(more)) => {
                counts.iter_mut().zip(more).for_each(|(count, n)| *count += n);
            }
            _ => unreachable!("a facet is counted in the same way in all segments"),
        }
    }
}

/// The counts of one segment so far.
pub(crate) struct SegmentFacets {
    facets: Vec<SegmentFacet>,
}

enum SegmentFacet {
    Values {
        columns: Box<ValueColumns>,
        counts: BTreeMap<SegmentValue, u64>,
        n_missing: u64,
        values: Vec<SegmentValue>,
    },
    Ranges(Vec<(Box<dyn Scorer>, u64)>),
}

impl SegmentFacet {
    fn new(plan: &Plan, reader: &SegmentReader) -> tantivy::Result<Self> {
        Ok(match plan {
            Plan::Values(column) => Self::Values {
                columns: Box::new(ValueColumns::open(column, reader)?),
                counts: BTreeMap::new(),
                n_missing: 0,
                values: Vec::new(),
            },
            Plan::Ranges(weights) => {
                let scorers = weights.iter().map(|weight| Ok((weight.scorer(reader, 1.0)?, 0)));
                Self::Ranges(scorers.collect::<tantivy::Result<_>>()?)
            }
        })
    }

    fn collect(&mut self, doc: DocId) {
        match self {
            Self::Values { columns, counts, n_missing, values } => {
                values.clear();
                columns.for_each_value(doc, |value| values.push(value));
                *n_missing += u64::from(values.is_empty());
                // A document with duplicate values counts once per value.
                values.sort_unstable();
                values.dedup();
                for value in values.iter() {
                    // One value more than the limit shows that the limit is exceeded.
                    if counts.len() <= VALUES_MAX || counts.contains_key(value) {
                        *counts.entry(*value).or_default() += 1;
                    }
                }
            }
            Self::Ranges(scorers) => {
                for (scorer, n) in scorers {
                    // Documents come in ascending order, so each is checked once.
                    let next = if scorer.doc() < doc { scorer.seek(doc) } else { scorer.doc() };
                    *n += u64::from(next == doc);
                }
            }
        }
    }

    fn harvest(self) -> tantivy::Result<Counts> {
        Ok(match self {
            Self::Values { columns, counts, n_missing, .. } => {
                let is_overfull = counts.len() > VALUES_MAX;
                // Texts are only read if they are returned.
                let counts = if is_overfull { BTreeMap::new() } else { counts };
                let counts = counts.into_iter().map(|(value, n)| Ok((columns.resolve(value)?, n)));
                Counts::Values { counts: counts.collect::<tantivy::Result<_>>()?, n_missing, is_overfull }
            }
            Self::Ranges(scorers) => Counts::Ranges(scorers.into_iter().map(|(_, n)| n).collect()),
        })
    }
}

impl SegmentCollector for SegmentFacets {
    type Fruit = tantivy::Result<Vec<Counts>>;

    fn collect(&mut self, doc: DocId, _: Score) {
        self.facets.iter_mut().for_each(|facet| facet.collect(doc));
    }

    fn harvest(mut self) -> Self::Fruit {
        mem::take(&mut self.facets).into_iter().map(SegmentFacet::harvest).collect()
    }
}
