//! Rerank requests in the formats of other services: text-embeddings-inference; Cohere, which Jina, vLLM, Together, Infinity,
//! SiliconFlow, Xinference and DashScope's compatible mode follow; and vLLM's scores.
//!
//! Each type has all keys of its services; the table in [`imitated`](super::imitated) lists the support for each. Other keys are
//! rejected.

use serde::Deserialize;
use serde::de::IgnoredAny;
use utoipa::ToSchema;

use super::RerankDocument;
use super::flag::Flag;
use super::imitated::{Given, Shape, check_given};
use super::rerank_document::{check_documents, check_rank_fields};
use crate::ServerError;

/// A rerank request in the format of text-embeddings-inference. Unknown keys are rejected.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TeiRerank {
    /// The query text.
    pub query: String,
    /// The passages.
    pub texts: Vec<String>,
    /// Whether to return logits instead of their sigmoid.
    pub raw_scores: Option<bool>,
    /// Whether to return the passages.
    pub return_text: Option<bool>,
    /// Only `true`: texts that are too long are truncated.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub truncate: Given,
    /// Only `Right`: texts are truncated at the end.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub truncation_direction: Given,
    /// An adapter or alias, or `experiment:NAME` for an arm of an experiment. An extension of lorank.
    pub model: Option<String>,
    /// The number of results to return. Default: all. An extension of lorank, which some clients send.
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub top_n: Option<std::num::NonZeroUsize>,
    /// What the model shall judge, instead of its own instruction. Rejected if the model's prompt has no place for an instruction. An
    /// extension of lorank.
    pub instruction: Option<String>,
}

/// A rerank request in the format of Cohere and compatible services. Unknown keys are rejected.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rerank {
    /// An adapter or alias, or `experiment:NAME` for an arm of an experiment. Default: the default adapter.
    pub model: Option<String>,
    /// The query text.
    pub query: String,
    /// The documents.
    pub documents: Vec<RerankDocument>,
    /// The number of results to return. Default: all.
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub top_n: Option<std::num::NonZeroUsize>,
    /// The fields of object documents to score, in this order. Default: `text`, or all fields if there is no `text`.
    pub rank_fields: Option<Vec<String>>,
    /// Whether to return the documents: a boolean, or `"true"` or `"false"` as a string.
    #[schema(value_type = Option<bool>)]
    pub return_documents: Option<Flag>,
    /// Ignored: tokens are always counted (Xinference).
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub return_len: NoEffect,
    /// The maximum number of chunks that a document longer than the model's limit is split into; its score is the maximum over its
    /// chunks. Default: long documents are truncated (Cohere version 1, SiliconFlow).
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub max_chunks_per_doc: Option<std::num::NonZeroUsize>,
    /// The approximate number of tokens by which chunks overlap (SiliconFlow).
    pub overlap_tokens: Option<usize>,
    /// The approximate maximum number of tokens of the query (vLLM).
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub max_tokens_per_query: Option<std::num::NonZeroUsize>,
    /// The approximate maximum number of tokens of each document.
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub max_tokens_per_doc: Option<std::num::NonZeroUsize>,
    /// Whether to return logits instead of their sigmoid. An extension of lorank.
    pub raw_scores: Option<bool>,
    /// `false` to return logits (vLLM).
    pub use_activation: Option<bool>,
    /// The former name of `use_activation`.
    pub activation: Option<bool>,
    /// The `id` of the answer.
    pub request_id: Option<String>,
    /// Ignored: it has no effect on scores (vLLM).
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub user: NoEffect,
    /// Ignored: it has no effect on scores (vLLM).
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub padding: NoEffect,
    /// Only 0: requests have no priorities (Cohere, vLLM).
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    pub priority: Given,
    /// Only -1: pairs are truncated to the model's limit (vLLM).
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    pub truncate_prompt_tokens: Given,
    /// Only `right`: texts are truncated at the end (vLLM).
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub truncation_side: Given,
    /// Only `true`: texts that are too long are truncated (Jina).
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub truncation: Given,
    /// Not supported: requests cannot set the documents' share of the model's limit (Jina).
    #[serde(default)]
    #[schema(value_type = Option<usize>)]
    pub max_doc_length: Given,
    /// Not supported: requests cannot set the query's share of the model's limit (Jina).
    #[serde(default)]
    #[schema(value_type = Option<usize>)]
    pub max_query_length: Given,
    /// Only `false`: embeddings are not returned (Jina).
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub return_embeddings: Given,
    /// Only an empty object: images and audio are not supported (vLLM).
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub mm_processor_kwargs: Given,
    /// Only an empty object: images and audio are not supported (vLLM).
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub media_io_kwargs: Given,
    /// Not supported: the adapter's own prompt is used (vLLM).
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub chat_template: Given,
    /// Only an empty object: chat templates are not supported (vLLM).
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Given,
    /// What the model shall judge, instead of its own instruction. Rejected if the model's prompt has no place for an instruction
    /// (vLLM, SiliconFlow).
    pub instruction: Option<String>,
    /// The same as `instruction` (DashScope).
    pub instruct: Option<String>,
    /// How a document that is longer than the model's limit is scored, as in a search: `first`, `max`, or `mean-top-3` and so on. Each
    /// result then has its best `passage`. An extension of lorank.
    #[schema(pattern = "^(first|max|mean-top-[1-9][0-9]*)$")]
    pub passages: Option<String>,
    /// The length of a passage in tokens. An extension of lorank.
    #[schema(value_type = Option<usize>, minimum = 16)]
    pub passage_tokens: Option<std::num::NonZeroUsize>,
    /// The number of tokens from the start of a passage to the start of the next one. An extension of lorank.
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub stride: Option<std::num::NonZeroUsize>,
    /// Not supported: the score cache is shared by all clients (vLLM).
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub cache_salt: Given,
    /// Only `true`: special tokens are part of the model's prompt (vLLM).
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub add_special_tokens: Given,
    /// Not supported: a model returns one score, which has no softmax (former versions of vLLM).
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub softmax: Given,
}

/// A score request in vLLM's format. Unknown keys are rejected.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[schema(as = ScorePairs)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScoreBody {
    /// An adapter or alias. Default: the default adapter.
    pub model: Option<String>,
    /// One query, or one for each text in `text_2`. Synonyms: `queries`, `data_1`.
    #[serde(alias = "queries", alias = "data_1")]
    pub text_1: OneOrMany,
    /// One or more passages. Synonyms: `documents`, `items`, `data_2`.
    #[serde(alias = "documents", alias = "items", alias = "data_2")]
    pub text_2: OneOrMany,
    /// `false` to return logits. Default: scores after the model's own activation.
    pub use_activation: Option<bool>,
    /// The former name of `use_activation`.
    pub activation: Option<bool>,
    /// Whether to return logits. An extension of lorank.
    pub raw_scores: Option<bool>,
    /// The `id` of the answer.
    pub request_id: Option<String>,
    /// Ignored: it has no effect on scores.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub user: NoEffect,
    /// Ignored: it has no effect on scores.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub padding: NoEffect,
    /// Only 0: requests have no priorities.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    pub priority: Given,
    /// Only -1: pairs are truncated to the model's limit.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    pub truncate_prompt_tokens: Given,
    /// Only `right`: texts are truncated at the end.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub truncation_side: Given,
    /// Only an empty object: images and audio are not supported.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub mm_processor_kwargs: Given,
    /// Only an empty object: images and audio are not supported.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub media_io_kwargs: Given,
    /// Not supported: the adapter's own prompt is used.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub chat_template: Given,
    /// Only an empty object: chat templates are not supported.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Given,
    /// What the model shall judge, instead of its own instruction. Rejected if the model's prompt has no place for an instruction.
    pub instruction: Option<String>,
    /// Not supported: the score cache is shared by all clients.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub cache_salt: Given,
    /// Only `true`: special tokens are part of the model's prompt.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub add_special_tokens: Given,
    /// Not supported: a model returns one score, which has no softmax.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub softmax: Given,
}

/// A value that is ignored.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(from = "IgnoredAny")]
pub(crate) struct NoEffect;

/// A string or an array of strings.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or an array of strings")]
pub(crate) enum OneOrMany {
    /// A string.
    One(String),
    /// An array of strings.
    Many(Vec<String>),
}

impl TeiRerank {
    /// Rejects unsupported values.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        check_given(Shape::Tei, [("truncate", &self.truncate), ("truncation_direction", &self.truncation_direction)])
    }
}

impl Rerank {
    /// Rejects unsupported values, and documents without a text.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        check_given(
            Shape::Documents,
            [
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
    /// Rejects unsupported values.
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
