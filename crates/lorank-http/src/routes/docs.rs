//! `/openapi.json` and `/docs`: the description of the API, for machines and for people.

use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::IntoResponse;

use super::App;

/// The page has no script, no picture and no form, and nothing from elsewhere.
const CONTENT_SECURITY_POLICY: (HeaderName, &str) = (
    header::CONTENT_SECURITY_POLICY,
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// This description
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "service",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object, content_type = "application/json")),
)]
pub(crate) async fn openapi(State(app): State<App>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], app.api.json.clone())
}

/// This description, for people
#[utoipa::path(
    get,
    path = "/docs",
    tag = "service",
    responses((status = 200, description = "A page that needs nothing from elsewhere.", body = String,
        content_type = "text/html")),
)]
pub(crate) async fn page(State(app): State<App>) -> impl IntoResponse {
    let content_type = (header::CONTENT_TYPE, "text/html; charset=utf-8");
    ([content_type, CONTENT_SECURITY_POLICY], app.api.page.clone())
}

/// How the page looks.
pub(crate) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("docs.css"))
}
