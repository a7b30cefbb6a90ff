//! Reranking as Voyage has it: a `/v1/rerank` with `top_k`, and an answer with `data`.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Usage;
use super::flag::Flag;
use super::imitated::{Given, Shape, check_given};
use crate::ServerError;

/// `POST /v1/rerank` as Voyage has it. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VoyageRerank {
    /// The adapter or alias; the default one where it is missing. `experiment:NAME` for an arm of that experiment.
    pub model: Option<String>,
    /// What is searched for.
    pub query: String,
    /// The documents.
    pub documents: Vec<String>,
    /// How many entries are wanted, best first; null for all.
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub top_k: Option<NonZeroUsize>,
    /// Whether each entry carries its document.
    #[schema(value_type = Option<bool>)]
    pub return_documents: Option<Flag>,
    /// Whether what is too long is cut: `true` alone.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub truncation: Given,
}

/// The answer to a [`VoyageRerank`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct VoyageReranked {
    /// Always `list`.
    pub object: &'static str,
    /// The entries, best first.
    pub data: Vec<VoyageEntry>,
    /// The adapter that scored; the base model's name where there was none.
    pub model: String,
    /// What it cost.
    pub usage: Usage,
}

/// An entry of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct VoyageEntry {
    /// The document's place in the request.
    pub index: usize,
    /// The sigmoid of the model's logit.
    pub relevance_score: f32,
    /// The document, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
}

impl VoyageRerank {
    /// Refuses what is asked for and not done.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        check_given(Shape::Voyage, [("truncation", &self.truncation)])
    }
}
