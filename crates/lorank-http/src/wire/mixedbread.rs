//! mixedbread's rerank API: `/v1/reranking` with `input`.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use utoipa::ToSchema;

use super::flag::Flag;
use super::imitated::{Given, Shape, check_given};
use super::rerank_document::{check_documents, check_rank_fields};
use super::{RerankDocument, Usage};
use crate::ServerError;

/// A rerank request in mixedbread's format. Unknown keys are rejected.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MixedbreadRerank {
    /// An adapter or alias, or `experiment:NAME` for an arm of an experiment. Default: the default adapter.
    pub model: Option<String>,
    /// The query text.
    pub query: String,
    /// The documents.
    pub input: Vec<RerankDocument>,
    /// The fields of object documents to score, in this order. Default: `text`, or all fields if there is no `text`.
    pub rank_fields: Option<Vec<String>>,
    /// The number of results to return. Default: all.
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub top_k: Option<NonZeroUsize>,
    /// Whether to return the documents.
    #[schema(value_type = Option<bool>)]
    pub return_input: Option<Flag>,
    /// Only `false`: the query is not rewritten.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub rewrite_query: Given,
}

/// The answer to a [`MixedbreadRerank`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct MixedbreadReranked {
    /// The number of tokens.
    pub usage: Usage,
    /// The adapter that scored; without one, the name of the base model.
    pub model: String,
    /// The results in rank order.
    pub data: Vec<MixedbreadEntry>,
    /// Always `list`.
    pub object: &'static str,
    /// The number of results.
    pub top_k: usize,
    /// Whether documents are returned.
    pub return_input: bool,
}

/// A result.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct MixedbreadEntry {
    /// The index of the document in the request, from 0.
    pub index: usize,
    /// The sigmoid of the model's logit.
    pub score: f32,
    /// The document as it was sent, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub input: Option<Json>,
    /// Always `rank_result`.
    pub object: &'static str,
}

impl MixedbreadRerank {
    /// Rejects unsupported values, and documents without a text.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        check_given(Shape::Mixedbread, [("rewrite_query", &self.rewrite_query)])?;
        check_documents("input", &self.input)?;
        self.rank_fields.as_deref().map_or(Ok(()), |names| check_rank_fields(names, &self.input))
    }
}
