//! The router: the routes by required role, and the middleware around them.

use std::sync::Arc;
use std::time::Instant;

use axum::body::HttpBody;
use axum::extract::{Query, Request, State};
use axum::http::{Method, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::get;
use axum::{Router, middleware};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::admission::Admission;
use crate::encoding::decode_bulk;
use crate::identify::identify;
use crate::json::expect_json;
use crate::lanes::Lanes;
use crate::metrics::Metrics;
use crate::openapi::{self, Api};
use crate::page;
use crate::reading::limit_body;
use crate::routes::{
    Shared, adapters, compare, docs, documents, events, experiments, indexes, judgments, metrics, ready, rerank, search,
};
use crate::service::Service;
use crate::{LiveConfig, Role, ServerError, browser_checks, cors, page_headers};

/// The minimum length in bytes of responses that are compressed. Shorter ones fit into one packet.
const COMPRESSED_BYTES_MIN: u16 = 1024;

/// The axum router of a [`Service`] or of a pipeline. It can be nested in another router. A [`LiveConfig`] can be replaced at run
/// time.
pub fn router(service: impl Into<Service>, config: impl Into<LiveConfig>) -> Router {
    let (service, config, admission) = (service.into(), config.into(), Arc::new(Admission::default()));
    let metrics = Arc::new(Metrics::new(&service, &admission, &config));
    let (routes, api) = described_routes(&config);
    let (changes, started, api) = (Arc::new(Admission::default()), Instant::now(), Arc::new(Api::new(&api)));
    let (uploads, lanes) = (Arc::new(Admission::default()), Arc::new(Lanes::default()));
    let shared = Shared { service, admission, changes, uploads, lanes, started, config: config.clone(), metrics, api };
    routes
        .merge(page::routes())
        .route("/docs/style.css", get(docs::style))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(config.clone(), browser_checks::check))
        .layer(middleware::from_fn_with_state(shared.clone(), metrics::count))
        .layer(middleware::from_fn_with_state(shared.service.continue_trace, identify))
        .layer(middleware::from_fn(page_headers::add))
        .layer(CompressionLayer::new().compress_when(SizeAbove::new(COMPRESSED_BYTES_MIN)))
        .layer(middleware::from_fn_with_state(config, cors::allow))
        .with_state(shared)
}

/// The way in which the handlers of a group of routes read bodies.
enum BodyMode {
    /// Completely, within the limits of [`limit_body`].
    Buffered,
    /// Chunk by chunk, within their own limits.
    Streamed,
}

/// The routes and their OpenAPI document, made from the same lists.
fn described_routes(config: &LiveConfig) -> (Router<Shared>, OpenApi) {
    let (mut routes, mut api) = (Router::new(), openapi::without_routes());
    for (group, below_indexes, role, bodies) in [
        (event_routes(), Router::new(), Some(Role::Events), BodyMode::Buffered),
        (search_routes(), indexes::search_routes(), Some(Role::Search), BodyMode::Buffered),
        (write_routes(), indexes::write_routes(), Some(Role::Write), BodyMode::Buffered),
        (bulk_routes(), indexes::bulk_routes(), Some(Role::Write), BodyMode::Streamed),
        (admin_routes(), Router::new(), Some(Role::Admin), BodyMode::Buffered),
        (open_routes(), Router::new(), None, BodyMode::Buffered),
    ] {
        let (group, mut described) = group.split_for_parts();
        let group = group.merge(below_indexes);
        openapi::describe_rests_of_paths(&mut described);
        openapi::describe_below_indexes(&mut described);
        openapi::complete(&mut described, role);
        api.merge(described);
        let group = group.route_layer(middleware::from_fn(expect_no_foreign_type));
        let group = match role {
            Some(role) => group.route_layer(middleware::from_fn_with_state((config.clone(), role), require)),
            None => group,
        };
        routes = routes.merge(match bodies {
            BodyMode::Buffered => group.layer(middleware::from_fn_with_state(config.clone(), limit_body)),
            BodyMode::Streamed => group.layer(middleware::from_fn_with_state(config.clone(), decode_bulk)),
        });
    }
    (routes, api)
}

fn search_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default()
        .routes(routes!(search::by_query_string, search::by_body))
        .routes(routes!(compare::compare))
        .routes(routes!(documents::show))
        .routes(routes!(documents::stats))
        .routes(routes!(indexes::list))
        .routes(routes!(indexes::stats))
        .routes(routes!(metrics::metrics))
        .routes(routes!(rerank::unversioned))
        .routes(routes!(rerank::v1))
        .routes(routes!(rerank::v2))
        .routes(routes!(rerank::score::score))
        .routes(routes!(rerank::score::score_v1))
        .routes(routes!(rerank::documents::jina))
        .routes(routes!(rerank::documents::infinity))
        .routes(routes!(rerank::documents::dashscope))
        .routes(routes!(rerank::dashscope::rerank))
        .routes(routes!(rerank::voyage::rerank))
        .routes(routes!(rerank::mixedbread::reranking))
        .routes(routes!(rerank::nim::ranking))
        .routes(routes!(rerank::nim::reranking))
        .routes(routes!(rerank::deepinfra::inference))
        .routes(routes!(rerank::models::info))
        .routes(routes!(rerank::models::models))
        .routes(routes!(rerank::models::model))
}

fn event_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(events::submit))
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
        .routes(routes!(judgments::list, judgments::replace, judgments::add, judgments::delete))
}

/// Routes that need no key.
fn open_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default()
        .routes(routes!(metrics::health))
        .routes(routes!(ready::ready))
        .routes(routes!(docs::openapi))
        .routes(routes!(docs::page))
}

/// Middleware that requires a key with the role.
async fn require(
    State((config, role)): State<(LiveConfig, Role)>,
    request: Request,
    next: Next,
) -> Result<Response, ServerError> {
    let access = &config.current().access;
    match role {
        Role::Events => access.check_events(request.headers(), key_in_query(request.uri()).as_deref())?,
        role => access.check(request.headers(), role)?,
    }
    Ok(next.run(request).await)
}

/// Middleware that rejects changes without a body but with a content type other than JSON. Browsers send a preflight before sending
/// JSON to another origin, but not before sending text. Routes that read a body check its type themselves.
async fn expect_no_foreign_type(request: Request, next: Next) -> Result<Response, ServerError> {
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if is_change && request.headers().contains_key(header::CONTENT_TYPE) && request.body().is_end_stream() {
        expect_json(request.headers())?;
    }
    Ok(next.run(request).await)
}

/// The value of `key` in a query string.
fn key_in_query(uri: &Uri) -> Option<String> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    pairs.into_iter().find(|(name, _)| name == "key").map(|(_, value)| value)
}

async fn unknown_route(uri: Uri) -> ServerError {
    ServerError::UnknownRoute { path: uri.path().to_owned() }
}

async fn method_not_allowed(method: Method, uri: Uri) -> ServerError {
    ServerError::MethodNotAllowed { path: uri.path().to_owned(), method: method.to_string() }
}
