//! An origin in the configuration.

use std::fmt;
use std::str::FromStr;

use axum::http::{HeaderValue, Uri};

/// An origin whose pages may read responses: a scheme, a host, and a port if it is not the scheme's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigin {
    /// Any origin: `*`.
    Any,
    /// This origin, as browsers send it.
    One(HeaderValue),
}

impl CorsOrigin {
    /// Whether it is the origin that a browser sends.
    pub(crate) fn allows(&self, sent: &HeaderValue) -> bool {
        match self {
            Self::Any => true,
            Self::One(one) => one == sent,
        }
    }
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
        // Browsers send scheme and host in lowercase.
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
