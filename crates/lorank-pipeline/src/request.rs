//! What is asked of the pipeline.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lorank_core::{AdapterId, BlendWeight, Deadline, FacetRequest, ParseIdError, Query, QuerySyntax, Score, SortKey};

use crate::rank_by::RankBy;

/// One search: the query, and what of its answer is wanted. What is `None` is the pipeline's to choose.
#[derive(Debug, Clone)]
pub struct SearchRequest {
    /// The query.
    pub query: Query,
    /// The model that reranks.
    pub adapter: AdapterChoice,
    /// How many candidates are reranked.
    pub depth: Option<NonZeroUsize>,
    /// How many hits are returned.
    pub top_k: Option<NonZeroUsize>,
    /// How many hits are left out at the top: `offset` 10 begins with rank 11.
    pub offset: usize,
    /// Whether to rerank at all. Without it the answer has the first stage's order, and no model is looked up. A search that
    /// is sorted, or has no words ([`QuerySyntax::MatchAll`]), cannot be reranked.
    pub rerank: bool,
    /// The stored fields that the answer is ordered by, the first key first; without keys it is ordered by scores.
    pub sort: Vec<SortKey>,
    /// What is counted over all documents that match.
    pub facets: Vec<FacetRequest>,
    /// How much the rerank score counts in the order against the first stage's: by default it counts alone.
    pub blend_weight: BlendWeight,
    /// Whether an expression orders the candidates in place of their scores.
    pub rank_by: RankByChoice,
    /// The lowest rerank score of a hit. A document with a lower one is left out, and so is one past the depth, which has none.
    /// An answer in first-stage order has no rerank scores and leaves nothing out.
    pub min_rerank_score: Option<Score>,
    /// The point in time after which the answer comes in first-stage order. Scores that the cache holds cost no model
    /// work and are used even then.
    pub deadline: Option<Deadline>,
    /// What the caller gets where the model has too much to do.
    pub on_overload: OnOverload,
    /// Whether the returned hits get snippets.
    pub snippets: bool,
    /// Whether nobody waits for the answer: everything else that the model has to do comes first.
    pub background: bool,
    /// Set from elsewhere once nobody wants the answer any more.
    pub cancellation: Cancellation,
}

impl SearchRequest {
    /// A search for plain words, everything else as the pipeline is configured: reranked, first page, no snippets.
    pub fn new(query_text: impl Into<String>) -> Self {
        Self::from_query(Query::new(query_text))
    }

    /// A search for a query, everything else as in [`SearchRequest::new`].
    pub fn from_query(query: Query) -> Self {
        Self {
            query,
            adapter: AdapterChoice::Default,
            depth: None,
            top_k: None,
            offset: 0,
            rerank: true,
            sort: Vec::new(),
            facets: Vec::new(),
            blend_weight: BlendWeight::RERANK_ALONE,
            rank_by: RankByChoice::Default,
            min_rerank_score: None,
            deadline: None,
            on_overload: OnOverload::Fallback,
            snippets: false,
            background: false,
            cancellation: Cancellation::default(),
        }
    }

    /// Whether a reranker could order the answer: there are words, and no sort keys.
    pub fn can_be_reranked(&self) -> bool {
        self.sort.is_empty() && self.query.syntax != QuerySyntax::MatchAll
    }
}

/// What orders the first `depth` candidates: their scores or an expression.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum RankByChoice {
    /// The pipeline's own expression, if it has one and the answer can be ordered by it: not where `sort` or `blend_weight`
    /// order, nor where it [needs](RankBy::needs_rerank_score) rerank scores and the search is not reranked.
    #[default]
    Default,
    /// The scores, whatever the pipeline's own is.
    Scores,
    /// This expression. Without reranking it may not [need](RankBy::needs_rerank_score) rerank scores.
    Expression(Arc<RankBy>),
}

/// What the caller gets where the model has too much to do: its queue is full, or the deadline would be missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnOverload {
    /// The answer in first-stage order, with the [reason](crate::Fallback).
    #[default]
    Fallback,
    /// An error ([`PipelineError::Overloaded`](crate::PipelineError::Overloaded)) that says when to try again.
    Refuse,
}

/// Which model reranks. In text: a name, or `none` for the bare base model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AdapterChoice {
    /// The pipeline's default adapter.
    #[default]
    Default,
    /// The base model without an adapter.
    Base,
    /// An adapter or an alias.
    Named(AdapterId),
}

/// What puts the candidates in order, for one of several answers to the same query. In text: an
/// [`AdapterChoice`], or `first-stage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ranker {
    /// The first stage: its order is kept.
    FirstStage,
    /// The reranker with a model.
    Model(AdapterChoice),
}

impl Ranker {
    /// The word for the first stage's order.
    pub const FIRST_STAGE: &'static str = "first-stage";
}

/// The text that it is parsed from.
impl fmt::Display for Ranker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstStage => f.write_str(Self::FIRST_STAGE),
            Self::Model(choice) => choice.fmt(f),
        }
    }
}

impl FromStr for Ranker {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text == Self::FIRST_STAGE { Ok(Self::FirstStage) } else { text.parse().map(Self::Model) }
    }
}

impl AdapterChoice {
    /// The word for the bare base model.
    pub const BASE: &'static str = "none";
}

/// The text that it is parsed from; `default` for the pipeline's default, which is no name of its own.
impl fmt::Display for AdapterChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Base => f.write_str(Self::BASE),
            Self::Named(name) => name.fmt(f),
        }
    }
}

impl FromStr for AdapterChoice {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text == Self::BASE { Ok(Self::Base) } else { text.parse().map(Self::Named) }
    }
}

/// A flag that says that nobody wants the answer any more. Clones are one flag.
///
/// The model is not interrupted: the flag is read between two batches, and what is finished stays in the cache.
#[derive(Clone, Default)]
pub struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    /// Raises the flag, for good.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the flag is raised.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cancellation({})", self.is_cancelled())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_chosen_by_name() {
        let named = |id: &str| Ok(AdapterChoice::Named(id.parse().unwrap()));
        assert_eq!("none".parse(), Ok(AdapterChoice::Base));
        assert_eq!("qa".parse(), named("qa"));
        assert_eq!("default".parse(), named("default"), "a name as any other");
        assert!("../qa".parse::<AdapterChoice>().is_err());
        for text in ["none", "qa", "first-stage"] {
            assert_eq!(text.parse::<Ranker>().unwrap().to_string(), text);
        }
    }
}
