//! What is said about values of another type: the words of JSON, never the names of types that only this program has.

use proptest::prelude::*;
use serde_json::json;

use super::documents::{ToyHost, document_service};
use super::experiments::{ask, lab_service};
use super::*;

/// Words of Rust and of its readers that no client knows.
const WORDS: [&str; 22] = [
    "usize", "isize", "u8", "u16", "u32", "u64", "i32", "i64", "f32", "f64", "nonzero", "struct", "enum", "variant",
    "map", "sequence", "serde", "unit", "tuple", "untagged", "option", "elements",
];

/// Every route that reads JSON, with a body that it takes.
fn bodies() -> Vec<(&'static str, &'static str, Json)> {
    let documents = json!(["a", {"text": "b", "year": 3}]);
    vec![
        (
            "POST",
            "/v1/search",
            json!({"query": "egg", "top_k": 3, "offset": 1, "depth": 5, "adapter": "a", "rerank": true, "blend_weight": 0.5,
                "min_rerank_score": -1.5, "deadline_millis": 60_000, "on_overload": "refuse", "snippets": false,
                "filters": {"year": {"gte": 1990, "lt": 2000}, "lang": ["en", "de"], "open": true}, "fields": ["title"],
                "syntax": "plain", "explain": true, "unit_id": "u"}),
        ),
        (
            "POST",
            "/v1/compare",
            json!({"query": "egg", "adapters": ["a", "none"], "top_k": 3, "filters": {"year": 1990}}),
        ),
        (
            "POST",
            "/rerank",
            json!({"query": "egg", "texts": ["a"], "raw_scores": true, "return_text": true, "truncate": true}),
        ),
        ("POST", "/rerank", json!({"query": "egg", "documents": documents, "top_n": 1, "rank_fields": ["text"]})),
        (
            "POST",
            "/v1/rerank",
            json!({"query": "egg", "documents": documents, "return_documents": true, "priority": 0}),
        ),
        ("POST", "/v2/rerank", json!({"query": "egg", "documents": documents, "max_tokens_per_doc": 5, "user": "me"})),
        (
            "POST",
            "/score",
            json!({"text_1": "egg", "text_2": ["a"], "use_activation": true, "truncate_prompt_tokens": -1}),
        ),
        ("DELETE", "/v1/documents", json!({"query": "egg", "syntax": "plain", "filters": {"year": {"lt": 1990}}})),
        ("DELETE", "/v1/documents", json!({"all": true})),
        (
            "POST",
            "/v1/events",
            json!([{"action_name": "click", "timestamp": "2026-01-01T00:00:00Z", "object_id": "p1", "query_id": "q",
                "event_attributes": {"position": {"ordinal": 1}, "object": {"object_id": 7}}}]),
        ),
        (
            "POST",
            "/v1/experiments",
            json!({"id": "x", "salt": "s", "layer": "main", "traffic_share": 0.5, "method": "split", "unit": "unit-id",
                "primary_measure": "top-click", "start_millis": 5, "end_millis": null, "arms": [
                {"name": "control", "model": "none", "weight": 1}, {"name": "a", "model": "a", "weight": 2}]}),
        ),
        ("PATCH", "/v1/experiments/x", json!({"traffic_share": 0.7})),
    ]
}

fn values() -> Vec<Json> {
    vec![
        Json::Null,
        json!(true),
        json!(0),
        json!(7),
        json!(-1),
        json!(1.0),
        json!(1.5),
        json!(1e300),
        json!(u64::MAX),
        json!("x"),
        json!(""),
        json!([]),
        json!([1, 2]),
        json!(["x", null]),
        json!({}),
        json!({"x": 1}),
    ]
}

/// The body with each of its values, however deep, replaced in turn, or left out, or given an unknown key beside it.
fn mutations(body: &Json) -> Vec<Json> {
    let mut all = values();
    match body {
        Json::Object(fields) => {
            for (key, value) in fields {
                let with = |changed: Json| {
                    let mut fields = fields.clone();
                    fields.insert(key.clone(), changed);
                    Json::Object(fields)
                };
                all.extend(mutations(value).into_iter().map(with));
                let mut without = fields.clone();
                without.remove(key);
                all.push(Json::Object(without.clone()));
                without.insert(format!("{key}s"), value.clone());
                all.push(Json::Object(without));
            }
        }
        Json::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                let with = |changed: Json| {
                    let mut items = items.clone();
                    items[n] = changed;
                    Json::Array(items)
                };
                all.extend(mutations(item).into_iter().map(with));
            }
        }
        _ => {}
    }
    all
}

fn check_words(method: &str, uri: &str, body: &Json, status: u16, answer: &Json) {
    assert!(status < 500, "{method} {uri} {body}: {status} {answer}");
    let message =
        answer["message"].as_str().or_else(|| answer["error"]["message"].as_str()).or_else(|| answer["error"].as_str());
    let Some(message) = message else { return };
    // What stands in backticks is a key, a value, or what somebody sent.
    let said: String = message.split('`').step_by(2).collect();
    let words = said.split(|c: char| !c.is_alphanumeric() && c != '_');
    let found: Vec<&str> = words.filter(|word| WORDS.contains(word)).collect();
    assert!(found.is_empty(), "{method} {uri} {body}: {found:?} in `{message}`");
}

#[tokio::test]
async fn values_of_other_types_are_refused_in_words_of_json() {
    let (lab, _folder) = lab_service(HttpConfig::default());
    let documents = document_service(ToyHost::default(), HttpConfig::default());
    let mut n_refused = 0;
    for (method, uri, body) in bodies() {
        let service = if uri == "/v1/documents" { &documents } else { &lab };
        for body in mutations(&body).into_iter().filter(|body| !body.is_null()) {
            let (status, answer) = ask(service, method, uri, body.clone()).await;
            n_refused += usize::from(status == 422);
            check_words(method, uri, &body, status, &answer);
        }
    }
    assert!(n_refused > 1_000, "{n_refused} bodies were refused");
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        "[a-c ]{0,6}".prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::vec(("[a-c]{1,3}|query|filters|documents|arms|timestamp", inner), 0..4)
                .prop_map(|fields| Json::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_value_in_any_place_is_refused_in_words_of_json(value in any_json()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (lab, _folder) = lab_service(HttpConfig::default());
            for (method, uri, body) in bodies().into_iter().filter(|(_, uri, _)| *uri != "/v1/documents") {
                let Json::Object(fields) = body else { continue };
                for key in fields.keys() {
                    let mut body = fields.clone();
                    body.insert(key.clone(), value.clone());
                    let body = Json::Object(body);
                    let (status, answer) = ask(&lab, method, uri, body.clone()).await;
                    check_words(method, uri, &body, status, &answer);
                }
            }
        });
    }
}
