//! Which keys `/v1/compare` honors and refuses: each is tried, and held against `docs/search-requests.md`.

use std::collections::BTreeSet;

use serde_json::json;

use super::experiments::ask;
use super::*;

/// What a key changes: the answer, or the query and the depth that reach the first stage.
type Effect = fn(&Json, &(Query, usize)) -> Json;

/// Each key with a value, what it changes, and how that is with the value.
fn honored() -> Vec<(&'static str, Json, Effect, Json)> {
    vec![
        ("query", json!("egg"), |answer, _| answer["query"].clone(), json!("egg")),
        ("adapters", json!(["none", "qa"]), |answer, _| answer["rankers"][2]["name"].clone(), json!("qa")),
        (
            "stages",
            json!([{"depth": 10}, {"adapter": "qa", "depth": 5, "deadline_share": 0.5}]),
            |answer, _| {
                let ranker = answer["rankers"].as_array().unwrap().last().unwrap();
                let n_scored = ranker["stages"]
                    .as_array()
                    .map(|stages| stages.iter().map(|stage| stage["n_candidates"].clone()).collect::<Vec<_>>());
                json!([ranker["name"], n_scored, ranker["hits"][0]["stages"].as_array().map(Vec::len)])
            },
            json!(["default:10,qa:5:0.5", [10, 5], 2]),
        ),
        ("top_k", json!(3), |answer, _| json!(answer["rankers"][1]["hits"].as_array().map(Vec::len)), json!(3)),
        ("offset", json!(2), |answer, _| answer["rankers"][1]["hits"][0]["rank"].clone(), json!(3)),
        ("depth", json!(5), |answer, _| json!([answer["depth"], answer["n_candidates"]]), json!([5, 5])),
        (
            "deadline_millis",
            json!(0),
            |answer, _| answer["rankers"][1]["fallback"]["reason"].clone(),
            json!("deadline_passed"),
        ),
        ("filters", json!({"year": 2001}), |_, asked| json!(asked.0.filters.len()), json!(1)),
        ("snippets", json!(false), |answer, _| answer["documents"]["d1"]["snippet"].clone(), Json::Null),
        ("fields", json!(["year"]), |answer, _| answer["documents"]["d1"]["fields"].clone(), json!({"year": 2001})),
        ("syntax", json!("advanced"), |_, asked| json!(format!("{:?}", asked.0.syntax)), json!("Advanced")),
        ("fuzzy", json!("off"), |_, asked| json!(format!("{:?}", asked.0.fuzzy)), json!("Off")),
        ("instruction", json!("judge"), |_, asked| json!(asked.0.instruction), json!("judge")),
        ("passages", json!("max"), |answer, _| answer["rankers"][1]["hits"][0]["passage"]["of"].clone(), json!(1)),
    ]
}

/// A comparison with one key set beside `query` and `adapters`, and what reached the first stage.
async fn compared(key: &str, value: &Json) -> (Json, (Query, usize)) {
    let first_stage = Arc::new(ToyFirstStage::new(toy::candidates(20)));
    let reranker = Arc::new(FakeReranker::hashing().with_adapters(&["qa"]));
    let pipeline = Pipeline::new(first_stage.clone(), reranker, PipelineConfig::default()).unwrap();
    let service = router(Arc::new(pipeline), HttpConfig::default());
    let mut body = json!({"query": "light", "adapters": ["none"]});
    body[key] = value.clone();
    let (status, answer) = ask(&service, "POST", "/v1/compare", body).await;
    assert_eq!(status, 200, "{key}: {answer}");
    (answer, first_stage.asked().remove(0))
}

#[tokio::test]
async fn every_key_of_a_comparison_has_its_effect() {
    let (usual, usually_asked) = compared("query", &json!("light")).await;
    for (key, value, effect, expected) in honored() {
        let (answer, asked) = compared(key, &value).await;
        let changed = effect(&answer, &asked);
        assert_eq!(changed, expected, "{key}");
        assert_ne!(changed, effect(&usual, &usually_asked), "{key} shows nothing: its usual effect is the same");
    }
}

/// The keys of a request by its name in the OpenAPI document.
async fn keys(schema: &str) -> BTreeSet<String> {
    let (_, api) = get(&toy_service(), "/openapi.json").await;
    api["components"]["schemas"][schema]["properties"].as_object().unwrap().keys().cloned().collect()
}

/// The keys in a row of the page's table about comparisons.
fn documented(row: &str) -> BTreeSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/search-requests.md");
    let page = std::fs::read_to_string(path).unwrap();
    let section = page.split("\n## Comparisons\n").nth(1).unwrap();
    let cells = section.lines().find_map(|line| line.strip_prefix(&format!("| {row} |"))).unwrap();
    cells.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_keys_of_searches_are_honored_in_comparisons_or_refused_as_the_page_says() {
    let (of_search, of_comparison) = (keys("Search").await, keys("CompareRequest").await);
    let tried: BTreeSet<String> = honored().iter().map(|(key, ..)| (*key).to_owned()).collect();
    // These two need `passages`, and have a test of their own.
    let lengths = ["passage_tokens", "stride"].map(str::to_owned);
    let tried: BTreeSet<String> = tried.into_iter().chain(lengths).collect();
    assert_eq!(tried, of_comparison, "each key is tried above");
    assert_eq!(documented("honored"), of_comparison);
    let refused: BTreeSet<String> = of_search.difference(&of_comparison).cloned().collect();
    assert_eq!(documented("refused"), refused);
    let service = toy_service();
    for key in &refused {
        // A value of any type is refused by the key's name.
        for value in [json!(true), json!("light"), json!(0.5), Json::Null] {
            let mut body = json!({"query": "light", "adapters": ["none"]});
            body[key] = value;
            let (status, answer) = ask(&service, "POST", "/v1/compare", body).await;
            assert_eq!((status, &answer["error"]["field"]), (422, &json!(key)), "{answer}");
        }
    }
}

#[tokio::test]
async fn only_typos_in_the_advanced_syntax_are_refused_beside_another_key() {
    let mut keys: Vec<(&str, Json)> = honored().into_iter().map(|(key, value, ..)| (key, value)).collect();
    keys.extend([("syntax", json!("plain")), ("fuzzy", json!("auto")), ("fuzzy", json!("on"))]);
    let service = toy_service();
    let mut refused = Vec::new();
    for (n, (one, value)) in keys.iter().enumerate() {
        for (other, other_value) in keys[n + 1..].iter().filter(|(other, _)| other != one) {
            let mut body = json!({"query": "light", "adapters": ["none"]});
            body[one] = value.clone();
            body[other] = other_value.clone();
            let (status, answer) = ask(&service, "POST", "/v1/compare", body).await;
            if status != 200 {
                refused.push((status, answer["error"]["field"].clone(), value.clone(), other_value.clone()));
            }
        }
    }
    assert_eq!(refused, [(422, json!("fuzzy"), json!("advanced"), json!("on"))]);
}

#[tokio::test]
async fn a_ranker_names_the_expression_that_ordered_its_hits() {
    let expression: lorank_pipeline::RankBy = "coalesce(rerank_score, 0) + year".parse().unwrap();
    let rank_by_adapter = [("qa".parse().unwrap(), Arc::new(expression))].into();
    let config = PipelineConfig { rank_by_adapter, ..PipelineConfig::default() };
    let reranker = FakeReranker::hashing().with_adapters(&["qa"]);
    let service = service(ToyFirstStage::new(toy::candidates(20)), reranker, config);
    let body = json!({"query": "light", "adapters": ["none", "qa"]});
    let (_, answer) = ask(&service, "POST", "/v1/compare", body).await;
    let rank_by: Vec<&Json> = answer["rankers"].as_array().unwrap().iter().map(|ranker| &ranker["rank_by"]).collect();
    assert_eq!(rank_by, [&Json::Null, &Json::Null, &json!("coalesce(rerank_score, 0) + year")]);
}

#[tokio::test]
async fn stages_rank_as_a_search_with_them() {
    let reranker = FakeReranker::hashing().with_adapters(&["qa"]);
    let service = service(ToyFirstStage::new(toy::candidates(20)), reranker, PipelineConfig::default());
    let stages = json!([{"adapter": "none", "depth": 12}, {"adapter": "qa", "depth": 6}]);
    let compared = json!({"query": "light", "stages": stages, "depth": 3, "top_k": 20});
    let (status, compared) = ask(&service, "POST", "/v1/compare", compared).await;
    assert_eq!(status, 200, "{compared}");
    let (_, searched) =
        ask(&service, "POST", "/v1/search", json!({"query": "light", "stages": stages, "top_k": 20})).await;
    let order = |hits: &Json| -> Vec<Json> {
        hits.as_array().unwrap().iter().map(|hit| json!([hit["id"], hit["rank"], hit["rerank_score"]])).collect()
    };
    assert_eq!(compared["rankers"].as_array().map(Vec::len), Some(2));
    assert_eq!(order(&compared["rankers"][1]["hits"]), order(&searched["hits"]));
    for (stages, problem) in [
        (json!([]), "is invalid: there are no stages"),
        (json!([{"depth": 5}, {"depth": 6}]), "the depth of stage 2 is 6"),
    ] {
        let (status, answer) = ask(&service, "POST", "/v1/compare", json!({"query": "light", "stages": stages})).await;
        assert_eq!((status, &answer["error"]["field"]), (422, &json!("stages")));
        assert!(answer["error"]["message"].as_str().unwrap().contains(problem), "{answer}");
    }
    let many: Vec<String> = (0..7).map(|n| format!("a{n}")).collect();
    let body = json!({"query": "light", "adapters": many, "stages": [{"depth": 5}]});
    let (status, answer) = ask(&service, "POST", "/v1/compare", body).await;
    assert_eq!((status, &answer["error"]["field"]), (422, &json!("adapters")), "{answer}");
}
