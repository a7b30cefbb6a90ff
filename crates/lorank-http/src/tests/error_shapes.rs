//! Refusals in the shapes that the clients of a route read, from whichever layer they come.

use super::rerank::rerank_service;
use super::*;

/// What each shape of an error must have, as its clients read it, and what it must not.
enum Shape {
    Own,
    Tei,
    Cohere,
    Voyage,
    Infinity,
}

impl Shape {
    fn check(&self, body: &Json) {
        let is_text = |value: &Json| value.as_str().is_some_and(|text| !text.is_empty());
        let has = |key: &str| is_text(&body[key]);
        let message = is_text(&body["error"]["message"]) && is_text(&body["error"]["kind"]);
        let is_right = match self {
            Self::Own => message && has("request_id"),
            Self::Tei => has("error") && has("error_type"),
            Self::Cohere => has("message") && has("detail") && has("code") && message,
            Self::Voyage => has("message") && has("detail") && has("code") && body.get("error").is_none(),
            Self::Infinity => is_text(&body["detail"][0]["msg"]) && message,
        };
        assert!(is_right, "{body}");
    }
}

/// The routes, and the shapes of what is refused unread and of what is refused once it is read.
const ROUTES: [(&str, &str, Shape, Shape); 16] = [
    ("/v1/search", r#"{"query": "q", "adapter": "gone"}"#, Shape::Own, Shape::Own),
    ("/rerank", r#"{"query": "q", "texts": ["a"], "model": "gone"}"#, Shape::Tei, Shape::Tei),
    ("/rerank", r#"{"query": "q", "documents": ["a"], "model": "gone"}"#, Shape::Tei, Shape::Cohere),
    ("/v1/rerank", r#"{"query": "q", "documents": ["a"], "model": "gone"}"#, Shape::Voyage, Shape::Cohere),
    ("/v1/rerank", r#"{"query": "q", "documents": ["a"], "model": "gone", "top_k": 1}"#, Shape::Voyage, Shape::Voyage),
    ("/voyage/v1/rerank", r#"{"query": "q", "documents": ["a"], "model": "gone"}"#, Shape::Voyage, Shape::Voyage),
    ("/v2/rerank", r#"{"query": "q", "documents": ["a"], "model": "gone"}"#, Shape::Cohere, Shape::Cohere),
    ("/jina/v1/rerank", r#"{"query": "q", "documents": ["a"], "model": "gone"}"#, Shape::Cohere, Shape::Cohere),
    ("/infinity/rerank", r#"{"query": "q", "documents": ["a"], "model": "gone"}"#, Shape::Infinity, Shape::Infinity),
    ("/v1/reranking", r#"{"query": "q", "input": ["a"], "model": "gone"}"#, Shape::Cohere, Shape::Cohere),
    ("/v1/reranks", r#"{"query": "q", "documents": ["a"], "model": "gone"}"#, Shape::Cohere, Shape::Cohere),
    (
        "/v1/ranking",
        r#"{"query": {"text": "q"}, "passages": [{"text": "a"}], "model": "gone"}"#,
        Shape::Cohere,
        Shape::Cohere,
    ),
    (
        "/v1/retrieval/nvidia/gone/reranking",
        r#"{"query": {"text": "q"}, "passages": [{"text": "a"}], "model": "nvidia/gone"}"#,
        Shape::Cohere,
        Shape::Cohere,
    ),
    ("/v1/inference/gone", r#"{"queries": ["q"], "documents": ["a"]}"#, Shape::Cohere, Shape::Cohere),
    ("/v1/score", r#"{"text_1": "q", "text_2": ["a"], "model": "gone"}"#, Shape::Cohere, Shape::Cohere),
    (
        "/api/v1/services/rerank/text-rerank/text-rerank",
        r#"{"input": {"query": "q", "documents": ["a"]}, "model": "gone"}"#,
        Shape::Cohere,
        Shape::Cohere,
    ),
];

#[tokio::test]
async fn each_layer_refuses_in_the_shape_of_the_route() {
    let key = |text: &str, role| Key::new(text, role, &Key::hash_of(text)).unwrap();
    let keys = vec![key("events", Role::Events), key("search", Role::Search)];
    let config = HttpConfig { access: Access { keys }, body_bytes_max: 200, ..HttpConfig::default() };
    let service = rerank_service(config);
    for (path, body, unread, read) in ROUTES {
        for (key, content_type, sent, status, shape) in [
            ("", JSON, body.to_owned(), 401, &unread),
            ("events", JSON, body.to_owned(), 403, &unread),
            ("search", "text/csv", body.to_owned(), 415, &unread),
            ("search", JSON, " ".repeat(201), 413, &unread),
            ("search", JSON, body.to_owned(), 404, &read),
        ] {
            let mut asked = request("POST", path, content_type, sent);
            let authorization = format!("Bearer {key}").parse().unwrap();
            asked.headers_mut().insert("authorization", authorization);
            let (found, headers, answer) = send(&service, asked).await;
            assert_eq!(found.as_u16(), status, "{path} with `{key}`: {answer}");
            assert_eq!(headers.contains_key("www-authenticate"), status == 401, "{path}");
            assert!(headers.contains_key("x-request-id"), "{path}");
            shape.check(&serde_json::from_str(&answer).unwrap());
        }
    }
}

#[tokio::test]
async fn each_imitated_route_is_in_the_table() {
    let (_, api) = get(&rerank_service(HttpConfig::default()), "/openapi.json").await;
    for (path, item) in api["paths"].as_object().unwrap() {
        if item["post"]["tags"][0] == "rerank" {
            let start = path.split('{').next().unwrap();
            let has_twin = ROUTES.iter().any(|(route, ..)| route.starts_with(start)) || path == "/score";
            assert!(has_twin, "`{path}` has errors whose shape is not tested");
        }
    }
}
