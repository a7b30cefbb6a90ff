//! What a request gets instead of an answer.

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

/// A request that has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The body is not JSON.
    #[error("the body is not valid JSON: {problem}")]
    MalformedJson {
        /// What is wrong, with line and column.
        problem: String,
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
    /// There is no such model.
    #[error("there is no model `{id}`; `/v1/models` lists them")]
    UnknownModel {
        /// The name.
        id: String,
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
    /// The body has too many values.
    #[error("the body has more than {max} values, which is the limit; send it in parts")]
    TooManyValues {
        /// The limit.
        max: usize,
    },
    /// The bodies of all requests in flight are too large together.
    #[error("the bodies of the requests in flight have reached the limit of {bytes_max} bytes; try again later")]
    TooManyBodyBytes {
        /// The limit.
        bytes_max: usize,
        /// When it is worth trying again.
        retry_after: RetryAfter,
    },
    /// The body is not said to be JSON.
    #[error("unsupported content type {found}; send JSON, with the header `content-type: application/json`")]
    UnsupportedMediaType {
        /// What it is said to be, in words.
        found: String,
    },
    /// The body is in an encoding that is not decoded.
    #[error("the content encoding `{found}` is not supported; send it plain, or in one of `gzip` and `deflate`")]
    UnsupportedEncoding {
        /// The encoding, or all of several.
        found: String,
    },
    /// Text from a page whose origin is not allowed.
    #[error(
        "`text/plain` is taken from pages of this server's own origin and of `cors_origins`, and the origin is `{found}`; \
         send JSON, with the header `content-type: application/json`"
    )]
    ForeignText {
        /// The origin.
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
    /// The client sends a body at less than the least rate.
    #[error(
        "the body of the request came at less than {bytes_per_second_min} bytes per second over {millis} ms, which is the least \
         rate; nothing of it is kept"
    )]
    BelowRate {
        /// The least rate.
        bytes_per_second_min: usize,
        /// The time.
        millis: u128,
    },
    /// The body is said to be neither JSON lines nor JSON.
    #[error(
        "unsupported content type {found}; send a document a line with the header `content-type: application/x-ndjson`, \
         or an array of documents with `application/json`"
    )]
    NotDocuments {
        /// What it is said to be, in words.
        found: String,
    },
    /// There is no such index.
    #[error("there is no index `{index}`; the indexes are {known}, and each is searched at `/v1/indexes/NAME/search`")]
    UnknownIndex {
        /// The name that was asked for; `default` where none was.
        index: String,
        /// Those that there are, as a list.
        known: String,
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
    /// Too much work of one kind is under way and waits.
    #[error("too many {work} are under way; try again later")]
    LaneFull {
        /// The work, in the plural.
        work: &'static str,
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
    #[error("the reranker is overloaded and would miss the deadline; try again later, or without reranking")]
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
    Experiment(#[from] ExperimentStoreError),
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
    #[error("`{field}` has {found} values, which is above the limit of {max}")]
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
    /// The deadline passed before all documents were scored.
    #[error(
        "the deadline passed before every document had a score; send fewer or shorter documents, or allow more time"
    )]
    DeadlinePassed,
    /// The adapter cannot be taken from where it is said to be.
    #[error("`{source_text}` is no adapter that can be added")]
    AdapterSource {
        /// The source as it was given.
        source_text: String,
        /// Why.
        source: lorank_core::BoxError,
    },
    /// The base model cannot score with an adapter of the registry.
    #[error("the base model that is served cannot score with the adapter `{adapter}`")]
    AdapterMisfit {
        /// The adapter.
        adapter: lorank_core::AdapterId,
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
    /// The request names a host that a server without keys is not known by.
    #[error(
        "the host `{host}` is not one of this server's, which has no keys; add it to `allowed_hosts` (--allowed-host), or \
         give the server keys"
    )]
    HostNotAllowed {
        /// The host as it was named.
        host: String,
    },
    /// A page of another site sends a change to a server without keys.
    #[error(
        "a page of `{origin}` may change nothing here, since this server has no keys; add the origin to `cors_origins` \
         (--cors-origin), or give the server keys"
    )]
    PageNotAllowed {
        /// The origin as it was sent.
        origin: String,
    },
    /// A key in the address that may not stand there.
    #[error(
        "a key of the role `{role}` may not be sent in the address; send it in the header `authorization: Bearer KEY`"
    )]
    KeyInAddress {
        /// The key's role.
        role: &'static str,
    },
    /// A source of adapters that the operator has not allowed.
    #[error(
        "adapters may not be added from `{source_text}`; the operator allows sources with `--adapter-source` or `adapter_sources`"
    )]
    SourceNotAllowed {
        /// The source as it was given.
        source_text: String,
    },
    /// An answer was not written to its end.
    #[error("the answer was not written to its end, because of a bug")]
    AnswerBrokenOff,
    /// The search panicked.
    #[error("internal error")]
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

impl ServerError {
    /// What kind of error it is, and so its HTTP status.
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

    /// The field of the request that the error is about.
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

    /// When it is worth trying again, where that is known.
    pub fn retry_after(&self) -> Option<RetryAfter> {
        match self {
            Self::Overloaded { retry_after, .. }
            | Self::TooManyChanges { retry_after, .. }
            | Self::TooManyBodyBytes { retry_after, .. }
            | Self::LaneFull { retry_after, .. }
            | Self::WouldMissDeadline { retry_after }
            | Self::QueueFull { retry_after } => Some(*retry_after),
            Self::Search(ExperimentPipelineError::Pipeline(error)) => error.retry_after().map(RetryAfter::new),
            _ => None,
        }
    }

    /// The message for the caller. The causes of a failure of the service are for the log: they may name files or hosts.
    pub(crate) fn message(&self) -> String {
        excerpt::message(if self.is_failure_of_service() { self.to_string() } else { with_causes(self) })
    }

    /// Logs a failure of the service.
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

/// Only carries the error: the outermost layer, which knows the request's id, makes the answer of it.
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
