//! `/openapi.json` and `/docs`: the OpenAPI document and the API reference.

use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::IntoResponse;

use super::App;

/// The page has no scripts, images or forms, and loads nothing from other origins.
const CONTENT_SECURITY_POLICY: (HeaderName, &str) = (
    header::CONTENT_SECURITY_POLICY,
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Get the OpenAPI document
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "service",
    responses((status = 200, description = "The OpenAPI 3.1 document.", body = Object, content_type = "application/json")),
)]
pub(crate) async fn openapi(State(app): State<App>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], app.api.json.clone())
}

/// Show the API reference
#[utoipa::path(
    get,
    path = "/docs",
    tag = "service",
    responses((status = 200, description = "This page.", body = String,
        content_type = "text/html")),
)]
pub(crate) async fn page(State(app): State<App>) -> impl IntoResponse {
    let content_type = (header::CONTENT_TYPE, "text/html; charset=utf-8");
    ([content_type, CONTENT_SECURITY_POLICY], app.api.page.clone())
}

/// The page's style sheet.
pub(crate) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("docs.css"))
}
