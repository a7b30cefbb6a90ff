//! Which keys of a search are refused beside which: every pair is tried, and held against `docs/search-requests.md`.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;

/// Each key with a value, as the page names them.
fn keys() -> Vec<(&'static str, &'static str, Json)> {
    let key = |name: &'static str, value: Json| (name, name.split(':').next().unwrap(), value);
    vec![
        key("query", json!("light")),
        key("match_all: true", json!(true)),
        key("candidates", json!([{"id": "c", "text": "a light"}])),
        key("first_stage: true", json!(true)),
        key("first_stage: false", json!(false)),
        key("top_k", json!(3)),
        key("offset", json!(1)),
        key("depth", json!(5)),
        key("stages", json!([{"adapter": "none", "depth": 5}])),
        key("adapter", json!("none")),
        key("instruction", json!("judge")),
        key("passages", json!("max")),
        key("passage_tokens", json!(32)),
        key("stride", json!(16)),
        key("rerank: true", json!(true)),
        key("rerank: false", json!(false)),
        key("sort", json!(["year"])),
        key("facets", json!({"year": {}})),
        key("blend_weight", json!(0.5)),
        key("rank_by", json!("first_stage_score")),
        key("min_rerank_score", json!(0.0)),
        key("deadline_millis", json!(60_000)),
        key("on_overload", json!("refuse")),
        key("filters", json!({"year": 2001})),
        key("snippets", json!(true)),
        key("fields", json!(["year"])),
        key("syntax: plain", json!("plain")),
        key("syntax: advanced", json!("advanced")),
        key("fuzzy: off", json!("off")),
        key("fuzzy: auto", json!("auto")),
        key("fuzzy: on", json!("on")),
        key("explain", json!(true)),
        key("unit_id", json!("u")),
        key("experiment", json!("e")),
        key("arm", json!("a")),
    ]
}

/// Why a search is refused, if it is.
async fn refusal(service: &Router, keys: &[&(&'static str, &'static str, Json)]) -> Option<String> {
    let mut body: serde_json::Map<String, Json> =
        keys.iter().map(|(_, key, value)| ((*key).to_owned(), value.clone())).collect();
    if !body.contains_key("match_all") {
        body.entry("query").or_insert_with(|| json!("light"));
    }
    let body = Json::Object(body).to_string();
    let (status, _, answer) = send(service, request("POST", "/v1/search", JSON, body)).await;
    (status == StatusCode::UNPROCESSABLE_ENTITY).then_some(answer)
}

/// The table of the page, as pairs of names in alphabetical order.
fn documented() -> BTreeSet<[String; 2]> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/search-requests.md");
    let page = std::fs::read_to_string(path).unwrap();
    let table = page.split("\n## ").nth(1).unwrap().lines().filter(|line| line.starts_with("| `"));
    let names = |cell: &str| cell.split(", ").map(|name| name.trim().trim_matches('`').to_owned()).collect::<Vec<_>>();
    let pairs = table.flat_map(|line| {
        let cells: Vec<Vec<String>> = line.trim_matches('|').split('|').map(names).collect();
        cells[1].iter().map(|other| pair(&cells[0][0], other)).collect::<Vec<_>>()
    });
    pairs.collect()
}

fn pair(one: &str, other: &str) -> [String; 2] {
    let mut pair = [one.to_owned(), other.to_owned()];
    pair.sort();
    pair
}

#[tokio::test]
async fn pairs_of_keys_are_refused_as_the_page_says() {
    let (service, keys) = (toy_service(), keys());
    let mut refused = BTreeSet::new();
    for (n, one) in keys.iter().enumerate() {
        for other in keys[n + 1..].iter().filter(|other| other.1 != one.1) {
            let Some(together) = refusal(&service, &[one, other]).await else { continue };
            let message = |answer: &str| serde_json::from_str::<Json>(answer).unwrap()["error"]["message"].clone();
            let mut is_refused_alone = false;
            for alone in [one, other] {
                let alone = refusal(&service, &[alone]).await;
                is_refused_alone |= alone.is_some_and(|alone| message(&alone) == message(&together));
            }
            if !is_refused_alone {
                refused.insert(pair(one.0, other.0));
            }
        }
    }
    let documented = documented();
    let missing: Vec<_> = refused.difference(&documented).collect();
    let wrong: Vec<_> = documented.difference(&refused).collect();
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "refused and not on the page: {missing:?}; on it and taken: {wrong:?}"
    );
    assert!(documented.len() > 20, "{}", documented.len());
}
