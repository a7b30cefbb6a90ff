//! `rerank`, `score` and `search` with the embedded model.

use serde_json::{Value, json};

use crate::command::Lorank;

const DOCUMENTS: &str = r#"{"text": "Coffee is good for the heart."}
{"id": "bulb", "title": "", "text": "Thomas Edison patented the light bulb in 1879."}
{"id": 3, "text": "Lightning struck the old university building."}
"#;

const QUERY: &str = "who invented the light bulb";

fn ids(answer: &Value) -> Vec<&str> {
    answer["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect()
}

#[test]
fn rerank_puts_the_answer_first() {
    let lorank = Lorank::new();
    lorank.write("documents.jsonl", DOCUMENTS);
    let answer = lorank.json(&["rerank", "--query", QUERY, "--json", "documents.jsonl"]);
    assert_eq!(ids(&answer)[0], "bulb");
    assert_eq!((&answer["hits"][0]["rank"], &answer["hits"][0]["first_stage_rank"]), (&json!(1), &json!(2)));
    assert_eq!((&answer["adapter"], &answer["n_candidates"]), (&Value::Null, &json!(3)));
    let scores: Vec<f64> =
        answer["hits"].as_array().unwrap().iter().map(|hit| hit["rerank_score"].as_f64().unwrap()).collect();
    assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)) && scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    assert!(ids(&answer).contains(&"1"), "a document without an id has the number of its line");

    let text = lorank.run_with(
        &["rerank", "--query", QUERY, "--adapter", "minilm-qa", "--raw-scores", "--top-k", "1", "-"],
        DOCUMENTS,
    );
    assert!(text.contains("   1    ↑1 ") && text.contains("  bulb\n") && !text.contains("Coffee"), "{text}");
}

#[test]
fn score_answers_line_by_line() {
    let pair = |query: &str, document: &str| json!({"query": query, "document": document}).to_string();
    let pairs: Vec<String> = (0..40).map(|n| pair("how many", &format!("number {n}"))).collect();
    let mut input = pairs.join("\n");
    let lorank = Lorank::new();
    let scores = lorank.run_with(&["score", "--pairs", "-"], &input);
    let scores: Vec<f64> =
        scores.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["score"].as_f64().unwrap()).collect();
    assert_eq!(scores.len(), 40);

    // A bad line ends the work, and takes nothing along that came before it.
    input += "\n{\"query\": \"how many\"}\n";
    let output = lorank.command(&["score", "--pairs", "-"]).write_stdin(input).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("line 41 of standard input") && error.contains("missing field `document`"), "{error}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 40);
}

#[test]
fn search_reranks_and_says_how() {
    let lorank = Lorank::new();
    let documents = DOCUMENTS.replacen("{", "{\"id\": \"coffee\", ", 1);
    lorank.run_with(&["index", "--index", "i", "-"], &documents);
    let answer =
        lorank.json(&["search", "--index", "i", "--adapter", "minilm-qa", "--json", "the light of the university"]);
    assert_eq!((&answer["reranked"], &answer["fallback"]), (&json!(true), &Value::Null));
    assert_eq!(answer["adapter"]["id"], "minilm-qa");
    assert_eq!(answer["adapter"]["digest"].as_str().map(str::len), Some(64));
    let n_candidates = answer["n_candidates"].as_u64().unwrap();
    assert_eq!(answer["cache"], json!({"hits": 0, "misses": n_candidates}));
    let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "query",
            "hits",
            "reranked",
            "rank_by",
            "fallback",
            "adapter",
            "base_model",
            "experiment",
            "total_hits",
            "total_hits_relation",
            "facets",
            "n_candidates",
            "n_left_out",
            "depth",
            "cache",
            "timings_millis",
            "request_id"
        ]
    );
    let keys: Vec<&String> = answer["hits"][0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["id", "rank", "rerank_score", "first_stage_score", "first_stage_rank", "fields", "snippet"]);

    let text = lorank.run(&["search", "--index", "i", "--explain", "--deadline-millis", "0", QUERY]);
    assert!(text.starts_with("in first-stage order: the deadline passed"), "{text}");
    assert!(text.contains("first-stage rank 1, not reranked") && text.contains("\nrerank  "), "{text}");
}

#[test]
fn info_tells_what_is_embedded() {
    let info = Lorank::new().json(&["info", "--json"]);
    let adapters = info["model"]["adapters"].as_array().unwrap();
    let adapters: Vec<&Value> = adapters.iter().map(|adapter| &adapter["id"]).collect();
    assert_eq!(adapters, ["minilm-qa", "minilm-science"]);
    assert_eq!((&info["model"]["architecture"], &info["features"]["starter"]), (&json!("bert"), &json!(true)));
}
