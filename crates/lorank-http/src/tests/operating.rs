//! What operators ask for: readiness, pages of other origins, configurations that change, metrics.

use axum::http::HeaderName;
use lorank_core::AdapterId;

use super::*;

fn adapter(name: &str) -> AdapterId {
    name.parse().unwrap()
}

#[tokio::test]
async fn a_service_is_ready_when_all_its_parts_are() {
    let plain = || ToyFirstStage::new(toy::candidates(3));
    let without_model = PipelineConfig { default_adapter: Some(adapter("gone")), ..PipelineConfig::default() };
    let no_index = "the first stage could not retrieve candidates";
    let no_model = "the default model cannot be used: no adapter `gone` is loaded; loaded are {}";
    for (first_stage, config, status, word, index, model) in [
        (plain(), PipelineConfig::default(), 200, "ready", "ok", "ok"),
        (ToyFirstStage::failing("/secret/path is gone"), PipelineConfig::default(), 503, "not_ready", no_index, "ok"),
        (plain(), without_model, 503, "not_ready", "ok", no_model),
    ] {
        let service = service(first_stage, FakeReranker::hashing(), config);
        let (found, answer) = get(&service, "/ready").await;
        let checks = serde_json::json!({"server": "ok", "index": index, "model": model, "queue": "ok"});
        assert_eq!((found.as_u16(), answer), (status, serde_json::json!({"status": word, "checks": checks})));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_at_its_limit_is_not_ready_and_still_healthy() {
    let gate = Gate::closed();
    let config = PipelineConfig { queue_max: NonZeroUsize::MIN, ..PipelineConfig::default() };
    let stuck = Arc::new(FakeReranker::hashing().behind(gate.clone()));
    let pipeline = Arc::new(Pipeline::new(ToyFirstStage::new(toy::candidates(3)), stuck, config).unwrap());
    let config = LiveConfig::from(HttpConfig::default());
    let service = router(pipeline.clone(), config.clone());
    let search = |query: &str| {
        let (service, uri) = (service.clone(), format!("/v1/search?q={query}"));
        tokio::spawn(async move { get(&service, &uri).await })
    };
    let first = search("one");
    wait_for_arrivals(&gate, 1).await;
    assert_eq!(get(&service, "/ready").await.0, StatusCode::OK);
    let second = search("two");
    while pipeline.queue_stats().n_requests_waiting < 1 {
        tokio::task::yield_now().await;
    }
    for (n_searches_max, why) in [
        (128, "1 requests are waiting for the model, which is the limit"),
        (2, "2 searches are running, which is the limit"),
    ] {
        config.replace(HttpConfig {
            n_searches_max: NonZeroUsize::new(n_searches_max).unwrap(),
            ..HttpConfig::default()
        });
        let (status, answer) = get(&service, "/ready").await;
        assert_eq!((status.as_u16(), answer["checks"]["queue"].as_str()), (503, Some(why)));
    }
    assert_eq!(get(&service, "/health").await.0, StatusCode::OK);
    gate.open();
    assert!(first.await.unwrap().0.is_success() && second.await.unwrap().0.is_success());
    assert_eq!(get(&service, "/ready").await.0, StatusCode::OK);
}

fn with_origin(mut request: Request<Body>, origin: &str) -> Request<Body> {
    request.headers_mut().insert("origin", origin.parse().unwrap());
    request
}

#[tokio::test]
async fn pages_of_other_origins_read_what_the_operator_lets_them() {
    let ours = "https://shop.example";
    for (origins, origin, allowed) in [
        (&[][..], ours, None),
        (&[ours], ours, Some(ours)),
        (&["http://localhost:1", ours], ours, Some(ours)),
        (&[ours], "https://other.example", None),
        (&["*"], "https://other.example", Some("*")),
    ] {
        let cors_origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
        let config = HttpConfig { cors_origins, ..HttpConfig::default() };
        let first_stage = ToyFirstStage::new(toy::candidates(3));
        let pipeline = Pipeline::new(first_stage, FakeReranker::hashing(), PipelineConfig::default()).unwrap();
        let service = router(Arc::new(pipeline), config);
        // An answer, an error, and what is not there.
        for uri in ["/v1/search?q=egg", "/v1/search", "/nowhere"] {
            let (_, headers, _) = send(&service, with_origin(request("GET", uri, "", ""), origin)).await;
            let found = headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap());
            assert_eq!(found, allowed, "{uri} from {origin} under {origins:?}");
            assert_eq!(headers.contains_key("vary"), !origins.is_empty(), "{uri} from {origin} under {origins:?}");
        }
        let mut preflight = with_origin(request("OPTIONS", "/v1/search", "", ""), origin);
        preflight.headers_mut().insert("access-control-request-method", "POST".parse().unwrap());
        let (status, headers, _) = send(&service, preflight).await;
        let expected = if allowed.is_some() { 204 } else { 405 };
        assert_eq!(status.as_u16(), expected, "{origin} under {origins:?}");
        let methods = headers.get("access-control-allow-methods").map(|value| value.to_str().unwrap());
        assert_eq!(methods.is_some_and(|methods| methods.contains("POST")), allowed.is_some());
    }
}

#[tokio::test]
async fn keys_can_be_replaced_while_requests_come() {
    let key = |text: &str| Key::new(text, Role::Search, &Key::hash_of(text)).unwrap();
    let with_key = |text: &str| HttpConfig { access: Access { keys: vec![key(text)] }, ..HttpConfig::default() };
    let config = LiveConfig::from(with_key("old"));
    let first_stage = ToyFirstStage::new(toy::candidates(3));
    let pipeline = Pipeline::new(first_stage, FakeReranker::hashing(), PipelineConfig::default()).unwrap();
    let service = router(Arc::new(pipeline), config.clone());
    let status_of = async |text: &str| {
        let mut request = request("GET", "/v1/search?q=egg", "", "");
        request.headers_mut().insert("authorization", format!("Bearer {text}").parse().unwrap());
        send(&service, request).await.0.as_u16()
    };
    assert_eq!((status_of("old").await, status_of("new").await), (200, 401));
    config.replace(with_key("new"));
    assert_eq!((status_of("old").await, status_of("new").await), (401, 200));
}

/// The lines of `/metrics` that are series of the service.
async fn n_series(service: &Router) -> usize {
    let (_, _, metrics) = send(service, request("GET", "/metrics", "", "")).await;
    metrics.lines().filter(|line| line.starts_with("lorank_")).count()
}

#[tokio::test]
async fn methods_and_paths_that_callers_make_up_add_no_series() {
    let service = toy_service();
    // The first of each kind is a series; so is the first look at the metrics.
    for (method, uri) in [("BREW", "/v1/search"), ("BREW", "/health"), ("BREW", "/nowhere"), ("GET", "/metrics")] {
        drop(send(&service, request(method, uri, "", "")).await);
    }
    let before = n_series(&service).await;
    let (_, _, metrics) = send(&service, request("GET", "/metrics", "", "")).await;
    let counted = r#"lorank_requests_total{route="/v1/search",method="other",status="405"} 1"#;
    assert!(metrics.contains(counted), "{counted} is not in\n{metrics}");
    for n in 0..1_500 {
        for uri in ["/v1/search", "/health", &format!("/nowhere/{n}")] {
            drop(send(&service, request(&format!("BREW{n}"), uri, "", "")).await);
        }
    }
    assert_eq!(n_series(&service).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_bodies_share_a_budget_and_keep_no_search_out() {
    let gate = Gate::closed();
    let stuck = Arc::new(FakeReranker::hashing().behind(gate.clone()));
    let pipeline = Pipeline::new(ToyFirstStage::new(toy::candidates(3)), stuck, PipelineConfig::default()).unwrap();
    let config = LiveConfig::from(HttpConfig { bodies_bytes_max: 100 << 10, ..HttpConfig::default() });
    let service = router(Arc::new(pipeline), config.clone());
    let rerank = || {
        let body = serde_json::json!({"query": "egg", "texts": ["x".repeat(150 << 10)]}).to_string();
        let (service, request) = (service.clone(), request("POST", "/rerank", JSON, body));
        tokio::spawn(async move { send(&service, request).await })
    };
    let first = rerank();
    wait_for_arrivals(&gate, 1).await;
    let n_bytes = config.body_budget().n_bytes();
    assert!((86 << 10..87 << 10).contains(&n_bytes), "{n_bytes}: all but the first 64 KiB");
    let (status, headers, answer) = rerank().await.unwrap();
    assert_eq!((status.as_u16(), headers["retry-after"].to_str().unwrap()), (429, "1"), "{answer}");
    let error = "the bodies of the requests in flight exceed the limit of 102400 bytes; retry later";
    assert_eq!(answer, serde_json::json!({"error": error, "error_type": "Overloaded"}).to_string());
    let search = r#"{"query": "egg", "rerank": false}"#;
    let (status, _, answer) = send(&service, request("POST", "/v1/search", JSON, search)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    gate.open();
    assert_eq!(first.await.unwrap().0, StatusCode::OK);
    assert_eq!(config.body_budget().n_bytes(), 0, "it is given back");
    assert_eq!(rerank().await.unwrap().0, StatusCode::OK);
}

/// Status and headers of an answer to a request with further headers.
async fn ask_with(service: &Router, mut request: Request<Body>, headers: &[(&str, &str)]) -> (u16, HeaderMap, String) {
    for (name, value) in headers {
        request.headers_mut().append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    let (status, headers, body) = send(service, request).await;
    (status.as_u16(), headers, body)
}

fn service_with(config: HttpConfig) -> Router {
    let first_stage = ToyFirstStage::new(toy::candidates(3));
    let pipeline = Pipeline::new(first_stage, FakeReranker::hashing(), PipelineConfig::default()).unwrap();
    router(Arc::new(pipeline), config)
}

#[tokio::test]
async fn a_server_without_keys_refuses_other_hosts_and_changes_from_other_pages() {
    let key = Key::new("key", Role::Admin, &Key::hash_of("key")).unwrap();
    let (open, closed) = (
        service_with(HttpConfig::default()),
        service_with(HttpConfig { access: Access { keys: vec![key] }, ..HttpConfig::default() }),
    );
    let own = ("host", "localhost:7788");
    for (method, uri, headers, status) in [
        ("GET", "/v1/search?q=egg", &[("host", "evil.example")][..], 403),
        ("GET", "/", &[("host", "evil.example")], 403),
        ("GET", "/nowhere", &[("host", "evil.example")], 403),
        ("GET", "/v1/search?q=egg", &[own, ("origin", "https://evil.example")], 200),
        ("DELETE", "/v1/documents/a", &[own, ("origin", "https://evil.example")], 403),
        ("DELETE", "/v1/documents/a", &[own, ("sec-fetch-site", "cross-site")], 403),
        ("DELETE", "/v1/documents/a", &[own, ("origin", "http://localhost:7788")], 404),
        ("DELETE", "/v1/documents/a", &[own], 404),
    ] {
        let (found, _, body) = ask_with(&open, request(method, uri, "", ""), headers).await;
        assert_eq!(found, status, "{method} {uri} {headers:?}: {body}");
        // A page would have to know a key.
        let with_key = [headers, &[("authorization", "Bearer key")]].concat();
        let (found, _, body) = ask_with(&closed, request(method, uri, "", ""), &with_key).await;
        assert_ne!(found, 403, "{method} {uri} {headers:?}: {body}");
    }
    let (_, _, body) = ask_with(&open, request("GET", "/health", "", ""), &[("host", "evil.example")]).await;
    assert!(body.contains("add it to `allowed_hosts` (--allowed-host)"), "{body}");
}

#[tokio::test]
async fn every_answer_says_that_it_is_nothing_else() {
    let service = toy_service();
    for (uri, policy) in [
        ("/", "script-src 'self'"),
        ("/assets/app.js", "script-src 'self'"),
        ("/docs", "style-src 'self'"),
        ("/docs/style.css", "default-src 'none'"),
        ("/openapi.json", "default-src 'none'"),
        ("/health", "default-src 'none'"),
        ("/metrics", "default-src 'none'"),
        ("/v1/search?q=egg", "default-src 'none'"),
        ("/v1/search", "default-src 'none'"),
        ("/nowhere", "default-src 'none'"),
    ] {
        let (_, headers, _) = send(&service, request("GET", uri, "", "")).await;
        let header = |name: &str| headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(
            (header("x-content-type-options"), header("referrer-policy")),
            (vec!["nosniff"], vec!["no-referrer"])
        );
        let found = header("content-security-policy");
        assert!(
            found.len() == 1 && found[0].contains(policy) && found[0].contains("frame-ancestors 'none'"),
            "{uri}: {found:?}"
        );
    }
}

#[tokio::test]
async fn messages_have_a_length_whatever_was_sent() {
    let service = toy_service();
    let long = "x".repeat(1_500);
    let body = |key: &str, value: &str| format!("{{\"query\": \"egg\", \"{key}\": {value}}}");
    for (method, uri, body) in [
        ("GET", format!("/{long}"), String::new()),
        ("GET", format!("/assets/{long}"), String::new()),
        ("GET", format!("/v1/search?q=egg&{long}=1"), String::new()),
        ("GET", format!("/v1/search?q=egg&top_k={long}"), String::new()),
        ("GET", format!("/v1/search?q=egg&adapter={long}"), String::new()),
        ("GET", format!("/v1/documents/{long}"), String::new()),
        ("POST", "/v1/search".to_owned(), body(&long, "1")),
        ("POST", "/v1/search".to_owned(), body("adapter", &format!("\"{long}\""))),
        ("POST", "/v1/search".to_owned(), body("syntax", &format!("\"{long}\""))),
        ("POST", "/v1/search".to_owned(), body("filters", &format!("{{\"{long}\": {{\"gt\": {{}}}}}}"))),
        ("POST", "/v1/compare".to_owned(), body("adapters", &format!("[\"{long}\"]"))),
        ("POST", "/rerank".to_owned(), body(&long, "1")),
        ("POST", "/v2/rerank".to_owned(), body(&long, "1")),
        ("POST", "/score".to_owned(), body(&long, "1")),
    ] {
        let content_type = if method == "POST" { JSON } else { "" };
        let (status, _, answer) = send(&service, request(method, &uri, content_type, body)).await;
        // The rerank routes have a message three times, under the keys that their clients read.
        assert!(status.is_client_error() && answer.len() < 4_096, "{method} {uri}: {status}, {} bytes", answer.len());
    }
}
