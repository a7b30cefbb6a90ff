//! The router, its limits, and the loop that serves it.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::routing::{get, post, put};
use axum::serve::ListenerExt;
use axum::{Router, middleware};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::ServerError;
use crate::access::{Access, Role, require};
use crate::metrics::Metrics;
use crate::page;
use crate::request_id::identify;
use crate::routes::{App, adapters, compare, events, experiments, metrics, rerank, search};
use crate::service::Service;

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
    /// The most documents that a rerank request may bring.
    pub n_documents_max: NonZeroUsize,
    /// Who may do what.
    pub access: Access,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let n_searches_max = NonZeroUsize::new(128).expect("128 is not 0");
        let n_documents_max = NonZeroUsize::new(10_000).expect("10,000 is not 0");
        Self { n_searches_max, body_bytes_max: 16 << 20, n_documents_max, access: Access::default() }
    }
}

/// The routes of a service: a [`Service`], or a pipeline of whatever engines. It is an axum router, so it can be nested in a
/// larger service.
pub fn router(service: impl Into<Service>, config: ServerConfig) -> Router {
    let service = service.into();
    let metrics = Arc::new(Metrics::new(&service));
    let under_way = Arc::new(Semaphore::new(config.n_searches_max.get()));
    let (access, bytes_max) = (Arc::new(config.access.clone()), config.body_bytes_max);
    let app = App { service, under_way, config: Arc::new(config), metrics };
    let with_key =
        |routes: Router<App>, role| routes.route_layer(middleware::from_fn_with_state((access.clone(), role), require));
    Router::new()
        .merge(with_key(search_routes(), Role::Search))
        .merge(with_key(admin_routes(), Role::Admin))
        .merge(page::routes())
        .route("/health", get(metrics::health))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(bytes_max))
        .layer(middleware::from_fn_with_state(app.clone(), metrics::count))
        .layer(middleware::from_fn(identify))
        .with_state(app)
}

fn search_routes() -> Router<App> {
    Router::new()
        .route("/v1/search", get(search::by_query_string).post(search::by_body))
        .route("/v1/compare", post(compare::compare))
        .route("/v1/events", post(events::submit))
        .route("/metrics", get(metrics::metrics))
        .route("/rerank", post(rerank::unversioned))
        .route("/v1/rerank", post(rerank::versioned))
        .route("/v2/rerank", post(rerank::versioned))
        .route("/score", post(rerank::score))
        .route("/v1/score", post(rerank::score))
        .route("/info", get(rerank::info))
        .route("/v1/models", get(rerank::models))
}

fn admin_routes() -> Router<App> {
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

async fn unknown_route(uri: Uri) -> ServerError {
    ServerError::UnknownRoute { path: uri.path().to_owned() }
}

async fn method_not_allowed(method: Method, uri: Uri) -> ServerError {
    ServerError::MethodNotAllowed { path: uri.path().to_owned(), method: method.to_string() }
}
