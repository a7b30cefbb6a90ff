//! The two traits that engines implement.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::causes::BoxError;
use crate::group::Group;
use crate::{
    AdapterId, Candidate, Deadline, EncodedPair, ErrorKind, ModelVersion, PassageOptions, Query, Retrieval, Retrieved,
    Score, Snippet, TotalHits, WindowCut, Windows,
};

/// The query is invalid for the first stage or the reranker. They return this error, boxed, if the caller and not the
/// engine is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidQuery {
    /// The invalid part of the [`Retrieval`]: `query` (the query's text), `filters`, `sort`, `facets` or `rank_by`; or
    /// the query's `instruction`.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: String,
}

/// A first stage cannot answer, for a reason that its caller should learn: a service behind it is not reachable, is
/// overloaded or took too long. A first stage returns this error, boxed; every other error is an internal one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FirstStageFailure {
    /// The kind: [`Unavailable`](ErrorKind::Unavailable), [`Overloaded`](ErrorKind::Overloaded) or
    /// [`DeadlineExceeded`](ErrorKind::DeadlineExceeded).
    pub kind: ErrorKind,
    /// The reason. It is part of answers, so it names no hosts and no secrets.
    pub message: String,
    /// The time after which a retry may succeed, if known.
    pub retry_after: Option<Duration>,
}

/// A known adapter cannot be loaded or does not fit its base model. [`Reranker::encode`] returns this error, boxed, if
/// no other pair could be scored with the adapter either.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct AdapterUnusable {
    /// The reranker's error.
    pub source: BoxError,
}

/// The deadline passed before an operation was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline passed")]
pub struct DeadlineExceeded;

/// Fast retrieval over the whole collection.
pub trait FirstStage: Send + Sync {
    /// At most `depth` candidates, best first. A smaller depth returns a prefix of the result of a larger one.
    ///
    /// # Errors
    /// [`InvalidQuery`] for an invalid query; [`FirstStageFailure`] if a service behind it fails; otherwise any failure
    /// of the engine. There is no fallback for the first stage.
    fn retrieve(&self, query: &Query, depth: NonZeroUsize) -> Result<Vec<Candidate>, BoxError>;

    /// The candidates in the requested order, the number of matching documents, and the facets.
    ///
    /// The default calls [`retrieve`](Self::retrieve). It rejects sort keys and facets, assumes that all numeric fields
    /// exist, and knows the number of matching documents only if it is below the depth.
    ///
    /// # Errors
    /// As [`retrieve`](Self::retrieve), and [`InvalidQuery`] for a field that cannot be sorted or counted.
    fn search(&self, retrieval: &Retrieval<'_>) -> Result<Retrieved, BoxError> {
        let refused =
            |field, what| InvalidQuery { field, message: format!("this first stage cannot {what} by fields") };
        if !retrieval.sort.is_empty() {
            return Err(refused("sort", "sort").into());
        }
        if !retrieval.facets.is_empty() {
            return Err(refused("facets", "count").into());
        }
        let candidates = self.retrieve(retrieval.query, retrieval.depth)?;
        let total_hits = TotalHits::of_found(candidates.len(), retrieval.depth);
        Ok(Retrieved { candidates, total_hits, ..Retrieved::default() })
    }

    /// A passage of each candidate with the query's terms marked, in the candidates' order. Called for the returned
    /// hits only, not for all candidates. Engines without snippets keep the default.
    ///
    /// # Errors
    /// Any failure of the engine.
    fn snippets(&self, _query: &Query, candidates: &[&Candidate]) -> Result<Vec<Option<Snippet>>, BoxError> {
        Ok(vec![None; candidates.len()])
    }
}

/// A model that reads query and document together, in two steps: the caller's thread encodes the texts, and the model's
/// thread scores the encoded pairs.
///
/// A queue stands between the two steps. Everything that can make a request fail or wait therefore belongs to the first
/// step, and only the model's computation to the second.
pub trait Reranker: Send + Sync {
    /// The exact model for `adapter`; `None` is the bare base model. Cheap: reads no weights.
    ///
    /// # Errors
    /// The adapter is unknown.
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError>;

    /// The version of a model for queries with an [instruction](Query::instruction), which scores depend on. Cheap, as
    /// [`resolve`](Self::resolve).
    ///
    /// # Errors
    /// [`InvalidQuery`] if the model takes no instructions, which is the default.
    fn instructed(&self, _model: ModelVersion, _instruction: &str) -> Result<ModelVersion, BoxError> {
        let message = "the model takes no instructions".to_owned();
        Err(InvalidQuery { field: "instruction", message }.into())
    }

    /// Encodes the query with each candidate, in the candidates' order, on the caller's thread. Loads the model's
    /// adapter if it is not in memory, and waits for it until `deadline`.
    ///
    /// The default keeps the texts ([`TextPair`](crate::TextPair)) and estimates four bytes per token, which is
    /// accurate for English prose. [`EncodedPair::texts`] returns the texts.
    ///
    /// # Errors
    /// [`AdapterUnusable`] for an adapter that cannot be loaded, [`DeadlineExceeded`] if loading took too
    /// long, or any reason why one of the pairs cannot be scored.
    fn encode(&self, group: Group<'_>, _deadline: Option<Deadline>) -> Result<Vec<EncodedPair>, BoxError> {
        Ok(EncodedPair::from_texts(group))
    }

    /// How long documents are scored where neither the request nor the configuration says so: the settings of the
    /// model's author. Cheap, as [`resolve`](Self::resolve). The default has none.
    ///
    /// # Errors
    /// The model's settings cannot be read.
    fn passages(&self, _model: &ModelVersion) -> Result<PassageOptions, BoxError> {
        Ok(PassageOptions::default())
    }

    /// Cuts each candidate's text into windows, in the candidates' order, on the caller's thread. A window is then
    /// scored as a candidate with the same title, so it must fit into a pair beside the query and the title. May load
    /// the model's adapter, as [`encode`](Self::encode).
    ///
    /// The default counts a token for each four bytes of a word, and has no limit of its own.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    fn windows(
        &self,
        group: Group<'_>,
        cut: &WindowCut,
        _deadline: Option<Deadline>,
    ) -> Result<Vec<Windows>, BoxError> {
        Ok(group.candidates.iter().map(|candidate| Windows::by_bytes(&candidate.text, cut)).collect())
    }

    /// The share of the tokens of the query and the candidates that are unknown to the group's model, from 0 to 1. A
    /// large share means that the model cannot read their language. The default is 0.
    fn unknown_share(&self, _group: Group<'_>) -> f32 {
        0.0
    }

    /// The score of each pair, in the pairs' order. A batch may mix queries and models.
    ///
    /// A score depends on its query, document and model only, not on the rest of the batch. A pair that fails does not
    /// affect the others.
    fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>>;
}

impl<T: FirstStage + ?Sized> FirstStage for std::sync::Arc<T> {
    fn retrieve(&self, query: &Query, depth: NonZeroUsize) -> Result<Vec<Candidate>, BoxError> {
        (**self).retrieve(query, depth)
    }

    fn search(&self, retrieval: &Retrieval<'_>) -> Result<Retrieved, BoxError> {
        (**self).search(retrieval)
    }

    fn snippets(&self, query: &Query, candidates: &[&Candidate]) -> Result<Vec<Option<Snippet>>, BoxError> {
        (**self).snippets(query, candidates)
    }
}

impl<T: Reranker + ?Sized> Reranker for std::sync::Arc<T> {
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        (**self).resolve(adapter)
    }

    fn instructed(&self, model: ModelVersion, instruction: &str) -> Result<ModelVersion, BoxError> {
        (**self).instructed(model, instruction)
    }

    fn encode(&self, group: Group<'_>, deadline: Option<Deadline>) -> Result<Vec<EncodedPair>, BoxError> {
        (**self).encode(group, deadline)
    }

    fn passages(&self, model: &ModelVersion) -> Result<PassageOptions, BoxError> {
        (**self).passages(model)
    }

    fn windows(&self, group: Group<'_>, cut: &WindowCut, deadline: Option<Deadline>) -> Result<Vec<Windows>, BoxError> {
        (**self).windows(group, cut, deadline)
    }

    fn unknown_share(&self, group: Group<'_>) -> f32 {
        (**self).unknown_share(group)
    }

    fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
        (**self).score(batch)
    }
}

/// Encodes groups and scores their pairs in one batch, on the calling thread, for programs that use the reranker alone.
/// Returns for each group one score per candidate, in their order, or the first error.
pub fn score_groups(reranker: &(impl Reranker + ?Sized), groups: &[Group<'_>]) -> Vec<Result<Vec<Score>, BoxError>> {
    let encoded: Vec<Result<Vec<EncodedPair>, BoxError>> =
        groups.iter().map(|group| reranker.encode(*group, None)).collect();
    let batch: Vec<&EncodedPair> = encoded.iter().flatten().flatten().collect();
    let mut outcomes = reranker.score(&batch).into_iter();
    let missing = || Err(BoxError::from("the reranker returned fewer scores than pairs"));
    let finish = |pairs: Result<Vec<EncodedPair>, BoxError>| {
        let outcomes: Vec<_> = pairs?.iter().map(|_| outcomes.next().unwrap_or_else(missing)).collect();
        outcomes.into_iter().collect()
    };
    encoded.into_iter().map(finish).collect()
}
