//! `/metrics` and `/health`.

use std::time::Instant;

use axum::Json as JsonBody;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use crate::ServerError;
use crate::lanes::Lane;
use crate::metrics::UNKNOWN_ROUTE;
use crate::wire::Health;

/// Get Prometheus metrics
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "service",
    responses((status = 200, description = "The metrics in the OpenMetrics text format.", body = String,
        content_type = "application/openmetrics-text")),
)]
pub(crate) async fn metrics(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    // A GPU's driver is asked for its memory, which may block.
    let metrics = app.in_lane(Lane::Metrics, |app| Ok(app.metrics.encode())).await?;
    Ok(([(header::CONTENT_TYPE, content_type)], metrics))
}

/// Check liveness
#[utoipa::path(
    get,
    path = "/health",
    tag = "service",
    responses((status = 200, description = "The server answers requests.", body = Health)),
)]
pub(crate) async fn health() -> impl IntoResponse {
    JsonBody(Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

/// Middleware that counts requests by route. Paths that match no route are counted together.
pub(crate) async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let path = request.extensions().get::<MatchedPath>();
    let route = path.map_or(UNKNOWN_ROUTE, MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let response = next.run(request).await;
    app.metrics.request(&route, method.as_str(), response.status().as_u16(), started.elapsed());
    response
}
