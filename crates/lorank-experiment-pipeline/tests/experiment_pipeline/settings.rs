//! Arms with their own depth, blend weight, passages and instruction.

use lorank_core::{BlendWeight, PassageOptions};

use super::*;

/// An experiment over one adapter, whose second arm has these keys besides.
fn with_settings(method: &str, settings: &Value) -> Value {
    let mut arm = json!({"name": "set", "model": "a"});
    arm.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    json!({"id": "x", "layer": "x", "method": method, "arms": [{"name": "control", "model": "a"}, arm]})
}

fn all_settings() -> Value {
    json!({"depth": 7, "blend_weight": 0.5, "passages": "max", "passage_tokens": 16, "instruction": "of the arm"})
}

/// A request with the settings of [`all_settings`].
fn request_with_all() -> SearchRequest {
    let passages = PassageOptions { rule: "max".parse().ok(), tokens: NonZeroUsize::new(16), stride: None };
    SearchRequest {
        depth: NonZeroUsize::new(7),
        blend_weight: BlendWeight::new(0.5).unwrap(),
        passages,
        query: Query { instruction: Some("of the arm".to_owned()), ..Query::new("query") },
        ..SearchRequest::new("query")
    }
}

/// The trial that gets the arm.
fn by_arm(arm: &str, n: usize) -> Trial {
    Trial { arm: Some(arm.to_owned()), ..trial(n, "u") }
}

fn warnings(answer: &Answer) -> Vec<String> {
    answer.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn an_arm_answers_as_a_request_with_its_settings_does() {
    let bench = Bench::new(&[with_settings("split", &all_settings())], &[]);
    let answered = bench.ask(&by_arm("set", 1)).answer;
    let expected = bench.plain(&request_with_all(), "a");
    assert_eq!(without_origins(&answered), without_origins(&expected));
    assert_eq!((answered.depth.get(), answered.n_candidates, &answered.model), (7, 7, &expected.model));
    assert!(answered.warnings.is_empty(), "the request sets nothing");
    let control = bench.ask(&by_arm("control", 2)).answer;
    assert_eq!(without_origins(&control), without_origins(&bench.plain(&SearchRequest::new("query"), "a")));
    assert_ne!(ids(&control), ids(&answered));

    let models: Vec<String> = bench.records("x").into_iter().map(|record| record.model.unwrap()).collect();
    assert!(models[0].ends_with(" f32 depth 7 blend_weight 0.5 passages max passage_tokens 16"), "{}", models[0]);
    assert!(models[1].ends_with(" f32"), "{}", models[1]);
}

#[test]
fn keys_of_a_request_that_an_arm_sets_have_a_warning() {
    let message =
        |key: &str| format!("`{key}` has no effect in this answer of an experiment: an arm that ranks sets it");
    let request = || SearchRequest { depth: NonZeroUsize::new(9), ..SearchRequest::new("query") };
    let bench = Bench::new(&[with_settings("split", &json!({"depth": 7}))], &[]);
    let set = bench.ask(&Trial { request: request(), ..by_arm("set", 1) }).answer;
    assert_eq!((set.depth.get(), warnings(&set)), (7, vec![message("depth")]));
    let control = bench.ask(&Trial { request: request(), ..by_arm("control", 2) }).answer;
    assert_eq!((control.depth.get(), control.warnings.len()), (9, 0));

    let rank_by = RankByChoice::Expression(Arc::new("rerank_score * 2".parse().unwrap()));
    let bench = Bench::new(&[with_settings("interleave", &json!({"blend_weight": 0.5}))], &[]);
    let request = SearchRequest { rank_by, ..SearchRequest::new("query") };
    let mixed = bench.ask(&Trial { request, ..trial(1, "u") }).answer;
    assert_eq!((mixed.reranked, warnings(&mixed)), (true, vec![message("rank_by")]));
}

#[test]
fn arms_of_one_model_are_interleaved_by_their_settings() {
    let bench = Bench::new(&[with_settings("interleave", &json!({"depth": 7}))], &[]);
    let answer = bench.ask(&trial(1, "u")).answer;
    assert_eq!((answer.depth.get(), answer.n_candidates), (100, 30), "the deepest arm's");
    assert_eq!(bench.reranker.n_calls(), 1);
    let record = bench.records("x").remove(0);
    assert_eq!(record.arms[1].ranking, ArmRanking::Different);
    let models: Vec<&str> = record.arms.iter().map(|arm| arm.model.as_deref().unwrap()).collect();
    assert_eq!(models[1], format!("{} depth 7", models[0]));

    // Each team's hit is the best remaining one of the arm as it ranks alone.
    let shallow = SearchRequest { depth: NonZeroUsize::new(7), ..page_of(30) };
    let tops = [bench.plain(&page_of(30), "a"), bench.plain(&shallow, "a")];
    let mut placed: Vec<&str> = Vec::new();
    for (id, team) in ids(&answer).into_iter().zip(&record.teams) {
        if let Some(top) = tops.get(usize::from(*team)) {
            assert_eq!(ids(top).into_iter().find(|id| !placed.contains(id)), Some(id));
        }
        placed.push(id);
    }
}

#[test]
fn settings_that_a_server_cannot_serve_are_a_fallback_of_their_arm() {
    let too_deep = json!({"depth": 1_001});
    let bench = Bench::new(&[with_settings("split", &too_deep)], &[]);
    let answer = bench.ask(&by_arm("set", 1)).answer;
    let message = answer.fallback.as_ref().unwrap().to_string();
    assert_eq!((answer.reranked, &*message), (false, "`depth` is 1001, which is above the limit of 1000"));
    assert!(bench.ask(&by_arm("control", 2)).answer.reranked);

    let bench = Bench::new(&[with_settings("interleave", &too_deep)], &[]);
    let answered = bench.ask(&trial(1, "u"));
    let failed = answered.participation.unwrap().failed_arms;
    assert_eq!((failed.len(), &*failed[0].arm, &*failed[0].message), (1, "set", &*message));
    assert!(answered.answer.reranked && answered.answer.fallback.is_none());
}

#[test]
fn a_request_that_names_the_adapter_of_an_arm_with_settings_has_its_own() {
    let arms = json!([{"name": "control", "model": "none"}, {"name": "set", "model": "a", "depth": 7}]);
    let bench = Bench::new(&[json!({"id": "x", "layer": "x", "arms": arms})], &[]);
    let request = SearchRequest { adapter: "a".parse().unwrap(), ..SearchRequest::new("query") };
    let answered = bench.ask(&Trial { request, ..trial(1, "u") });
    let part = answered.participation.unwrap();
    assert_eq!((part.arm, part.forced, answered.answer.depth.get()), (None, true, 100));
}

#[test]
fn given_documents_are_ranked_with_the_instruction_of_an_arm() {
    let bench = Bench::new(&[with_settings("split", &json!({"instruction": "of the arm"}))], &[]);
    let documents = given(&["one", "two", "three", "four", "five"]);
    let set = bench.experiments.rerank(&by_arm("set", 1), &documents).unwrap();
    let query = Query { instruction: Some("of the arm".to_owned()), ..Query::new("query") };
    let request = SearchRequest { adapter: "a".parse().unwrap(), ..SearchRequest::from_query(query) };
    let alone = Trial { request, unit_id: None, ..trial(2, "u") };
    let expected = bench.experiments.rerank(&alone, &documents).unwrap();
    assert_eq!((&set.scores, &set.model), (&expected.scores, &expected.model));
    assert_ne!(set.model, bench.experiments.rerank(&by_arm("control", 3), &documents).unwrap().model);
}

#[test]
fn given_documents_take_no_part_in_comparisons_of_searches() {
    let bench = Bench::new(&[with_settings("split", &json!({"blend_weight": 0.5}))], &[]);
    let documents = given(&["one", "two"]);
    let answer = bench.experiments.rerank(&trial(1, "u"), &documents).unwrap();
    assert!(answer.participation.is_none() && answer.scores.is_some());
    let named = Trial { experiment: Some("x".into()), ..trial(2, "u") };
    let error = bench.experiments.rerank(&named, &documents).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.field()),
        (
            "experiment `x` cannot rank given documents: its arm `set` sets `blend_weight`, which is about the candidates \
             of a search",
            Some("experiment")
        )
    );
}

#[test]
fn a_shadow_ranks_with_the_settings_of_the_arm() {
    let bench = Bench::new(&[with_settings("split", &json!({"depth": 7}))], &[shadow("a", 1.0)]);
    bench.ask(&by_arm("set", 1));
    wait_for_followed(&bench, 1);
    let summary = bench.experiments.store().unwrap().shadows().unwrap().remove(0);
    assert_eq!((summary.n_answers, summary.n_failures, summary.mean_kendall_tau), (1, 0, Some(1.0)));
    // Both rank the arm's seven candidates.
    assert_eq!(bench.reranker.n_pairs(), 7);
}
