//! Judgments over HTTP, and what reports make of them.

use serde_json::json;

use super::experiments::{ask, lab_service};
use super::*;

fn judgment(query: &str, document: &str, grade: u32) -> Json {
    json!({"query": query, "document": document, "grade": grade})
}

#[tokio::test]
async fn judgments_are_replaced_added_read_and_deleted() {
    let (service, _folder) = lab_service(HttpConfig::default());
    let first = json!({"judgments": [judgment("egg", "p1", 2), judgment("bread", "p2", 1)]});
    let counts = |n_judgments: u64, n_queries: u64| (200, json!({"n_judgments": n_judgments, "n_queries": n_queries}));
    assert_eq!(ask(&service, "PUT", "/v1/judgments", first).await, counts(2, 2));
    // The first one is judged anew, the second is new.
    let qrels = json!({"queries": {"q7": "egg"}, "qrels": "q7 0 p1 1\nq7 0 p9 -1\n"});
    assert_eq!(ask(&service, "POST", "/v1/judgments", qrels).await, counts(3, 2));
    let all = json!({"judgments": [judgment("bread", "p2", 1), judgment("egg", "p1", 1), judgment("egg", "p9", 0)]});
    assert_eq!(ask(&service, "GET", "/v1/judgments", Json::Null).await, (200, all));
    let beir = json!({"queries": {"q7": "egg"}, "qrels": "query-id\tcorpus-id\tscore\nq7\tp1\t3\n"});
    assert_eq!(ask(&service, "PUT", "/v1/judgments", beir).await, counts(1, 1));
    assert_eq!(ask(&service, "DELETE", "/v1/judgments", Json::Null).await.0, 204);
    assert_eq!(ask(&service, "GET", "/v1/judgments", Json::Null).await, (200, json!({"judgments": []})));
}

#[tokio::test]
async fn what_is_no_judgment_is_refused_and_changes_nothing() {
    let (service, _folder) = lab_service(HttpConfig::default());
    let kept = json!({"judgments": [judgment("egg", "p1", 2)]});
    ask(&service, "PUT", "/v1/judgments", kept.clone()).await;
    for (body, field, message) in [
        (json!({}), "judgments", "`judgments` is missing; send them, or `qrels` with `queries`"),
        (json!({"judgments": [], "qrels": ""}), "qrels", "cannot be combined with `judgments`"),
        (json!({"judgments": [], "queries": {}}), "queries", "is only for `qrels`"),
        (json!({"qrels": "q 0 d 1"}), "queries", "is missing"),
        (json!({"judgments": [judgment("egg", "", 1)]}), "judgments[0].document", "is empty"),
        (json!({"judgments": [{"query": "egg", "document": "d", "grade": -1}]}), "judgments[0].grade", "-1"),
        (json!({"judgments": [{"query": "egg", "document": "d", "grade": 0.5}]}), "judgments[0].grade", "0.5"),
        (json!({"qrels": "q 0 d 1\nq 0", "queries": {"q": "egg"}}), "qrels", "line 2 of the qrels has 2 columns"),
        (json!({"qrels": "z 0 d 1", "queries": {"q": "egg"}}), "qrels", "the query `z`, whose text is not given"),
        (json!({"judgement": []}), "judgement", "judgement"),
    ] {
        for method in ["PUT", "POST"] {
            let (status, answer) = ask(&service, method, "/v1/judgments", body.clone()).await;
            assert_eq!((status, &answer["error"]["field"]), (422, &json!(field)), "{body}: {answer}");
            assert!(answer["error"]["message"].as_str().unwrap().contains(message), "{answer}");
        }
    }
    assert_eq!(ask(&service, "GET", "/v1/judgments", Json::Null).await.1, kept);
}

#[tokio::test]
async fn reports_measure_answers_by_the_judgments() {
    let (service, _folder) = lab_service(HttpConfig::default());
    let arms = json!([{"name": "control", "model": "none"}, {"name": "a", "model": "a"}]);
    ask(&service, "POST", "/v1/experiments", json!({"id": "x", "arms": arms, "primary_measure": "ndcg"})).await;
    ask(&service, "POST", "/v1/experiments/x/start", Json::Null).await;
    let body = json!({"query": "egg", "unit_id": "u1", "top_k": 10});
    let (_, answer) = ask(&service, "POST", "/v1/search", body).await;
    let ndcg = async || {
        // An answer is written after it is sent.
        let arm = loop {
            let report = ask(&service, "GET", "/v1/experiments/x/report", Json::Null).await.1;
            let found = report["arms"].as_array().unwrap().iter().find(|arm| arm["n_queries"] == 1).cloned();
            if let Some(arm) = found {
                break arm;
            }
        };
        // Sums are kept in fixed point.
        let rounded = |value: &Json| value.as_f64().map(|value| (value * 1e4).round() / 1e4);
        (rounded(&arm["ndcg_at_10"]), arm["n_judged"].clone(), rounded(&arm["judged_share"]))
    };
    assert_eq!(ndcg().await, (None, json!(0), None));
    let hits = answer["hits"].as_array().unwrap();
    assert_eq!(hits.len(), 10);
    let best = json!({"judgments": [{"query": "egg", "document": hits[0]["id"], "grade": 1}]});
    ask(&service, "PUT", "/v1/judgments", best).await;
    assert_eq!(ndcg().await, (Some(1.0), json!(1), Some(0.1)));
    let second = json!({"judgments": [{"query": "egg", "document": hits[1]["id"], "grade": 1}]});
    ask(&service, "PUT", "/v1/judgments", second).await;
    assert_eq!(ndcg().await.0, Some(0.6309));
    ask(&service, "DELETE", "/v1/judgments", Json::Null).await;
    assert_eq!(ndcg().await.1, json!(0));
}
