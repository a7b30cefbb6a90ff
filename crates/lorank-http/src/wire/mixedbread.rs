//! Reranking as mixedbread has it: `/v1/reranking` with `input`.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use utoipa::ToSchema;

use super::flag::Flag;
use super::imitated::{Given, Shape, check_given};
use super::rerank_document::{check_documents, check_rank_fields};
use super::{RerankDocument, Usage};
use crate::ServerError;

/// `POST /v1/reranking` as mixedbread has it. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MixedbreadRerank {
    /// The adapter or alias; the default one where it is missing. `experiment:NAME` for an arm of that experiment.
    pub model: Option<String>,
    /// What is searched for.
    pub query: String,
    /// The documents.
    pub input: Vec<RerankDocument>,
    /// The fields of object documents that are read, in this order; by default `text`, else all.
    pub rank_fields: Option<Vec<String>>,
    /// How many entries are wanted, best first; all by default.
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub top_k: Option<NonZeroUsize>,
    /// Whether each entry carries its document.
    #[schema(value_type = Option<bool>)]
    pub return_input: Option<Flag>,
    /// Whether the query is rewritten: `false` alone.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub rewrite_query: Given,
}

/// The answer to a [`MixedbreadRerank`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct MixedbreadReranked {
    /// What it cost.
    pub usage: Usage,
    /// The adapter that scored; the base model's name where there was none.
    pub model: String,
    /// The entries, best first.
    pub data: Vec<MixedbreadEntry>,
    /// Always `list`.
    pub object: &'static str,
    /// How many entries there are.
    pub top_k: usize,
    /// Whether each entry carries its document.
    pub return_input: bool,
}

/// An entry of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct MixedbreadEntry {
    /// The document's place in the request.
    pub index: usize,
    /// The sigmoid of the model's logit.
    pub score: f32,
    /// The document as it was sent, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub input: Option<Json>,
    /// Always `rank_result`.
    pub object: &'static str,
}

impl MixedbreadRerank {
    /// Refuses what is asked for and not done, and documents of which nothing is read.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        check_given(Shape::Mixedbread, [("rewrite_query", &self.rewrite_query)])?;
        check_documents("input", &self.input)?;
        self.rank_fields.as_deref().map_or(Ok(()), |names| check_rank_fields(names, &self.input))
    }
}
