//! Voyage's rerank API: requests with `top_k`, answers with `data`.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Usage;
use super::flag::Flag;
use super::imitated::{Given, Shape, check_given};
use crate::ServerError;

/// A rerank request in Voyage's format. Unknown keys are rejected.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VoyageRerank {
    /// An adapter or alias, or `experiment:NAME` for an arm of an experiment. Default: the default adapter.
    pub model: Option<String>,
    /// The query text.
    pub query: String,
    /// The documents.
    pub documents: Vec<String>,
    /// The number of results to return; null for all.
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub top_k: Option<NonZeroUsize>,
    /// Whether to return the documents.
    #[schema(value_type = Option<bool>)]
    pub return_documents: Option<Flag>,
    /// Only `true`: texts that are too long are truncated.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub truncation: Given,
}

/// The answer to a [`VoyageRerank`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct VoyageReranked {
    /// Always `list`.
    pub object: &'static str,
    /// The results in rank order.
    pub data: Vec<VoyageEntry>,
    /// The adapter that scored; without one, the name of the base model.
    pub model: String,
    /// The number of tokens.
    pub usage: Usage,
}

/// A result.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct VoyageEntry {
    /// The index of the document in the request, from 0.
    pub index: usize,
    /// The sigmoid of the model's logit.
    pub relevance_score: f32,
    /// The document, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
}

impl VoyageRerank {
    /// Rejects unsupported values.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        check_given(Shape::Voyage, [("truncation", &self.truncation)])
    }
}
