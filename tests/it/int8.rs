//! `bench --ranking`: how int8 ranks is measured, kept, and decides what the precision `auto` takes.

use serde_json::{Value, json};

use crate::command::Lorank;

fn fixture(name: &str) -> String {
    lorank_testing::fixture(name).display().to_string()
}

/// Queries with candidates of different lengths.
fn pairs(n_queries: usize, n_candidates: usize) -> String {
    let line = |query: usize, candidate: usize| {
        let text = "An egg is boiled in seven minutes. ".repeat(1 + candidate % 7);
        let text = format!("{candidate} lamps of {query} rivers: {text}");
        format!("{}\n", json!({"query": format!("how long is river {query}"), "text": text}))
    };
    (0..n_queries).flat_map(|query| (0..n_candidates).map(move |candidate| line(query, candidate))).collect()
}

/// Whether int8 is the fastest on this CPU, as `auto` needs.
pub(crate) fn is_fast_in_int8(info: &Value) -> bool {
    info["model"]["engine"] != "kernels (portable)"
}

/// The same for decoders, whose int8 has products in groups.
pub(crate) fn is_fast_in_int8_groups(info: &Value) -> bool {
    ["kernels (avx512-vnni)", "kernels (avx512-bf16)"].iter().any(|fast| info["model"]["engine"] == *fast)
}

#[test]
fn the_form_of_int8_is_that_of_the_family() {
    let lorank = Lorank::new();
    for (base, form) in [("tiny-bert/base", "one scale per row"), ("tiny-llama/base", "rotated groups of 64")] {
        let base = fixture(base);
        let info = lorank.json(&["info", "--json", "--base", &base]);
        assert!(info["model"]["int8_form"].as_str().unwrap().starts_with(form), "{info}");
        assert!(lorank.run(&["info", "--base", &base]).contains(form));
    }
}

#[test]
fn a_measurement_is_kept_and_decides() {
    let lorank = Lorank::new();
    let (base, adapter) = (fixture("tiny-bert/base"), fixture("tiny-bert/adapter-a"));
    let info = || lorank.json(&["info", "--json", "--base", &base, "--adapter", &adapter]);
    let before = info();
    if !is_fast_in_int8(&before) {
        return;
    }
    assert_ne!(before["model"]["precision"], "int8");
    assert_eq!(before["model"]["int8"], Value::Null);
    let reason = before["model"]["precision_reason"].as_str().unwrap();
    assert!(reason.contains("was not measured for this model (`lorank bench --ranking` measures it)"), "{reason}");

    lorank.write("pairs.jsonl", &pairs(10, 20));
    let command = ["bench", "--ranking", "--pairs", "pairs.jsonl", "--base", &base];
    let measured = lorank.json(&[&command[..], &["--adapter", &adapter, "--adapter", "none", "--json"]].concat());
    assert_eq!(measured["limits"], json!({"relative_error": 0.025, "kept": 0.97}));
    assert_eq!(
        (&measured["rankers"][0]["adapter"], &measured["rankers"][1]["adapter"]),
        (&json!("adapter-a"), &Value::Null)
    );
    for (ranker, of_model) in [(0, "/model/adapters/0"), (1, "/model")] {
        let ranker = &measured["rankers"][ranker];
        let measurement = &ranker["measurement"];
        assert_eq!((&measurement["n_queries"], &measurement["n_candidates"]), (&json!(10), &json!(20)));
        assert!(measurement["error"].as_f64().unwrap() > 0.0, "{measurement}");
        // The choice and its figures are those of the measurement.
        let info = info();
        let model = info.pointer(of_model).unwrap();
        assert_eq!(&model["int8"]["measurement"], measurement);
        assert_eq!(model["int8"]["holds"], ranker["holds"]);
        assert_eq!(model["precision"] == "int8", ranker["holds"] == true, "{model}");
        let says = if ranker["holds"] == true { "preserves" } else { "changes" };
        let reason = model["precision_reason"].as_str().unwrap();
        assert!(reason.contains(&format!("int8 {says} this model's ranking (error ")), "{reason}");
    }
    let text = lorank.run(&command);
    assert!(text.contains("over 10 queries with 20 candidates") && text.contains("required"), "{text}");
}

#[test]
fn the_starter_comes_with_its_measurements() {
    let info = Lorank::new().json(&["info", "--json"]);
    let model = &info["model"];
    let adapters = model["adapters"].as_array().unwrap();
    assert_eq!(adapters.len(), 2);
    for model in [model].into_iter().chain(adapters) {
        if is_fast_in_int8(&info) {
            assert_eq!((&model["int8"]["holds"], &model["precision"]), (&json!(true), &json!("int8")), "{model}");
        } else {
            assert!(model["precision"] == "bf16" || model["precision"] == "f32", "{model}");
        }
    }
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let lorank = Lorank::new();
    let base = fixture("tiny-bert/base");
    lorank.write("few.jsonl", &pairs(9, 20));
    lorank.write("short.jsonl", &pairs(10, 19));
    lorank.write("pairs.jsonl", &pairs(10, 20));
    for (flags, part) in [
        (vec!["--pairs", "few.jsonl"], "9 queries, the smallest with 20 candidates"),
        (vec!["--pairs", "short.jsonl"], "10 queries, the smallest with 19 candidates"),
        (vec!["--pairs", "pairs.jsonl", "--precision", "int8"], "leave --precision out"),
        (vec!["--pairs", "pairs.jsonl", "--device", "cuda:0"], "int8 runs on a CPU"),
        (vec!["--pairs", "pairs.jsonl", "--runs", "2"], "cannot be used with"),
        (vec!["--pairs", "pairs.jsonl", "--depth", "30"], "cannot be used with"),
        (vec!["--index", "i"], "--queries"),
    ] {
        let command = ["bench", "--ranking", "--base", &base];
        let (_, error) = lorank.fail(&[&command[..], &flags].concat(), "");
        assert!(error.contains(part), "{flags:?}: {error}");
    }
    let (_, error) = lorank.fail(&["bench", "--queries-max", "9"], "");
    assert!(error.contains("--ranking"), "{error}");
}

#[test]
fn an_adapter_is_measured_when_it_is_added_for_a_base_model() {
    let lorank = Lorank::new();
    let (base, adapter) = (fixture("tiny-bert/base"), fixture("tiny-bert/adapter-a"));
    let add = |id: &str, flags: &[&str]| {
        let command = ["adapters", "add", id, &adapter, "--base", &base, "--json"];
        lorank.json(&[&command[..], flags].concat())
    };
    assert_eq!(add("quick", &["--unmeasured"])["int8"], json!([]));
    let info = |id: &str| lorank.json(&["info", "--json", "--base", &base, "--adapter", id]);
    assert_eq!(info("quick")["model"]["adapters"][0]["int8"], Value::Null);
    if !is_fast_in_int8(&info("quick")) {
        return;
    }
    // Both have the same files, so the measurement of one is that of the other.
    let added = add("mine", &[]);
    let measured = added["int8"].as_array().unwrap();
    assert_eq!(measured.len(), 1, "{added}");
    for id in ["quick", "mine"] {
        assert_eq!(info(id)["model"]["adapters"][0]["int8"], measured[0]);
    }
    assert_eq!(add("again", &[])["int8"], json!([]), "it is known already");
}
