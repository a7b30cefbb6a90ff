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
    let scores = |answer: &Value| -> Vec<f64> {
        answer["hits"].as_array().unwrap().iter().map(|hit| hit["rerank_score"].as_f64().unwrap()).collect()
    };
    let logits = scores(&answer);
    assert!(
        logits.iter().any(|score| !(0.0..=1.0).contains(score)) && logits.is_sorted_by(|a, b| a >= b),
        "{logits:?}"
    );
    let answer = lorank.json(&["rerank", "--query", QUERY, "--json", "--activation", "sigmoid", "documents.jsonl"]);
    for (logit, score) in logits.iter().zip(scores(&answer)) {
        assert!((1.0 / (1.0 + (-logit).exp()) - score).abs() < 1e-6, "{logit} {score}");
    }
    assert!(ids(&answer).contains(&"1"), "a document without an id has the number of its line");

    let text = lorank.run_with(&["rerank", "--query", QUERY, "--adapter", "minilm-qa", "--top-k", "1", "-"], DOCUMENTS);
    assert!(text.contains("   1    ↑1 ") && text.contains("  bulb\n") && !text.contains("Coffee"), "{text}");
}

/// A text that is longer than the embedded model's limit, with its answer near the end.
fn long_text() -> String {
    let filler = "The weather of the coast is mild, and ships pass the harbor every day. ".repeat(80);
    format!("{filler}Thomas Edison patented the light bulb in 1879. {}", "Lamps need oil. ".repeat(10))
}

#[test]
fn a_long_document_is_scored_by_its_best_passage() {
    let lorank = Lorank::new();
    let line = |id: &str, text: &str| format!("{}\n", json!({"id": id, "text": text}));
    let long = long_text();
    let documents = line("long", &long) + &line("short", "Lightning struck the old university building.");
    lorank.write("documents.jsonl", &documents);
    let rerank = |flags: &[&str]| {
        let command = ["rerank", "--query", QUERY, "--json", "documents.jsonl"];
        lorank.json(&[&command[..], flags].concat())
    };
    let first = rerank(&[]);
    assert_eq!(first["hits"], rerank(&["--passages", "first"])["hits"]);
    let best = rerank(&["--passages", "max", "--passage-tokens", "96", "--stride", "48", "--passages-max", "64"]);
    let of = |answer: &Value, id: &str| {
        answer["hits"].as_array().unwrap().iter().find(|hit| hit["id"] == id).unwrap().clone()
    };
    let (hit, passage) = (of(&best, "long"), of(&best, "long")["passage"].clone());
    let (start, end) = (passage["start"].as_u64().unwrap() as usize, passage["end"].as_u64().unwrap() as usize);
    assert!(long[start..end].contains("Edison patented") && passage["text"] == long[start..end], "{passage}");
    assert_eq!((ids(&best)[0], passage["complete"].as_bool()), ("long", Some(true)));
    assert!(hit["rerank_score"].as_f64() > of(&first, "long")["rerank_score"].as_f64());
    assert_eq!(of(&best, "short")["rerank_score"], of(&first, "short")["rerank_score"], "a short one as before");
    // The score is that of the passage alone.
    let alone = line("alone", &long[start..end]);
    let alone = lorank.run_with(&["rerank", "--query", QUERY, "--json", "-"], &alone);
    let alone: Value = serde_json::from_str(&alone).unwrap();
    assert_eq!(alone["hits"][0]["rerank_score"], hit["rerank_score"]);

    lorank.run(&["index", "--index", "i", "documents.jsonl"]);
    let search = |flags: &[&str]| {
        lorank.run(&[&["search", "--index", "i", "light bulb ships", "--explain"][..], flags].concat())
    };
    let text = search(&["--passages", "max", "--passage-tokens", "96"]);
    assert!(text.contains("passage ") && text.contains("the rest of the text was not scored"), "{text}");
    assert!(text.contains("1 document had more passages than the limit"), "{text}");
    for (flags, message) in [
        (&["--passages", "mean"][..], "`mean` is not a rule for passages"),
        (&["--passage-tokens", "64"], "set `passages` to `max`"),
        (&["--passages", "max", "--passage-tokens", "64", "--stride", "65"], "above `passage_tokens`"),
        (&["--passages", "max", "--no-rerank"], "--passages cannot be used with --no-rerank"),
        (&["--instruction", "Judge.", "--no-rerank"], "--instruction cannot be used with --no-rerank"),
        (&["--instruction", "Judge."], "no place for an instruction"),
    ] {
        let command = [&["search", "--index", "i", "light"][..], flags].concat();
        let output = lorank.command(&command).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(message), "{flags:?}: {error}");
    }
}

#[test]
fn score_answers_line_by_line() {
    // `document` is the older name of `text`.
    let pair =
        |n: usize| json!({"query": "how many", ["text", "document"][n % 2]: format!("number {}", n / 2)}).to_string();
    let pairs: Vec<String> = (0..40).map(pair).collect();
    let mut input = pairs.join("\n");
    let lorank = Lorank::new();
    let scores = lorank.run_with(&["score", "--pairs", "-"], &input);
    let scores: Vec<f64> =
        scores.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["score"].as_f64().unwrap()).collect();
    assert_eq!(scores.len(), 40);
    assert!(scores.chunks(2).all(|both| both[0] == both[1]), "{scores:?}");

    // A bad line ends the work, and takes nothing along that came before it.
    input += "\n{\"query\": \"how many\"}\n";
    let output = lorank.command(&["score", "--pairs", "-"]).write_stdin(input).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("line 41 of standard input") && error.contains("`text` is missing"), "{error}");
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
            "warnings",
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

/// What the registry calls an adapter is a name for it in every command, and so is an alias.
#[test]
fn names_of_the_registry_are_names_everywhere() {
    let lorank = Lorank::new();
    lorank.run(&["adapters", "add", "mine", "minilm-qa", "--alias", "best"]);
    lorank.write("documents.jsonl", DOCUMENTS);
    let documents = DOCUMENTS.replacen("{", "{\"id\": \"coffee\", ", 1);
    lorank.run_with(&["index", "--index", "i", "-"], &documents);
    for name in ["mine", "best"] {
        let answer = lorank.json(&["rerank", "--query", QUERY, "--json", "--adapter", name, "documents.jsonl"]);
        assert_eq!(answer["adapter"]["id"], name);
        let answer = lorank.json(&["search", "--index", "i", "--json", "--adapter", name, "light"]);
        assert_eq!(answer["adapter"]["id"], name);
        let answer = lorank.json(&["compare", "--index", "i", "--json", "--adapter", name, "light"]);
        assert_eq!(answer["rankers"][1]["name"], name);
        let pair = "{\"query\": \"egg\", \"text\": \"A hen lays eggs.\"}\n";
        let score = |adapter: &str| lorank.run_with(&["score", "--pairs", "-", "--adapter", adapter], pair);
        assert_eq!(score(name), score("minilm-qa"));
        lorank.write("pairs.jsonl", pair);
        let bench = lorank.json(&["bench", "--pairs", "pairs.jsonl", "--runs", "1", "--json", "--adapter", name]);
        assert_eq!(bench["adapters"], json!([name]));
    }
    let (_, error) = lorank.fail(&["rerank", "--query", QUERY, "--adapter", "mien", "documents.jsonl"], "");
    assert!(error.contains("nor in the registry (mine, best)") && error.contains("did you mean `mine`?"), "{error}");
}

#[test]
fn info_tells_what_is_embedded() {
    let info = Lorank::new().json(&["info", "--json"]);
    let adapters = info["model"]["adapters"].as_array().unwrap();
    let adapters: Vec<&Value> = adapters.iter().map(|adapter| &adapter["id"]).collect();
    assert_eq!(adapters, ["minilm-qa", "minilm-science"]);
    assert_eq!((&info["model"]["architecture"], &info["features"]["starter"]), (&json!("bert"), &json!(true)));
}

#[test]
fn bench_tells_how_much_of_the_processor_it_uses() {
    let lorank = Lorank::new();
    let text = "{\"query\": \"how long to boil an egg\", \"text\": \"Boil an egg for nine minutes.\"}\n".repeat(20);
    lorank.write("pairs.jsonl", &text);
    let bench = lorank.json(&["bench", "--pairs", "pairs.jsonl", "--runs", "2", "--json"]);
    let n_tokens = bench["n_tokens"].as_f64().unwrap();
    let of = |piece: &str, key: &str| bench["multiply_adds_by_piece"][piece][key].as_f64();
    let per_run =
        of("linear", "per_thread_second").unwrap() * bench["thread_seconds_by_piece"]["linear"].as_f64().unwrap();
    // 12 layers of 12 * 384 * 384 weights for each token; the last one computes little but keys and values.
    let of_layers = n_tokens * 12.0 * 12.0 * 384.0 * 384.0;
    assert!((11.0 / 12.0 * of_layers..of_layers).contains(&per_run), "{per_run} beside {of_layers}");
    assert!(of("attention", "per_thread_second").unwrap() > 0.0, "{bench}");
    if let Some(share) = of("linear", "share") {
        // Other tests may run while one of the two is measured.
        assert!(share > 0.0 && share < 2.0, "{bench}");
    }
    let text = lorank.run(&["bench", "--pairs", "pairs.jsonl", "--runs", "1"]);
    assert!(text.contains(" billion multiply-adds a second"), "{text}");
}
