//! Error responses in this service's own format.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::encoding::ACCEPTED;
use crate::wire::{ErrorAnswer, ErrorJson};
use crate::{RequestId, ServerError, http_status};

/// The JSON body of the response.
pub(crate) fn error_body(error: &ServerError, request_id: &RequestId) -> Vec<u8> {
    let message = error.message();
    let body = ErrorAnswer { error: ErrorJson::new(error, &message), request_id: request_id.as_str() };
    serde_json::to_vec(&body).expect("its keys are all texts")
}

/// The response. Server errors are logged.
pub(crate) fn error_response(error: &ServerError, request_id: &RequestId) -> Response {
    let status = http_status(error.kind());
    error.log(status);
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    with_headers((status, content_type, error_body(error, request_id)).into_response(), error)
}

/// Adds the headers that tell a client what to do about an error.
pub(crate) fn with_headers(mut response: Response, error: &ServerError) -> Response {
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if matches!(error, ServerError::UnsupportedEncoding { .. }) {
        response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
    }
    if let Some(retry_after) = error.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, retry_after.seconds().into());
    }
    response
}
