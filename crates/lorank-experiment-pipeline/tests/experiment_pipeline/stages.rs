//! Arms with rerank stages.

use super::*;

/// An experiment whose second arm has stages that end with its model.
fn with_stages(method: &str, stages: &str, model: &str) -> Value {
    let stages: lorank_core::RerankStages = stages.parse().unwrap();
    let stages: Vec<Value> =
        stages.iter().map(|stage| json!({"adapter": stage.adapter.to_string(), "depth": stage.depth})).collect();
    let cascade = json!({"name": "cascade", "model": model, "stages": stages});
    json!({"id": "x", "layer": "x", "method": method, "arms": [{"name": "control", "model": "a"}, cascade]})
}

fn staged(stages: &str) -> SearchRequest {
    SearchRequest { stages: stages.parse().ok(), ..SearchRequest::new("query") }
}

fn by_arm(arm: &str, n: usize) -> Trial {
    Trial { arm: Some(arm.to_owned()), ..trial(n, "u") }
}

#[test]
fn an_arm_answers_as_a_request_with_its_stages_does() {
    let bench = Bench::new(&[with_stages("split", "a:9,b:4", "b")], &[]);
    let request = SearchRequest { depth: NonZeroUsize::new(3), ..SearchRequest::new("query") };
    let answered = bench.ask(&Trial { request, ..by_arm("cascade", 1) }).answer;
    let expected = bench.experiments.pipeline().search(&staged("a:9,b:4")).unwrap();
    assert_eq!(ids(&answered), ids(&expected));
    assert_eq!(answered.stages.len(), 2);
    let warnings: Vec<String> = answered.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.len() == 1 && warnings[0].starts_with("`depth` has no effect"), "{warnings:?}");
    let control = bench.ask(&by_arm("control", 2)).answer;
    assert!(control.stages.is_empty() && ids(&control) != ids(&answered));
    let models: Vec<String> = bench.records("x").into_iter().map(|record| record.model.unwrap()).collect();
    assert!(models[0].contains(" stages a:9,b:4 stage 1 depth 9 base "), "{}", models[0]);
    assert!(models[1].ends_with(" f32"), "{}", models[1]);
}

#[test]
fn every_stage_of_an_arm_is_pinned() {
    let bench = Bench::new(&[with_stages("split", "next:9,b:4", "b")], &[]);
    bench.reranker.point("next", "a", 0);
    let before = bench.ask(&by_arm("cascade", 1)).answer;
    assert!(before.fallback.is_none(), "{:?}", before.fallback);
    let store = bench.experiments.store().unwrap();
    store.flush().unwrap();
    let pinned = store.get("x").unwrap().arms[1].pinned.clone().unwrap();
    assert_eq!((pinned.stages.len(), pinned.stages[0].name(), pinned.name()), (1, "a", "b"));
    bench.reranker.point("next", "b", 0);
    assert_eq!(ids(&bench.ask(&by_arm("cascade", 2)).answer), ids(&before), "the alias does not move the arm");
    // Another version of a stage is none of the arm's.
    bench.reranker.point("a", "a", 1);
    let replaced = bench.ask(&by_arm("cascade", 3)).answer;
    assert!(!replaced.reranked);
    assert!(replaced.fallback.unwrap().to_string().contains("arm `cascade` is pinned to version "));
}

#[test]
fn a_stage_that_falls_back_is_a_fallback_of_the_arm() {
    let reranker = FakeReranker::by(|_, model, candidate| match &model.adapter {
        Some(adapter) if adapter.id.as_str() == "b" => f32::NAN,
        _ => candidate.text.len() as f32,
    });
    let bench = Bench::over(reranker.with_adapters(&["a", "b"]), &[with_stages("split", "b:9,a:4", "a")], &[]);
    let answer = bench.ask(&by_arm("cascade", 1)).answer;
    assert_eq!((answer.reranked, answer.fallen_stage()), (true, Some(1)));
    assert_eq!(bench.records("x")[0].fallback.as_deref(), Some("reranker_failed"));
}

#[test]
fn arms_with_stages_are_interleaved() {
    let bench = Bench::new(&[with_stages("interleave", "a:9,b:4", "b")], &[]);
    let answered = bench.ask(&trial(1, "u"));
    assert!(answered.answer.reranked && answered.participation.unwrap().failed_arms.is_empty());
    assert!(answered.answer.stages.is_empty() && answered.answer.hits.iter().all(|hit| hit.stages.is_empty()));
    assert_eq!(bench.reranker.n_calls(), 2, "both arms' first stages share a batch");
    let record = bench.records("x").remove(0);
    assert!(record.arms[1].model.as_ref().unwrap().contains(" stage 1 depth 9 "), "{record:?}");
}

#[test]
fn a_request_with_its_own_stages_takes_no_arm() {
    let bench = Bench::new(&[with_stages("split", "a:9,b:4", "b")], &[]);
    let answered = bench.ask(&Trial { request: staged("a:9,b:4"), ..trial(1, "u") });
    let part = answered.participation.unwrap();
    assert_eq!((part.arm, part.forced, answered.answer.stages.len()), (None, true, 2));
    let named = Trial { request: staged("a:9"), ..by_arm("control", 2) };
    assert!(matches!(bench.experiments.search(&named), Err(ExperimentPipelineError::ArmAndAdapter)));
}

#[test]
fn a_shadow_takes_the_place_of_the_last_stage() {
    let bench = Bench::new(&[with_stages("split", "a:9,b:4", "b")], &[shadow("b", 1.0)]);
    bench.ask(&by_arm("cascade", 1));
    wait_for_followed(&bench, 1);
    let summary = bench.experiments.store().unwrap().shadows().unwrap().remove(0);
    assert_eq!((summary.n_answers, summary.n_failures, summary.mean_kendall_tau), (1, 0, Some(1.0)));
    assert_eq!(bench.reranker.n_pairs(), 13, "all scores are cached");
}

#[test]
fn given_documents_take_no_part_in_cascades() {
    let bench = Bench::new(&[with_stages("split", "a:9,b:4", "b")], &[]);
    let named = Trial { experiment: Some("x".into()), ..trial(1, "u") };
    let error = bench.experiments.rerank(&named, &given(&["one", "two"])).unwrap_err();
    assert!(error.to_string().contains("its arm `cascade` sets `stages`"), "{error}");
}
