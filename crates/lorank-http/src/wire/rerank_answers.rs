//! Answers in the formats of other services: text-embeddings-inference, Cohere (which Jina and vLLM follow), vLLM's scores and
//! OpenAI's models.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value as Json;
use utoipa::ToSchema;

use super::passages::PassageJson;

/// A result of a [`TeiRerank`](super::TeiRerank).
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct TeiRank {
    /// The index of the passage in the request, from 0.
    pub index: usize,
    /// The sigmoid of the model's logit, or the logit with `raw_scores`.
    pub score: f32,
    /// The passage, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// The answer to a [`Rerank`](super::Rerank). It has the keys of all services with this format, for their clients.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Reranked {
    /// The `request_id` of the body if there is one, else the request id.
    pub id: String,
    /// `rerank`; on Jina's route `list`.
    pub object: &'static str,
    /// The time of the answer, in seconds since 1970.
    pub created: i64,
    /// The adapter that scored; without one, the name of the base model; for interleaved arms, `experiment:NAME`.
    pub model: String,
    /// The results in rank order.
    pub results: Vec<RerankedDocument>,
    /// The number of tokens.
    pub usage: Usage,
    /// The number of tokens in Cohere's format, and `warnings` if the answer differs from the request.
    #[schema(value_type = Object)]
    pub meta: Json,
}

/// A result.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct RerankedDocument {
    /// The index of the document in the request, from 0.
    pub index: usize,
    /// The sigmoid of the model's logit, or the logit with `raw_scores`.
    pub relevance_score: f32,
    /// The document, if requested. A string is returned as `{"text": ...}`; on Infinity's route as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub document: Option<Json>,
    /// The window of the scored text that the score comes from, if the request has `passages`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passage: Option<PassageJson<'static>>,
}

/// The approximate number of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Usage {
    /// The tokens of queries and documents.
    pub prompt_tokens: usize,
    /// Always 0: no text is generated.
    pub completion_tokens: usize,
    /// The same as `prompt_tokens`.
    pub total_tokens: usize,
}

impl Usage {
    /// The usage of a request with this number of tokens.
    pub(crate) fn reading(n_tokens: usize) -> Self {
        Self { prompt_tokens: n_tokens, completion_tokens: 0, total_tokens: n_tokens }
    }
}

/// The answer to a [`ScoreBody`](super::ScoreBody).
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Scored {
    /// The `request_id` of the body if there is one, else the request id.
    pub id: String,
    /// Always `list`.
    pub object: &'static str,
    /// The time of the answer, in seconds since 1970.
    pub created: i64,
    /// The adapter that scored; without one, the name of the base model.
    pub model: String,
    /// The scores in the order of the pairs.
    pub data: Vec<ScoredPair>,
    /// The number of tokens.
    pub usage: Usage,
}

/// The score of one pair.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ScoredPair {
    /// The index of the pair, from 0.
    pub index: usize,
    /// Always `score`.
    pub object: &'static str,
    /// The logit after the model's own activation (the sigmoid, unless its configuration names another); the logit if
    /// `use_activation` is `false`.
    pub score: f32,
}

/// Model information in the format of text-embeddings-inference.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Info {
    /// The name of the base model.
    pub model_id: String,
    /// The hash of the base model's files.
    pub model_sha: String,
    /// The numeric type of the weights.
    pub model_dtype: &'static str,
    /// `{"reranker": ...}`.
    #[schema(value_type = Object)]
    pub model_type: BTreeMap<&'static str, Json>,
    /// The maximum number of concurrent searches.
    pub max_concurrent_requests: usize,
    /// The maximum number of tokens of a pair; null if unknown.
    pub max_input_length: Option<usize>,
    /// The maximum number of documents of a request.
    pub max_client_batch_size: usize,
    /// Always true: texts that are too long are truncated.
    pub auto_truncate: bool,
    /// The version of lorank.
    pub version: &'static str,
}

/// The models in OpenAI's format.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ModelList {
    /// Always `list`.
    pub object: &'static str,
    /// The names that `model` accepts.
    pub data: Vec<ListedModel>,
}

/// A base model, an adapter or an alias.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ListedModel {
    /// The name.
    pub id: String,
    /// Always `model`.
    pub object: &'static str,
    /// Always 0.
    pub created: i64,
    /// Always `lorank`.
    pub owned_by: &'static str,
}
