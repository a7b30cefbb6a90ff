//! A collector that reranks its documents.

use std::any::Any;
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lorank_core::{
    AdapterId, AdapterUnusable, BoxError, Candidate, Deadline, DeadlineExceeded, EncodedPair, Group, InvalidPassages,
    ModelVersion, Passage, PassageGroup, PassageOptions, Query, Reranker, Score, reranked_order, with_causes,
};
use tantivy::collector::Collector;
use tantivy::query::Weight;
use tantivy::schema::Schema;
use tantivy::{DocAddress, SegmentOrdinal, SegmentReader, TantivyError};

use super::candidates::candidates;
use super::texts::{Texts, TextsError};
use super::top::{Best, SegmentBest, SegmentTop, TopByScore};

/// The default depth.
const DEPTH: NonZeroUsize = NonZeroUsize::new(100).expect("not zero");
/// The default number of hits.
const TOP_K: NonZeroUsize = NonZeroUsize::new(10).expect("not zero");
/// The default maximum number of passages of a document, as in a pipeline.
const PASSAGES_MAX: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");
/// The scores of documents, with their passages.
type Scores = Vec<(Score, Option<Passage>)>;
/// The number of tokens to score between two checks of the deadline: about a fifth of a second with a small model on
/// two cores. This bounds how late an answer can be; fewer tokens would leave the model's threads idle.
/// threads idle.
const TOKENS_BETWEEN_LOOKS: usize = 1_024;

/// Collects the best documents of a search and reranks them. See the [module's page](super) for an example and its
/// guarantees.
///
/// It is created for one query text, because tantivy's queries do not contain it. All other parts are shared, so
/// creating one costs a copy of the query text.
#[derive(Clone)]
pub struct RerankCollector {
    query: Query,
    reranker: Arc<dyn Reranker>,
    texts: Texts,
    depth: NonZeroUsize,
    top_k: NonZeroUsize,
    adapter: Option<AdapterId>,
    deadline: Option<Deadline>,
    passages: PassageOptions,
    passages_max: NonZeroUsize,
    reranks: bool,
}

/// The result of a [`RerankCollector`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// The best `top_k` documents, best first.
    pub hits: Vec<DocHit>,
    /// Whether the hits are reranked, and otherwise why not.
    pub outcome: Outcome,
    /// The model that reranked, or would have; `None` if reranking was not requested.
    pub model: Option<ModelVersion>,
    /// The number of documents to rerank: the number of matches, and at most `depth`; 0 without reranking.
    pub n_candidates: usize,
}

/// A document of an [`Answer`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DocHit {
    /// The 1-based rank in the answer.
    pub rank: usize,
    /// The document's address in the searcher.
    pub address: DocAddress,
    /// The reranker's score; `None` if the document was not reranked (beyond the depth, or after a fallback).
    pub rerank_score: Option<Score>,
    /// The window of the text that the rerank score comes from; `None` if the text was not scored as windows.
    pub passage: Option<Passage>,
    /// tantivy's score.
    pub first_stage_score: Score,
    /// The 1-based rank by tantivy's score.
    pub first_stage_rank: usize,
}

/// The order of the hits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Reranked.
    Reranked,
    /// First-stage order, although reranking was requested.
    FellBack {
        /// The reason.
        reason: FallbackReason,
    },
    /// First-stage order, as requested.
    NotAsked,
}

/// Why an answer is in first-stage order although reranking was requested.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FallbackReason {
    /// The deadline passed before all scores were available.
    DeadlinePassed,
    /// The reranker returned an error or a wrong number of scores, or panicked.
    RerankerFailed {
        /// A description of the failure.
        message: String,
    },
    /// The function for texts ([`Texts::from_fn`]) failed.
    NoTexts {
        /// A description of the failure.
        message: String,
    },
}

impl RerankCollector {
    /// A collector that reranks the 100 best documents for a query text with the bare base model, and returns 10.
    pub fn new(query_text: impl Into<String>, reranker: Arc<dyn Reranker>, texts: Texts) -> Self {
        Self {
            query: Query::new(query_text),
            reranker,
            texts,
            depth: DEPTH,
            top_k: TOP_K,
            adapter: None,
            deadline: None,
            passages: PassageOptions::default(),
            passages_max: PASSAGES_MAX,
            reranks: true,
        }
    }

    /// Sets the number of documents to rerank.
    #[must_use]
    pub fn depth(self, depth: NonZeroUsize) -> Self {
        Self { depth, ..self }
    }

    /// Sets the number of hits to return. Hits beyond the depth keep the first-stage order.
    #[must_use]
    pub fn top_k(self, top_k: NonZeroUsize) -> Self {
        Self { top_k, ..self }
    }

    /// Sets the adapter; `None` is the bare base model. The search fails if the reranker does not know the adapter.
    #[must_use]
    pub fn adapter(self, adapter: impl Into<Option<AdapterId>>) -> Self {
        Self { adapter: adapter.into(), ..self }
    }

    /// Sets the point in time after which the answer comes in first-stage order.
    ///
    /// The deadline is checked before the texts are read and between batches, which are therefore small (1,024 tokens),
    /// so an answer may be late by one batch. A pipeline's queue is exact: see the [module's page](super).
    #[must_use]
    pub fn deadline(self, deadline: impl Into<Option<Deadline>>) -> Self {
        Self { deadline: deadline.into(), ..self }
    }

    /// Sets how documents that are longer than the model's limit are scored. What is not set is that of the model's author,
    /// and else the model truncates them. The search fails if the settings contradict each other.
    #[must_use]
    pub fn passages(self, passages: PassageOptions) -> Self {
        Self { passages, ..self }
    }

    /// Sets the maximum number of passages of a document, 16 by default. [`Passage::is_complete`] is false where the end of
    /// a document was not scored.
    #[must_use]
    pub fn passages_max(self, passages_max: NonZeroUsize) -> Self {
        Self { passages_max, ..self }
    }

    /// Sets whether to rerank. If false, the collector is equivalent to `TopDocs`: no text is read and no model is
    /// resolved.
    #[must_use]
    pub fn rerank(self, reranks: bool) -> Self {
        Self { reranks, ..self }
    }

    fn top(&self) -> TopByScore {
        let n = if self.reranks { self.top_k.max(self.depth) } else { self.top_k };
        TopByScore { n: n.get(), keeps_segments: self.reranks }
    }

    fn model(&self) -> tantivy::Result<ModelVersion> {
        self.reranker.resolve(self.adapter.as_ref()).map_err(|error| self.unusable(&error))
    }

    fn unusable(&self, error: &BoxError) -> TantivyError {
        let adapter = self.adapter.as_ref().map_or("the bare base model".into(), |id| format!("the adapter `{id}`"));
        TantivyError::InvalidArgument(format!("{adapter} cannot be used: {}", with_causes(&**error)))
    }

    /// The scores of the best `n` documents.
    fn scores(&self, model: &ModelVersion, best: &Best, n: usize) -> tantivy::Result<Result<Scores, FallbackReason>> {
        if self.is_late() {
            return Ok(Err(FallbackReason::DeadlinePassed));
        }
        match candidates(best, n, &self.texts) {
            Ok(candidates) => self.score(model, &candidates),
            Err(TextsError::Index(error)) => Err(error),
            Err(TextsError::Function(error)) => Ok(Err(FallbackReason::NoTexts { message: with_causes(&*error) })),
        }
    }

    fn score(&self, model: &ModelVersion, candidates: &[Candidate]) -> tantivy::Result<Result<Scores, FallbackReason>> {
        let group = Group { query: &self.query, model, candidates };
        let (passages, n_max) = (self.passages, self.passages_max);
        let cut = || PassageGroup::new(&*self.reranker, group, passages, n_max, self.deadline);
        let cut = match self.answered(cut)? {
            Ok(cut) => cut,
            Err(reason) => return Ok(Err(reason)),
        };
        let group = Group { candidates: cut.texts(), ..group };
        let encoded = match self.answered(|| self.reranker.encode(group, self.deadline))? {
            Ok(encoded) => encoded,
            Err(reason) => return Ok(Err(reason)),
        };
        if encoded.len() != group.candidates.len() {
            let (found, expected) = (encoded.len(), group.candidates.len());
            return Ok(Err(failed(format!("the reranker encoded {found} pairs instead of {expected}"))));
        }
        Ok(self.score_encoded(&encoded).map(|scores| cut.merge(&scores)))
    }

    /// What the reranker answers before it scores: a value, a fallback, or an error of the search.
    fn answered<T>(&self, call: impl FnOnce() -> Result<T, BoxError>) -> tantivy::Result<Result<T, FallbackReason>> {
        let error = match guarded(call) {
            Err(reason) => return Ok(Err(reason)),
            Ok(Ok(value)) => return Ok(Ok(value)),
            Ok(Err(error)) => error,
        };
        if error.is::<DeadlineExceeded>() {
            return Ok(Err(FallbackReason::DeadlinePassed));
        }
        if let Some(invalid) = error.downcast_ref::<InvalidPassages>() {
            return Err(TantivyError::InvalidArgument(invalid.to_string()));
        }
        match error.downcast::<AdapterUnusable>() {
            Ok(unusable) => Err(self.unusable(&unusable.source)),
            Err(error) => Ok(Err(failed(with_causes(&*error)))),
        }
    }

    fn score_encoded(&self, pairs: &[EncodedPair]) -> Result<Vec<Score>, FallbackReason> {
        let mut scores = Vec::with_capacity(pairs.len());
        while scores.len() < pairs.len() {
            if self.is_late() {
                return Err(FallbackReason::DeadlinePassed);
            }
            scores.extend(score_batch(&*self.reranker, self.batch(&pairs[scores.len()..]))?);
        }
        Ok(scores)
    }

    /// The pairs to score before the next check of the deadline: all of them without a deadline.
    fn batch<'a>(&self, waiting: &'a [EncodedPair]) -> &'a [EncodedPair] {
        if self.deadline.is_none() {
            return waiting;
        }
        let mut n_tokens = 0_usize;
        let fits = |pair: &&EncodedPair| {
            n_tokens = n_tokens.saturating_add(pair.n_tokens().get());
            n_tokens <= TOKENS_BETWEEN_LOOKS
        };
        let n_fitting = waiting.iter().take_while(fits).count();
        &waiting[..n_fitting.max(1)]
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline.has_passed())
    }
}

impl Collector for RerankCollector {
    type Fruit = Answer;
    type Child = SegmentTop;

    fn check_schema(&self, schema: &Schema) -> tantivy::Result<()> {
        self.texts.check(schema)
    }

    fn for_segment(&self, ordinal: SegmentOrdinal, segment: &SegmentReader) -> tantivy::Result<SegmentTop> {
        self.top().for_segment(ordinal, segment)
    }

    fn requires_scoring(&self) -> bool {
        true
    }

    /// # Errors
    /// The index cannot be read, a first-stage score is not finite, or the reranker does not know the adapter. A late
    /// or failing reranker is not an error: the answer has the reason.
    fn merge_fruits(&self, segments: Vec<SegmentBest>) -> tantivy::Result<Answer> {
        let best = self.top().merge_fruits(segments)?;
        if !self.reranks {
            let hits = self.hits(&best, &[]);
            return Ok(Answer { hits, outcome: Outcome::NotAsked, model: None, n_candidates: 0 });
        }
        let n_candidates = best.documents.len().min(self.depth.get());
        let model = self.model()?;
        let (scores, outcome) = match self.scores(&model, &best, n_candidates)? {
            Ok(scores) => (scores, Outcome::Reranked),
            Err(reason) => (Vec::new(), Outcome::FellBack { reason }),
        };
        if let Outcome::FellBack { reason } = &outcome {
            tracing::warn!(reason = reason.reason(), "fell back to first-stage order: {reason}");
        }
        Ok(Answer { hits: self.hits(&best, &scores), outcome, model: Some(model), n_candidates })
    }

    fn collect_segment(
        &self,
        weight: &dyn Weight,
        ordinal: SegmentOrdinal,
        segment: &SegmentReader,
    ) -> tantivy::Result<SegmentBest> {
        self.top().collect_segment(weight, ordinal, segment)
    }
}

impl RerankCollector {
    /// The first `scores.len()` documents by score, ties by first-stage rank; the others follow in first-stage order.
    fn hits(&self, best: &Best, scored: &[(Score, Option<Passage>)]) -> Vec<DocHit> {
        let scores: Vec<Score> = scored.iter().map(|(score, _)| *score).collect();
        let order = reranked_order(best.documents.len(), &scores);
        let hit = |(above, at): (usize, usize)| {
            let (first_stage_score, address) = best.documents[at];
            let (rerank_score, passage) = scored.get(at).cloned().unzip();
            let passage = passage.flatten();
            DocHit { rank: above + 1, address, rerank_score, passage, first_stage_score, first_stage_rank: at + 1 }
        };
        order.into_iter().enumerate().take(self.top_k.get()).map(hit).collect()
    }
}

/// The scores of a batch, checked for completeness.
fn score_batch(reranker: &dyn Reranker, batch: &[EncodedPair]) -> Result<Vec<Score>, FallbackReason> {
    let pairs: Vec<&EncodedPair> = batch.iter().collect();
    let outcomes = guarded(|| reranker.score(&pairs))?;
    let (found, expected) = (outcomes.len(), pairs.len());
    if found != expected {
        return Err(failed(format!("the reranker returned {found} scores for {expected} pairs")));
    }
    outcomes.into_iter().map(|outcome| outcome.map_err(|error| failed(with_causes(&*error)))).collect()
}

/// Runs the reranker's code, and catches panics.
fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, FallbackReason> {
    // The reranker is shared by `&`, so it guards its own state against panics.
    catch_unwind(AssertUnwindSafe(call))
        .map_err(|panic| failed(format!("the reranker panicked: {}", panic_message(&*panic))))
}

fn failed(message: String) -> FallbackReason {
    FallbackReason::RerankerFailed { message }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

impl Outcome {
    /// Whether the hits are in reranked order.
    pub fn is_reranked(&self) -> bool {
        *self == Self::Reranked
    }
}

impl FallbackReason {
    /// The reason as one word, for machines. The words are stable.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::DeadlinePassed => "deadline_passed",
            Self::RerankerFailed { .. } => "reranker_failed",
            Self::NoTexts { .. } => "no_texts",
        }
    }
}

/// A description of the reason.
impl fmt::Display for FallbackReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeadlinePassed => f.write_str("the deadline passed before every candidate had a score"),
            Self::RerankerFailed { message } => f.write_str(message),
            Self::NoTexts { message } => write!(f, "the texts are not available: {message}"),
        }
    }
}

impl fmt::Debug for RerankCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RerankCollector")
            .field("query", &self.query.text)
            .field("texts", &self.texts)
            .field("depth", &self.depth)
            .field("top_k", &self.top_k)
            .field("adapter", &self.adapter)
            .field("deadline", &self.deadline)
            .field("passages", &self.passages)
            .field("reranks", &self.reranks)
            .finish_non_exhaustive()
    }
}
