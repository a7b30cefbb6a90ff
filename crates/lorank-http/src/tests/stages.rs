//! Rerank stages of searches.

use lorank_core::{AdapterId, BoxError, Digest, EncodedPair, ModelVersion, Reranker, Score};
use serde_json::json;

use super::*;

/// Two base models: `short` prefers short texts and `long` long ones; `broken` fails.
struct TwoBases;

impl Reranker for TwoBases {
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        let name = adapter.map_or("short", AdapterId::as_str);
        let digest = match name {
            "short" => 1,
            "long" => 2,
            "broken" => 3,
            _ => return Err("known are `short`, `long` and `broken`".into()),
        };
        Ok(ModelVersion { base_model: name.into(), base_digest: Digest::new([digest; 32]), ..toy::model(None) })
    }

    fn encode(
        &self,
        group: lorank_core::Group<'_>,
        _deadline: Option<lorank_core::Deadline>,
    ) -> Result<Vec<EncodedPair>, BoxError> {
        Ok(toy::ToyPair::encode(group, NonZeroUsize::MIN))
    }

    fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
        let score = |pair: &&EncodedPair| {
            let toy::ToyPair { model, candidate, .. } = pair.payload()?;
            let length = candidate.text.len() as f32;
            match model.base_model.as_str() {
                "short" => Ok(Score::new(-length)?),
                "long" => Ok(Score::new(length)?),
                _ => Err("out of memory".into()),
            }
        };
        batch.iter().map(score).collect()
    }
}

fn two_bases(config: PipelineConfig) -> Router {
    let texts = ["aa", "a", "aaaa", "aaa", "aaaaa"];
    let candidate = |(n, text): (usize, &&str)| {
        lorank_core::Candidate::new(format!("d{}", n + 1), *text, Score::new(-(n as f32)).unwrap())
    };
    let first_stage = ToyFirstStage::new(texts.iter().enumerate().map(candidate).collect());
    router(Arc::new(Pipeline::new(first_stage, TwoBases, config).unwrap()), HttpConfig::default())
}

async fn search(service: &Router, stages: &Json) -> Json {
    let body = json!({"query": "egg", "stages": stages, "explain": true, "snippets": false});
    let (status, _, text) = send(service, request("POST", "/v1/search", JSON, body.to_string())).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn stages_of_two_base_models_rerank_one_after_the_other() {
    let service = two_bases(PipelineConfig::default());
    let stages = json!([{"base": "long", "depth": 4, "deadline_share": 0.5}, {"adapter": "short", "depth": 2}]);
    let answer = search(&service, &stages).await;
    assert_eq!(ids(&answer), ["d4", "d3", "d1", "d2", "d5"]);
    assert_eq!(
        (&answer["reranked"], &answer["fallback"], &answer["base_model"]),
        (&json!(true), &Json::Null, &json!("short"))
    );
    assert_eq!((&answer["depth"], &answer["n_candidates"]), (&json!(2), &json!(2)));
    let listed: Vec<Json> = answer["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| {
            json!([
                stage["base_model"],
                stage["depth"],
                stage["n_candidates"],
                stage["fallback"],
                stage["cache"]["misses"]
            ])
        })
        .collect();
    assert_eq!(listed, [json!(["long", 4, 4, null, 4]), json!(["short", 2, 2, null, 2])]);
    let of_stages = &answer["hits"][0]["explanation"]["stages"];
    assert_eq!(
        of_stages,
        &json!([
            {"rank": 2, "rerank_score": 3.0, "score_origin": "model"},
            {"rank": 1, "rerank_score": -3.0, "score_origin": "model"},
        ])
    );
    assert_eq!(
        answer["hits"][4]["explanation"]["stages"][0],
        json!({"rank": 5, "rerank_score": null, "score_origin": null})
    );

    let by_query_string = get(&service, "/v1/search?q=egg&stages=none@long:4,short:2").await.1;
    assert_eq!(ids(&by_query_string), ids(&answer));
    let plain = get(&service, "/v1/search?q=egg&explain=true").await.1;
    assert!(plain.get("stages").is_none() && plain["hits"][0]["explanation"].get("stages").is_none());
}

#[tokio::test]
async fn an_answer_says_which_stage_fell_back() {
    let service = two_bases(PipelineConfig::default());
    let answer = search(&service, &json!([{"adapter": "long", "depth": 4}, {"adapter": "broken", "depth": 2}])).await;
    assert_eq!(ids(&answer), ["d3", "d4", "d1", "d2", "d5"], "the order of the stage before");
    assert_eq!(answer["fallback"], json!({"reason": "reranker_failed", "message": "out of memory", "stage": 2}));
    assert_eq!((&answer["reranked"], &answer["base_model"]), (&json!(true), &json!("long")));
    assert_eq!(answer["stages"][0]["fallback"], Json::Null);
    assert_eq!(answer["stages"][1]["fallback"], json!({"reason": "reranker_failed", "message": "out of memory"}));
    let answer = search(&service, &json!([{"adapter": "broken", "depth": 4}, {"adapter": "short", "depth": 2}])).await;
    assert_eq!((ids(&answer), &answer["fallback"]["stage"]), (vec!["d2", "d1", "d3", "d4", "d5"], &json!(1)));
    let (_, _, metrics) = send(&service, request("GET", "/metrics", "", "")).await;
    assert!(
        metrics.contains("lorank_rerank_stage_fallbacks_total{stage=\"2\",reason=\"reranker_failed\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("lorank_rerank_stage_duration_seconds_count{stage=\"1\"} 2"), "{metrics}");
}

#[tokio::test]
async fn stages_of_the_configuration_are_those_of_a_plain_search() {
    let config = PipelineConfig { stages: "long:4,short:2".parse().ok(), ..PipelineConfig::default() };
    let service = two_bases(config);
    let answer = get(&service, "/v1/search?q=egg").await.1;
    assert_eq!((ids(&answer), answer["stages"].as_array().unwrap().len()), (vec!["d4", "d3", "d1", "d2", "d5"], 2));
    let answer = get(&service, "/v1/search?q=egg&adapter=short").await.1;
    assert_eq!((ids(&answer)[0], answer.get("stages")), ("d2", None));
    assert_eq!(get(&service, "/ready").await.0, StatusCode::OK);
    let config = PipelineConfig { stages: "long:4,missing:2".parse().ok(), ..PipelineConfig::default() };
    let service = two_bases(config);
    let answer = get(&service, "/v1/search?q=egg").await.1;
    assert_eq!((&answer["fallback"]["stage"], &answer["base_model"]), (&json!(2), &json!("long")));
    let (status, ready) = get(&service, "/ready").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready["checks"]["model"].as_str().unwrap().contains("`missing`"), "{ready}");
}
