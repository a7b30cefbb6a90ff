//! Which pages of other origins may read answers: none, unless the operator names their origins.
//!
//! Keys travel in a header that a page has to know, never in cookies, so an allowed origin can do what its key can do and no
//! more. Errors get the headers as well, or a page could not tell why it was refused.

use std::fmt;
use std::str::FromStr;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::LiveConfig;

/// An origin whose pages may read answers: a scheme, a host and, where it is not the scheme's own, a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigin {
    /// Every origin: `*`.
    Any,
    /// This one, as browsers write it.
    One(HeaderValue),
}

impl FromStr for CorsOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let is_origin = |uri: &Uri| {
            let parts = uri.scheme_str().zip(uri.authority());
            parts.is_some_and(|(scheme, host)| format!("{scheme}://{host}").eq_ignore_ascii_case(text))
        };
        // Browsers write scheme and host in small letters.
        let origin = text.parse().ok().filter(is_origin).map(|_| text.to_ascii_lowercase());
        origin.and_then(|text| HeaderValue::from_str(&text).ok()).map(Self::One).ok_or_else(|| {
            format!("`{text}` is not an origin; write `https://host` or `https://host:port`, without a path, or `*`")
        })
    }
}

impl fmt::Display for CorsOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::One(origin) => f.write_str(&String::from_utf8_lossy(origin.as_bytes())),
        }
    }
}

/// A layer that says what browsers want to know, the outermost one.
pub(crate) async fn allow(State(config): State<LiveConfig>, request: Request, next: Next) -> Response {
    let config = config.current();
    if config.cors_origins.is_empty() {
        return next.run(request).await;
    }
    let allowed = allowed(&config.cors_origins, request.headers());
    let is_preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match (&allowed, is_preflight) {
        (Some(_), true) => preflight(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let exposed = "x-request-id, retry-after, server-timing";
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(exposed));
    }
    response
}

/// The request's origin as it is allowed, if it has one that is.
fn allowed(origins: &[CorsOrigin], headers: &HeaderMap) -> Option<HeaderValue> {
    let sent = headers.get(ORIGIN)?;
    origins.iter().find_map(|origin| match origin {
        CorsOrigin::Any => Some(HeaderValue::from_static("*")),
        CorsOrigin::One(one) => (one == sent).then(|| one.clone()),
    })
}

/// What a page asks before a request that has a key or a body of JSON.
fn preflight() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, x-request-id, x-unit-id"),
        (ACCESS_CONTROL_MAX_AGE, "3600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (text, written) in [
            ("https://shop.example", Some("https://shop.example")),
            ("HTTPS://Shop.Example", Some("https://shop.example")),
            ("http://localhost:5173", Some("http://localhost:5173")),
            ("*", Some("*")),
            ("https://shop.example/", None),
            ("https://shop.example/path", None),
            ("shop.example", None),
            ("null", None),
            ("", None),
        ] {
            let found = text.parse().ok().map(|origin| match origin {
                CorsOrigin::Any => "*".to_owned(),
                CorsOrigin::One(value) => value.to_str().unwrap().to_owned(),
            });
            assert_eq!(found.as_deref(), written, "{text}");
        }
    }
}
