//! The router, its limits, and the loop that serves it.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::routing::get;
use axum::serve::ListenerExt;
use axum::{Router, middleware};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ServerError;
use crate::access::{Access, Role, require};
use crate::metrics::Metrics;
use crate::openapi::{self, Api};
use crate::request_id::identify;
use crate::routes::{App, adapters, compare, docs, documents, events, experiments, metrics, rerank, search};
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
    /// The longest body of documents to add. It is read while it comes, and never held whole.
    pub bulk_bytes_max: usize,
    /// The most documents that such a body may have: the answer has an entry for each.
    pub bulk_lines_max: NonZeroUsize,
    /// How many changes of documents may be under way, each with a thread. One more is turned away with status 429.
    pub n_changes_max: NonZeroUsize,
    /// Who may do what.
    pub access: Access,
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
            n_documents_max,
            bulk_bytes_max: 256 << 20,
            bulk_lines_max,
            n_changes_max,
            access: Access::default(),
        }
    }
}

/// The routes of a service: a [`Service`], or a pipeline of whatever engines. It is an axum router, so it can be nested in a
/// larger service.
pub fn router(service: impl Into<Service>, config: ServerConfig) -> Router {
    let service = service.into();
    let metrics = Arc::new(Metrics::new(&service));
    let under_way = Arc::new(Semaphore::new(config.n_searches_max.get()));
    let changes = Arc::new(Semaphore::new(config.n_changes_max.get()));
    let (access, bytes_max) = (Arc::new(config.access.clone()), config.body_bytes_max);
    let (routes, api) = described_routes(&access);
    let (started, api) = (Instant::now(), Arc::new(Api::new(&api)));
    let app = App { service, under_way, changes, started, config: Arc::new(config), metrics, api };
    routes
        .route("/docs/style.css", get(docs::style))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(bytes_max))
        .layer(middleware::from_fn_with_state(app.clone(), metrics::count))
        .layer(middleware::from_fn(identify))
        .with_state(app)
}

/// The routes, and the description of them that is made from the same lists.
fn described_routes(access: &Arc<Access>) -> (Router<App>, OpenApi) {
    let (mut routes, mut api) = (Router::new(), openapi::beginning());
    for (group, role) in [
        (search_routes(), Some(Role::Search)),
        (write_routes(), Some(Role::Write)),
        (admin_routes(), Some(Role::Admin)),
        (open_routes(), None),
    ] {
        let (group, mut described) = group.split_for_parts();
        openapi::complete(&mut described, role);
        api.merge(described);
        routes = routes.merge(match role {
            Some(role) => group.route_layer(middleware::from_fn_with_state((access.clone(), role), require)),
            None => group,
        });
    }
    (routes, api)
}

fn search_routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(search::by_query_string, search::by_body))
        .routes(routes!(compare::compare))
        .routes(routes!(events::submit))
        .routes(routes!(documents::show))
        .routes(routes!(documents::stats))
        .routes(routes!(metrics::metrics))
        .routes(routes!(rerank::unversioned))
        .routes(routes!(rerank::v1))
        .routes(routes!(rerank::v2))
        .routes(routes!(rerank::score))
        .routes(routes!(rerank::score_v1))
        .routes(routes!(rerank::info))
        .routes(routes!(rerank::models))
}

fn write_routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(documents::add, documents::delete_matching))
        .routes(routes!(documents::delete))
}

fn admin_routes() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(adapters::list))
        .routes(routes!(adapters::show, adapters::put, adapters::delete))
        .routes(routes!(adapters::verify))
        .routes(routes!(adapters::aliases))
        .routes(routes!(adapters::put_alias, adapters::delete_alias))
        .routes(routes!(experiments::list, experiments::create))
        .routes(routes!(experiments::show, experiments::change, experiments::delete))
        .routes(routes!(experiments::start))
        .routes(routes!(experiments::stop))
        .routes(routes!(experiments::report))
        .routes(routes!(experiments::export))
        .routes(routes!(experiments::shadows))
}

/// Those that need no key.
fn open_routes() -> OpenApiRouter<App> {
    OpenApiRouter::default().routes(routes!(metrics::health)).routes(routes!(docs::openapi)).routes(routes!(docs::page))
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
