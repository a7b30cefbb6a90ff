//! Long documents that are scored as passages, in searches, comparisons and rerank requests.

use lorank_core::{PassageOptions, PassageRule};
use serde_json::json;

use super::experiments::ask;
use super::*;

/// Forty words of which only the last window has `egg`.
fn long_text() -> String {
    format!("{} egg", (0..40).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" "))
}

/// A model that likes eggs near the beginning: the score is the number of bytes after `egg`, and -1 without it.
fn egg_lover() -> FakeReranker {
    let score = |_: &Query, _: &lorank_core::ModelVersion, candidate: &Candidate| {
        candidate.text.find("egg").map_or(-1.0, |at| (200 - at) as f32)
    };
    FakeReranker::by(score).with_adapters(&["qa"])
}

fn long_service(config: PipelineConfig) -> Router {
    let mut candidates = toy::candidates(3);
    candidates[2].text = long_text().into();
    service(ToyFirstStage::new(candidates), egg_lover(), config)
}

#[tokio::test]
async fn a_search_shows_the_passage_that_its_score_comes_from() {
    let service = long_service(PipelineConfig::default());
    let (_, plain) = ask(&service, "POST", "/v1/search", json!({"query": "egg"})).await;
    assert!(plain["hits"].as_array().unwrap().iter().all(|hit| hit.get("passage").is_none()), "{plain}");
    let body =
        json!({"query": "egg", "passages": "max", "passage_tokens": 16, "stride": 8, "explain": true, "fields": []});
    let (status, answer) = ask(&service, "POST", "/v1/search", body).await;
    assert_eq!(status, 200, "{answer}");
    let (hit, text) = (&answer["hits"][0], long_text());
    let passage = &hit["passage"];
    let (start, end) = (passage["start"].as_u64().unwrap() as usize, passage["end"].as_u64().unwrap() as usize);
    assert_eq!((&hit["id"], &passage["text"]), (&json!("d3"), &json!(text[start..end])));
    assert!(start > 50 && end == text.len() && text[start..end].ends_with("egg"));
    let windows = hit["explanation"]["passages"].as_array().unwrap();
    let n = windows.len();
    assert!(n > 2, "{windows:?}");
    assert_eq!((&passage["of"], &passage["index"], &passage["complete"]), (&json!(n), &json!(n - 1), &json!(true)));
    assert_eq!(windows[n - 1], json!({"start": start, "end": end, "rerank_score": hit["rerank_score"]}));
    assert!(windows[..n - 1].iter().all(|window| window["rerank_score"] == json!(-1.0)));
    assert_eq!(hit["snippet"].as_str().unwrap().replace("<b>", "").replace("</b>", ""), text[start..end]);
    let uri = "/v1/search?q=egg&passages=max&passage_tokens=16&stride=8&explain=true&fields=";
    let (status, same) = get(&service, uri).await;
    assert_eq!((status.as_u16(), &same["hits"][0]["passage"]), (200, passage), "{same}");
}

#[tokio::test]
async fn a_comparison_has_the_passage_of_each_ranker() {
    let service = long_service(PipelineConfig::default());
    let body = |tokens: usize, stride: usize| json!({"query": "egg", "adapters": ["none"], "passages": "max", "passage_tokens": tokens, "stride": stride});
    let of = |answer: &Json| answer["rankers"][1]["hits"][0]["passage"]["of"].as_u64().unwrap();
    let (_, answer) = ask(&service, "POST", "/v1/compare", body(16, 8)).await;
    let (_, of_longer) = ask(&service, "POST", "/v1/compare", body(32, 8)).await;
    let (_, of_wider) = ask(&service, "POST", "/v1/compare", body(16, 16)).await;
    assert!(of(&of_longer) < of(&answer) && of(&of_wider) < of(&answer), "{answer}");
    assert!(answer["rankers"][0]["hits"][0].get("passage").is_none(), "the first stage has none");
}

#[tokio::test]
async fn rerank_requests_have_passages_where_they_ask_for_them() {
    let service = long_service(PipelineConfig::default());
    let body = json!({"query": "egg", "documents": ["w egg w", long_text()], "raw_scores": true});
    let with = |keys: Json| {
        let mut body = body.clone();
        body.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        body
    };
    for path in ["/v1/rerank", "/v2/rerank", "/rerank", "/jina/v1/rerank"] {
        let (_, plain) = ask(&service, "POST", path, body.clone()).await;
        assert!(plain["results"].as_array().unwrap().iter().all(|result| result.get("passage").is_none()), "{plain}");
        let keys = json!({"passages": "max", "passage_tokens": 16, "stride": 8, "return_documents": true});
        let (status, answer) = ask(&service, "POST", path, with(keys)).await;
        assert_eq!(status, 200, "{answer}");
        let results = answer["results"].as_array().unwrap();
        let of_document = |index: u64| &results.iter().find(|result| result["index"] == index).unwrap()["passage"];
        assert_eq!(of_document(0)["text"], "w egg w");
        let passage = of_document(1);
        assert!(passage["text"].as_str().unwrap().ends_with(" egg") && passage["of"].as_u64() > Some(2), "{passage}");
    }
    for (keys, field, message) in [
        (json!({"passages": "mean"}), "passages", "`mean` is not a rule for passages"),
        (json!({"passages": "mean-top-0"}), "passages", "use `max`, `first`"),
        (json!({"passage_tokens": 16}), "passage_tokens", "it has no effect"),
        (json!({"passages": "first", "stride": 16}), "stride", "it has no effect"),
        (json!({"passages": "max", "passage_tokens": 4}), "passage_tokens", "below the minimum of 16"),
        (json!({"passages": "max", "passage_tokens": 16, "stride": 17}), "stride", "above `passage_tokens`"),
        (json!({"passages": "max", "max_chunks_per_doc": 2}), "max_chunks_per_doc", "cannot be combined"),
    ] {
        let (status, answer) = ask(&service, "POST", "/v2/rerank", with(keys.clone())).await;
        let said = answer["message"].as_str().unwrap();
        assert!(status == 422 && said.contains(&format!("`{field}`")) && said.contains(message), "{keys}: {answer}");
    }
    let (status, answer) = ask(&service, "POST", "/v1/search", json!({"query": "q", "passages": 3})).await;
    assert_eq!((status, &answer["error"]["field"]), (422, &json!("passages")));
}

#[tokio::test]
async fn a_default_holds_on_every_route_and_its_limit_is_told() {
    let passages =
        PassageOptions { rule: Some(PassageRule::Max), tokens: NonZeroUsize::new(16), stride: NonZeroUsize::new(8) };
    let passages_max = NonZeroUsize::new(2).unwrap();
    let whole = long_service(PipelineConfig { passages, ..PipelineConfig::default() });
    let cut = long_service(PipelineConfig { passages, passages_max, ..PipelineConfig::default() });
    let score = |answer: &Json| answer["data"][0]["score"].as_f64().unwrap();
    let pair = json!({"text_1": "egg", "text_2": long_text(), "raw_scores": true});
    assert!(score(&ask(&whole, "POST", "/score", pair.clone()).await.1) > 150.0);
    assert_eq!(score(&ask(&cut, "POST", "/score", pair).await.1), -1.0);
    let (_, answer) = ask(&cut, "POST", "/v1/search", json!({"query": "egg"})).await;
    assert_eq!(answer["warnings"][0]["reason"], "passages_limited", "{answer}");
    let hits = answer["hits"].as_array().unwrap();
    let long = &hits.iter().find(|hit| hit["id"] == "d3").unwrap()["passage"];
    assert_eq!((&long["of"], &long["complete"]), (&json!(2), &json!(false)));
    let rerank = json!({"query": "egg", "documents": [long_text()]});
    let (_, answer) = ask(&cut, "POST", "/v2/rerank", rerank.clone()).await;
    let warning = answer["meta"]["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("1 document had more passages than the limit"), "{answer}");
    assert!(answer["results"][0].get("passage").is_none(), "it was not asked for");
    // Chunks are scored whole.
    let mut chunks = rerank;
    chunks["max_chunks_per_doc"] = json!(1);
    let (_, answer) = ask(&cut, "POST", "/v2/rerank", chunks).await;
    assert!(answer["results"][0]["relevance_score"].as_f64() > Some(0.9), "{answer}");
}
