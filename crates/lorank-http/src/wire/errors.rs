//! Errors in this service's own format and in those of other services.

use serde::Serialize;
use utoipa::ToSchema;

use super::{MixedbreadRerank, MixedbreadReranked, Rerank, Reranked, TeiRank, TeiRerank, VoyageRerank, VoyageReranked};
use crate::{ServerError, excerpt, wire_word};

/// An error response.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorAnswer<'a> {
    /// The error.
    pub error: ErrorJson<'a>,
    /// The request id, which is also in the server's log.
    pub request_id: &'a str,
}

/// An error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ErrorJson<'a> {
    /// The kind as a constant for programs.
    #[schema(example = "invalid_value")]
    pub kind: &'static str,
    /// The error message.
    pub message: &'a str,
    /// The path of the invalid field in the request, such as `filters.year.gte`. Not present if no field is invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'a str>,
}

/// An error in the format of text-embeddings-inference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct TeiError<'a> {
    /// The error message.
    pub error: &'a str,
    /// The kind as a constant for programs.
    #[schema(example = "Validation")]
    pub error_type: &'static str,
}

/// An error with the keys of Cohere (`message`), Jina and NVIDIA NIM (`detail`), DashScope (`code` and `message`) and Together
/// (`error.message`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct CohereError<'a> {
    /// The error message.
    pub message: &'a str,
    /// The same as `message`.
    pub detail: &'a str,
    /// The kind as a constant for programs.
    #[schema(example = "invalid_value")]
    pub code: &'static str,
    /// The error in this service's own format.
    pub error: ErrorJson<'a>,
}

/// An error with the keys of Voyage (`detail`), and of Cohere on paths that serve both. Voyage's client fails if there is an `error`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VoyageError<'a> {
    /// The error message.
    pub detail: &'a str,
    /// The same as `detail`.
    pub message: &'a str,
    /// The kind as a constant for programs.
    #[schema(example = "invalid_value")]
    pub code: &'static str,
}

/// An error in Infinity's format.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct InfinityError<'a> {
    /// The problems.
    pub detail: Vec<InfinityProblem<'a>>,
    /// The error in this service's own format.
    pub error: ErrorJson<'a>,
}

/// A problem of an [`InfinityError`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct InfinityProblem<'a> {
    /// The path of the invalid field.
    pub loc: Vec<&'a str>,
    /// The error message.
    pub msg: &'a str,
    /// The kind as a constant for programs.
    #[serde(rename = "type")]
    #[schema(example = "invalid_value")]
    pub kind: &'static str,
}

/// The body of `/v1/rerank`.
#[derive(serde::Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only the OpenAPI document uses it")]
pub(crate) enum VersionedRerank {
    /// Without `top_k`.
    Cohere(Box<Rerank>),
    /// With `top_k`.
    Voyage(VoyageRerank),
}

/// The response of `/v1/rerank`.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only the OpenAPI document uses it")]
pub(crate) enum VersionedReranked {
    /// Without `top_k`.
    Cohere(Reranked),
    /// With `top_k`.
    Voyage(VoyageReranked),
}

/// The body of `/v1/reranking`.
#[derive(serde::Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only the OpenAPI document uses it")]
pub(crate) enum RerankingBody {
    /// With `input`.
    Mixedbread(MixedbreadRerank),
    /// With `documents`.
    Documents(Box<Rerank>),
}

/// The response of `/v1/reranking`.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only the OpenAPI document uses it")]
pub(crate) enum RerankingAnswer {
    /// For requests with `input`.
    Mixedbread(MixedbreadReranked),
    /// For requests with `documents`.
    Documents(Reranked),
}

/// The body of `/rerank`.
#[derive(serde::Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only the OpenAPI document uses it")]
pub(crate) enum UnversionedRerank {
    /// With `texts`.
    Tei(TeiRerank),
    /// With `documents`.
    Cohere(Box<Rerank>),
}

/// The response of `/rerank`.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only the OpenAPI document uses it")]
pub(crate) enum UnversionedReranked {
    /// For requests with `texts`.
    Tei(Vec<TeiRank>),
    /// For requests with `documents`.
    Cohere(Reranked),
}

/// An error of `/rerank`.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only the OpenAPI document uses it")]
pub(crate) enum UnversionedError<'a> {
    /// For requests with `texts`, and for malformed requests.
    Tei(TeiError<'a>),
    /// For requests with `documents`.
    Cohere(CohereError<'a>),
}

/// How `/v1/rerank` says what is wrong.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only the OpenAPI document uses it")]
pub(crate) enum VersionedError<'a> {
    /// Without `top_k`.
    Cohere(CohereError<'a>),
    /// With `top_k`, or about what cannot be read at all.
    Voyage(VoyageError<'a>),
}

impl<'a> VoyageError<'a> {
    /// An error with its formatted message.
    pub(crate) fn new(error: &ServerError, message: &'a str) -> Self {
        Self { detail: message, message, code: wire_word(error.kind()) }
    }
}

impl<'a> CohereError<'a> {
    /// An error with its formatted message.
    pub(crate) fn new(error: &'a ServerError, message: &'a str) -> Self {
        let error = ErrorJson::new(error, message);
        Self { message, detail: message, code: error.kind, error }
    }
}

impl<'a> ErrorJson<'a> {
    /// An error with its formatted message.
    pub(crate) fn new(error: &'a ServerError, message: &'a str) -> Self {
        Self { kind: wire_word(error.kind()), message, field: error.field().map(excerpt::field) }
    }
}
