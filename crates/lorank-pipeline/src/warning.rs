//! Warnings about the quality of an answer.

use std::fmt;

use lorank_core::{Candidate, Query, Reranker, RetrievalProblem};

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
    /// A key of the request has no effect, because an experiment ranks the answer without comparable rerank scores.
    KeyWithoutEffect {
        /// The key.
        key: &'static str,
        /// How the experiment ranks.
        ranking: ExperimentRanking,
    },
}

/// How an experiment ranks an answer without comparable rerank scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExperimentRanking {
    /// The hits of several arms are interleaved, and the scores of one arm say nothing about another's.
    Interleaved,
    /// The request's arm is the first stage, which has no rerank scores.
    FirstStage,
}

impl Warning {
    /// The warnings of a reranked answer.
    pub(crate) fn of_reranked(reranker: &impl Reranker, query: &Query, candidates: &[Candidate]) -> Vec<Self> {
        let share = reranker.unknown_share(query, &candidates[..candidates.len().min(CANDIDATES_SEEN_MAX)]);
        if share > UNKNOWN_SHARE_MAX { vec![Self::UnknownTokens { share }] } else { Vec::new() }
    }

    /// The kind of the warning as one word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Retrieval(problem) => problem.reason(),
            Self::UnknownTokens { .. } => "unknown_tokens",
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
            Self::KeyWithoutEffect { key, ranking } => {
                let why = match ranking {
                    ExperimentRanking::Interleaved => {
                        "the hits of several arms are interleaved, and their scores are not comparable"
                    }
                    ExperimentRanking::FirstStage => {
                        "the arm that ranks is the first stage, which has no rerank scores"
                    }
                };
                write!(f, "`{key}` has no effect in this answer of an experiment: {why}")
            }
        }
    }
}
