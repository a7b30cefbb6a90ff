//! Search requests.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lorank_core::{
    AdapterChoice, BlendWeight, CandidateList, Deadline, FacetRequest, ParseIdError, PassageOptions, Query,
    QuerySyntax, RankerSettings, RerankStages, Score, SortKey,
};

use crate::rank_by::RankBy;

/// A search request. The pipeline's configuration supplies the defaults of `None` fields.
#[derive(Debug, Clone)]
pub struct SearchRequest {
    /// The query.
    pub query: Query,
    /// Candidates from elsewhere. Several lists, that of the first stage included, are [fused](lorank_core::fuse) by
    /// reciprocal rank before they are reranked. The first stage then retrieves `depth` candidates for every page.
    pub candidates: Arc<[CandidateList]>,
    /// Whether the first stage retrieves candidates. If false, [`candidates`](Self::candidates) has all of them.
    pub retrieves: bool,
    /// The model that reranks.
    pub adapter: AdapterChoice,
    /// The number of candidates to rerank.
    pub depth: Option<NonZeroUsize>,
    /// Several stages that rerank one after the other, instead of one with the [`adapter`](Self::adapter) and the
    /// [`depth`](Self::depth). The last stage decides: the other settings of the order are its own. A request that has
    /// none of the three gets the stages of the configuration.
    pub stages: Option<RerankStages>,
    /// The number of hits to return.
    pub top_k: Option<NonZeroUsize>,
    /// The number of hits to skip: `offset` 10 starts at rank 11.
    pub offset: usize,
    /// Whether to rerank. If false, the answer is in first-stage order, and no model is resolved. A search that is
    /// sorted, or has no words ([`QuerySyntax::MatchAll`]), cannot be reranked.
    pub rerank: bool,
    /// The stored fields to sort by, the first key first; if empty, the answer is ordered by score.
    pub sort: Vec<SortKey>,
    /// The facets, counted over all matching documents.
    pub facets: Vec<FacetRequest>,
    /// The weight of the rerank score against the first stage's in the order; the default is the rerank score alone.
    pub blend_weight: BlendWeight,
    /// The expression to rank by.
    pub rank_by: RankByChoice,
    /// How documents that are longer than the model's limit are scored. What is not set here is that of the
    /// configuration, and else that of the model's author.
    pub passages: PassageOptions,
    /// The minimum rerank score of a hit. Documents with a lower score, and those beyond the depth without a score, are
    /// dropped. In first-stage order nothing is dropped.
    pub min_rerank_score: Option<Score>,
    /// The point in time after which the answer comes in first-stage order. Cached scores need no model work and are
    /// used even then.
    pub deadline: Option<Deadline>,
    /// What to do if the model is overloaded.
    pub on_overload: OnOverload,
    /// Whether to create snippets for the returned hits.
    pub snippets: bool,
    /// Whether the caller creates snippets for some of the hits later ([`Pipeline::add_snippets`](crate::Pipeline)), so
    /// that a first stage that marks terms while it searches does so.
    pub snippets_follow: bool,
    /// Whether the request has the lowest priority, because nobody waits for its answer.
    pub background: bool,
    /// Cancels the request from another thread.
    pub cancellation: Cancellation,
}

impl SearchRequest {
    /// A search for plain words with the defaults: reranked, first page, no snippets.
    pub fn new(query_text: impl Into<String>) -> Self {
        Self::from_query(Query::new(query_text))
    }

    /// A search for a query, with the defaults of [`SearchRequest::new`].
    pub fn from_query(query: Query) -> Self {
        Self {
            query,
            candidates: Arc::default(),
            retrieves: true,
            adapter: AdapterChoice::Default,
            depth: None,
            stages: None,
            top_k: None,
            offset: 0,
            rerank: true,
            sort: Vec::new(),
            facets: Vec::new(),
            blend_weight: BlendWeight::RERANK_ALONE,
            rank_by: RankByChoice::Default,
            passages: PassageOptions::default(),
            min_rerank_score: None,
            deadline: None,
            on_overload: OnOverload::Fallback,
            snippets: false,
            snippets_follow: false,
            background: false,
            cancellation: Cancellation::default(),
        }
    }

    /// This request with the settings of its ranker, which take precedence.
    #[must_use]
    pub fn with_settings(&self, settings: &RankerSettings) -> Self {
        let mut request = self.clone();
        request.depth = settings.depth.or(self.depth);
        if let Some(stages) = &settings.stages {
            (request.stages, request.adapter, request.depth) = (Some(stages.clone()), AdapterChoice::Default, None);
        }
        if let Some(weight) = settings.blend_weight {
            (request.blend_weight, request.rank_by) = (weight, RankByChoice::Scores);
        }
        if settings.passages.rule.is_some() {
            request.passages = settings.passages;
        }
        if let Some(instruction) = &settings.instruction {
            request.query.instruction = Some(instruction.clone());
        }
        request
    }

    /// The keys of this request that have other values [with these settings](Self::with_settings). Those that are not set
    /// here are left out.
    pub fn keys_replaced_by(&self, settings: &RankerSettings) -> Vec<&'static str> {
        let with = self.with_settings(settings);
        let (none, rank_by) = (PassageOptions::default(), matches!(self.rank_by, RankByChoice::Expression(_)));
        let keys = [
            ("depth", self.depth.is_some() && with.depth != self.depth),
            ("stages", self.stages.is_some() && with.stages != self.stages),
            ("blend_weight", self.blend_weight != BlendWeight::RERANK_ALONE && with.blend_weight != self.blend_weight),
            ("rank_by", rank_by && with.rank_by != self.rank_by),
            ("passages", self.passages != none && with.passages != self.passages),
            ("instruction", self.query.instruction.is_some() && with.query.instruction != self.query.instruction),
        ];
        keys.into_iter().filter_map(|(key, is_replaced)| is_replaced.then_some(key)).collect()
    }

    /// Whether the answer can be reranked: the query has words, and there are no sort keys.
    pub fn can_be_reranked(&self) -> bool {
        self.sort.is_empty() && self.query.syntax != QuerySyntax::MatchAll
    }
}

/// The order of the first `depth` candidates: by score or by an expression.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum RankByChoice {
    /// The configured expression, if there is one and it applies: not with `sort` or `blend_weight`, nor if it
    /// [needs](RankBy::needs_rerank_score) rerank scores and the search is not reranked.
    #[default]
    Default,
    /// The scores, regardless of the configured expression.
    Scores,
    /// This expression. Without reranking it must not [need](RankBy::needs_rerank_score) rerank scores.
    Expression(Arc<RankBy>),
}

/// What to do if the model is overloaded: its queue is full, or the deadline would be missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnOverload {
    /// The answer in first-stage order, with the [reason](crate::Fallback).
    #[default]
    Fallback,
    /// An error ([`PipelineError::Overloaded`](crate::PipelineError::Overloaded)) with the time after which to retry.
    Refuse,
}

/// One of several rankers of the same query, with its own settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Contestant<K> {
    /// The caller's key for it.
    pub key: K,
    /// The ranker.
    pub ranker: Ranker,
    /// Its settings, which take precedence over those of the request.
    pub settings: RankerSettings,
}

/// A ranker of a query. Its text form is that of an [`AdapterChoice`], or `first-stage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ranker {
    /// The first stage's order.
    FirstStage,
    /// The reranker with a model.
    Model(AdapterChoice),
}

impl Ranker {
    /// The text form of the first stage's order.
    pub const FIRST_STAGE: &'static str = "first-stage";
}

/// Writes the text form.
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

/// A flag that cancels a request. Clones share the flag.
///
/// A running batch is not interrupted: the flag is read between batches, and finished scores stay in the cache.
#[derive(Clone, Default)]
pub struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    /// Sets the flag permanently.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the flag is set.
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

    #[test]
    fn settings_of_a_ranker_take_precedence() {
        let weight = |weight| BlendWeight::new(weight).unwrap();
        let max = PassageOptions { rule: "max".parse().ok(), ..PassageOptions::default() };
        let settings = RankerSettings {
            depth: NonZeroUsize::new(5),
            stages: None,
            blend_weight: Some(weight(1.0)),
            passages: max,
            instruction: Some("of the arm".to_owned()),
        };
        let plain = SearchRequest::new("query");
        let with = plain.with_settings(&settings);
        assert_eq!((with.depth, with.passages, &with.rank_by), (settings.depth, max, &RankByChoice::Scores));
        assert_eq!(with.query.instruction, settings.instruction);
        assert!(plain.keys_replaced_by(&settings).is_empty(), "the request sets none of them");

        let own = SearchRequest {
            depth: NonZeroUsize::new(7),
            rank_by: RankByChoice::Expression(Arc::new("rerank_score".parse().unwrap())),
            passages: PassageOptions { tokens: NonZeroUsize::new(64), ..max },
            query: Query { instruction: Some("own".to_owned()), ..Query::new("query") },
            ..plain.clone()
        };
        assert_eq!(own.with_settings(&settings).passages, max, "lengths of the request are for its own rule");
        assert_eq!(own.keys_replaced_by(&settings), ["depth", "rank_by", "passages", "instruction"]);
        assert!(own.keys_replaced_by(&RankerSettings::default()).is_empty());
        let stages = RankerSettings { stages: "none:50,qa:5".parse().ok(), ..RankerSettings::default() };
        let with = own.with_settings(&stages);
        assert_eq!((with.depth, &with.stages), (None, &stages.stages), "stages have their own depths");
        assert_eq!(own.keys_replaced_by(&stages), ["depth"]);
        let blended = SearchRequest { blend_weight: weight(0.5), ..plain };
        assert_eq!(blended.keys_replaced_by(&settings), ["blend_weight"]);
        let same = RankerSettings { blend_weight: Some(weight(0.5)), ..RankerSettings::default() };
        assert!(blended.keys_replaced_by(&same).is_empty());
    }
}
