//! Cross-origin access: pages of other origins may read responses only if the configuration names their origin.
//!
//! Keys are sent in a header and never in cookies, so pages of an allowed origin can only do what their key allows. Errors have the
//! headers as well, so that pages can read the reason.
//!
//! tower-http's [`Cors`] writes the headers. It would answer every OPTIONS request with status 200, for any origin; here only
//! preflights of allowed origins are answered (with 204), and the router rejects the others.

mod origin;

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_TYPE, ORIGIN, RETRY_AFTER, VARY};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tower::ServiceExt;
use tower_http::cors::{AllowOrigin, Cors, CorsLayer};

pub use self::origin::CorsOrigin;
use crate::LiveConfig;

/// The response headers that pages may read.
const EXPOSED: [HeaderName; 8] = [
    HeaderName::from_static("x-request-id"),
    RETRY_AFTER,
    HeaderName::from_static("server-timing"),
    HeaderName::from_static("x-model"),
    HeaderName::from_static("x-scores"),
    HeaderName::from_static("x-experiment"),
    HeaderName::from_static("x-experiment-arm"),
    HeaderName::from_static("x-fallback"),
];

/// The request headers that pages may send.
const ALLOWED: [HeaderName; 4] =
    [AUTHORIZATION, CONTENT_TYPE, HeaderName::from_static("x-request-id"), HeaderName::from_static("x-unit-id")];

const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// The time for which browsers may cache the answer to a preflight.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// The outermost middleware, with the origins of the current configuration.
pub(crate) async fn allow(State(config): State<LiveConfig>, request: Request, next: Next) -> Response {
    let config = config.current();
    let origins = &config.cors_origins;
    if origins.is_empty() {
        return next.run(request).await;
    }
    let is_preflight = is_preflight(origins, &request);
    if request.method() == Method::OPTIONS && !is_preflight {
        let mut response = next.run(request).await;
        response.headers_mut().append(VARY, HeaderValue::from(ORIGIN));
        return response;
    }
    let Ok(mut response) = with_headers(origins, next).oneshot(request).await;
    if is_preflight {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    response
}

/// Whether a request is the preflight of an allowed origin, which browsers send before requests with a key or a JSON body.
fn is_preflight(origins: &[CorsOrigin], request: &Request) -> bool {
    let origin = request.headers().get(ORIGIN);
    let is_allowed = |sent: &HeaderValue| origins.iter().any(|origin| origin.allows(sent));
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        && origin.is_some_and(is_allowed)
}

fn with_headers(origins: &[CorsOrigin], next: Next) -> Cors<Next> {
    let named = origins.iter().map(|origin| match origin {
        CorsOrigin::Any => None,
        CorsOrigin::One(one) => Some(one.clone()),
    });
    let allowed = named.collect::<Option<Vec<HeaderValue>>>().map_or_else(AllowOrigin::any, AllowOrigin::list);
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods(METHODS)
        .allow_headers(ALLOWED)
        .expose_headers(EXPOSED)
        .max_age(MAX_AGE)
        .vary([ORIGIN]);
    tower::Layer::layer(&layer, next)
}
