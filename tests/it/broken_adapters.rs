//! Adapters that are broken, or of another base model: known when they are added or promoted, and never the end of a search.

use std::path::Path;

use lorank_testing::{changed_copy, edit_json, edit_tensors, fixture};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::command::Lorank;
use crate::serving::Server;

const WEIGHTS: &str = "adapter_model.safetensors";
const TENSOR: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";

fn changed(change: impl FnOnce(&Path)) -> TempDir {
    changed_copy("tiny-llama/adapter-a", change)
}

fn path(folder: &TempDir) -> &str {
    folder.path().to_str().unwrap()
}

#[test]
fn what_needs_no_base_model_to_be_seen_is_refused_when_it_is_added() {
    let lorank = Lorank::new();
    let without_b = TENSOR.replace("lora_A", "lora_B");
    let cases: [(TempDir, &str); 5] = [
        (changed(|folder| edit_tensors(folder, WEIGHTS, |tensors| drop(tensors.remove(&without_b)))), "lora_B.weight"),
        (
            changed(|folder| {
                edit_tensors(folder, WEIGHTS, |tensors| tensors.get_mut(TENSOR).unwrap().set(9, f32::NAN))
            }),
            "contains NaN",
        ),
        (changed(|folder| edit_json(folder, "adapter_config.json", |config| config["r"] = json!(0))), "`r` = 0"),
        (
            changed(|folder| edit_json(folder, "adapter_config.json", |config| config["use_dora"] = json!(true))),
            "`use_dora`",
        ),
        (
            changed(|folder| {
                edit_tensors(folder, WEIGHTS, |tensors| drop(tensors.remove("base_model.model.score.weight")))
            }),
            "the head `classifier` or `score`",
        ),
    ];
    for (folder, part) in &cases {
        let (code, error) = lorank.fail(&["adapters", "add", "broken", path(folder), "--alias", "default"], "");
        assert!(code == 1 && error.contains(part), "{part}: {error}");
    }
    assert_eq!(
        lorank.json(&["adapters", "list", "--json"]),
        json!({"adapters": [], "aliases": {}, "bases": {}, "rank_by": {}})
    );
}

#[test]
fn an_id_that_is_taken_needs_replace_and_words_are_no_ids() {
    let lorank = Lorank::new();
    let (a, b) = (fixture("tiny-llama/adapter-a"), fixture("tiny-llama/adapter-b"));
    let (a, b) = (a.to_str().unwrap(), b.to_str().unwrap());
    lorank.run(&["adapters", "add", "qa", a]);
    let (code, error) = lorank.fail(&["adapters", "add", "qa", b], "");
    assert!(code == 1 && error.contains("adapter `qa` already exists") && error.contains("--replace"), "{error}");
    assert!(lorank.run(&["adapters", "add", "qa", b, "--replace"]).starts_with("replaced qa"));
    for word in ["none", "first-stage"] {
        let (_, error) = lorank.fail(&["adapters", "add", word, a], "");
        assert!(error.contains(&format!("`{word}` is reserved")), "{error}");
        let (_, error) = lorank.fail(&["adapters", "alias", word, "qa"], "");
        assert!(error.contains(&format!("`{word}` is reserved")), "{error}");
    }
    let (bert, base) = (fixture("tiny-bert/adapter-a"), fixture("tiny-llama/base"));
    lorank.run(&["adapters", "add", "bert", bert.to_str().unwrap()]);
    let (code, error) = lorank.fail(&["adapters", "alias", "default", "bert", "--base", base.to_str().unwrap()], "");
    assert!(code == 1 && error.contains("`bert`"), "{error}");
    assert_eq!(lorank.json(&["adapters", "list", "--json"])["aliases"], json!({}));
    let text = lorank.run(&["adapters", "alias", "default", "qa", "--base", base.to_str().unwrap()]);
    assert!(text.contains("\nchecked on `"), "{text}");
    let text = lorank.run(&["adapters", "alias", "next", "bert"]);
    assert!(
        text.ends_with("not checked on a base model: no server runs with this registry, and --base is not given\n"),
        "{text}"
    );
}

#[test]
fn an_alias_is_checked_on_the_base_models_of_running_servers() {
    let lorank = Lorank::new();
    let (bert, own) = (fixture("tiny-bert/adapter-a"), fixture("tiny-llama/adapter-a"));
    lorank.run(&["adapters", "add", "other", bert.to_str().unwrap()]);
    lorank.run(&["adapters", "add", "own", own.to_str().unwrap()]);
    let base = fixture("tiny-llama/base");
    let server = Server::start(&lorank, &["--base", base.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    for args in [&["alias", "default", "other"][..], &["add", "third", bert.to_str().unwrap(), "--alias", "default"]] {
        let (code, error) = lorank.fail(&[&["adapters"], args].concat(), "");
        let says_why =
            error.contains("the base model of the server that runs as process") && error.contains("--unchecked");
        assert!(code == 1 && says_why && error.contains("`target_modules`"), "{error}");
    }
    assert_eq!(lorank.json(&["adapters", "list", "--json"])["aliases"], json!({}));
    let moved = lorank.json(&["adapters", "alias", "default", "own", "--json"]);
    let checked_on = json!([base.canonicalize().unwrap()]);
    assert_eq!(moved["checked_on"], checked_on);
    lorank.run(&["adapters", "alias", "default", "other", "--unchecked"]);
    drop(server);
    // A killed server is none.
    assert_eq!(lorank.json(&["adapters", "alias", "default", "other", "--json"])["checked_on"], json!([]));
}

#[test]
fn a_default_adapter_of_another_base_model_leaves_searches_standing() {
    let lorank = Lorank::new();
    let (bert, own) = (fixture("tiny-bert/adapter-a"), fixture("tiny-llama/adapter-a"));
    lorank.run(&["adapters", "add", "other", bert.to_str().unwrap(), "--alias", "default"]);
    lorank.run(&["adapters", "add", "own", own.to_str().unwrap()]);
    lorank.run_with(
        &["index", "--index", "i", "-"],
        "{\"id\": 1, \"text\": \"one light\"}\n{\"id\": 2, \"text\": \"one\"}\n",
    );
    let base = fixture("tiny-llama/base");
    let server = Server::start(&lorank, &["--index", "i", "--base", base.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let says = |value: &Value, parts: &[&str]| {
        let text = value.to_string();
        assert!(parts.iter().all(|part| text.contains(part)) && !text.contains("/tmp"), "{text}");
    };

    let (status, answer) = server.ask("GET", "/v1/search?q=one", "");
    assert_eq!((status, &answer["reranked"], answer["hits"].as_array().unwrap().len()), (200, &json!(false), 2));
    assert_eq!(answer["fallback"]["reason"], "reranker_failed");
    says(&answer["fallback"]["message"], &["default model", "`other`", "`target_modules`"]);
    let (status, ready) = server.ask("GET", "/ready", "");
    assert_eq!(status, 503);
    says(&ready["checks"]["model"], &["`other`", "`target_modules`"]);
    let (status, answer) = server.ask("POST", "/v1/rerank", r#"{"query": "a", "documents": ["b"]}"#);
    assert_eq!(status, 503);
    says(&answer, &["`other`"]);

    // Named, it is there and does not fit: that is another answer than for one that is not there.
    let (status, answer) = server.ask("POST", "/v1/search", r#"{"query": "one", "adapter": "other"}"#);
    assert_eq!((status, &answer["reranked"]), (200, &json!(false)));
    says(&answer["fallback"], &["`other`", "exists but cannot be used"]);
    assert_eq!(server.ask("POST", "/v1/search", r#"{"query": "one", "adapter": "absent"}"#).0, 404);

    let (status, answer) = server.ask("PUT", "/v1/aliases/next", r#"{"adapter": "other"}"#);
    assert_eq!(status, 409);
    says(&answer, &["`other`", "`target_modules`"]);
    assert_eq!(server.ask("PUT", "/v1/aliases/default", r#"{"adapter": "own"}"#).0, 200);
    assert_eq!(server.ask("GET", "/ready", "").0, 200);
    assert_eq!(server.ask("GET", "/v1/search?q=one", "").1["reranked"], true);
}
