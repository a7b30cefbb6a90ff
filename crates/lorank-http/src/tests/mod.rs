//! The service from the outside, over toy engines.

use std::num::NonZeroUsize;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use lorank_core::{BoxError, Candidate, Filter, FirstStage, Fuzzy, Query, QuerySyntax, Test, Value};
use lorank_pipeline::{Pipeline, PipelineConfig};
use lorank_testing::toy::{self, FakeReranker, Fault, Gate, ToyFirstStage};
use serde_json::Value as Json;
use tower::ServiceExt;

use crate::*;

mod adapters;
mod candidates;
mod combinations;
mod comparisons;
mod documents;
pub(crate) mod encoding;
mod error_shapes;
mod experiments;
mod judgments;
mod messages;
mod openapi;
mod operating;
mod page;
mod passages;
mod rerank;
mod rerank_experiments;
mod rerank_shapes;
mod stages;

const JSON: &str = "application/json";

/// A service over the given engines.
fn service(first_stage: ToyFirstStage, reranker: impl Into<Arc<FakeReranker>>, config: PipelineConfig) -> Router {
    let pipeline = Pipeline::new(first_stage, reranker.into(), config).unwrap();
    router(Arc::new(pipeline), HttpConfig { body_bytes_max: 2_000, ..HttpConfig::default() })
}

/// A service over twenty toy documents and the adapter `qa`.
fn toy_service() -> Router {
    let first_stage = ToyFirstStage::new(toy::candidates(20));
    service(first_stage, FakeReranker::hashing().with_adapters(&["qa"]), PipelineConfig::default())
}

/// A request with a body of the given type; an empty type sends none.
fn request(method: &str, uri: &str, content_type: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder().method(method).uri(uri);
    let request = if content_type.is_empty() { request } else { request.header("content-type", content_type) };
    request.body(body.into()).unwrap()
}

async fn send(service: &Router, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
    let response = service.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(service: &Router, uri: &str) -> (StatusCode, Json) {
    let (status, _, body) = send(service, request("GET", uri, "", "")).await;
    (status, serde_json::from_str(&body).unwrap())
}

fn ids(answer: &Json) -> Vec<&str> {
    answer["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_answer_has_the_promised_keys_in_order() {
    let reranker = FakeReranker::by(|_, _, candidate| if candidate.id.as_str() == "d2" { 8.1 } else { -0.25 });
    let reranker = reranker.with_adapters(&["qa"]);
    let first_stage = ToyFirstStage::new(toy::candidates(3));
    let service = service(first_stage, reranker, PipelineConfig::default());
    let search = r#"{"query": "egg", "top_k": 2, "depth": 2, "adapter": "qa", "fields": ["year"]}"#;
    let mut request = request("POST", "/v1/search", JSON, search);
    request.headers_mut().insert("x-request-id", "from-the-caller".parse().unwrap());
    let (status, headers, body) = send(&service, request).await;
    assert_eq!(status, StatusCode::OK);

    let digest = toy::model(Some(&"qa".parse().unwrap())).adapter.unwrap().digest;
    let beginning = format!(
        concat!(
            r#"{{"query":"egg","hits":["#,
            r#"{{"id":"d2","rank":1,"rerank_score":8.1,"first_stage_score":2.0,"first_stage_rank":2,"#,
            r#""fields":{{"year":2002}},"snippet":"<b>text</b> of document 2"}},"#,
            r#"{{"id":"d1","rank":2,"rerank_score":-0.25,"first_stage_score":3.0,"first_stage_rank":1,"#,
            r#""fields":{{"year":2001}},"snippet":"<b>text</b> of document 1"}}],"#,
            r#""reranked":true,"rank_by":null,"fallback":null,"warnings":[],"adapter":{{"id":"qa","digest":"{}"}},"base_model":"toy","#,
            r#""experiment":null,"total_hits":2,"total_hits_relation":"gte","facets":null,"n_candidates":2,"#,
            r#""n_left_out":null,"depth":2,"cache":{{"hits":0,"misses":2}},"timings_millis":"#,
        ),
        digest
    );
    assert_eq!(body.get(..beginning.len()), Some(beginning.as_str()), "{body}");

    let answer: Json = serde_json::from_str(&body).unwrap();
    let steps: Vec<_> = answer["timings_millis"].as_object().unwrap().keys().collect();
    assert_eq!(steps, ["first_stage", "cache", "queue", "rerank", "total"]);
    assert_eq!(answer["request_id"], "from-the-caller");
    assert_eq!(headers["x-request-id"], "from-the-caller");
    assert_eq!(headers["content-type"], JSON);
    let total = format!("total;dur={}", answer["timings_millis"]["total"]);
    assert!(headers["server-timing"].to_str().unwrap().ends_with(&total), "{headers:?}");
}

#[tokio::test]
async fn what_was_not_reranked_has_nulls() {
    let service = toy_service();
    let (_, answer) = get(&service, "/v1/search?q=egg&rerank=false&snippets=false&top_k=1").await;
    assert_eq!(answer["hits"][0]["rerank_score"], Json::Null);
    assert_eq!(answer["hits"][0]["snippet"], Json::Null);
    assert_eq!(answer["reranked"], false);
    for key in ["fallback", "adapter", "base_model", "experiment"] {
        assert_eq!(answer.get(key), Some(&Json::Null), "{key}");
    }
    let (_, answer) = get(&service, "/v1/search?q=egg&adapter=none").await;
    assert_eq!((&answer["adapter"], &answer["base_model"]), (&Json::Null, &Json::from("toy")));
}

#[tokio::test]
async fn explanations_come_only_when_asked_for() {
    let service = toy_service();
    let (_, plain) = get(&service, "/v1/search?q=egg&depth=5").await;
    assert_eq!(plain["hits"][0].get("explanation"), None);
    let (_, explained) = get(&service, "/v1/search?q=egg&depth=5&explain=true").await;
    for hit in explained["hits"].as_array().unwrap() {
        let moved = hit["first_stage_rank"].as_i64().unwrap() - hit["rank"].as_i64().unwrap();
        assert_eq!(hit["explanation"]["rank_change"], moved);
        let origin = if hit["rerank_score"].is_null() { Json::Null } else { "cache".into() };
        assert_eq!(hit["explanation"]["score_origin"], origin);
    }
}

#[tokio::test]
async fn both_scores_may_count_and_low_ones_be_left_out() {
    let reranker = FakeReranker::by(|_, _, candidate| candidate.id.as_str()[1..].parse().unwrap());
    let service = service(ToyFirstStage::new(toy::candidates(5)), reranker, PipelineConfig::default());
    // The first stage gives the first of them 5, 4 and 3, the model 1, 2 and 3.
    let (_, answer) = get(&service, "/v1/search?q=egg&depth=3&blend_weight=0.25&explain=true").await;
    assert_eq!((ids(&answer), &answer["n_left_out"]), (vec!["d1", "d2", "d3", "d4", "d5"], &Json::Null));
    let blend = serde_json::json!({
        "blended_score": 0.75, "normalised_rerank_score": 0.0, "normalised_first_stage_score": 1.0
    });
    let of = |n: usize| &answer["hits"][n]["explanation"]["blend"];
    assert_eq!((of(0), of(3)), (&blend, &Json::Null));
    let (_, answer) = get(&service, "/v1/search?q=egg&depth=3&min_rerank_score=2&explain=true").await;
    assert_eq!(
        (ids(&answer), &answer["n_left_out"], &answer["n_candidates"]),
        (vec!["d3", "d2"], &1.into(), &3.into())
    );
    assert_eq!(answer["hits"][0]["explanation"]["blend"], Json::Null);
    let (_, answer) = get(&service, "/v1/search?q=other&min_rerank_score=2&deadline_millis=0").await;
    assert_eq!((answer["hits"].as_array().map(Vec::len), &answer["n_left_out"]), (Some(5), &Json::Null));
    assert_eq!(answer["fallback"]["reason"], "deadline_passed");
}

#[tokio::test]
async fn pages_follow_each_other() {
    let service = toy_service();
    let (_, whole) = get(&service, "/v1/search?q=egg&depth=12&top_k=20").await;
    let (_, first) = get(&service, "/v1/search?q=egg&depth=12&top_k=10").await;
    let (_, second) = get(&service, "/v1/search?q=egg&depth=12&top_k=10&offset=10").await;
    assert_eq!([ids(&first), ids(&second)].concat(), ids(&whole));
    assert_eq!(second["hits"][0]["rank"], 11);
    assert_eq!(second["cache"], serde_json::json!({"hits": 12, "misses": 0}));
}

#[test]
fn a_query_string_says_what_a_body_says() {
    for (query_string, body) in [
        (vec![("q", "boiled egg")], r#"{"query": "boiled egg"}"#),
        (vec![("query", "")], r#"{"query": ""}"#),
        (
            vec![("q", "12"), ("top_k", "5"), ("offset", "20"), ("depth", "50"), ("deadline_millis", "0")],
            r#"{"query": "12", "top_k": 5, "offset": 20, "depth": 50, "deadline_millis": 0}"#,
        ),
        (
            vec![("q", "true"), ("rerank", "false"), ("snippets", "true"), ("explain", "true")],
            r#"{"query": "true", "rerank": false, "snippets": true, "explain": true}"#,
        ),
        (
            vec![("adapter", "none"), ("syntax", "advanced"), ("fuzzy", "on"), ("fields", "title,year")],
            r#"{"adapter": "none", "syntax": "advanced", "fuzzy": "on", "fields": ["title", "year"]}"#,
        ),
        (
            vec![("stages", "none@b:100:0.5,qa:10,default:5")],
            r#"{"stages": [{"adapter": "none", "base": "b", "depth": 100, "deadline_share": 0.5},
                {"adapter": "qa", "depth": 10}, {"depth": 5}]}"#,
        ),
        (vec![("fields", "")], r#"{"fields": []}"#),
        (
            vec![("blend_weight", "0.25"), ("min_rerank_score", "-3")],
            r#"{"blend_weight": 0.25, "min_rerank_score": -3.0}"#,
        ),
        (
            vec![("filter.year", "1990"), ("filter.lang", "en"), ("filter.year", "1.5"), ("filter.open", "true")],
            r#"{"filters": {"year": {"eq": ["1990", "1.5"]}, "lang": {"eq": ["en"]}, "open": {"eq": ["true"]}}}"#,
        ),
        (
            vec![
                ("filter.year>", "1990"),
                ("filter.year<2000", ""),
                ("filter.lang!", "en,de"),
                ("filter.n>5", ""),
                ("filter.a", "\"x, y\""),
            ],
            r#"{"filters": {"year": {"gte": "1990", "lt": "2000"}, "lang": {"ne": ["en", "de"]}, "n": {"gt": "5"},
                "a": {"eq": ["x, y"]}}}"#,
        ),
    ] {
        let pairs = query_string.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let expected = SearchBody::from_json(body.as_bytes()).unwrap();
        assert_eq!(SearchBody::from_query_string(pairs).unwrap(), expected, "{query_string:?}");
    }
}

#[tokio::test]
async fn a_query_string_that_is_not_utf8_is_refused() {
    let service = toy_service();
    for (query_string, refused) in [
        ("q=caf%C3%A9", None),
        ("q=100%", None),
        ("q=100%25&top_k=3", None),
        ("q=%+1%zz%e2%82%ac", None),
        ("q=caf%E9", Some("q=caf%E9")),
        ("q=%ff", Some("q=%ff")),
        ("q=a&filter.l%ffang=en", Some("filter.l%ffang=en")),
        ("q=%C3&top_k=3", Some("q=%C3")),
        ("q=%C3&%A9=3", Some("q=%C3")),
        ("q=%ED%A0%80", Some("q=%ED%A0%80")),
    ] {
        let (status, answer) = get(&service, &format!("/v1/search?{query_string}")).await;
        let message = &answer["error"]["message"];
        match refused {
            None => assert_eq!(status, 200, "{query_string}: {answer}"),
            Some(pair) => {
                let expected = format!("the query string cannot be read: `{pair}` does not stand for UTF-8 text");
                assert_eq!((status.as_u16(), message.as_str()), (400, Some(expected.as_str())), "{query_string}");
            }
        }
    }
}

#[test]
fn null_is_the_default() {
    let keys = [
        "query",
        "top_k",
        "offset",
        "depth",
        "stages",
        "adapter",
        "instruction",
        "passages",
        "passage_tokens",
        "stride",
        "rerank",
        "blend_weight",
        "min_rerank_score",
        "match_all",
        "sort",
        "facets",
        "rank_by",
        "deadline_millis",
        "filters",
        "snippets",
        "fields",
        "syntax",
        "fuzzy",
        "explain",
    ];
    for key in keys {
        let body = format!(r#"{{"{key}": null}}"#);
        assert_eq!(SearchBody::from_json(body.as_bytes()).unwrap(), SearchBody::default(), "{key}");
    }
}

#[tokio::test]
async fn the_first_stage_gets_query_syntax_and_filters() {
    let first_stage = Arc::new(ToyFirstStage::new(toy::candidates(3)));
    let pipeline = Pipeline::new(first_stage.clone(), FakeReranker::hashing(), PipelineConfig::default()).unwrap();
    let service = router(Arc::new(pipeline), HttpConfig::default());
    let body = r#"{"query": "a +b", "syntax": "advanced", "fuzzy": "off", "depth": 7, "top_k": 3, "filters": {"year": {"gte": 1990}}}"#;
    let (status, _, _) = send(&service, request("POST", "/v1/search", JSON, body)).await;
    assert_eq!(status, StatusCode::OK);
    let test = Test::Range { lower: Some((Value::Integer(1990), true)), upper: None };
    let filters = vec![Filter { field: "year".to_owned(), test }];
    let query = Query { syntax: QuerySyntax::Advanced, fuzzy: Fuzzy::Off, filters, ..Query::new("a +b") };
    assert_eq!(first_stage.asked(), [(query, 7)]);
}

#[tokio::test]
async fn a_late_or_broken_reranker_is_an_answer_that_says_so() {
    let reranker = Arc::new(FakeReranker::hashing());
    reranker.set_fault(Some(Fault::Error("out of memory")));
    let service = service(ToyFirstStage::new(toy::candidates(3)), reranker, PipelineConfig::default());
    for (uri, reason, message) in [
        (
            "/v1/search?q=egg&deadline_millis=0",
            "deadline_passed",
            "the deadline passed before every candidate had a score",
        ),
        ("/v1/search?q=egg", "reranker_failed", "out of memory"),
    ] {
        let (status, answer) = get(&service, uri).await;
        assert_eq!((status, &answer["reranked"]), (StatusCode::OK, &Json::Bool(false)));
        assert_eq!(answer["fallback"], serde_json::json!({"reason": reason, "message": message}));
        assert_eq!(ids(&answer), ["d1", "d2", "d3"]);
    }
}

/// One row: what is sent, the status, the error's kind, its field, and a part of its message.
async fn check_error(
    service: &Router,
    (method, uri, content_type, body): (&str, &str, &str, &str),
    (status, kind, field, message): (u16, &str, Option<&str>, &str),
) {
    let (found, headers, text) = send(service, request(method, uri, content_type, body.to_owned())).await;
    let answer: Json = serde_json::from_str(&text).unwrap();
    let error = &answer["error"];
    assert_eq!((found.as_u16(), error["kind"].as_str()), (status, Some(kind)), "{method} {uri} {body}: {text}");
    assert_eq!(error.get("field").map(|field| field.as_str().unwrap()), field, "{method} {uri} {body}: {text}");
    assert!(error["message"].as_str().unwrap().contains(message), "{method} {uri} {body}: {text}");
    assert_eq!(headers["x-request-id"].to_str().unwrap(), answer["request_id"], "{text}");
}

#[tokio::test]
async fn what_is_wrong_is_said_with_its_status_kind_and_field() {
    let service = toy_service();
    let post = |body| ("POST", "/v1/search", JSON, body);
    let get = |uri| ("GET", uri, "", "");
    let too_long = format!(r#"{{"query": "{}"}}"#, "x".repeat(2_000));
    for (sent, expected) in [
        // The body itself.
        (post(""), (400, "malformed_request", None, "it is empty")),
        (post("{\"query\":\n 'egg'}"), (400, "malformed_request", None, "line 2 column 2")),
        (
            post("{} {}"),
            (400, "malformed_request", None, "there is more after the end of the value at line 1 column 4"),
        ),
        (post("\"egg\""), (422, "invalid_value", None, "it must be an object, not a string")),
        (post("[\"egg\"]"), (422, "invalid_value", None, "it must be an object, not an array")),
        (post(&too_long), (413, "payload_too_large", None, "the limit of 2000 bytes")),
        (("POST", "/v1/search", "", "{}"), (415, "unsupported_media_type", None, "(none)")),
        (("POST", "/v1/search", "text/plain", "{}"), (415, "unsupported_media_type", None, "`text/plain`")),
        // Its keys and values.
        (post("{}"), (422, "invalid_value", Some("query"), "`query` is missing")),
        (post(r#"{"query": 7}"#), (422, "invalid_value", Some("query"), "must be a string, not `7`")),
        (post(r#"{"query": "a", "topk": 3}"#), (422, "invalid_value", Some("topk"), "did you mean `top_k`?")),
        (
            post(r#"{"query": "a", "top_k": 0}"#),
            (422, "invalid_value", Some("top_k"), "a whole number of at least 1, not `0`"),
        ),
        (post(r#"{"query": "a", "top_k": 1.5}"#), (422, "invalid_value", Some("top_k"), "1.5")),
        (post(r#"{"query": "a", "depth": -1}"#), (422, "invalid_value", Some("depth"), "-1")),
        (post(r#"{"query": "a", "depth": 1001}"#), (422, "invalid_value", Some("depth"), "above the limit of 1000")),
        (post(r#"{"query": "a", "offset": 9991}"#), (422, "invalid_value", Some("offset"), "limit of 10000")),
        (post(r#"{"query": "a", "blend_weight": 1.5}"#), (422, "invalid_value", Some("blend_weight"), "from 0 to 1")),
        (
            post(r#"{"query": "a", "min_rerank_score": 1e39}"#),
            (422, "invalid_value", Some("min_rerank_score"), "is out of range"),
        ),
        (get("/v1/search?q=a&blend_weight=NaN"), (422, "invalid_value", Some("blend_weight"), "\"NaN\"")),
        (post(r#"{"query": "a", "syntax": "sql"}"#), (422, "invalid_value", Some("syntax"), "`plain` or `advanced`")),
        (post(r#"{"query": "a", "fuzzy": "much"}"#), (422, "invalid_value", Some("fuzzy"), "`off`, `auto` or `on`")),
        (post(r#"{"query": "a", "fields": ["a", 1]}"#), (422, "invalid_value", Some("fields[1]"), "a string")),
        (post(r#"{"query": "a", "stages": []}"#), (422, "invalid_value", Some("stages"), "there are no stages")),
        (post(r#"{"query": "a", "stages": "none:5"}"#), (422, "invalid_value", Some("stages"), "an array")),
        (
            post(r#"{"query": "a", "stages": [{"adapter": "none"}]}"#),
            (422, "invalid_value", Some("stages[0].depth"), "`stages[0].depth` is missing"),
        ),
        (
            post(r#"{"query": "a", "stages": [{"depth": 5, "top_k": 1}]}"#),
            (422, "invalid_value", Some("stages[0].top_k"), "unknown"),
        ),
        (
            post(r#"{"query": "a", "stages": [{"depth": 5}, {"depth": 6}]}"#),
            (422, "invalid_value", Some("stages"), "the depth of stage 2 is 6, which is above"),
        ),
        (
            post(r#"{"query": "a", "stages": [{"depth": 5}, {"depth": 4, "deadline_share": 1.5}]}"#),
            (422, "invalid_value", Some("stages[1].deadline_share"), "from 0.01 to 1, not `1.5`"),
        ),
        (
            post(r#"{"query": "a", "stages": [{"depth": 5, "adapter": "qa"}, {"depth": 4, "adapter": "qb"}]}"#),
            (404, "not_found", Some("stages"), "stage 2 cannot be used: the adapter `qb`"),
        ),
        (
            post(r#"{"query": "a", "stages": [{"depth": 1001}]}"#),
            (422, "invalid_value", Some("stages"), "the depth of a stage is 1001, which is above the limit of 1000"),
        ),
        (get("/v1/search?q=a&stages=qa"), (422, "invalid_value", Some("stages"), "`qa` is not a stage")),
        (post(r#"{"query": "a", "adapter": "../qa"}"#), (422, "invalid_value", Some("adapter"), "not an adapter id")),
        (
            post(r#"{"query": "a", "filters": []}"#),
            (422, "invalid_value", Some("filters"), "must be an object, not an array"),
        ),
        (
            post(r#"{"query": "a", "filters": {"f": {"gt": {}}}}"#),
            (422, "invalid_value", Some("filters.f.gt"), "nested"),
        ),
        // What it names.
        (post(r#"{"query": "a", "adapter": "qb"}"#), (404, "not_found", Some("adapter"), "loaded are {\"qa\"}")),
        (get("/nowhere"), (404, "not_found", None, "unknown route `/nowhere`; `/docs` and")),
        (get("/assets/nothing.js"), (404, "not_found", None, "unknown route `/assets/nothing.js`")),
        (get("/v1/search/"), (404, "not_found", None, "unknown route `/v1/search/`")),
        (("DELETE", "/v1/search", "", ""), (405, "method_not_allowed", None, "does not support the method DELETE")),
        (("POST", "/health", JSON, "{}"), (405, "method_not_allowed", None, "does not support the method POST")),
        // The query string.
        (get("/v1/search"), (422, "invalid_value", Some("query"), "`query` is missing")),
        (get("/v1/search?q=a&topk=3"), (422, "invalid_value", Some("topk"), "did you mean `top_k`?")),
        (get("/v1/search?q=a&top_k=ten"), (422, "invalid_value", Some("top_k"), "\"ten\"")),
        (get("/v1/search?q=a&top_k=0"), (422, "invalid_value", Some("top_k"), "a whole number of at least 1, not `0`")),
        (get("/v1/search?q=a&rerank=no"), (422, "invalid_value", Some("rerank"), "\"no\"")),
        (get("/v1/search?q=a&query=b"), (422, "invalid_value", Some("query"), "given twice")),
        (get("/v1/search?q=a&filters=b"), (422, "invalid_value", Some("filters"), "filter.NAME=VALUE")),
    ] {
        check_error(&service, sent, expected).await;
    }
}

#[tokio::test]
async fn json_goes_by_several_names() {
    let service = toy_service();
    for content_type in ["application/json; charset=utf-8", "Application/JSON", "application/vnd.search+json"] {
        let (status, _, body) = send(&service, request("POST", "/v1/search", content_type, r#"{"query": "a"}"#)).await;
        assert_eq!(status, StatusCode::OK, "{content_type}: {body}");
    }
}

#[tokio::test]
async fn a_method_that_is_not_allowed_comes_with_those_that_are() {
    let (_, headers, _) = send(&toy_service(), request("PUT", "/v1/search", "", "")).await;
    assert_eq!(headers["allow"], "GET,HEAD,POST");
}

/// Understands no query.
struct Refuses;

impl FirstStage for Refuses {
    fn retrieve(&self, _query: &Query, _depth: NonZeroUsize) -> Result<Vec<Candidate>, BoxError> {
        Err(lorank_core::InvalidQuery { field: "filters", message: "no year is `soon`".into() }.into())
    }
}

#[tokio::test]
async fn a_query_that_the_first_stage_refuses_is_the_callers_to_mend() {
    let refusing = Pipeline::new(Refuses, FakeReranker::hashing(), PipelineConfig::default()).unwrap();
    let service = router(Arc::new(refusing), HttpConfig::default());
    let (status, answer) = get(&service, "/v1/search?q=egg").await;
    let error = serde_json::json!({
        "kind": "invalid_value", "message": "the query is invalid: no year is `soon`", "field": "filters"
    });
    assert_eq!((status.as_u16(), &answer["error"]), (422, &error));
}

/// Fails by panicking.
struct Panics;

impl FirstStage for Panics {
    fn retrieve(&self, _query: &Query, _depth: NonZeroUsize) -> Result<Vec<Candidate>, BoxError> {
        panic!("index out of range")
    }
}

#[tokio::test]
async fn faults_of_our_own_keep_their_causes_to_the_log() {
    let failing = ToyFirstStage::failing("/secret/path is gone");
    let broken = service(failing, FakeReranker::hashing(), PipelineConfig::default());
    let panicking = Pipeline::new(Panics, FakeReranker::hashing(), PipelineConfig::default()).unwrap();
    let panicking = router(Arc::new(panicking), HttpConfig::default());
    for (service, status, kind, message) in [
        (broken, 500, "internal", "the first stage could not retrieve candidates"),
        (panicking, 500, "internal", "internal error"),
    ] {
        let (found, answer) = get(&service, "/v1/search?q=egg").await;
        let error = serde_json::json!({"kind": kind, "message": message});
        assert_eq!((found.as_u16(), &answer["error"]), (status, &error));
    }
}

#[tokio::test]
async fn request_ids_are_kept_if_they_are_fit_and_made_if_not() {
    let service = toy_service();
    for (sent, is_kept) in
        [("a", true), (&"x".repeat(128), true), (&"x".repeat(129), false), ("a b", false), ("", false)]
    {
        let mut request = request("GET", "/health", "", "");
        request.headers_mut().insert("x-request-id", sent.parse().unwrap());
        let (_, headers, _) = send(&service, request).await;
        let id = headers["x-request-id"].to_str().unwrap();
        assert_eq!(id == sent, is_kept, "{sent}: {id}");
        assert!(is_kept || (id.len() == 36 && id.as_bytes()[14] == b'7'), "a UUID of version 7: {id}");
    }
}

#[tokio::test]
async fn health_says_ok() {
    let (status, answer) = get(&toy_service(), "/health").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer, serde_json::json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_search_too_many_is_turned_away() {
    let gate = Gate::closed();
    let first_stage = ToyFirstStage::new(toy::candidates(3)).behind(gate.clone());
    let pipeline = Pipeline::new(first_stage, FakeReranker::hashing(), PipelineConfig::default()).unwrap();
    let config = HttpConfig { n_searches_max: NonZeroUsize::MIN, ..HttpConfig::default() };
    let service = router(Arc::new(pipeline), config);
    let admitted = tokio::spawn({
        let service = service.clone();
        async move { get(&service, "/v1/search?q=egg").await.0 }
    });
    wait_for_arrivals(&gate, 1).await;
    let (status, headers, body) = send(&service, request("GET", "/v1/search?q=egg", "", "")).await;
    let (health, _) = get(&service, "/health").await;
    gate.open();
    assert_eq!((status, &headers["retry-after"]), (StatusCode::TOO_MANY_REQUESTS, &"1".parse().unwrap()), "{body}");
    assert_eq!(health, StatusCode::OK, "only searches are counted");
    assert_eq!(admitted.await.unwrap(), StatusCode::OK);
    assert_eq!(get(&service, "/v1/search?q=egg").await.0, StatusCode::OK, "the place is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_said_at_once_with_when_to_come_again() {
    let gate = Gate::closed();
    let config = PipelineConfig { queue_max: NonZeroUsize::MIN, ..PipelineConfig::default() };
    let stuck = Arc::new(FakeReranker::hashing().behind(gate.clone()));
    let first_stage = ToyFirstStage::new(toy::candidates(3));
    let pipeline = Arc::new(Pipeline::new(first_stage, stuck, config).unwrap());
    let service = router(pipeline.clone(), HttpConfig::default());
    let search = |query: &str| {
        let (service, uri) = (service.clone(), format!("/v1/search?q={query}"));
        tokio::spawn(async move { get(&service, &uri).await })
    };
    let at_the_model = search("one");
    wait_for_arrivals(&gate, 1).await;
    let waiting = search("two");
    while pipeline.queue_stats().n_requests_waiting < 1 {
        tokio::task::yield_now().await;
    }
    let (status, headers, body) = send(&service, request("GET", "/v1/search?q=three", "", "")).await;
    let (plain, _) = get(&service, "/v1/search?q=three&rerank=false").await;
    let (fallen_back, answer) = get(&service, "/v1/search?q=three&on_overload=fallback").await;
    let (refused, _) = get(&service, "/v1/search?q=three&on_overload=refuse").await;
    gate.open();
    assert_eq!((fallen_back, &answer["fallback"]["reason"]), (StatusCode::OK, &Json::from("queue_full")));
    assert_eq!(refused, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!((status, &headers["retry-after"]), (StatusCode::TOO_MANY_REQUESTS, &"1".parse().unwrap()), "{body}");
    let body: Json = serde_json::from_str(&body).unwrap();
    let message = "the reranking queue is full; retry later, or search without reranking";
    assert_eq!(body["error"], serde_json::json!({"kind": "overloaded", "message": message}));
    assert_eq!(headers["x-request-id"].to_str().unwrap(), body["request_id"]);
    assert_eq!(plain, StatusCode::OK, "what needs no model is not turned away");
    for admitted in [at_the_model, waiting] {
        let (status, answer) = admitted.await.unwrap();
        assert_eq!((status, &answer["reranked"]), (StatusCode::OK, &Json::Bool(true)));
    }
}

#[tokio::test]
async fn an_unknown_reaction_to_an_overload_is_refused_by_name() {
    let (status, answer) = get(&toy_service(), "/v1/search?q=egg&on_overload=panic").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer["error"]["field"], "on_overload", "{answer}");
}

async fn wait_for_arrivals(gate: &Arc<Gate>, n: usize) {
    let gate = gate.clone();
    tokio::task::spawn_blocking(move || gate.wait_for_arrivals(n)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_hangs_up_frees_the_model() {
    let gate = Gate::closed();
    let reranker = Arc::new(FakeReranker::hashing().behind(gate.clone()));
    let config = PipelineConfig { tokens_max: NonZeroUsize::MIN, ..PipelineConfig::default() };
    let service = service(ToyFirstStage::new(toy::candidates(5)), reranker.clone(), config);
    let abandoned = tokio::spawn({
        let service = service.clone();
        async move { get(&service, "/v1/search?q=egg").await }
    });
    wait_for_arrivals(&gate, 1).await;
    abandoned.abort();
    assert!(abandoned.await.unwrap_err().is_cancelled());
    gate.open();
    // The only thread takes this search once it is done with the other one.
    assert_eq!(get(&service, "/v1/search?q=lamp").await.0, StatusCode::OK);
    assert_eq!(reranker.n_pairs(), 1 + 5, "one batch of the first search, all of the second");
}
