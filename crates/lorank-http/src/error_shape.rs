//! The formats of errors: clients of other services expect those of their service.

use axum::Json as JsonBody;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use lorank_core::ErrorKind;
use serde::Serialize;

use crate::error_response::with_headers;
use crate::wire::{CohereError, ErrorJson, InfinityError, InfinityProblem, TeiError, VoyageError};
use crate::{ServerError, http_status};

/// The format of a service's errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorShape {
    /// text-embeddings-inference.
    Tei,
    /// Cohere and most others, together with this service's own format.
    Cohere,
    /// Voyage, whose client fails if there is an `error`.
    Voyage,
    /// Infinity, together with this service's own format.
    Infinity,
}

/// Paths that end with the name of a model.
const PREFIXES: [&str; 2] = ["/v1/inference/", "/v1/retrieval/"];

impl ErrorShape {
    /// The format of a path's errors before the request is parsed; `None` for this service's own.
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        match path {
            "/rerank" => Some(Self::Tei),
            // Voyage's client also calls the first path, and this format has the keys that other clients read.
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

    /// The response for an error.
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
