//! Routes, handlers and limits.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, HeaderName, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use axum::{Extension, Json, Router, middleware};
use lorank_core::{FirstStage, Reranker};
use lorank_pipeline::{Answer, Cancellation, Fallback, Pipeline, PipelineError, QueueStats, SearchRequest};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::request_id::{Arrival, identify};
use crate::{RetryAfter, SearchAnswer, SearchBody, ServerError};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The limits of the service. Those of a search are the pipeline's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerConfig {
    /// How many searches may be under way, each with a thread. One more is turned away with status 429.
    ///
    /// More than the pipeline's queue takes, or it would never be full, and searches that need no model (their scores are
    /// cached, or they do not rerank) would be turned away with those that do.
    pub n_searches_max: NonZeroUsize,
    /// The longest body.
    pub body_bytes_max: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let n_searches_max = NonZeroUsize::new(128).expect("128 is not 0");
        Self { n_searches_max, body_bytes_max: 1 << 20 }
    }
}

/// The service over a pipeline, whatever its engines. It is an axum router, so it can be nested in a larger service.
pub fn router<F, R>(pipeline: Arc<Pipeline<F, R>>, config: ServerConfig) -> Router
where
    F: FirstStage + 'static,
    R: Reranker + 'static,
{
    let under_way = Arc::new(Semaphore::new(config.n_searches_max.get()));
    Router::new()
        .route("/v1/search", get(search_by_query_string).post(search_by_body))
        .route("/health", get(health))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(config.body_bytes_max))
        .layer(middleware::from_fn(identify))
        .with_state(App { pipeline, under_way, config })
}

/// Serves until `shutdown` is done; then takes no more connections, and ends once every request under way is answered.
///
/// # Errors
/// None in practice: connections that cannot be accepted are tried again.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = listener.tap_io(|stream| {
        // An answer is one write; waiting to send it together with a next one only delays it.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "could not set TCP_NODELAY");
        }
    });
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

/// A pipeline whose engines are forgotten.
trait Search: Send + Sync {
    fn search(&self, request: &SearchRequest) -> Result<Answer, PipelineError>;
    fn queue_stats(&self) -> QueueStats;
}

impl<F: FirstStage, R: Reranker + 'static> Search for Pipeline<F, R> {
    fn search(&self, request: &SearchRequest) -> Result<Answer, PipelineError> {
        self.search(request)
    }

    fn queue_stats(&self) -> QueueStats {
        self.queue_stats()
    }
}

#[derive(Clone)]
struct App {
    pipeline: Arc<dyn Search>,
    under_way: Arc<Semaphore>,
    config: ServerConfig,
}

async fn search_by_query_string(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    pairs: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, ServerError> {
    let malformed = |error: QueryRejection| ServerError::Malformed { part: "query string", problem: error.body_text() };
    let Query(pairs) = pairs.map_err(malformed)?;
    app.search(SearchBody::from_query_string(pairs)?, arrival).await
}

async fn search_by_body(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ServerError> {
    expect_json(&headers)?;
    let body = body.map_err(|error| match error {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            ServerError::BodyTooLarge { bytes_max: app.config.body_bytes_max }
        }
        error => ServerError::Malformed { part: "body", problem: error.body_text() },
    })?;
    app.search(SearchBody::from_json(&body)?, arrival).await
}

async fn health() -> impl IntoResponse {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

async fn unknown_route(uri: Uri) -> ServerError {
    ServerError::UnknownRoute { path: uri.path().to_owned() }
}

async fn method_not_allowed(method: Method, uri: Uri) -> ServerError {
    ServerError::MethodNotAllowed { path: uri.path().to_owned(), method: method.to_string() }
}

/// Takes `application/json` and its kin (`application/vnd.api+json`).
fn expect_json(headers: &HeaderMap) -> Result<(), ServerError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Err(ServerError::UnsupportedMediaType { found: "of no type".to_owned() });
    };
    let found = String::from_utf8_lossy(value.as_bytes());
    let essence = found.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence.strip_prefix("application/").is_some_and(|kind| kind == "json" || kind.ends_with("+json")) {
        return Ok(());
    }
    Err(ServerError::UnsupportedMediaType { found: format!("`{found}`") })
}

impl App {
    /// Runs one search where blocking is allowed.
    async fn search(self, body: SearchBody, arrival: Arrival) -> Result<Response, ServerError> {
        let (request, shape) = body.into_request(arrival.at)?;
        let overloaded = |_| ServerError::Overloaded {
            n_searches_max: self.config.n_searches_max.get(),
            retry_after: self.retry_after(),
        };
        let permit = self.under_way.clone().try_acquire_owned().map_err(overloaded)?;
        let _cancel = CancelOnDrop(request.cancellation.clone());
        let span = tracing::Span::current();
        let work = move || {
            // Held until the work is done, which may be after the caller has gone.
            let _permit = permit;
            let _entered = span.entered();
            let answer = self.pipeline.search(&request)?;
            // The caller can do better with a full queue than take an order that was not asked for: come again, or go
            // to another server.
            if answer.fallback == Some(Fallback::QueueFull) {
                return Err(ServerError::QueueFull { retry_after: self.retry_after() });
            }
            let answer = SearchAnswer::shaped(&request.query.text, &answer, &arrival.request_id, &shape);
            let body = serde_json::to_vec(&answer).expect("the answer's keys are all texts");
            let headers =
                [(header::CONTENT_TYPE, "application/json".to_owned()), (SERVER_TIMING, server_timing(&answer))];
            Ok((headers, body).into_response())
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|source| Err(ServerError::Panicked { source }))
    }

    /// When the reranker will be through with all that waits now.
    fn retry_after(&self) -> RetryAfter {
        RetryAfter::new(self.pipeline.queue_stats().estimated_wait())
    }
}

/// Tells the pipeline when the caller has hung up: the handler is then dropped before its end.
struct CancelOnDrop(Cancellation);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The timings for a browser's network panel.
fn server_timing(answer: &SearchAnswer<'_>) -> String {
    let timings = &answer.timings_millis;
    let steps = [
        ("first_stage", timings.first_stage),
        ("cache", timings.cache),
        ("rerank", timings.rerank),
        ("total", timings.total),
    ];
    steps.map(|(step, millis)| format!("{step};dur={millis}")).join(", ")
}
