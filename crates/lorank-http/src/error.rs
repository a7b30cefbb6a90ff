//! What a request gets instead of an answer.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lorank_adapters::{RegistryError, RegistryErrorKind};
use lorank_core::with_causes;
use lorank_experiment_pipeline::{ExperimentPipelineError, ExperimentPipelineErrorKind};
use lorank_experiments::{ExperimentError, ExperimentErrorKind};
use lorank_pipeline::PipelineError;

use crate::wire::{ErrorAnswer, ErrorJson};
use crate::{DocumentError, RequestId};

/// A request that has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The body is not JSON. The source says where.
    #[error("the body is not valid JSON")]
    MalformedJson {
        /// The parser's own words, with line and column.
        source: serde_json::Error,
    },
    /// The request cannot be read.
    #[error("the {part} cannot be read: {problem}")]
    Malformed {
        /// The part of it.
        part: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A value that cannot be. The field is a path: `filters.year.gte`.
    #[error("`{field}` {problem}")]
    InvalidValue {
        /// The field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A body that is JSON, but not what the route takes.
    #[error("the body is not {expected}: {problem}")]
    WrongBody {
        /// What the route takes, in words.
        expected: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no such route.
    #[error("there is nothing at `{path}`; the routes are in `/openapi.json`, and for people in `/docs`")]
    UnknownRoute {
        /// The path that was asked for.
        path: String,
    },
    /// The route does not take the method.
    #[error("`{path}` does not take {method}")]
    MethodNotAllowed {
        /// The path that was asked for.
        path: String,
        /// The method that was used.
        method: String,
    },
    /// The body is too long.
    #[error("the body is longer than the limit of {bytes_max} bytes")]
    BodyTooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// The body is not said to be JSON.
    #[error("the body is said to be {found}; send JSON, with the header `content-type: application/json`")]
    UnsupportedMediaType {
        /// What it is said to be, in words.
        found: String,
    },
    /// The client took too long to send a part of the request.
    #[error("the {part} of the request was not complete within {millis} ms, which is the limit")]
    TooSlow {
        /// The part of it.
        part: &'static str,
        /// The limit.
        millis: u128,
    },
    /// The body is not said to be JSON lines.
    #[error(
        "the body is said to be {found}; send a document a line, with the header `content-type: application/x-ndjson`"
    )]
    NotLines {
        /// What it is said to be, in words.
        found: String,
    },
    /// There is no such document.
    #[error("there is no document `{id}`")]
    NoDocument {
        /// The id that was asked for.
        id: String,
    },
    /// The documents gave an error.
    #[error(transparent)]
    Documents(#[from] DocumentError),
    /// Too many changes of documents are under way.
    #[error("{n_changes_max} changes of documents are under way, which is the limit; try again later")]
    TooManyChanges {
        /// The limit.
        n_changes_max: usize,
        /// When it is worth trying again.
        retry_after: RetryAfter,
    },
    /// Too many searches are under way.
    #[error("{n_searches_max} searches are under way, which is the limit; try again later")]
    Overloaded {
        /// The limit.
        n_searches_max: usize,
        /// When it is worth trying again.
        retry_after: RetryAfter,
    },
    /// Too much waits for the reranker.
    #[error("too many requests are waiting for the reranker; try again later, or without reranking")]
    QueueFull {
        /// When it is worth trying again.
        retry_after: RetryAfter,
    },
    /// The request would miss its deadline, or make an earlier one miss its own.
    #[error("the reranker has too much to do to finish before the deadline; try again later, or without reranking")]
    WouldMissDeadline {
        /// When it is worth trying again.
        retry_after: RetryAfter,
    },
    /// The search cannot be answered.
    #[error(transparent)]
    Search(#[from] ExperimentPipelineError),
    /// The registry of adapters gave an error.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The experiments gave an error.
    #[error(transparent)]
    Experiment(#[from] ExperimentError),
    /// One of the events that were sent cannot be kept, and so none is.
    #[error("event {n} of those that were sent, counted from 0, is refused, and with it all of them")]
    Event {
        /// Its place.
        n: usize,
        /// Why.
        source: ExperimentError,
    },
    /// A rerank request without documents.
    #[error("`{field}` cannot be empty")]
    NoDocuments {
        /// The field.
        field: &'static str,
    },
    /// A rerank request with more documents than are taken.
    #[error("`{field}` has {found} documents, which is above the limit of {max}")]
    TooManyDocuments {
        /// The field.
        field: &'static str,
        /// How many it has.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// The model did not give the scores.
    #[error("the documents could not be scored: {message}")]
    NotScored {
        /// The reason as one word.
        reason: &'static str,
        /// The reason for people.
        message: String,
    },
    /// The adapter cannot be taken from where it is said to be.
    #[error("`{source_text}` is no adapter that can be added")]
    AdapterSource {
        /// The source as it was given.
        source_text: String,
        /// Why.
        source: lorank_core::BoxError,
    },
    /// This service has no such part.
    #[error("this service runs without {part}")]
    WithoutPart {
        /// The part.
        part: &'static str,
    },
    /// The request has no key, or one that nobody has.
    #[error("this needs a key: send the header `authorization: Bearer KEY` with a key of role `{role}`")]
    Unauthorized {
        /// The least role that is needed.
        role: &'static str,
    },
    /// The request's key may not do that.
    #[error("the key has the role `{found}`, and this needs `{needed}`")]
    Forbidden {
        /// The key's role.
        found: &'static str,
        /// The least role that is needed.
        needed: &'static str,
    },
    /// A source of adapters that the operator has not allowed.
    #[error(
        "adapters may not be added from `{source_text}`; the operator allows sources with `--adapter-source` or `adapter_sources`"
    )]
    SourceNotAllowed {
        /// The source as it was given.
        source_text: String,
    },
    /// The search panicked.
    #[error("the search ended in a bug")]
    Panicked {
        /// The panic.
        source: tokio::task::JoinError,
    },
}

/// When it is worth trying again, as the header `retry-after` has it: in whole seconds, from 1 to
/// [`RetryAfter::SECONDS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter(u64);

impl RetryAfter {
    /// The longest that a caller is sent away for. An estimate of more is hardly one, and callers go away in between.
    pub const SECONDS_MAX: u64 = 60;

    /// After an estimated time. A part of a second counts as a whole one, or the caller would come too early.
    pub fn new(estimate: Duration) -> Self {
        let seconds = estimate.as_secs().saturating_add(u64::from(estimate.subsec_nanos() > 0));
        Self(seconds.clamp(1, Self::SECONDS_MAX))
    }

    /// The number of seconds.
    pub fn seconds(self) -> u64 {
        self.0
    }
}

/// What sort of error it is: one word for machines, and an HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request cannot be read.
    MalformedRequest,
    /// The request has no key that is known.
    Unauthorized,
    /// The key is not enough.
    Forbidden,
    /// The state of things does not allow it.
    Conflict,
    /// What it names is not there.
    NotFound,
    /// The route does not take the method.
    MethodNotAllowed,
    /// The body is too long.
    PayloadTooLarge,
    /// The client is too slow.
    RequestTimeout,
    /// The body is not JSON.
    UnsupportedMediaType,
    /// It can be read, but says something impossible.
    InvalidValue,
    /// Too much is asked at once.
    Overloaded,
    /// The service is not set up to answer it.
    Unavailable,
    /// The service broke.
    Internal,
}

impl ErrorKind {
    /// The word that stands on the wire. It never changes.
    pub fn as_str(self) -> &'static str {
        self.word_and_status().0
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        self.word_and_status().1.as_u16()
    }

    fn word_and_status(self) -> (&'static str, StatusCode) {
        match self {
            Self::MalformedRequest => ("malformed_request", StatusCode::BAD_REQUEST),
            Self::Unauthorized => ("unauthorized", StatusCode::UNAUTHORIZED),
            Self::Forbidden => ("forbidden", StatusCode::FORBIDDEN),
            Self::Conflict => ("conflict", StatusCode::CONFLICT),
            Self::NotFound => ("not_found", StatusCode::NOT_FOUND),
            Self::MethodNotAllowed => ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED),
            Self::PayloadTooLarge => ("payload_too_large", StatusCode::PAYLOAD_TOO_LARGE),
            Self::RequestTimeout => ("request_timeout", StatusCode::REQUEST_TIMEOUT),
            Self::UnsupportedMediaType => ("unsupported_media_type", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Self::InvalidValue => ("invalid_value", StatusCode::UNPROCESSABLE_ENTITY),
            Self::Overloaded => ("overloaded", StatusCode::TOO_MANY_REQUESTS),
            Self::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE),
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

impl ServerError {
    /// What sort of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::MalformedJson { .. } | Self::Malformed { .. } => ErrorKind::MalformedRequest,
            Self::InvalidValue { .. }
            | Self::WrongBody { .. }
            | Self::Event { .. }
            | Self::NoDocuments { .. }
            | Self::AdapterSource { .. } => ErrorKind::InvalidValue,
            Self::UnknownRoute { .. } | Self::WithoutPart { .. } | Self::NoDocument { .. } => ErrorKind::NotFound,
            Self::Unauthorized { .. } => ErrorKind::Unauthorized,
            Self::Forbidden { .. } | Self::SourceNotAllowed { .. } => ErrorKind::Forbidden,
            Self::MethodNotAllowed { .. } => ErrorKind::MethodNotAllowed,
            Self::BodyTooLarge { .. } | Self::TooManyDocuments { .. } => ErrorKind::PayloadTooLarge,
            Self::TooSlow { .. } => ErrorKind::RequestTimeout,
            Self::UnsupportedMediaType { .. } | Self::NotLines { .. } => ErrorKind::UnsupportedMediaType,
            Self::Overloaded { .. }
            | Self::QueueFull { .. }
            | Self::WouldMissDeadline { .. }
            | Self::TooManyChanges { .. } => ErrorKind::Overloaded,
            Self::Documents(error) => error.kind(),
            Self::Panicked { .. } | Self::NotScored { .. } => ErrorKind::Internal,
            Self::Search(error) => match error.kind() {
                ExperimentPipelineErrorKind::InvalidInput => ErrorKind::InvalidValue,
                ExperimentPipelineErrorKind::NotFound => ErrorKind::NotFound,
                ExperimentPipelineErrorKind::Unavailable => ErrorKind::Unavailable,
                _ => ErrorKind::Internal,
            },
            Self::Registry(error) => match error.kind() {
                RegistryErrorKind::NotFound => ErrorKind::NotFound,
                RegistryErrorKind::Invalid => ErrorKind::InvalidValue,
                RegistryErrorKind::Conflict => ErrorKind::Conflict,
                RegistryErrorKind::Unavailable => ErrorKind::Unavailable,
                _ => ErrorKind::Internal,
            },
            Self::Experiment(error) => match error.kind() {
                ExperimentErrorKind::NotFound => ErrorKind::NotFound,
                ExperimentErrorKind::Invalid => ErrorKind::InvalidValue,
                ExperimentErrorKind::Conflict => ErrorKind::Conflict,
                _ => ErrorKind::Unavailable,
            },
        }
    }

    /// The field of the request that the error is about.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::InvalidValue { field, .. } => Some(field),
            Self::NoDocuments { field } | Self::TooManyDocuments { field, .. } => Some(field),
            Self::Search(error) => error.field(),
            Self::Documents(error) => error.field(),
            Self::Experiment(ExperimentError::Invalid { field, .. })
            | Self::Event { source: ExperimentError::Record { field, .. }, .. } => Some(field),
            Self::AdapterSource { .. } | Self::SourceNotAllowed { .. } => Some("source"),
            _ => None,
        }
    }

    /// When it is worth trying again, where that is known.
    pub fn retry_after(&self) -> Option<RetryAfter> {
        match self {
            Self::Overloaded { retry_after, .. }
            | Self::TooManyChanges { retry_after, .. }
            | Self::QueueFull { retry_after }
            | Self::WouldMissDeadline { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// What the caller is told. The causes of a fault of our own are for the log: they may name files or hosts.
    pub(crate) fn message(&self) -> String {
        let is_our_own = self.kind().word_and_status().1.is_server_error();
        if is_our_own { self.to_string() } else { with_causes(self) }
    }

    /// Tells the log of a fault of our own.
    pub(crate) fn log(&self, status: StatusCode) {
        if self.kind().word_and_status().1.is_server_error() {
            tracing::error!(status = status.as_u16(), "{}", with_causes(self));
        }
    }

    /// The answer's body.
    pub(crate) fn body(&self, request_id: &RequestId) -> Vec<u8> {
        let message = self.message();
        let body = ErrorAnswer { error: ErrorJson::new(self, &message), request_id: request_id.as_str() };
        serde_json::to_vec(&body).expect("its keys are all texts")
    }

    /// The answer that tells the caller.
    pub(crate) fn to_response(&self, request_id: &RequestId) -> Response {
        let status = self.kind().word_and_status().1;
        self.log(status);
        let message = self.message();
        let body = ErrorAnswer { error: ErrorJson::new(self, &message), request_id: request_id.as_str() };
        let mut response = (status, axum::Json(body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(retry_after) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, retry_after.seconds().into());
        }
        response
    }
}

impl From<PipelineError> for ServerError {
    fn from(error: PipelineError) -> Self {
        Self::Search(error.into())
    }
}

/// Only carries the error: the outermost layer, which knows the request's id, makes the answer of it.
impl IntoResponse for ServerError {
    fn into_response(self) -> Response {
        let mut response = self.kind().word_and_status().1.into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_sent_away_for_whole_seconds_from_1_to_60() {
        for (estimate_millis, seconds) in
            [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (59_999, 60), (60_001, 60), (u64::MAX, 60)]
        {
            let retry_after = RetryAfter::new(Duration::from_millis(estimate_millis));
            assert_eq!(retry_after.seconds(), seconds, "{estimate_millis} ms");
        }
        assert_eq!(RetryAfter::new(Duration::MAX).seconds(), RetryAfter::SECONDS_MAX);
    }
}
