//! Rerank requests in experiments.

use std::collections::BTreeSet;

use axum::http::HeaderMap;
use serde_json::json;

use super::experiments::{ask, lab_service};
use super::*;

const DOCUMENTS: [&str; 4] = ["an egg", "a hen", "a boiled egg", "a fried egg"];

async fn start(service: &Router, method: &str, models: [&str; 2]) {
    let arms = models.map(|model| json!({"name": format!("arm-{model}"), "model": model, "weight": 1}));
    let body = json!({"id": "x", "salt": "s", "layer": "main", "traffic_share": 1.0, "method": method, "arms": arms});
    assert_eq!(ask(service, "POST", "/v1/experiments", body).await.0, 201);
    assert_eq!(ask(service, "POST", "/v1/experiments/x/start", Json::Null).await.0, 200);
}

/// An answer with its headers, to a request of a unit.
async fn ask_as(service: &Router, unit: Option<&str>, path: &str, body: Json) -> (u16, HeaderMap, Json) {
    let mut request = request("POST", path, JSON, body.to_string());
    if let Some(unit) = unit {
        request.headers_mut().insert("x-unit-id", unit.parse().unwrap());
    }
    let (status, headers, body) = send(service, request).await;
    (status.as_u16(), headers, serde_json::from_str(&body).unwrap())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

fn order(answer: &Json) -> Vec<usize> {
    answer["results"].as_array().unwrap().iter().map(|one| one["index"].as_u64().unwrap() as usize).collect()
}

async fn report(service: &Router) -> Json {
    ask(service, "GET", "/v1/experiments/x/report", Json::Null).await.1
}

/// A click on a document of an answer, and what became of it.
async fn click(service: &Router, headers: &HeaderMap, object_id: &str) -> Json {
    let event = json!({"action_name": "click", "query_id": header(headers, "x-request-id"), "object_id": object_id,
        "timestamp": crate::routes::now_millis()});
    ask(service, "POST", "/v1/events", event).await.1
}

#[tokio::test]
async fn a_unit_is_assigned_an_arm_and_its_clicks_are_counted() {
    let (service, _folder) = lab_service(HttpConfig::default());
    start(&service, "split", ["none", "a"]).await;
    let documents: Vec<Json> =
        DOCUMENTS.iter().enumerate().map(|(n, text)| json!({"id": format!("d{n}"), "text": text})).collect();
    let body = json!({"query": "eggs", "documents": documents, "top_n": 3});
    let mut seen = BTreeSet::new();
    for n in 0..20 {
        let (status, headers, answer) = ask_as(&service, Some(&format!("u{n}")), "/v2/rerank", body.clone()).await;
        assert_eq!((status, header(&headers, "x-experiment")), (200, Some("x")), "{answer}");
        let arm = header(&headers, "x-experiment-arm").unwrap();
        let model = arm.strip_prefix("arm-").unwrap();
        // The arm's own order and scores.
        let mut alone = body.clone();
        alone["model"] = json!(model);
        let (_, plain_headers, plain) = ask_as(&service, None, "/v2/rerank", alone).await;
        assert_eq!((&answer["results"], &answer["model"]), (&plain["results"], &plain["model"]));
        assert_eq!((header(&headers, "x-scores"), header(&plain_headers, "x-experiment")), (Some("model"), None));
        let first = format!("d{}", order(&answer)[0]);
        let counted = click(&service, &headers, &first).await;
        assert_eq!((&counted["accepted"], &counted["unattributed"]), (&json!(1), &json!(0)), "{counted}");
        // The fourth document was ranked and not returned.
        let last = (0..4).find(|n| !order(&answer).contains(n)).unwrap();
        assert_eq!(click(&service, &headers, &format!("d{last}")).await["unattributed_reasons"]["unknown_object"], 1);
        seen.insert(arm.to_owned());
    }
    assert_eq!(seen.len(), 2);
    let report = report(&service).await;
    let sum = |key: &str| report["arms"].as_array().unwrap().iter().map(|arm| arm[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("n_queries"), sum("n_clicks")), (20, 20), "{report}");
}

#[tokio::test]
async fn every_rerank_route_takes_part() {
    let (service, _folder) = lab_service(HttpConfig::default());
    start(&service, "split", ["b", "a"]).await;
    let documents = json!({"query": "eggs", "documents": DOCUMENTS, "model": "experiment:x"});
    let with = |key: &str, value: Json| {
        let mut body = documents.clone();
        body[key] = value;
        body
    };
    let passages: Vec<Json> = DOCUMENTS.iter().map(|text| json!({"text": text})).collect();
    let nim = json!({"model": "experiment:x", "query": {"text": "eggs"}, "passages": passages});
    for (path, body) in [
        ("/rerank", json!({"query": "eggs", "texts": DOCUMENTS, "model": "experiment:x"})),
        ("/rerank", documents.clone()),
        ("/v1/rerank", documents.clone()),
        ("/v1/rerank", with("top_k", json!(2))),
        ("/v2/rerank", documents.clone()),
        ("/jina/v1/rerank", documents.clone()),
        ("/infinity/rerank", documents.clone()),
        ("/voyage/v1/rerank", documents.clone()),
        ("/v1/reranks", documents.clone()),
        ("/v1/reranking", documents.clone()),
        ("/v1/reranking", json!({"query": "eggs", "input": DOCUMENTS, "model": "experiment:x"})),
        ("/v1/ranking", nim.clone()),
        ("/v1/retrieval/experiment:x/reranking", nim),
        (
            "/api/v1/services/rerank/text-rerank/text-rerank",
            json!({"model": "experiment:x", "input": {"query": "eggs", "documents": DOCUMENTS}}),
        ),
    ] {
        let (status, headers, answer) = ask_as(&service, Some("u"), path, body).await;
        assert_eq!((status, header(&headers, "x-experiment")), (200, Some("x")), "{path}: {answer}");
        assert!(header(&headers, "x-request-id").is_some() && header(&headers, "x-experiment-arm").is_some());
        // Texts have no ids: a digest of each stands for it.
        let digest = &blake3::hash(b"an egg").to_hex()[..32];
        assert_eq!(click(&service, &headers, digest).await["accepted"], 1, "{path}");
    }
    for path in ["/score", "/v1/score"] {
        let body = json!({"text_1": "eggs", "text_2": DOCUMENTS, "model": "experiment:x"});
        let (status, _, answer) = ask_as(&service, Some("u"), path, body).await;
        assert_eq!((status, &answer["error"]["field"]), (422, &json!("model")), "{answer}");
    }
    let (status, _, answer) = ask_as(&service, None, "/v1/rerank", with("model", json!("experiment:gone"))).await;
    assert_eq!((status, &answer["error"]["field"]), (404, &json!("experiment")), "{answer}");
    let (status, _, answer) = ask_as(&service, Some(""), "/v1/rerank", documents.clone()).await;
    assert_eq!((status, &answer["error"]["field"]), (422, &json!("x-unit-id")), "{answer}");
}

#[tokio::test]
async fn who_opts_in_by_neither_unit_nor_experiment_is_left_alone() {
    let (service, _folder) = lab_service(HttpConfig::default());
    start(&service, "split", ["b", "a"]).await;
    let body = json!({"query": "eggs", "documents": DOCUMENTS});
    let (_, headers, answer) = ask_as(&service, None, "/v1/rerank", body).await;
    assert_eq!((header(&headers, "x-experiment"), &answer["model"]), (None, &json!("toy")));
    assert_eq!(click(&service, &headers, "any").await["unattributed_reasons"]["unknown_query"], 1);
    // A unit whose request names the model of an arm has chosen it, as in a search.
    let body = json!({"query": "eggs", "documents": DOCUMENTS, "model": "a"});
    let (_, headers, _) = ask_as(&service, Some("u"), "/v1/rerank", body).await;
    assert_eq!(header(&headers, "x-experiment-arm"), Some("arm-a"));
    let report = report(&service).await;
    assert!(report["arms"].as_array().unwrap().iter().all(|arm| arm["n_queries"] == 0), "forced: {report}");
}

#[tokio::test]
async fn a_first_stage_arm_keeps_the_order_of_the_request() {
    let (service, _folder) = lab_service(HttpConfig::default());
    start(&service, "split", ["first-stage", "a"]).await;
    let body = json!({"query": "eggs", "documents": DOCUMENTS, "model": "experiment:x"});
    let mut seen = BTreeSet::new();
    for n in 0..20 {
        let (_, headers, answer) = ask_as(&service, Some(&format!("u{n}")), "/v1/rerank", body.clone()).await;
        let arm = header(&headers, "x-experiment-arm").unwrap().to_owned();
        if arm == "arm-first-stage" {
            let scores: Vec<f64> = answer["results"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["relevance_score"].as_f64().unwrap())
                .collect();
            assert_eq!((order(&answer), scores), (vec![0, 1, 2, 3], vec![1.0, 0.75, 0.5, 0.25]));
            assert_eq!((header(&headers, "x-scores"), header(&headers, "x-fallback")), (Some("rank"), None));
        }
        seen.insert(arm);
    }
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn interleaved_documents_do_not_tell_their_arm() {
    let (service, _folder) = lab_service(HttpConfig::default());
    start(&service, "interleave", ["b", "a"]).await;
    let body = json!({"query": "eggs", "documents": DOCUMENTS, "model": "experiment:x"});
    let (status, headers, answer) = ask_as(&service, Some("u"), "/v1/rerank", body.clone()).await;
    assert_eq!((status, header(&headers, "x-experiment-arm")), (200, Some("interleaved")), "{answer}");
    assert_eq!((header(&headers, "x-scores"), &answer["model"]), (Some("rank"), &json!("experiment:x")));
    let mut places = order(&answer);
    // The first document is the first of one arm.
    let first_of = async |model: &str| {
        let body = json!({"query": "eggs", "documents": DOCUMENTS, "model": model});
        order(&ask_as(&service, None, "/v1/rerank", body).await.2)[0]
    };
    assert!([first_of("a").await, first_of("b").await].contains(&places[0]));
    let (_, _, again) = ask_as(&service, Some("u"), "/v1/rerank", body).await;
    assert_eq!(order(&again), places, "the same unit and query have the same answer");
    places.sort_unstable();
    assert_eq!(places, [0, 1, 2, 3]);
    let digest = &blake3::hash(DOCUMENTS[order(&answer)[0]].as_bytes()).to_hex()[..32];
    assert_eq!(click(&service, &headers, digest).await["unattributed"], 0);
    assert_eq!(report(&service).await["arms"][0]["n_queries"], 2);
}
