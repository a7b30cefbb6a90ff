//! Rerank stages of two base models, over HTTP, on the command line, from the configuration and in an experiment.

use serde_json::{Value, json};

use crate::bases::{QUERY, bert, prepared, serve};
use crate::serving::Server;

fn search(server: &Server, more: Value) -> Value {
    let mut body = json!({"query": QUERY, "snippets": false});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, answer) = server.ask("POST", "/v1/search", &body.to_string());
    assert_eq!(status, 200, "{answer}");
    answer
}

fn hits(answer: &Value) -> Vec<(String, Value)> {
    let hits = answer["hits"].as_array().unwrap().iter();
    hits.map(|hit| (hit["id"].to_string(), hit["rerank_score"].clone())).collect()
}

/// The order of `minilm` on four candidates and then of `tiny` on two, from one search for each.
fn by_hand(server: &Server) -> Vec<(String, Value)> {
    let first = hits(&search(server, json!({"adapter": "minilm", "depth": 4})));
    let scores = hits(&search(server, json!({"adapter": "tiny"})));
    let score = |id: &str| scores.iter().find(|(other, _)| other == id).unwrap().1.clone();
    let mut best: Vec<(String, Value)> = first[..2].iter().map(|(id, _)| (id.clone(), score(id))).collect();
    best.sort_by(|(_, a), (_, b)| b.as_f64().unwrap().total_cmp(&a.as_f64().unwrap()));
    best.into_iter().chain(first[2..].iter().map(|(id, _)| (id.clone(), Value::Null))).collect()
}

#[test]
fn stages_of_two_base_models_rerank_one_after_the_other() {
    let lorank = prepared();
    let text = "none@minilm:4,tiny@bert:2";
    let server = serve(&lorank, &["--stages", text]);
    let expected = by_hand(&server);
    let stages = json!([{"base": "minilm", "depth": 4}, {"adapter": "tiny", "base": "bert", "depth": 2}]);
    let answer = search(&server, json!({"stages": stages, "explain": true, "deadline_millis": 60_000}));
    assert_eq!(hits(&answer), expected, "{answer}");
    let stage = |n: usize| &answer["stages"][n];
    assert_eq!(stage(0)["base_model"], "cross-encoder/ms-marco-MiniLM-L-12-v2");
    assert_eq!((&stage(1)["base_model"], &stage(1)["adapter"]["id"]), (&json!("bert"), &json!("tiny")));
    assert_eq!((&answer["base_model"], &answer["n_candidates"]), (&json!("bert"), &json!(2)));
    let explained = &answer["hits"][0]["explanation"]["stages"];
    assert!(
        explained[0]["rerank_score"].is_number() && explained[1]["rerank_score"] == answer["hits"][0]["rerank_score"]
    );

    // As the configuration says, and as the command line says without a server.
    assert_eq!(hits(&search(&server, json!({}))), expected);
    let base = ["--base", "minilm", "--base", &bert()];
    let flags = ["search", "--index", "i", "--stage", "none@minilm:4", "--stage", "tiny@bert:2", QUERY];
    let printed = lorank.json(&[&flags[..], &base, &["--json"]].concat());
    assert_eq!(hits(&printed), expected, "{printed}");
    let explained = lorank.run(&[&flags[..], &base, &["--explain"]].concat());
    assert!(explained.contains("stage 1 ") && explained.contains("2 candidates by bert with tiny"), "{explained}");

    for (stages, part) in [
        (json!([{"adapter": "tiny", "base": "minilm", "depth": 2}]), "`tiny` belongs to the base model `bert`"),
        (json!([{"base": "tiny", "depth": 2}]), "`tiny` is an adapter and no base model"),
        (json!([{"depth": 2}, {"depth": 3}]), "the depth of stage 2 is 3"),
    ] {
        let body = json!({"query": QUERY, "stages": stages});
        let (status, error) = server.ask("POST", "/v1/search", &body.to_string());
        assert!(status == 422 && error.to_string().contains(part), "{status} {error}");
    }
    let (code, error) = lorank.fail(&["search", "--index", "i", "--stage", "none:2", "--stage", "none:3", QUERY], "");
    assert!(code == 2 && error.contains("--stage is invalid: the depth of stage 2 is 3"), "{error}");
    let (code, error) = lorank.fail(&["search", "--index", "i", "--stage", "none:2", "--sort", "id", QUERY], "");
    assert!(code == 2 && error.contains("--stage cannot be used with --sort"), "{error}");
}

#[test]
fn a_cascade_is_an_arm_of_an_experiment() {
    let lorank = prepared();
    let server = serve(&lorank, &[]);
    let expected = by_hand(&server);
    assert_eq!(server.ask("PUT", "/v1/aliases/next", "{\"adapter\": \"tiny\"}").0, 200);
    let arms = ["--arm", "control=none", "--arm", "cascade=next", "--set", "cascade.stages=none@minilm:4,next:2"];
    lorank.run(&[&["experiments", "create", "stages"][..], &arms].concat());
    let (status, started) = server.ask("POST", "/v1/experiments/stages/start", "");
    let pinned = &started["arms"][1]["pinned"];
    assert_eq!((status, &pinned["adapter"]), (200, &json!("tiny")), "{started}");
    assert_eq!(pinned["stages"].as_array().map(Vec::len), Some(1), "{started}");
    // Moving the alias does not move the arm's stage.
    assert_eq!(server.ask("PUT", "/v1/aliases/next", "{\"base\": \"none\"}").0, 200);
    let answer = search(&server, json!({"arm": "cascade"}));
    assert_eq!((hits(&answer), &answer["experiment"]["arm"]), (expected, &json!("cascade")), "{answer}");
    let (_, report) = server.ask("GET", "/v1/experiments/stages/report?format=text", "");
    assert!(report.as_str().unwrap().contains("; stages none@minilm:4,next:2"), "{report}");
    let shown = lorank.run(&["experiments", "show", "stages"]);
    assert!(shown.contains("stages none@minilm:4,next:2; pinned to tiny"), "{shown}");
    let wrong = ["--arm", "a=none", "--arm", "b=none", "--set", "b.stages=none:4,tiny:2"];
    let (code, error) = lorank.fail(&[&["experiments", "create", "x"][..], &wrong].concat(), "");
    assert!(code == 1 && error.contains("end with `tiny`, but the model of the arm is `none`"), "{error}");
}
