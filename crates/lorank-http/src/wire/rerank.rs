//! Rerank requests in the shapes of other services: text-embeddings-inference; Cohere, with those that follow it (Jina, vLLM,
//! Together, Infinity, SiliconFlow, Xinference, DashScope's compatible mode); and vLLM's scores.
//!
//! Each has every key that its services have. What becomes of them says the table in [`imitated`](super::imitated); a key that
//! is none of theirs is refused.

use serde::Deserialize;
use serde::de::IgnoredAny;
use utoipa::ToSchema;

use super::RerankDocument;
use super::flag::Flag;
use super::imitated::{Given, Shape, check_given};
use super::rerank_document::{check_documents, check_rank_fields};
use crate::ServerError;

/// `POST /rerank` as text-embeddings-inference has it. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TeiRerank {
    /// What is searched for.
    pub query: String,
    /// The passages.
    pub texts: Vec<String>,
    /// Whether scores are the model's logits; otherwise they are their sigmoid.
    pub raw_scores: Option<bool>,
    /// Whether each entry carries its passage.
    pub return_text: Option<bool>,
    /// Whether what is too long is cut: `true` alone.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub truncate: Given,
    /// The end at which it is cut: `Right` alone.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub truncation_direction: Given,
    /// The adapter or alias; `experiment:NAME` for an arm of that experiment. An addition of lorank's.
    pub model: Option<String>,
    /// How many entries are wanted, best first; all by default. An addition of lorank's, which some clients send.
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub top_n: Option<std::num::NonZeroUsize>,
}

/// `POST /v1/rerank` and `/v2/rerank` as Cohere and those that follow it have them. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rerank {
    /// The adapter or alias; the default one where it is missing. `experiment:NAME` for an arm of that experiment.
    pub model: Option<String>,
    /// What is searched for.
    pub query: String,
    /// The documents.
    pub documents: Vec<RerankDocument>,
    /// How many entries are wanted, best first; all by default.
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub top_n: Option<std::num::NonZeroUsize>,
    /// The fields of object documents that are read, in this order; by default `text`, else all.
    pub rank_fields: Option<Vec<String>>,
    /// Whether each entry carries its document: `true` or `false`, or these words as texts.
    #[schema(value_type = Option<bool>)]
    pub return_documents: Option<Flag>,
    /// Whether the answer counts tokens; without effect, since it always does (Xinference's).
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub return_len: NoEffect,
    /// Into how many chunks a document that is longer than the model's limit is split at most; its score is that of the best
    /// chunk. By default it is cut (Cohere's, version 1, and SiliconFlow's).
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub max_chunks_per_doc: Option<std::num::NonZeroUsize>,
    /// About how many tokens each chunk shares with the one before it (SiliconFlow's).
    pub overlap_tokens: Option<usize>,
    /// About how many tokens of the query are read at most (vLLM's).
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub max_tokens_per_query: Option<std::num::NonZeroUsize>,
    /// About how many tokens of each document are read at most.
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub max_tokens_per_doc: Option<std::num::NonZeroUsize>,
    /// Whether scores are the model's logits; otherwise they are their sigmoid. An addition of lorank's.
    pub raw_scores: Option<bool>,
    /// False for the model's logits (vLLM's).
    pub use_activation: Option<bool>,
    /// The older name of `use_activation`.
    pub activation: Option<bool>,
    /// What the answer has as its `id`.
    pub request_id: Option<String>,
    /// Who asks; without effect (vLLM's).
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub user: NoEffect,
    /// How batches are padded; without effect on scores (vLLM's).
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub padding: NoEffect,
    /// The request's priority: 0 alone (Cohere's and vLLM's).
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    pub priority: Given,
    /// The most tokens of a pair: -1 alone, the model's own limit (vLLM's).
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    pub truncate_prompt_tokens: Given,
    /// The end at which it is cut: `right` alone (vLLM's).
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub truncation_side: Given,
    /// Whether what is too long is cut: `true` alone (Jina's).
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub truncation: Given,
    /// Refused: the document's part of the model's limit is not set by request (Jina's).
    #[serde(default)]
    #[schema(value_type = Option<usize>)]
    pub max_doc_length: Given,
    /// Refused: the query's part of the model's limit is not set by request (Jina's).
    #[serde(default)]
    #[schema(value_type = Option<usize>)]
    pub max_query_length: Given,
    /// Whether embeddings are returned: `false` alone (Jina's).
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub return_embeddings: Given,
    /// Settings for images and sound: none (vLLM's).
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub mm_processor_kwargs: Given,
    /// Settings for images and sound: none (vLLM's).
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub media_io_kwargs: Given,
    /// Refused: the adapter's own prompt is used (vLLM's).
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub chat_template: Given,
    /// Settings of a chat template: none (vLLM's).
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Given,
    /// Refused, unless it is empty: the adapter's own prompt is used (vLLM's and SiliconFlow's).
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub instruction: Given,
    /// Refused, unless it is empty: the adapter's own prompt is used (DashScope's).
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub instruct: Given,
    /// Refused: scores are cached for all callers (vLLM's).
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub cache_salt: Given,
    /// Whether special tokens are added: `true` alone (vLLM's).
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub add_special_tokens: Given,
    /// Refused: one score has no softmax (vLLM's, older).
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub softmax: Given,
}

/// `POST /score` and `/v1/score` as vLLM has them. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[schema(as = ScorePairs)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScoreBody {
    /// The adapter or alias; the default one where it is missing.
    pub model: Option<String>,
    /// One query, or as many as there are texts in `text_2`. `queries` and `data_1` are other names of it.
    #[serde(alias = "queries", alias = "data_1")]
    pub text_1: OneOrMany,
    /// One passage or more. `documents`, `items` and `data_2` are other names of it.
    #[serde(alias = "documents", alias = "items", alias = "data_2")]
    pub text_2: OneOrMany,
    /// False for the model's logits; otherwise scores are under the model's own activation.
    pub use_activation: Option<bool>,
    /// The older name of `use_activation`.
    pub activation: Option<bool>,
    /// Whether scores are the model's logits. An addition of lorank's.
    pub raw_scores: Option<bool>,
    /// What the answer has as its `id`.
    pub request_id: Option<String>,
    /// Who asks; without effect.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub user: NoEffect,
    /// How batches are padded; without effect on scores.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub padding: NoEffect,
    /// The request's priority: 0 alone.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    pub priority: Given,
    /// The most tokens of a pair: -1 alone, the model's own limit.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    pub truncate_prompt_tokens: Given,
    /// The end at which it is cut: `right` alone.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub truncation_side: Given,
    /// Settings for images and sound: none.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub mm_processor_kwargs: Given,
    /// Settings for images and sound: none.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub media_io_kwargs: Given,
    /// Refused: the adapter's own prompt is used.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub chat_template: Given,
    /// Settings of a chat template: none.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Given,
    /// Refused: the adapter's own prompt is used.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub instruction: Given,
    /// Refused: scores are cached for all callers.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub cache_salt: Given,
    /// Whether special tokens are added: `true` alone.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub add_special_tokens: Given,
    /// Refused: one score has no softmax.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub softmax: Given,
}

/// A value that is left aside, whatever it is.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(from = "IgnoredAny")]
pub(crate) struct NoEffect;

/// A text or a list of texts.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or an array of strings")]
pub(crate) enum OneOrMany {
    /// A text.
    One(String),
    /// Texts.
    Many(Vec<String>),
}

impl TeiRerank {
    /// Refuses what is asked for and not done.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        check_given(Shape::Tei, [("truncate", &self.truncate), ("truncation_direction", &self.truncation_direction)])
    }
}

impl Rerank {
    /// Refuses what is asked for and not done, and documents of which nothing is read.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        check_given(
            Shape::Documents,
            [
                ("instruct", &self.instruct),
                ("priority", &self.priority),
                ("truncate_prompt_tokens", &self.truncate_prompt_tokens),
                ("truncation_side", &self.truncation_side),
                ("truncation", &self.truncation),
                ("max_doc_length", &self.max_doc_length),
                ("max_query_length", &self.max_query_length),
                ("return_embeddings", &self.return_embeddings),
                ("mm_processor_kwargs", &self.mm_processor_kwargs),
                ("media_io_kwargs", &self.media_io_kwargs),
                ("chat_template", &self.chat_template),
                ("chat_template_kwargs", &self.chat_template_kwargs),
                ("instruction", &self.instruction),
                ("cache_salt", &self.cache_salt),
                ("add_special_tokens", &self.add_special_tokens),
                ("softmax", &self.softmax),
            ],
        )?;
        check_documents("documents", &self.documents)?;
        self.rank_fields.as_deref().map_or(Ok(()), |names| check_rank_fields(names, &self.documents))
    }
}

impl ScoreBody {
    /// Refuses what is asked for and not done.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        check_given(
            Shape::Score,
            [
                ("priority", &self.priority),
                ("truncate_prompt_tokens", &self.truncate_prompt_tokens),
                ("truncation_side", &self.truncation_side),
                ("mm_processor_kwargs", &self.mm_processor_kwargs),
                ("media_io_kwargs", &self.media_io_kwargs),
                ("chat_template", &self.chat_template),
                ("chat_template_kwargs", &self.chat_template_kwargs),
                ("instruction", &self.instruction),
                ("cache_salt", &self.cache_salt),
                ("add_special_tokens", &self.add_special_tokens),
                ("softmax", &self.softmax),
            ],
        )
    }
}

impl PartialEq for NoEffect {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl From<IgnoredAny> for NoEffect {
    fn from(_: IgnoredAny) -> Self {
        Self
    }
}
