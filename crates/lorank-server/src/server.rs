//! The router and its limits.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{Method, Uri};
use axum::routing::{delete, get, post, put};
use axum::{Router, middleware};

use crate::access::{Access, Role, require};
use crate::admission::Admission;
use crate::metrics::Metrics;
use crate::page;
use crate::reading::limit_body;
use crate::request_id::identify;
use crate::routes::{Shared, adapters, compare, documents, events, experiments, metrics, ready, rerank, search};
use crate::service::Service;
use crate::{ConnectionLimits, CorsOrigin, LiveConfig, ServerError, cors};

/// The limits of the service. Those of a search are the pipeline's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// How many searches may be under way, each with a thread. One more is turned away with status 429.
    ///
    /// More than the pipeline's queue takes, or it would never be full, and searches that need no model (their scores are
    /// cached, or they do not rerank) would be turned away with those that do.
    pub n_searches_max: NonZeroUsize,
    /// The longest body.
    pub body_bytes_max: usize,
    /// The longest time for a client to send a body.
    pub body_read: Duration,
    /// The most documents that a rerank request may bring.
    pub n_documents_max: NonZeroUsize,
    /// The longest body of documents to add. It is read while it comes, and never held whole.
    pub bulk_bytes_max: usize,
    /// The most documents that such a body may have: the answer has an entry for each.
    pub bulk_lines_max: NonZeroUsize,
    /// How many changes of documents may be under way, each with a thread. One more is turned away with status 429.
    pub n_changes_max: NonZeroUsize,
    /// Who may do what.
    pub access: Access,
    /// The origins whose pages may read answers in a browser. Without any, no page of another origin may.
    pub cors_origins: Vec<CorsOrigin>,
    /// The connections' own limits.
    pub connections: ConnectionLimits,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let n_searches_max = NonZeroUsize::new(128).expect("128 is not 0");
        let n_documents_max = NonZeroUsize::new(10_000).expect("10,000 is not 0");
        let bulk_lines_max = NonZeroUsize::new(100_000).expect("100,000 is not 0");
        let n_changes_max = NonZeroUsize::new(16).expect("16 is not 0");
        Self {
            n_searches_max,
            body_bytes_max: 16 << 20,
            body_read: Duration::from_secs(30),
            n_documents_max,
            bulk_bytes_max: 256 << 20,
            bulk_lines_max,
            n_changes_max,
            access: Access::default(),
            cors_origins: Vec::new(),
            connections: ConnectionLimits::default(),
        }
    }
}

/// The routes of a service: a [`Service`], or a pipeline of whatever engines. It is an axum router, so it can be nested in a
/// larger service. A [`LiveConfig`] can be replaced while it serves.
pub fn router(service: impl Into<Service>, config: impl Into<LiveConfig>) -> Router {
    let (service, config, admission) = (service.into(), config.into(), Arc::new(Admission::default()));
    let metrics = Arc::new(Metrics::new(&service, &admission, &config));
    let (changes, started) = (Arc::new(Admission::default()), Instant::now());
    let shared = Shared { service, admission, changes, started, config: config.clone(), metrics };
    let with_key = |routes: Router<Shared>, role| {
        routes.route_layer(middleware::from_fn_with_state((config.clone(), role), require))
    };
    Router::new()
        .merge(with_key(search_routes(), Role::Search))
        .merge(with_key(write_routes(), Role::Write))
        .merge(with_key(admin_routes(), Role::Admin))
        .merge(page::routes())
        .route("/health", get(metrics::health))
        .route("/ready", get(ready::ready))
        .layer(middleware::from_fn_with_state(config.clone(), limit_body))
        // Read while it comes, within limits of its own.
        .merge(with_key(Router::new().route("/v1/documents", post(documents::add)), Role::Write))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(shared.clone(), metrics::count))
        .layer(middleware::from_fn(identify))
        .layer(middleware::from_fn_with_state(config, cors::allow))
        .with_state(shared)
}

fn search_routes() -> Router<Shared> {
    Router::new()
        .route("/v1/search", get(search::by_query_string).post(search::by_body))
        .route("/v1/compare", post(compare::compare))
        .route("/v1/events", post(events::submit))
        .route("/v1/documents/{id}", get(documents::show))
        .route("/v1/stats", get(documents::stats))
        .route("/metrics", get(metrics::metrics))
        .route("/rerank", post(rerank::unversioned))
        .route("/v1/rerank", post(rerank::versioned))
        .route("/v2/rerank", post(rerank::versioned))
        .route("/score", post(rerank::score))
        .route("/v1/score", post(rerank::score))
        .route("/info", get(rerank::info))
        .route("/v1/models", get(rerank::models))
}

fn write_routes() -> Router<Shared> {
    Router::new()
        .route("/v1/documents", delete(documents::delete_matching))
        .route("/v1/documents/{id}", delete(documents::delete))
}

fn admin_routes() -> Router<Shared> {
    Router::new()
        .route("/v1/adapters", get(adapters::list))
        .route("/v1/adapters/{id}", get(adapters::show).put(adapters::put).delete(adapters::delete))
        .route("/v1/registry/verify", post(adapters::verify))
        .route("/v1/aliases", get(adapters::aliases))
        .route("/v1/aliases/{name}", put(adapters::put_alias).delete(adapters::delete_alias))
        .route("/v1/experiments", get(experiments::list).post(experiments::create))
        .route("/v1/experiments/{id}", get(experiments::show).patch(experiments::change).delete(experiments::delete))
        .route("/v1/experiments/{id}/start", post(experiments::start))
        .route("/v1/experiments/{id}/stop", post(experiments::stop))
        .route("/v1/experiments/{id}/report", get(experiments::report))
        .route("/v1/experiments/{id}/export", get(experiments::export))
        .route("/v1/shadows", get(experiments::shadows))
}

async fn unknown_route(uri: Uri) -> ServerError {
    ServerError::UnknownRoute { path: uri.path().to_owned() }
}

async fn method_not_allowed(method: Method, uri: Uri) -> ServerError {
    ServerError::MethodNotAllowed { path: uri.path().to_owned(), method: method.to_string() }
}
