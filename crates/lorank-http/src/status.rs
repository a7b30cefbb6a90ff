//! The mapping from kinds of errors to HTTP statuses and to the constants in `error.kind`.

use axum::http::StatusCode;
use lorank_core::ErrorKind;

/// The HTTP status of a kind of error.
pub fn http_status(kind: ErrorKind) -> StatusCode {
    word_and_status(kind).1
}

/// The constant for a kind of error in `error.kind` of a response. It never changes.
pub fn wire_word(kind: ErrorKind) -> &'static str {
    word_and_status(kind).0
}

/// Some constants differ from the names of [`ErrorKind`], because they are older and part of the public interface.
fn word_and_status(kind: ErrorKind) -> (&'static str, StatusCode) {
    match kind {
        ErrorKind::Malformed => ("malformed_request", StatusCode::BAD_REQUEST),
        ErrorKind::Invalid => ("invalid_value", StatusCode::UNPROCESSABLE_ENTITY),
        ErrorKind::TooLarge => ("payload_too_large", StatusCode::PAYLOAD_TOO_LARGE),
        ErrorKind::UnsupportedFormat => ("unsupported_media_type", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ErrorKind::UnsupportedOperation => ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED),
        ErrorKind::Unauthenticated => ("unauthorized", StatusCode::UNAUTHORIZED),
        ErrorKind::Forbidden => ("forbidden", StatusCode::FORBIDDEN),
        ErrorKind::NotFound => ("not_found", StatusCode::NOT_FOUND),
        ErrorKind::Conflict => ("conflict", StatusCode::CONFLICT),
        ErrorKind::ClientTimeout => ("request_timeout", StatusCode::REQUEST_TIMEOUT),
        ErrorKind::Overloaded => ("overloaded", StatusCode::TOO_MANY_REQUESTS),
        ErrorKind::DeadlineExceeded => ("deadline_exceeded", StatusCode::GATEWAY_TIMEOUT),
        ErrorKind::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE),
        // A kind that this version of the crate does not know is a server error.
        _ => ("internal", StatusCode::INTERNAL_SERVER_ERROR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table is part of the public interface: rows may be added, but none may change.
    #[test]
    fn words_and_statuses_are_those_that_clients_know() {
        let table = ErrorKind::ALL.map(|kind| (kind.name(), wire_word(kind), http_status(kind).as_u16()));
        assert_eq!(
            table,
            [
                ("malformed", "malformed_request", 400),
                ("invalid", "invalid_value", 422),
                ("too_large", "payload_too_large", 413),
                ("unsupported_format", "unsupported_media_type", 415),
                ("unsupported_operation", "method_not_allowed", 405),
                ("unauthenticated", "unauthorized", 401),
                ("forbidden", "forbidden", 403),
                ("not_found", "not_found", 404),
                ("conflict", "conflict", 409),
                ("client_timeout", "request_timeout", 408),
                ("overloaded", "overloaded", 429),
                ("deadline_exceeded", "deadline_exceeded", 504),
                ("unavailable", "unavailable", 503),
                ("internal", "internal", 500),
            ]
        );
    }
}
