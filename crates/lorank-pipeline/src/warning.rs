//! Warnings about the quality of an answer.

use std::fmt;

use lorank_core::{Candidate, Group, ModelVersion, Passage, Query, Reranker, RetrievalProblem};

/// The share of unknown tokens above which an answer has a warning.
const UNKNOWN_SHARE_MAX: f32 = 0.2;
/// The number of candidates whose tokens are checked: those most likely shown.
const CANDIDATES_SEEN_MAX: usize = 10;

/// A problem that may reduce the quality of an answer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Warning {
    /// The first stage's result may be incomplete.
    Retrieval(RetrievalProblem),
    /// More than a fifth of the tokens of the query and its first ten candidates are unknown to the model.
    UnknownTokens {
        /// The share of unknown tokens, from 0 to 1.
        share: f32,
    },
    /// Some documents were not scored to their ends: they have more passages than the limit, or a title that leaves no
    /// room for their text.
    PassagesLimited {
        /// The number of these documents.
        n_documents: usize,
    },
    /// A key of the request has no effect, because an experiment ranks the answer.
    KeyWithoutEffect {
        /// The key.
        key: &'static str,
        /// How the experiment ranks.
        ranking: ExperimentRanking,
    },
}

/// How an experiment ranks an answer, so that a key of the request has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExperimentRanking {
    /// The hits of several arms are interleaved, and the scores of one arm say nothing about another's.
    Interleaved,
    /// The request's arm is the first stage, which has no rerank scores.
    FirstStage,
    /// An arm that ranks sets the key itself.
    SetByArm,
}

impl Warning {
    /// The warnings of an answer that a model reranked.
    pub(crate) fn of_reranked(
        reranker: &impl Reranker,
        query: &Query,
        model: &ModelVersion,
        candidates: &[Candidate],
    ) -> Vec<Self> {
        let seen = &candidates[..candidates.len().min(CANDIDATES_SEEN_MAX)];
        let share = reranker.unknown_share(Group { query, model, candidates: seen });
        if share > UNKNOWN_SHARE_MAX { vec![Self::UnknownTokens { share }] } else { Vec::new() }
    }

    /// The warning about documents that were not scored to their ends.
    pub(crate) fn of_passages<'a>(passages: impl Iterator<Item = &'a Passage>) -> Option<Self> {
        let n_documents = passages.filter(|passage| !passage.is_complete).count();
        (n_documents > 0).then_some(Self::PassagesLimited { n_documents })
    }

    /// The kind of the warning as one word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Retrieval(problem) => problem.reason(),
            Self::UnknownTokens { .. } => "unknown_tokens",
            Self::PassagesLimited { .. } => "passages_limited",
            Self::KeyWithoutEffect { .. } => "key_without_effect",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retrieval(problem) => problem.fmt(f),
            Self::UnknownTokens { share } => write!(
                f,
                "{:.0} % of the tokens of the query and the first candidates are unknown to the model, which cannot \
                 read their language; use a multilingual base model, or disable reranking",
                share * 100.0
            ),
            Self::PassagesLimited { n_documents } => {
                let (documents, their) = if *n_documents == 1 { ("document", "its") } else { ("documents", "their") };
                write!(
                    f,
                    "{n_documents} {documents} had more passages than the limit (`passages_max`; `queue.pairs_max` for all \
                     candidates of a search), or a title that fills the model's limit, so the end of {their} text was \
                     not scored; use longer passages or a larger `stride`, or raise the limit"
                )
            }
            Self::KeyWithoutEffect { key, ranking } => {
                let why = match ranking {
                    ExperimentRanking::Interleaved => {
                        "the hits of several arms are interleaved, and their scores are not comparable"
                    }
                    ExperimentRanking::FirstStage => {
                        "the arm that ranks is the first stage, which has no rerank scores"
                    }
                    ExperimentRanking::SetByArm => "an arm that ranks sets it",
                };
                write!(f, "`{key}` has no effect in this answer of an experiment: {why}")
            }
        }
    }
}
