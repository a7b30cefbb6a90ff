//! Ranking as NVIDIA NIM has it: `/v1/ranking` with `passages`.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Usage;
use super::imitated::{Given, Shape, check_given};
use crate::ServerError;

/// `POST /v1/ranking` as NVIDIA NIM has it. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NimRanking {
    /// The adapter or alias; the default one where it is missing. `experiment:NAME` for an arm of that experiment.
    pub model: Option<String>,
    /// What is searched for.
    pub query: NimText,
    /// The passages.
    pub passages: Vec<NimText>,
    /// How many entries are wanted, best first; all by default.
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub top_k: Option<NonZeroUsize>,
    /// Another name of `top_k`.
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub top_n: Option<NonZeroUsize>,
    /// What becomes of what is too long: `END` alone, it is cut at its end.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub truncate: Given,
}

/// A text, in an object.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NimText {
    /// The text.
    pub text: String,
}

/// The answer to a [`NimRanking`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct NimRankings {
    /// The entries, best first.
    pub rankings: Vec<NimEntry>,
    /// What it cost.
    pub usage: Usage,
}

/// An entry of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct NimEntry {
    /// The passage's place in the request.
    pub index: usize,
    /// The model's logit.
    pub logit: f32,
}

impl NimRanking {
    /// Refuses what is asked for and not done.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        if self.top_k.is_some() && self.top_n.is_some() {
            let problem = "stands beside `top_k`; send one of them".to_owned();
            return Err(ServerError::InvalidValue { field: "top_n".to_owned(), problem });
        }
        check_given(Shape::Nim, [("truncate", &self.truncate)])
    }
}
