//! Protection of servers without keys against pages of other sites.
//!
//! Without keys, everyone who can reach the server may do everything. A browser on the same machine can reach it, and sends
//! requests for the pages of any site. Two checks prevent such pages from using the server:
//!
//! - **Host**: a page's own domain can resolve to the server's address (DNS rebinding), which puts the server into the page's
//!   origin. Such a request names the page's domain as its host.
//! - **Origin** and **Sec-Fetch-Site** of requests that change something: a page can send a simple request to any server, it only
//!   cannot read the answer. Browsers name the page's origin in these headers; other clients do not send them.
//!
//! If the server has keys, a page must know one, because browsers do not add `authorization` by themselves.

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use axum::middleware::Next;
use axum::response::Response;

use crate::{AllowedHost, HttpConfig, LiveConfig, ServerError};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Middleware that rejects requests which a page of another site may have sent to a server without keys.
pub(crate) async fn check(
    State(config): State<LiveConfig>,
    request: Request,
    next: Next,
) -> Result<Response, ServerError> {
    let config = config.current();
    if config.access.keys.is_empty() {
        check_hosts(&config, request.uri(), request.headers())?;
        if !request.method().is_safe() {
            check_page(&config, request.uri(), request.headers())?;
        }
    }
    Ok(next.run(request).await)
}

/// Every host that the request names must be allowed. A request without a host does not come from a browser.
fn check_hosts(config: &HttpConfig, uri: &Uri, headers: &HeaderMap) -> Result<(), ServerError> {
    let of_uri = uri.authority().map(|authority| authority.as_str().as_bytes());
    let named = of_uri.into_iter().chain(headers.get_all(HOST).iter().map(HeaderValue::as_bytes));
    for named in named {
        let authority = authority(named);
        let is_allowed = |authority: &Authority| AllowedHost::permits(&config.allowed_hosts, authority.host());
        if !authority.as_ref().is_some_and(is_allowed) {
            return Err(ServerError::HostNotAllowed { host: String::from_utf8_lossy(named).into_owned() });
        }
    }
    Ok(())
}

/// The request must not come from a page, unless the page is of this server or of an allowed origin.
fn check_page(config: &HttpConfig, uri: &Uri, headers: &HeaderMap) -> Result<(), ServerError> {
    let mut origins = headers.get_all(ORIGIN).iter().peekable();
    let has_origin = origins.peek().is_some();
    let is_cross_site = || headers.get_all(SEC_FETCH_SITE).iter().any(|site| site != "same-origin" && site != "none");
    for origin in origins {
        if is_allowed_origin(config, origin) {
            continue;
        }
        if !is_own_origin(origin, uri, headers) || is_cross_site() {
            return Err(ServerError::PageNotAllowed {
                origin: String::from_utf8_lossy(origin.as_bytes()).into_owned(),
            });
        }
    }
    if !has_origin && is_cross_site() {
        return Err(ServerError::PageNotAllowed { origin: "another site".to_owned() });
    }
    Ok(())
}

/// Whether an origin is the server's own, or allowed by the configuration.
pub(crate) fn is_own_or_allowed(config: &HttpConfig, origin: &HeaderValue, uri: &Uri, headers: &HeaderMap) -> bool {
    is_allowed_origin(config, origin) || is_own_origin(origin, uri, headers)
}

/// Whether pages of this origin may read responses.
fn is_allowed_origin(config: &HttpConfig, origin: &HeaderValue) -> bool {
    config.cors_origins.iter().any(|allowed| allowed.allows(origin))
}

/// Whether an origin is the server's own, by the host and port of the request. The scheme may differ, because a proxy may terminate
/// TLS.
fn is_own_origin(origin: &HeaderValue, uri: &Uri, headers: &HeaderMap) -> bool {
    let host = uri.authority().cloned().or_else(|| authority(headers.get(HOST)?.as_bytes()));
    let origin: Option<Uri> = origin.to_str().ok().and_then(|text| text.parse().ok());
    let Some((host, origin)) = host.zip(origin) else { return false };
    let default_port = match origin.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return false,
    };
    let port = |port: Option<u16>| port.unwrap_or(default_port);
    let same_host = origin.host().is_some_and(|name| name.eq_ignore_ascii_case(host.host()));
    same_host && port(origin.port_u16()) == port(host.port_u16())
}

/// Parses host and port; the header may contain nothing else.
fn authority(bytes: &[u8]) -> Option<Authority> {
    let is_host = |authority: &Authority| authority.as_str() == authority.host() || authority.port_u16().is_some();
    Authority::try_from(bytes).ok().filter(|authority| is_host(authority) && !authority.as_str().contains('@'))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;

    /// The outcome of a request with these headers under a configuration of allowed hosts and origins.
    fn check(method: &Method, uri: &str, headers: &[(&str, &str)], config: &HttpConfig) -> Result<(), String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let uri: Uri = uri.parse().unwrap();
        let checked = check_hosts(config, &uri, &map)
            .and_then(|()| if method.is_safe() { Ok(()) } else { check_page(config, &uri, &map) });
        checked.map_err(|error| match error {
            ServerError::HostNotAllowed { host } => format!("host {host}"),
            ServerError::PageNotAllowed { origin } => format!("page {origin}"),
            other => panic!("{other}"),
        })
    }

    fn config() -> HttpConfig {
        let allowed_hosts = vec!["search.example".parse().unwrap()];
        HttpConfig {
            allowed_hosts,
            cors_origins: vec!["https://shop.example".parse().unwrap()],
            ..HttpConfig::default()
        }
    }

    #[test]
    fn hosts_that_the_server_is_not_known_by_are_refused() {
        for (uri, hosts, refused) in [
            ("/", &["127.0.0.1:7788"][..], None),
            ("/", &["localhost"], None),
            ("/", &["[::1]:7788"], None),
            ("/", &["search.example:80"], None),
            ("/", &[], None),
            ("/", &["evil.example"], Some("host evil.example")),
            ("/", &["evil.example:7788"], Some("host evil.example:7788")),
            ("/", &["localhost:x"], Some("host localhost:x")),
            ("/", &["localhost@evil.example"], Some("host localhost@evil.example")),
            ("/", &["evil.example@localhost"], Some("host evil.example@localhost")),
            ("/", &["localhost/evil"], Some("host localhost/evil")),
            ("/", &[""], Some("host ")),
            ("/", &["localhost", "evil.example"], Some("host evil.example")),
            ("http://evil.example/", &["localhost"], Some("host evil.example")),
            ("http://localhost/", &["evil.example"], Some("host evil.example")),
            ("http://localhost:7788/", &[], None),
        ] {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            for method in [Method::GET, Method::POST] {
                let found = check(&method, uri, &headers, &config());
                assert_eq!(found.err().as_deref(), refused, "{method} {uri} {hosts:?}");
            }
        }
    }

    #[test]
    fn changes_come_from_own_pages_allowed_ones_or_no_page() {
        let (host, proxied) = (("host", "localhost:7788"), ("host", "search.example"));
        let (origin, site) = (|text| ("origin", text), |text| ("sec-fetch-site", text));
        for (headers, refused) in [
            (&[host][..], None),
            (&[host, origin("http://localhost:7788"), site("same-origin")], None),
            (&[host, origin("http://LOCALHOST:7788")], None),
            (&[host, site("none")], None),
            (&[proxied, origin("https://search.example")], None),
            (&[proxied, origin("http://search.example:80")], None),
            (&[host, origin("https://shop.example"), site("cross-site")], None),
            (&[host, origin("http://localhost:3000"), site("same-site")], Some("page http://localhost:3000")),
            (&[host, origin("http://localhost")], Some("page http://localhost")),
            (&[host, origin("http://127.0.0.1:7788")], Some("page http://127.0.0.1:7788")),
            (&[host, origin("https://evil.example")], Some("page https://evil.example")),
            (&[host, origin("https://shop.example.evil.example")], Some("page https://shop.example.evil.example")),
            (&[host, origin("null")], Some("page null")),
            (&[host, origin("file://")], Some("page file://")),
            (&[host, origin("")], Some("page ")),
            (
                &[host, origin("http://localhost:7788"), origin("https://evil.example")],
                Some("page https://evil.example"),
            ),
            (&[host, origin("http://localhost:7788"), site("cross-site")], Some("page http://localhost:7788")),
            (&[host, site("cross-site")], Some("page another site")),
            (&[host, site("same-site")], Some("page another site")),
            (&[proxied, origin("https://search.example:8443")], Some("page https://search.example:8443")),
        ] {
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                let found = check(&method, "/v1/documents", headers, &config());
                assert_eq!(found.err().as_deref(), refused, "{method} {headers:?}");
            }
            assert_eq!(check(&Method::GET, "/v1/search", headers, &config()), Ok(()), "reading {headers:?}");
        }
    }
}
