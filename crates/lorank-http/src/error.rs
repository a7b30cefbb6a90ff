//! The errors of requests.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use lorank_adapters::RegistryError;
use lorank_core::{ErrorKind, with_causes};
use lorank_experiment_pipeline::ExperimentPipelineError;
use lorank_experiment_store::ExperimentStoreError;
use lorank_experiments::ExperimentError;
use lorank_pipeline::PipelineError;

use crate::{DocumentError, excerpt, http_status};

/// An error of a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The body is not JSON.
    #[error("the body is not valid JSON: {problem}")]
    MalformedJson {
        /// What is wrong, with line and column.
        problem: String,
    },
    /// A part of the request is malformed.
    #[error("the {part} cannot be read: {problem}")]
    Malformed {
        /// The part of the request.
        part: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A value is invalid. The field is a path: `filters.year.gte`.
    #[error("`{field}` {problem}")]
    InvalidValue {
        /// The field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The body is JSON, but of another type than the route expects.
    #[error("the body is not {expected}: {problem}")]
    WrongBody {
        /// What the route expects.
        expected: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Unknown route.
    #[error("unknown route `{path}`; `/docs` and `/openapi.json` list the routes")]
    UnknownRoute {
        /// The path of the request.
        path: String,
    },
    /// Unknown model.
    #[error("unknown model `{id}`; `/v1/models` lists the models")]
    UnknownModel {
        /// The name.
        id: String,
    },
    /// The route does not support the method.
    #[error("`{path}` does not support the method {method}")]
    MethodNotAllowed {
        /// The path of the request.
        path: String,
        /// The method of the request.
        method: String,
    },
    /// The body is too long.
    #[error("the body is longer than the limit of {bytes_max} bytes")]
    BodyTooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// The body has too many values.
    #[error("the body has more than {max} values, which is the limit; send it in parts")]
    TooManyValues {
        /// The limit.
        max: usize,
    },
    /// The bodies of all requests in flight are too large together.
    #[error("the bodies of the requests in flight exceed the limit of {bytes_max} bytes; retry later")]
    TooManyBodyBytes {
        /// The limit.
        bytes_max: usize,
        /// When to retry.
        retry_after: RetryAfter,
    },
    /// The content type is not JSON.
    #[error("unsupported content type {found}; send JSON, with the header `content-type: application/json`")]
    UnsupportedMediaType {
        /// The content type, as shown in the message.
        found: String,
    },
    /// The content encoding is not supported.
    #[error("the content encoding `{found}` is not supported; use `gzip`, `deflate` or no encoding")]
    UnsupportedEncoding {
        /// The encoding, or a list of several.
        found: String,
    },
    /// Text from a page whose origin is not allowed.
    #[error(
        "`text/plain` is only accepted from pages of this server's origin and of `cors_origins`, but the origin is `{found}`; \
                 send JSON, with the header `content-type: application/json`"
    )]
    ForeignText {
        /// The origin.
        found: String,
    },
    /// The client did not send a part of the request in time.
    #[error("the {part} of the request was not complete within {millis} ms, which is the limit")]
    TooSlow {
        /// The part of the request.
        part: &'static str,
        /// The limit.
        millis: u128,
    },
    /// The client sends a body below the minimum rate.
    #[error(
        "the request body was received at less than the minimum rate of {bytes_per_second_min} bytes per second over {millis} \
                 ms; nothing was stored"
    )]
    BelowRate {
        /// The minimum rate.
        bytes_per_second_min: usize,
        /// The time.
        millis: u128,
    },
    /// The content type is neither JSON Lines nor JSON.
    #[error(
        "unsupported content type {found}; send one document per line with the header `content-type: application/x-ndjson`, \
                 or an array of documents with `application/json`"
    )]
    NotDocuments {
        /// The content type, as shown in the message.
        found: String,
    },
    /// Unknown index.
    #[error("unknown index `{index}`; the indexes are {known}, searched at `/v1/indexes/NAME/search`")]
    UnknownIndex {
        /// The name in the request; `default` if there is none.
        index: String,
        /// The names of the indexes, as a list.
        known: String,
    },
    /// Unknown document.
    #[error("unknown document `{id}`")]
    NoDocument {
        /// The id in the request.
        id: String,
    },
    /// An error of the documents.
    #[error(transparent)]
    Documents(#[from] DocumentError),
    /// Too many concurrent changes of documents.
    #[error("too many concurrent changes of documents (limit {n_changes_max}); retry later")]
    TooManyChanges {
        /// The limit.
        n_changes_max: usize,
        /// When to retry.
        retry_after: RetryAfter,
    },
    /// Too many concurrent searches.
    #[error("too many concurrent searches (limit {n_searches_max}); retry later")]
    Overloaded {
        /// The limit.
        n_searches_max: usize,
        /// When to retry.
        retry_after: RetryAfter,
    },
    /// Too much concurrent work of one kind.
    #[error("too many concurrent {work}; retry later")]
    LaneFull {
        /// The work, in the plural.
        work: &'static str,
        /// When to retry.
        retry_after: RetryAfter,
    },
    /// The reranking queue is full.
    #[error("the reranking queue is full; retry later, or search without reranking")]
    QueueFull {
        /// When to retry.
        retry_after: RetryAfter,
    },
    /// The request would miss its deadline, or make an earlier request miss its own.
    #[error("the reranker is overloaded and would miss the deadline; retry later, or search without reranking")]
    WouldMissDeadline {
        /// When to retry.
        retry_after: RetryAfter,
    },
    /// An error of a search.
    #[error(transparent)]
    Search(#[from] ExperimentPipelineError),
    /// An error of the adapter registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// An error of the experiments.
    #[error(transparent)]
    Experiment(#[from] ExperimentStoreError),
    /// One of the submitted events is invalid, so none was stored.
    #[error("event {n} (counted from 0) is invalid; none of the events was stored")]
    Event {
        /// The index of the event, from 0.
        n: usize,
        /// The error.
        source: ExperimentError,
    },
    /// A rerank request without documents.
    #[error("`{field}` cannot be empty")]
    NoDocuments {
        /// The field.
        field: &'static str,
    },
    /// A rerank request with too many documents.
    #[error("`{field}` has {found} values, which is above the limit of {max}")]
    TooManyDocuments {
        /// The field.
        field: &'static str,
        /// The number of documents.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// The model failed.
    #[error("the documents could not be scored: {message}")]
    NotScored {
        /// The reason as a constant for programs.
        reason: &'static str,
        /// The reason as a message.
        message: String,
    },
    /// The deadline passed before all documents were scored.
    #[error(
        "the deadline passed before every document had a score; send fewer or shorter documents, or allow more time"
    )]
    DeadlinePassed,
    /// The adapter cannot be added from its source.
    #[error("cannot add an adapter from `{source_text}`")]
    AdapterSource {
        /// The source in the request.
        source_text: String,
        /// The cause.
        source: lorank_core::BoxError,
    },
    /// The adapter does not fit the base model.
    #[error("the adapter `{adapter}` does not fit the base model")]
    AdapterMisfit {
        /// The adapter.
        adapter: lorank_core::AdapterId,
        /// The cause.
        source: lorank_core::BoxError,
    },
    /// The server runs without this part.
    #[error("this server runs without {part}")]
    WithoutPart {
        /// The part.
        part: &'static str,
    },
    /// The key is missing or unknown.
    #[error("missing or unknown key; send the header `authorization: Bearer KEY` with a key of the role `{role}`")]
    Unauthorized {
        /// The required role.
        role: &'static str,
    },
    /// The role of the key is insufficient.
    #[error("the key has the role `{found}`, but the request needs the role `{needed}`")]
    Forbidden {
        /// The key's role.
        found: &'static str,
        /// The required role.
        needed: &'static str,
    },
    /// The request to a server without keys names an unknown host.
    #[error(
        "unknown host `{host}` for a server without keys; add it to `allowed_hosts` (--allowed-host), or configure keys"
    )]
    HostNotAllowed {
        /// The host in the request.
        host: String,
    },
    /// A page of another origin sends a change to a server without keys.
    #[error(
        "pages of `{origin}` cannot make changes on a server without keys; add the origin to `cors_origins` (--cors-origin), \
                 or configure keys"
    )]
    PageNotAllowed {
        /// The origin of the page.
        origin: String,
    },
    /// A key in the URL whose role does not allow that.
    #[error("a key of the role `{role}` cannot be sent in the URL; send it in the header `authorization: Bearer KEY`")]
    KeyInAddress {
        /// The key's role.
        role: &'static str,
    },
    /// A source of adapters that the configuration does not allow.
    #[error(
        "adapters cannot be added from `{source_text}`; allow the source with `--adapter-source` or `adapter_sources`"
    )]
    SourceNotAllowed {
        /// The source in the request.
        source_text: String,
    },
    /// The response is incomplete, because of a bug.
    #[error("the response is incomplete because of an internal error")]
    AnswerBrokenOff,
    /// The search panicked.
    #[error("internal error")]
    Panicked {
        /// The panic.
        source: tokio::task::JoinError,
    },
}

/// When to retry what a database refused or did not confirm in time.
const STORE_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The value of the header `retry-after`: whole seconds, from 1 to [`RetryAfter::SECONDS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter(u64);

impl RetryAfter {
    /// The maximum number of seconds. Longer estimates are too unreliable.
    pub const SECONDS_MAX: u64 = 60;

    /// Rounds an estimated time up, so that clients do not retry too early.
    pub fn new(estimate: Duration) -> Self {
        let seconds = estimate.as_secs().saturating_add(u64::from(estimate.subsec_nanos() > 0));
        Self(seconds.clamp(1, Self::SECONDS_MAX))
    }

    /// The number of seconds.
    pub fn seconds(self) -> u64 {
        self.0
    }
}

impl ServerError {
    /// The kind of error, which determines the HTTP status.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::MalformedJson { .. } | Self::Malformed { .. } => ErrorKind::Malformed,
            Self::InvalidValue { .. }
            | Self::WrongBody { .. }
            | Self::Event { .. }
            | Self::NoDocuments { .. }
            | Self::AdapterSource { .. } => ErrorKind::Invalid,
            Self::UnknownRoute { .. }
            | Self::UnknownModel { .. }
            | Self::WithoutPart { .. }
            | Self::NoDocument { .. }
            | Self::UnknownIndex { .. } => ErrorKind::NotFound,
            Self::Unauthorized { .. } => ErrorKind::Unauthenticated,
            Self::Forbidden { .. }
            | Self::KeyInAddress { .. }
            | Self::SourceNotAllowed { .. }
            | Self::HostNotAllowed { .. }
            | Self::PageNotAllowed { .. } => ErrorKind::Forbidden,
            Self::MethodNotAllowed { .. } => ErrorKind::UnsupportedOperation,
            Self::AdapterMisfit { .. } => ErrorKind::Conflict,
            Self::BodyTooLarge { .. } | Self::TooManyDocuments { .. } | Self::TooManyValues { .. } => {
                ErrorKind::TooLarge
            }
            Self::TooSlow { .. } | Self::BelowRate { .. } => ErrorKind::ClientTimeout,
            Self::UnsupportedMediaType { .. }
            | Self::ForeignText { .. }
            | Self::UnsupportedEncoding { .. }
            | Self::NotDocuments { .. } => ErrorKind::UnsupportedFormat,
            Self::Overloaded { .. }
            | Self::QueueFull { .. }
            | Self::WouldMissDeadline { .. }
            | Self::TooManyChanges { .. }
            | Self::LaneFull { .. }
            | Self::TooManyBodyBytes { .. } => ErrorKind::Overloaded,
            Self::DeadlinePassed => ErrorKind::DeadlineExceeded,
            Self::Panicked { .. } | Self::NotScored { .. } | Self::AnswerBrokenOff => ErrorKind::Internal,
            Self::Documents(error) => error.kind(),
            Self::Registry(error) => error.kind(),
            Self::Search(error) => error.kind(),
            Self::Experiment(error) => error.kind(),
        }
    }

    /// The invalid field of the request.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::InvalidValue { field, .. } => Some(field),
            Self::NoDocuments { field } | Self::TooManyDocuments { field, .. } => Some(field),
            Self::Search(error) => error.field(),
            Self::Documents(error) => error.field(),
            Self::Experiment(error) => error.field(),
            Self::Event { source, .. } => source.field(),
            Self::AdapterSource { .. } | Self::SourceNotAllowed { .. } => Some("source"),
            Self::AdapterMisfit { .. } => Some("adapter"),
            _ => None,
        }
    }

    /// When to retry, if known.
    pub fn retry_after(&self) -> Option<RetryAfter> {
        match self {
            Self::Overloaded { retry_after, .. }
            | Self::TooManyChanges { retry_after, .. }
            | Self::TooManyBodyBytes { retry_after, .. }
            | Self::LaneFull { retry_after, .. }
            | Self::WouldMissDeadline { retry_after }
            | Self::QueueFull { retry_after } => Some(*retry_after),
            Self::Search(ExperimentPipelineError::Pipeline(error)) => error.retry_after().map(RetryAfter::new),
            Self::Experiment(ExperimentStoreError::NotInTime { .. } | ExperimentStoreError::Database { .. }) => {
                Some(RetryAfter::new(STORE_RETRY_AFTER))
            }
            _ => None,
        }
    }

    /// The message for the client. Causes of server errors are only logged, because they may name files or hosts.
    pub(crate) fn message(&self) -> String {
        excerpt::message(if self.is_failure_of_service() { self.to_string() } else { with_causes(self) })
    }

    /// Logs a server error.
    pub(crate) fn log(&self, status: StatusCode) {
        if self.is_failure_of_service() {
            tracing::error!(status = status.as_u16(), "{}", excerpt::message(with_causes(self)));
        }
    }

    fn is_failure_of_service(&self) -> bool {
        http_status(self.kind()).is_server_error()
    }
}

impl From<PipelineError> for ServerError {
    fn from(error: PipelineError) -> Self {
        Self::Search(error.into())
    }
}

/// Only stores the error: the outermost layer, which knows the request id, writes the response.
impl IntoResponse for ServerError {
    fn into_response(self) -> Response {
        let mut response = http_status(self.kind()).into_response();
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
