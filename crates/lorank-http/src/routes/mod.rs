//! The routes, one file per topic.

pub(crate) mod adapters;
pub(crate) mod compare;
pub(crate) mod docs;
pub(crate) mod documents;
pub(crate) mod events;
pub(crate) mod experiments;
pub(crate) mod indexes;
pub(crate) mod judgments;
pub(crate) mod metrics;
pub(crate) mod ready;
pub(crate) mod rerank;
pub(crate) mod search;
mod unknown_fields;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody, QueryRejection, RawPathParamsRejection};
use axum::extract::{FromRef, FromRequestParts, Query, RawPathParams};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::admission::Admission;
use crate::encoding::DecodeError;
use crate::json::{self, expect_json};
use crate::lanes::{Lane, Lanes};
use crate::metrics::Metrics;
use crate::openapi::Api;
use crate::reading::BodyLimitPassed;
use crate::service::Service;
use crate::{HttpConfig, IndexName, LiveConfig, RetryAfter, ServerError};

/// `Retry-After` if the bodies in flight have too many bytes. Most are processed within a second.
const BODIES_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The state shared by all handlers.
#[derive(Clone)]
pub(crate) struct Shared {
    pub service: Service,
    /// Of searches.
    pub admission: Arc<Admission>,
    /// Of changes of documents.
    pub changes: Arc<Admission>,
    /// Of documents that come in long bodies.
    pub uploads: Arc<Admission>,
    pub lanes: Arc<Lanes>,
    pub started: Instant,
    pub config: LiveConfig,
    pub metrics: Arc<Metrics>,
    pub api: Arc<Api>,
}

/// The state of one request: the shared state, with the configuration at the time of the request's arrival.
#[derive(Clone)]
pub(crate) struct App {
    pub service: Service,
    pub admission: Arc<Admission>,
    /// Of changes of documents.
    pub changes: Arc<Admission>,
    /// Of documents that come in long bodies.
    pub uploads: Arc<Admission>,
    pub lanes: Arc<Lanes>,
    pub started: Instant,
    pub config: Arc<HttpConfig>,
    pub metrics: Arc<Metrics>,
    pub api: Arc<Api>,
}

impl FromRef<Shared> for App {
    fn from_ref(shared: &Shared) -> Self {
        let Shared { service, admission, changes, uploads, lanes, started, config, metrics, api } = shared.clone();
        Self { service, admission, changes, uploads, lanes, started, config: config.current(), metrics, api }
    }
}

impl App {
    /// Runs blocking work on a separate thread. The caller limits the number of concurrent calls.
    async fn blocking<T: Send + 'static>(
        self,
        work: impl FnOnce(&Self) -> Result<T, ServerError> + Send + 'static,
    ) -> Result<T, ServerError> {
        let span = tracing::Span::current();
        let work = move || {
            let _entered = span.entered();
            work(&self)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|source| Err(ServerError::Panicked { source }))
    }

    /// Runs blocking work in a lane.
    pub(crate) async fn in_lane<T: Send + 'static>(
        self,
        lane: Lane,
        work: impl FnOnce(&Self) -> Result<T, ServerError> + Send + 'static,
    ) -> Result<T, ServerError> {
        let place = self.lanes.enter(lane).await?;
        self.blocking(move |app| {
            let _place = place;
            work(app)
        })
        .await
    }

    /// Runs blocking work as a search, within the limit on concurrent searches.
    pub(crate) async fn search_work<T: Send + 'static>(
        self,
        work: impl FnOnce(&Self) -> Result<T, ServerError> + Send + 'static,
    ) -> Result<T, ServerError> {
        let n_searches_max = self.config.n_searches_max.get();
        let overloaded = || ServerError::Overloaded { n_searches_max, retry_after: self.retry_after() };
        let admitted = self.admission.admit(n_searches_max).ok_or_else(overloaded)?;
        self.blocking(move |app| {
            // Held until the work is done, which may be after the client has disconnected.
            let _admitted = admitted;
            work(app)
        })
        .await
    }

    /// The estimated time until the current queue is processed.
    pub(crate) fn retry_after(&self) -> RetryAfter {
        RetryAfter::new(self.service.engine.queue_stats().estimated_wait())
    }

    /// The body's bytes.
    pub(crate) fn bytes(&self, body: Result<Bytes, BytesRejection>) -> Result<Bytes, ServerError> {
        body.map_err(|error| match error {
            BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
                ServerError::BodyTooLarge { bytes_max: self.config.body_bytes_max }
            }
            error => match BodyLimitPassed::find(&error) {
                Some(BodyLimitPassed::Length { bytes_max }) => ServerError::BodyTooLarge { bytes_max },
                Some(BodyLimitPassed::Time { limit }) => {
                    ServerError::TooSlow { part: "body", millis: limit.as_millis() }
                }
                Some(BodyLimitPassed::Budget { bytes_max }) => {
                    ServerError::TooManyBodyBytes { bytes_max, retry_after: RetryAfter::new(BODIES_RETRY_AFTER) }
                }
                None => match DecodeError::find(&error) {
                    Some(DecodeError::TooLong { bytes_max }) => ServerError::BodyTooLarge { bytes_max: *bytes_max },
                    Some(error) => ServerError::Malformed { part: "body", problem: error.to_string() },
                    None => ServerError::Malformed { part: "body", problem: error.body_text() },
                },
            },
        })
    }

    /// The bytes of a body with a JSON content type.
    pub(crate) fn json_bytes(
        &self,
        headers: &HeaderMap,
        body: Result<Bytes, BytesRejection>,
    ) -> Result<Bytes, ServerError> {
        expect_json(headers)?;
        self.bytes(body)
    }

    /// Parses a JSON body as the wire type `T`, an object that errors call `expected`.
    pub(crate) async fn json<T: DeserializeOwned + Send + 'static>(
        &self,
        expected: &'static str,
        headers: &HeaderMap,
        body: Result<Bytes, BytesRejection>,
    ) -> Result<T, ServerError> {
        let body = self.json_bytes(headers, body)?;
        json::parse(&self.lanes, body, |body| json::read_object(expected, body)).await
    }

    /// The same for a body with filters, whose integers must fit in 64 bits.
    pub(crate) async fn json_with_filters<T: DeserializeOwned + Send + 'static>(
        &self,
        expected: &'static str,
        headers: &HeaderMap,
        body: Result<Bytes, BytesRejection>,
    ) -> Result<T, ServerError> {
        let body = self.json_bytes(headers, body)?;
        json::parse(&self.lanes, body, |body| json::read_exact(expected, body)).await
    }
}

/// The parameters of a query string, with errors in the service's own format.
pub(crate) struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ServerError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ServerError> {
        let malformed =
            |error: QueryRejection| ServerError::Malformed { part: "query string", problem: error.body_text() };
        if let Some(pair) = parts.uri.query().and_then(|query| query.split('&').find(|pair| !is_utf8_escaped(pair))) {
            let problem = format!("`{}` does not stand for UTF-8 text", lorank_core::shortened(pair));
            return Err(ServerError::Malformed { part: "query string", problem });
        }
        Query::try_from_uri(&parts.uri).map(|Query(params)| Self(params)).map_err(malformed)
    }
}

/// Whether the bytes that percent signs stand for (`%C3%A9`) are UTF-8. Readers of query strings replace others in silence.
fn is_utf8_escaped(text: &str) -> bool {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|digits| *first == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|digits| str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    str::from_utf8(&bytes).is_ok()
}

/// The last parameter of a path, with errors in the service's own format.
pub(crate) struct Name(pub String);

/// The index in a path such as `/v1/indexes/{index}/search`; `default` if there is none.
pub(crate) struct OfIndex(pub String);

/// The name of the index parameter in paths.
const INDEX: &str = "index";

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ServerError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ServerError> {
        let params = path_params(parts, state).await?;
        Ok(Self(params.into_iter().next_back().map_or_else(String::new, |(_, name)| name)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfIndex {
    type Rejection = ServerError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ServerError> {
        let params = path_params(parts, state).await?;
        let named = params.into_iter().find(|(template, _)| template == INDEX).map(|(_, name)| name);
        Ok(Self(named.unwrap_or_else(|| IndexName::DEFAULT.to_owned())))
    }
}

/// The names and values of a path's parameters.
async fn path_params<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Vec<(String, String)>, ServerError> {
    match RawPathParams::from_request_parts(parts, state).await {
        Ok(params) => Ok(params.iter().map(|(place, name)| (place.to_owned(), name.to_owned())).collect()),
        Err(RawPathParamsRejection::MissingPathParams(_)) => Ok(Vec::new()),
        Err(error) => Err(ServerError::Malformed { part: "path", problem: error.body_text() }),
    }
}

/// Parses an id or name from a path.
pub(crate) fn id(field: &str, text: &str) -> Result<lorank_core::AdapterId, ServerError> {
    let problem = |error: lorank_core::ParseIdError| format!("is invalid: {error}");
    text.parse().map_err(|error| ServerError::InvalidValue { field: field.to_owned(), problem: problem(error) })
}

pub(crate) fn now_millis() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}
