//! Answers to requests in the shapes of other services: text-embeddings-inference, Cohere (which Jina and vLLM follow), vLLM's
//! scores and OpenAI's models.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value as Json;
use utoipa::ToSchema;

/// An entry of the answer to a [`TeiRerank`](super::TeiRerank), best first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct TeiRank {
    /// The passage's place in the request.
    pub index: usize,
    /// The sigmoid of the model's logit; with `raw_scores` the logit.
    pub score: f32,
    /// The passage, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// The answer to a [`Rerank`](super::Rerank). It has the keys of all services of its shape, so that each one's clients find theirs.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Reranked {
    /// The `request_id` of the request's body, else the id of the request.
    pub id: String,
    /// `rerank`; for Jina's route `list`.
    pub object: &'static str,
    /// When, in seconds since 1970.
    pub created: i64,
    /// The adapter that scored; the base model's name where there was none, and `experiment:NAME` where arms were mixed.
    pub model: String,
    /// The entries, best first.
    pub results: Vec<RerankedDocument>,
    /// What it cost.
    pub usage: Usage,
    /// What it cost, in Cohere's words, and `warnings` where the answer is not quite what was asked for.
    #[schema(value_type = Object)]
    pub meta: Json,
}

/// An entry of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct RerankedDocument {
    /// The document's place in the request.
    pub index: usize,
    /// The sigmoid of the model's logit; with `raw_scores` the logit.
    pub relevance_score: f32,
    /// The document, where it was asked for; a text as `{"text": ...}`, for Infinity's route as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub document: Option<Json>,
}

/// About how many tokens were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Usage {
    /// Of queries and documents.
    pub prompt_tokens: usize,
    /// Always 0: nothing is written.
    pub completion_tokens: usize,
    /// The same as `prompt_tokens`.
    pub total_tokens: usize,
}

impl Usage {
    /// The reading of so many tokens.
    pub(crate) fn reading(n_tokens: usize) -> Self {
        Self { prompt_tokens: n_tokens, completion_tokens: 0, total_tokens: n_tokens }
    }
}

/// The answer to a [`ScoreBody`](super::ScoreBody).
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Scored {
    /// The `request_id` of the request's body, else the id of the request.
    pub id: String,
    /// Always `list`.
    pub object: &'static str,
    /// When, in seconds since 1970.
    pub created: i64,
    /// The adapter that scored; the base model's name where there was none.
    pub model: String,
    /// A score for each pair, in their order.
    pub data: Vec<ScoredPair>,
    /// What it cost.
    pub usage: Usage,
}

/// The score of one pair.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ScoredPair {
    /// The pair's place.
    pub index: usize,
    /// Always `score`.
    pub object: &'static str,
    /// The model's logit under the model's own activation (the sigmoid, unless its configuration names another); without
    /// `use_activation` the logit.
    pub score: f32,
}

/// `GET /info` as text-embeddings-inference has it, as far as lorank has what it tells.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Info {
    /// The base model's name.
    pub model_id: String,
    /// The hash of its files.
    pub model_sha: String,
    /// The arithmetic.
    pub model_dtype: &'static str,
    /// `{"reranker": ...}`.
    #[schema(value_type = Object)]
    pub model_type: BTreeMap<&'static str, Json>,
    /// How many searches may be under way.
    pub max_concurrent_requests: usize,
    /// The most tokens of a pair; null where the service does not know.
    pub max_input_length: Option<usize>,
    /// The most documents of a request.
    pub max_client_batch_size: usize,
    /// Whether what is too long is cut: it is.
    pub auto_truncate: bool,
    /// The program's version.
    pub version: &'static str,
}

/// `GET /v1/models` as OpenAI has it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ModelList {
    /// Always `list`.
    pub object: &'static str,
    /// What `model` may say.
    pub data: Vec<ListedModel>,
}

/// A base model, an adapter or an alias.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ListedModel {
    /// Its name.
    pub id: String,
    /// Always `model`.
    pub object: &'static str,
    /// Always 0: a name has no age.
    pub created: i64,
    /// Always `lorank`.
    pub owned_by: &'static str,
}
