//! Refusals in the shapes of other services, so that their clients raise their own errors.

use axum::Json as JsonBody;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lorank_core::ErrorKind;
use serde::Serialize;

use crate::encoding::ACCEPTED;
use crate::wire::{CohereError, ErrorJson, InfinityError, InfinityProblem, TeiError};
use crate::{ServerError, http_status};

/// The error as text-embeddings-inference writes it.
pub(super) fn as_tei(error: &ServerError) -> Response {
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
    error_response(error, status, &TeiError { error: &error.message(), error_type })
}

/// The error as Cohere and most others write it, and beside it in this service's own words.
pub(super) fn as_cohere(error: &ServerError) -> Response {
    let status = http_status(error.kind());
    error_response(error, status, &CohereError::new(error, &error.message()))
}

/// The error as Infinity writes it, and beside it in this service's own words.
pub(super) fn as_infinity(error: &ServerError) -> Response {
    let status = http_status(error.kind());
    let message = &error.message();
    let error_json = ErrorJson::new(error, message);
    let loc = std::iter::once("body").chain(error_json.field).collect();
    let detail = vec![InfinityProblem { loc, msg: message, kind: error_json.kind }];
    error_response(error, status, &InfinityError { detail, error: error_json })
}

fn error_response(error: &ServerError, status: StatusCode, body: &impl Serialize) -> Response {
    error.log(status);
    let mut response = (status, JsonBody(body)).into_response();
    if matches!(error, ServerError::UnsupportedEncoding { .. }) {
        response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
    }
    if let Some(retry_after) = error.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, retry_after.seconds().into());
    }
    response
}
