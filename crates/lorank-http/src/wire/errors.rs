//! Errors, in this service's own shape and in those of others.

use serde::Serialize;
use utoipa::ToSchema;

use super::{MixedbreadRerank, MixedbreadReranked, Rerank, Reranked, TeiRank, TeiRerank, VoyageRerank, VoyageReranked};
use crate::{ServerError, excerpt, wire_word};

/// What a request gets instead of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorAnswer<'a> {
    /// What is wrong.
    pub error: ErrorJson<'a>,
    /// The id of the request, for the log.
    pub request_id: &'a str,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ErrorJson<'a> {
    /// One word for machines. It never changes.
    #[schema(example = "invalid_value")]
    pub kind: &'static str,
    /// What is wrong, and what to do, for people.
    pub message: &'a str,
    /// The field of the request that it is about, as a path: `filters.year.gte`. The key is there only if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'a str>,
}

/// What is wrong, as text-embeddings-inference says it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct TeiError<'a> {
    /// What is wrong, for people.
    pub error: &'a str,
    /// One word for machines.
    #[schema(example = "Validation")]
    pub error_type: &'static str,
}

/// What is wrong, under the keys of Cohere (`message`), Jina and NVIDIA NIM (`detail`), DashScope (`code` and `message`) and
/// Together (`error.message`), and beside it in this service's own words.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct CohereError<'a> {
    /// What is wrong, for people.
    pub message: &'a str,
    /// The same.
    pub detail: &'a str,
    /// One word for machines.
    #[schema(example = "invalid_value")]
    pub code: &'static str,
    /// The same in this service's own words.
    pub error: ErrorJson<'a>,
}

/// What is wrong, under the keys of Voyage (`detail`), and of Cohere where a path serves both. Voyage's client fails on an `error`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct VoyageError<'a> {
    /// What is wrong, for people.
    pub detail: &'a str,
    /// The same.
    pub message: &'a str,
    /// One word for machines.
    #[schema(example = "invalid_value")]
    pub code: &'static str,
}

/// What is wrong, as Infinity says it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct InfinityError<'a> {
    /// What is wrong, as the entries of a list.
    pub detail: Vec<InfinityProblem<'a>>,
    /// The same in this service's own words.
    pub error: ErrorJson<'a>,
}

/// A problem of an [`InfinityError`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct InfinityProblem<'a> {
    /// Where it is.
    pub loc: Vec<&'a str>,
    /// What is wrong, for people.
    pub msg: &'a str,
    /// One word for machines.
    #[serde(rename = "type")]
    #[schema(example = "invalid_value")]
    pub kind: &'static str,
}

/// What `/v1/rerank` takes.
#[derive(serde::Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it stands in the description of the API alone")]
pub(crate) enum VersionedRerank {
    /// Without `top_k`.
    Cohere(Box<Rerank>),
    /// With `top_k`.
    Voyage(VoyageRerank),
}

/// What `/v1/rerank` answers.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it stands in the description of the API alone")]
pub(crate) enum VersionedReranked {
    /// Without `top_k`.
    Cohere(Reranked),
    /// With `top_k`.
    Voyage(VoyageReranked),
}

/// What `/v1/reranking` takes.
#[derive(serde::Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it stands in the description of the API alone")]
pub(crate) enum RerankingBody {
    /// With `input`.
    Mixedbread(MixedbreadRerank),
    /// With `documents`.
    Documents(Box<Rerank>),
}

/// What `/v1/reranking` answers.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it stands in the description of the API alone")]
pub(crate) enum RerankingAnswer {
    /// To `input`.
    Mixedbread(MixedbreadReranked),
    /// To `documents`.
    Documents(Reranked),
}

/// What `/rerank` takes.
#[derive(serde::Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it stands in the description of the API alone")]
pub(crate) enum UnversionedRerank {
    /// With `texts`.
    Tei(TeiRerank),
    /// With `documents`.
    Cohere(Box<Rerank>),
}

/// What `/rerank` answers.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it stands in the description of the API alone")]
pub(crate) enum UnversionedReranked {
    /// To `texts`.
    Tei(Vec<TeiRank>),
    /// To `documents`.
    Cohere(Reranked),
}

/// How `/rerank` says what is wrong.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it stands in the description of the API alone")]
pub(crate) enum UnversionedError<'a> {
    /// About `texts`, or what cannot be read at all.
    Tei(TeiError<'a>),
    /// About `documents`.
    Cohere(CohereError<'a>),
}

/// How `/v1/rerank` says what is wrong.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it stands in the description of the API alone")]
pub(crate) enum VersionedError<'a> {
    /// Without `top_k`.
    Cohere(CohereError<'a>),
    /// With `top_k`, or about what cannot be read at all.
    Voyage(VoyageError<'a>),
}

impl<'a> VoyageError<'a> {
    /// An error with its message, which takes some making.
    pub(crate) fn new(error: &ServerError, message: &'a str) -> Self {
        Self { detail: message, message, code: wire_word(error.kind()) }
    }
}

impl<'a> CohereError<'a> {
    /// An error with its message, which takes some making.
    pub(crate) fn new(error: &'a ServerError, message: &'a str) -> Self {
        let error = ErrorJson::new(error, message);
        Self { message, detail: message, code: error.kind, error }
    }
}

impl<'a> ErrorJson<'a> {
    /// An error with its message, which takes some making.
    pub(crate) fn new(error: &'a ServerError, message: &'a str) -> Self {
        Self { kind: wire_word(error.kind()), message, field: error.field().map(excerpt::field) }
    }
}
