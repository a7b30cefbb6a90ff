//! The page at `/` for searching, comparing adapters, judging hits and running experiments.
//!
//! Its files are compiled in: plain HTML, CSS and ES modules without a build step. They need no key; the page asks for one when a
//! route requires it. The page loads nothing from other origins, and its Content-Security-Policy enforces that: no inline scripts
//! or styles, no submitted forms, no frames, no text inserted as markup.

use std::sync::LazyLock;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::ServerError;
use crate::routes::Name;

/// The page's policy. Trusted types make browsers reject markup in strings, so the content of documents cannot become part of the
/// page.
pub(crate) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// A file of the page.
pub(crate) struct Asset {
    pub name: &'static str,
    pub bytes: &'static [u8],
    /// The hash of its bytes in quotes, for the header `etag`.
    etag: String,
}

macro_rules! assets {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("assets/", $name)).as_slice())),*]
    };
}

/// All files, `index.html` first.
pub(crate) static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let files = assets![
        "index.html",
        "icon.svg",
        "style.css",
        "search.css",
        "sets.css",
        "experiments.css",
        "service.css",
        "adapterspanel.js",
        "api.js",
        "app.js",
        "board.js",
        "columns.js",
        "comparison.js",
        "controls.js",
        "dialogs.js",
        "dom.js",
        "evaluation.js",
        "evaluationview.js",
        "experimentactions.js",
        "experimentform.js",
        "experiments.js",
        "explanation.js",
        "files.js",
        "filters.js",
        "hits.js",
        "indexpanel.js",
        "judging.js",
        "judgments.js",
        "keys.js",
        "latency.js",
        "lines.js",
        "loadpanel.js",
        "measures.js",
        "notices.js",
        "numbers.js",
        "plots.js",
        "pool.js",
        "qrels.js",
        "querysets.js",
        "rankers.js",
        "report.js",
        "requests.js",
        "results.js",
        "run.js",
        "search.js",
        "service.js",
        "setsview.js",
        "settable.js",
        "snippets.js",
        "stages.js",
        "state.js",
        "typed.js",
    ];
    let asset = |(name, bytes): (&'static str, &'static [u8])| {
        let etag = format!("\"{}\"", blake3::hash(bytes).to_hex());
        Asset { name, bytes, etag }
    };
    files.into_iter().map(asset).collect()
});

/// The routes of the page.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/", get(index)).route("/assets/{name}", get(asset))
}

async fn index(headers: HeaderMap) -> Response {
    ASSETS[0].response(&headers)
}

async fn asset(Name(name): Name, headers: HeaderMap) -> Result<Response, ServerError> {
    let found = ASSETS.iter().find(|asset| asset.name == name);
    let asset = found.ok_or_else(|| ServerError::UnknownRoute { path: format!("/assets/{name}") })?;
    Ok(asset.response(&headers))
}

impl Asset {
    pub(crate) fn content_type(&self) -> &'static str {
        match self.name.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            _ => "image/svg+xml",
        }
    }

    /// The file, or status 304 if the browser's copy is current. Browsers must revalidate their copies, because modules import each
    /// other by name, and all must have the same version after an update of the server.
    fn response(&self, asked: &HeaderMap) -> Response {
        let etag = HeaderValue::from_str(&self.etag).expect("a hash in quotes is visible ASCII");
        let headers: [(HeaderName, HeaderValue); 6] = [
            (header::CONTENT_TYPE, HeaderValue::from_static(self.content_type())),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::ETAG, etag),
        ];
        let known = asked.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == self.etag) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, self.bytes).into_response()
    }
}
