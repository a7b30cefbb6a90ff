//! The page's files, and the headers that hold a browser to them.

use std::collections::BTreeSet;

use super::*;
use crate::page::{ASSETS, CONTENT_SECURITY_POLICY};

const TYPES: [(&str, &str); 4] = [
    ("html", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("svg", "image/svg+xml"),
];

fn text(name: &str) -> &'static str {
    let asset = ASSETS.iter().find(|asset| asset.name == name).unwrap_or_else(|| panic!("there is no {name}"));
    str::from_utf8(asset.bytes).unwrap()
}

/// What stands between each `before` and the next quote.
fn quoted<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    text.split(before).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

#[tokio::test]
async fn every_file_is_served_with_its_type_and_the_policy() {
    let service = toy_service();
    let names = ASSETS.iter().map(|asset| format!("/assets/{}", asset.name));
    for uri in std::iter::once("/".to_owned()).chain(names) {
        let (status, headers, body) = send(&service, request("GET", &uri, "", "")).await;
        let name = if uri == "/" { "index.html" } else { uri.trim_start_matches("/assets/") };
        let (_, content_type) = TYPES.into_iter().find(|(ending, _)| name.ends_with(ending)).unwrap();
        assert_eq!((status, body.as_str()), (StatusCode::OK, text(name)), "{uri}");
        for (header, expected) in [
            ("content-type", content_type),
            ("content-security-policy", CONTENT_SECURITY_POLICY),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(headers[header], expected, "{uri}");
        }
        let mut again = request("GET", &uri, "", "");
        again.headers_mut().insert("if-none-match", headers["etag"].clone());
        let (status, headers, body) = send(&service, again).await;
        assert_eq!((status, body.as_str()), (StatusCode::NOT_MODIFIED, ""), "{uri}");
        assert!(headers.contains_key("etag"), "{uri}");
    }
}

#[tokio::test]
async fn a_copy_of_another_version_is_replaced() {
    let service = toy_service();
    for (known, status) in [("\"old\"", 200), ("", 200)] {
        let mut request = request("GET", "/assets/app.js", "", "");
        request.headers_mut().insert("if-none-match", known.parse().unwrap());
        assert_eq!(send(&service, request).await.0.as_u16(), status, "{known}");
    }
}

#[test]
fn the_policy_allows_nothing_but_the_services_own() {
    for directive in CONTENT_SECURITY_POLICY.split("; ") {
        let (name, sources) = directive.split_once(' ').unwrap();
        let known = ["'none'", "'self'", "'self' data:", "'script'"];
        assert!(known.contains(&sources), "{name} {sources}");
    }
    assert!(CONTENT_SECURITY_POLICY.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
}

#[test]
fn every_file_that_is_asked_for_is_there_and_every_one_that_is_there_is_asked_for() {
    let mut asked = BTreeSet::from(["index.html"]);
    let index = text("index.html");
    asked.extend([quoted(index, "src=\"assets/"), quoted(index, "href=\"assets/")].concat());
    for asset in ASSETS.iter().filter(|asset| asset.name.ends_with(".js")) {
        asked.extend(quoted(text(asset.name), "from \"./"));
    }
    assert_eq!(asked, ASSETS.iter().map(|asset| asset.name).collect());
}

#[test]
fn no_file_asks_elsewhere_or_holds_what_the_policy_forbids() {
    // The name of SVG's elements is no address, though it looks like one.
    const SVG: &str = "http://www.w3.org/2000/svg";
    for asset in ASSETS.iter() {
        let text = text(asset.name).replace(SVG, "");
        for forbidden in [
            "http://",
            "https://",
            "@import",
            "url(",
            "style=\"",
            "<style",
            "onclick=\"",
            "onload=\"",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "javascript:",
        ] {
            assert!(!text.contains(forbidden), "{} has {forbidden}", asset.name);
        }
        assert!(
            text.matches("<script").count() == text.matches("<script type=\"module\" src=\"assets/").count(),
            "{}",
            asset.name
        );
    }
}

#[tokio::test]
async fn the_page_needs_no_key_and_what_it_calls_does() {
    let keys = vec![Key::new("k", Role::Search, &Key::hash_of("k")).unwrap()];
    let config = HttpConfig { access: Access { keys }, ..HttpConfig::default() };
    let pipeline =
        Pipeline::new(ToyFirstStage::new(toy::candidates(1)), FakeReranker::hashing(), PipelineConfig::default());
    let service = router(Arc::new(pipeline.unwrap()), config);
    for (uri, status) in [("/", 200), ("/assets/app.js", 200), ("/v1/models", 401), ("/v1/search?q=egg", 401)] {
        assert_eq!(send(&service, request("GET", uri, "", "")).await.0.as_u16(), status, "{uri}");
    }
}
