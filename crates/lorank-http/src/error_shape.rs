//! In whose shape a request is refused: the clients of other services read errors as their own service writes them.

use axum::Json as JsonBody;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use lorank_core::ErrorKind;
use serde::Serialize;

use crate::error_response::with_headers;
use crate::wire::{CohereError, ErrorJson, InfinityError, InfinityProblem, TeiError, VoyageError};
use crate::{ServerError, http_status};

/// A service whose errors are imitated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorShape {
    /// text-embeddings-inference.
    Tei,
    /// Cohere and most others, and beside it this service's own words.
    Cohere,
    /// Voyage, whose client takes no `error`.
    Voyage,
    /// Infinity, and beside it this service's own words.
    Infinity,
}

/// Paths that end with a model's name.
const PREFIXES: [&str; 2] = ["/v1/inference/", "/v1/retrieval/"];

impl ErrorShape {
    /// The shape of what is said on a path before the request is read; `None` for this service's own.
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        match path {
            "/rerank" => Some(Self::Tei),
            // Voyage's client calls the first one as well, and the others find in this shape what they read.
            "/v1/rerank" | "/voyage/v1/rerank" => Some(Self::Voyage),
            "/infinity/rerank" => Some(Self::Infinity),
            "/v2/rerank"
            | "/score"
            | "/v1/score"
            | "/jina/v1/rerank"
            | "/v1/reranks"
            | "/api/v1/services/rerank/text-rerank/text-rerank"
            | "/v1/reranking"
            | "/v1/ranking" => Some(Self::Cohere),
            path => PREFIXES.iter().any(|prefix| path.starts_with(prefix)).then_some(Self::Cohere),
        }
    }

    /// The answer to a request that is refused.
    pub(crate) fn refuse(self, error: &ServerError) -> Response {
        let (status, message) = (http_status(error.kind()), &error.message());
        match self {
            Self::Tei => as_tei(error, message),
            Self::Cohere => answer(error, status, &CohereError::new(error, message)),
            Self::Voyage => answer(error, status, &VoyageError::new(error, message)),
            Self::Infinity => {
                let error_json = ErrorJson::new(error, message);
                let loc = std::iter::once("body").chain(error_json.field).collect();
                let detail = vec![InfinityProblem { loc, msg: message, kind: error_json.kind }];
                answer(error, status, &InfinityError { detail, error: error_json })
            }
        }
    }
}

fn as_tei(error: &ServerError, message: &str) -> Response {
    let (status, error_type) = match error {
        ServerError::NoDocuments { .. } => (StatusCode::BAD_REQUEST, "Empty"),
        _ => match error.kind() {
            kind @ (ErrorKind::Overloaded | ErrorKind::DeadlineExceeded) => (http_status(kind), "Overloaded"),
            ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Unhealthy"),
            ErrorKind::Internal => (StatusCode::FAILED_DEPENDENCY, "Backend"),
            ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Validation"),
            kind => (http_status(kind), "Validation"),
        },
    };
    answer(error, status, &TeiError { error: message, error_type })
}

fn answer(error: &ServerError, status: StatusCode, body: &impl Serialize) -> Response {
    error.log(status);
    with_headers((status, JsonBody(body)).into_response(), error)
}
