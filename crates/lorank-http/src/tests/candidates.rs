//! Candidates that the caller brings.

use serde_json::json;

use super::*;

/// A service whose reranker scores documents by the number at the end of their text.
fn by_number() -> Router {
    let reranker = FakeReranker::by(|_, _, candidate| {
        candidate.text.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
    });
    service(ToyFirstStage::new(toy::candidates(3)), reranker, PipelineConfig::default())
}

async fn search(service: &Router, body: Json) -> (u16, Json) {
    let (status, _, answer) = send(service, request("POST", "/v1/search", JSON, body.to_string())).await;
    (status.as_u16(), serde_json::from_str(&answer).unwrap())
}

#[tokio::test]
async fn candidates_take_the_place_of_the_first_stage() {
    let service = by_number();
    let candidates = json!([
        {"id": "a", "text": "about 1", "score": 0.2},
        {"id": 7, "fields": {"title": "Seven", "text": "about 7", "year": 1990}, "score": 0.9},
        {"id": "c", "text": "about 3", "title": "C", "score": 0.5}]);
    let body = json!({"query": "egg", "candidates": candidates, "first_stage": false, "explain": true});
    let (status, answer) = search(&service, body.clone()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(ids(&answer), ["7", "c", "a"]);
    assert_eq!(
        (&answer["hits"][0]["first_stage_score"], &answer["hits"][0]["first_stage_rank"]),
        (&json!(0.9), &json!(1))
    );
    assert_eq!(answer["hits"][0]["fields"]["year"], 1990);
    assert_eq!(answer["hits"][0]["explanation"]["fusion"], Json::Null, "there is one list");
    assert_eq!((&answer["total_hits"], &answer["total_hits_relation"]), (&json!(3), &json!("eq")));
    let (_, again) = search(&service, body).await;
    assert_eq!(again["cache"], json!({"hits": 3, "misses": 0}), "scores are cached like any others");
}

#[tokio::test]
async fn several_lists_are_fused_by_reciprocal_rank_and_reranked() {
    let service = by_number();
    // The toy first stage finds d1, d2 and d3 in this order.
    let vectors = json!([{"id": "d3", "text": "of vectors 3"}, {"id": "v", "text": "of vectors 9"}]);
    let images = json!([{"id": "v", "text": "of images 9"}]);
    let body = json!({"query": "egg", "candidates": [vectors, images], "rerank": false, "explain": true});
    let (status, answer) = search(&service, body.clone()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(ids(&answer), ["v", "d3", "d1", "d2"]);
    let fusion = &answer["hits"][0]["explanation"]["fusion"];
    assert_eq!(fusion["k"], 60.0);
    assert_eq!((&fusion["lists"][0]["list"], &fusion["lists"][0]["rank"]), (&json!("candidates.0"), &json!(2)));
    assert_eq!((&fusion["lists"][1]["list"], &fusion["lists"][1]["rank"]), (&json!("candidates.1"), &json!(1)));
    let expected = (1.0 / 62.0 + 1.0 / 61.0_f32) as f64;
    assert!((answer["hits"][0]["first_stage_score"].as_f64().unwrap() - expected).abs() < 1e-6);
    let fusion = &answer["hits"][1]["explanation"]["fusion"];
    assert_eq!(fusion["lists"][0]["list"], "first-stage");
    assert_eq!(answer["total_hits_relation"], "gte");

    let mut reranked = body;
    reranked["rerank"] = json!(true);
    let (_, answer) = search(&service, reranked).await;
    assert_eq!(ids(&answer), ["v", "d3", "d2", "d1"], "by the numbers in their texts");
    assert_eq!(answer["n_candidates"], 4);
}

#[tokio::test]
async fn pages_are_slices_of_one_order() {
    let service = by_number();
    let candidates: Vec<Json> =
        (0..30).map(|n| json!({"id": format!("v{n}"), "text": format!("of vectors {n}")})).collect();
    let page =
        |offset: usize| json!({"query": "egg", "candidates": candidates, "top_k": 5, "offset": offset, "depth": 2});
    let mut paged = Vec::new();
    for offset in (0..35).step_by(5) {
        let (_, answer) = search(&service, page(offset)).await;
        paged.extend(ids(&answer).into_iter().map(str::to_owned));
    }
    let mut whole = page(0);
    whole["top_k"] = json!(40);
    let (_, answer) = search(&service, whole).await;
    assert_eq!(paged, ids(&answer));
    assert_eq!(paged.len(), 32, "two of the first stage, and thirty");
}

#[tokio::test]
async fn what_is_wrong_with_candidates_is_named() {
    let service = by_number();
    let one = json!([{"id": "a", "text": "t"}]);
    for (change, field, part) in [
        (json!({"candidates": {}}), "candidates", "must be an array"),
        (json!({"candidates": []}), "candidates", "is empty"),
        (json!({"candidates": [{"text": "t"}]}), "candidates.0.id", "is missing"),
        (json!({"candidates": [{"id": "", "text": "t"}]}), "candidates.0.id", "must be a string"),
        (json!({"candidates": [{"id": "a"}]}), "candidates.0.text", "is missing"),
        (json!({"candidates": [{"id": "a", "text": 7}]}), "candidates.0.text", "must be a string"),
        (json!({"candidates": [{"id": "a", "txt": "t"}]}), "candidates.0.txt", "is unknown"),
        (json!({"candidates": [one[0], one[0]]}), "candidates.1.id", "comes twice"),
        (json!({"candidates": [one, one[0]]}), "candidates.1", "must be an array"),
        (
            json!({"candidates": [{"id": "a", "text": "t", "score": 1}, {"id": "b", "text": "t"}]}),
            "candidates",
            "with and without `score`",
        ),
        (json!({"candidates": [{"id": "a", "text": "t", "score": 1e300}]}), "candidates.0.score", "out of range"),
        (json!({"first_stage": false}), "candidates", "there are none"),
        (json!({"candidates": one, "first_stage": false, "filters": {"year": 1}}), "filters", "first stage"),
        (json!({"candidates": one, "sort": ["year"]}), "sort", "`candidates`"),
    ] {
        let mut body = json!({"query": "egg"});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (status, answer) = search(&service, body).await;
        let error = &answer["error"];
        assert_eq!((status, &error["field"]), (422, &json!(field)), "{change}: {answer}");
        assert!(error["message"].as_str().unwrap().contains(part), "{change}: {error}");
    }
    let (status, answer) = get(&service, "/v1/search?q=egg&candidates=a").await;
    assert_eq!((status.as_u16(), &answer["error"]["field"]), (422, &json!("candidates")));
}
