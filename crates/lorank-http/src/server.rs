//! The router and its limits.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{Method, Uri};
use axum::routing::get;
use axum::{Router, middleware};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{Access, Role, require};
use crate::admission::Admission;
use crate::metrics::Metrics;
use crate::openapi::{self, Api};
use crate::page;
use crate::reading::limit_body;
use crate::request_id::identify;
use crate::routes::{Shared, adapters, compare, docs, documents, events, experiments, metrics, ready, rerank, search};
use crate::service::Service;
use crate::{ConnectionLimits, CorsOrigin, LiveConfig, ServerError, cors};

/// The limits of the service. Those of a search are the pipeline's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
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

impl Default for HttpConfig {
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
    let (routes, api) = described_routes(&config);
    let (changes, started, api) = (Arc::new(Admission::default()), Instant::now(), Arc::new(Api::new(&api)));
    let shared = Shared { service, admission, changes, started, config: config.clone(), metrics, api };
    routes
        .merge(page::routes())
        .route("/docs/style.css", get(docs::style))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(shared.clone(), metrics::count))
        .layer(middleware::from_fn_with_state(shared.service.continue_trace, identify))
        .layer(middleware::from_fn_with_state(config, cors::allow))
        .with_state(shared)
}

/// How a group's bodies are read.
enum Bodies {
    /// At once, within the limits that all share.
    Whole,
    /// Piece by piece, within limits of their own.
    AsTheyCome,
}

/// The routes, and the description of them that is made from the same lists.
fn described_routes(config: &LiveConfig) -> (Router<Shared>, OpenApi) {
    let (mut routes, mut api) = (Router::new(), openapi::beginning());
    for (group, role, bodies) in [
        (search_routes(), Some(Role::Search), Bodies::Whole),
        (write_routes(), Some(Role::Write), Bodies::Whole),
        (bulk_routes(), Some(Role::Write), Bodies::AsTheyCome),
        (admin_routes(), Some(Role::Admin), Bodies::Whole),
        (open_routes(), None, Bodies::Whole),
    ] {
        let (group, mut described) = group.split_for_parts();
        openapi::complete(&mut described, role);
        api.merge(described);
        let group = match role {
            Some(role) => group.route_layer(middleware::from_fn_with_state((config.clone(), role), require)),
            None => group,
        };
        routes = routes.merge(match bodies {
            Bodies::Whole => group.layer(middleware::from_fn_with_state(config.clone(), limit_body)),
            Bodies::AsTheyCome => group,
        });
    }
    (routes, api)
}

fn search_routes() -> OpenApiRouter<Shared> {
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

fn write_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(documents::delete_matching)).routes(routes!(documents::delete))
}

fn bulk_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(documents::add))
}

fn admin_routes() -> OpenApiRouter<Shared> {
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
fn open_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default()
        .routes(routes!(metrics::health))
        .routes(routes!(ready::ready))
        .routes(routes!(docs::openapi))
        .routes(routes!(docs::page))
}

async fn unknown_route(uri: Uri) -> ServerError {
    ServerError::UnknownRoute { path: uri.path().to_owned() }
}

async fn method_not_allowed(method: Method, uri: Uri) -> ServerError {
    ServerError::MethodNotAllowed { path: uri.path().to_owned(), method: method.to_string() }
}
