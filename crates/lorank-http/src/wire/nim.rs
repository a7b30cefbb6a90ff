//! NVIDIA NIM's ranking API: `/v1/ranking` with `passages`.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Usage;
use super::imitated::{Given, Shape, check_given};
use crate::ServerError;

/// A ranking request in NVIDIA NIM's format. Unknown keys are rejected.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NimRanking {
    /// An adapter or alias, or `experiment:NAME` for an arm of an experiment. Default: the default adapter.
    pub model: Option<String>,
    /// The query.
    pub query: NimText,
    /// The passages.
    pub passages: Vec<NimText>,
    /// The number of results to return. Default: all.
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub top_k: Option<NonZeroUsize>,
    /// A synonym of `top_k`.
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub top_n: Option<NonZeroUsize>,
    /// Only `END`: texts that are too long are truncated at the end.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub truncate: Given,
}

/// An object with a text.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NimText {
    /// The text.
    pub text: String,
}

/// The answer to a [`NimRanking`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct NimRankings {
    /// The results in rank order.
    pub rankings: Vec<NimEntry>,
    /// The number of tokens.
    pub usage: Usage,
}

/// A result.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct NimEntry {
    /// The index of the passage in the request, from 0.
    pub index: usize,
    /// The model's logit.
    pub logit: f32,
}

impl NimRanking {
    /// Rejects unsupported values.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        if self.top_k.is_some() && self.top_n.is_some() {
            let problem = "cannot be combined with `top_k`; send one of them".to_owned();
            return Err(ServerError::InvalidValue { field: "top_n".to_owned(), problem });
        }
        check_given(Shape::Nim, [("truncate", &self.truncate)])
    }
}
