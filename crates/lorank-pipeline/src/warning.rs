//! What may make an answer worse than it looks.

use std::fmt;

use lorank_core::{Candidate, Query, Reranker};

/// The share of unknown tokens above which an answer is warned about.
const UNKNOWN_SHARE_MAX: f32 = 0.2;
/// The candidates whose tokens are looked at: those that are most likely shown.
const CANDIDATES_SEEN_MAX: usize = 10;

/// What may make an answer worse than it looks.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Warning {
    /// More than a fifth of the tokens of the query and its first ten candidates are unknown to the model, which then cannot read them.
    UnknownTokens {
        /// Their share, from 0 to 1.
        share: f32,
    },
}

impl Warning {
    /// What is to be said of an answer that a model has ordered.
    pub(crate) fn of_reranked(reranker: &impl Reranker, query: &Query, candidates: &[Candidate]) -> Vec<Self> {
        let share = reranker.unknown_share(query, &candidates[..candidates.len().min(CANDIDATES_SEEN_MAX)]);
        if share > UNKNOWN_SHARE_MAX { vec![Self::UnknownTokens { share }] } else { Vec::new() }
    }

    /// What it warns of, as one word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::UnknownTokens { .. } => "unknown_tokens",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTokens { share } => write!(
                f,
                "the model does not know {:.0} % of the tokens of the query and the first candidates, and cannot read their \
                 language; use a multilingual base model, or search without reranking",
                share * 100.0
            ),
        }
    }
}
