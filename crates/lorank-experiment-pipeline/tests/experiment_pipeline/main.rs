//! Tests of experiments on a pipeline, with toy engines and a real store.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod settings;
mod stages;

use std::num::NonZeroUsize;
use std::sync::Arc;

use lorank_core::{BlendWeight, Candidate, DocumentId, Hit, Query, Score};
use lorank_experiment_pipeline::{
    ExperimentAnswer, ExperimentPipeline, ExperimentPipelineError, GivenDocument, ShadowConfig, Trial, pinned_version,
};
use lorank_experiment_store::{ExperimentStore, StoreConfig};
use lorank_experiments::{ArmRanking, Assigner, Event, Experiment, NO_TEAM, QueryRecord};
use lorank_pipeline::{AdapterChoice, Answer, Pipeline, PipelineConfig, RankByChoice, SearchRequest};
use lorank_testing::toy::{self, FakeReranker, Fault, Gate, ToyFirstStage};
use serde_json::{Value, json};

type ToyPipeline = ExperimentPipeline<ToyFirstStage, Arc<FakeReranker>>;

const NOW: i64 = 1_764_100_000_000;

struct Bench {
    experiments: ToyPipeline,
    reranker: Arc<FakeReranker>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(experiments: &[Value], shadows: &[ShadowConfig]) -> Self {
        Self::over(FakeReranker::hashing().with_adapters(&["a", "b"]), experiments, shadows)
    }

    fn over(reranker: FakeReranker, experiments: &[Value], shadows: &[ShadowConfig]) -> Self {
        let (folder, reranker) = (tempfile::tempdir().unwrap(), Arc::new(reranker));
        let store = Arc::new(ExperimentStore::open(folder.path(), StoreConfig::default()).unwrap());
        for experiment in experiments {
            let experiment: Experiment = serde_json::from_value(experiment.clone()).unwrap();
            let id = experiment.id.clone();
            store.create(experiment).unwrap();
            store.start(&id, NOW).unwrap();
        }
        let first_stage = ToyFirstStage::new(toy::candidates(30));
        let pipeline = Arc::new(Pipeline::new(first_stage, reranker.clone(), PipelineConfig::default()).unwrap());
        Self {
            experiments: ExperimentPipeline::new(pipeline, store, shadows.to_vec()).unwrap(),
            reranker,
            _folder: folder,
        }
    }

    fn ask(&self, trial: &Trial) -> ExperimentAnswer {
        self.experiments.search(trial).unwrap()
    }

    /// The records, oldest first.
    fn records(&self, experiment: &str) -> Vec<QueryRecord> {
        let store = self.experiments.store().unwrap();
        store.flush().unwrap();
        store.records(experiment).unwrap().records
    }

    /// The answer without an experiment.
    fn plain(&self, request: &SearchRequest, adapter: &str) -> Answer {
        let request = match adapter {
            "first-stage" => SearchRequest { rerank: false, ..request.clone() },
            adapter => SearchRequest { adapter: adapter.parse().unwrap(), ..request.clone() },
        };
        self.experiments.pipeline().search(&request).unwrap()
    }
}

/// Named after the arm's model, and for repeated models also after its index.
fn arm_name(models: &[&str], n: usize) -> String {
    let is_second = models[..n].contains(&models[n]);
    if is_second { format!("arm-{}-{n}", models[n]) } else { format!("arm-{}", models[n]) }
}

fn experiment(id: &str, method: &str, models: &[&str]) -> Value {
    let arms: Vec<Value> =
        models.iter().enumerate().map(|(n, model)| json!({"name": arm_name(models, n), "model": model})).collect();
    json!({"id": id, "salt": "s", "layer": id, "traffic_share": 1.0, "method": method, "arms": arms})
}

fn trial(n: usize, unit: &str) -> Trial {
    Trial {
        request: SearchRequest::new("query"),
        request_id: format!("r{n}"),
        unit_id: Some(unit.to_owned()),
        experiment: None,
        arm: None,
        at_millis: NOW + n as i64,
    }
}

fn ids(answer: &Answer) -> Vec<&str> {
    answer.hits.iter().map(|hit| hit.candidate.id.as_str()).collect()
}

fn error(bench: &Bench, trial: &Trial) -> String {
    bench.experiments.search(trial).unwrap_err().to_string()
}

/// The hits, without the origins of their scores.
fn without_origins(answer: &Answer) -> Vec<Hit> {
    answer.hits.iter().map(|hit| Hit { score_origin: None, ..hit.clone() }).collect()
}

#[test]
fn without_an_experiment_it_is_the_pipeline() {
    let bench = Bench::new(&[], &[]);
    let answered = bench.ask(&trial(1, "u"));
    assert_eq!(answered.participation, None);
    let plain = bench.plain(&SearchRequest::new("query"), "none");
    assert_eq!(without_origins(&answered.answer), without_origins(&plain));
    let stats = {
        bench.experiments.store().unwrap().flush().unwrap();
        bench.experiments.store().unwrap().stats().unwrap()
    };
    assert_eq!((stats.n_exposures, stats.n_dropped), (1, 0), "clicks on it are not unknown");
}

#[test]
fn a_unit_sees_the_arm_that_the_hash_gives_it() {
    let models = ["first-stage", "a", "none"];
    let bench = Bench::new(&[experiment("x", "split", &models)], &[]);
    let experiment = bench.experiments.store().unwrap().get("x").unwrap();
    let mut seen = [0; 3];
    for n in 0..60 {
        let unit = format!("unit {n}");
        let arm = Assigner::new(&experiment).arm(&unit).unwrap();
        seen[arm] += 1;
        let answered = bench.ask(&trial(n, &unit));
        let part = answered.participation.unwrap();
        assert_eq!((part.arm.unwrap(), part.forced), (format!("arm-{}", models[arm]), false));
        let plain = bench.plain(&SearchRequest::new("query"), models[arm]);
        assert_eq!(without_origins(&answered.answer), without_origins(&plain));
    }
    assert!(seen.iter().all(|n| *n > 5), "{seen:?}");
    let records = bench.records("x");
    assert_eq!(records.len(), 60);
    for record in records {
        assert_eq!(Assigner::new(&experiment).arm(&record.unit), Some(record.arm));
        assert!(!record.forced && record.fallback.is_none() && record.n_hits == 10);
    }
}

#[test]
fn who_chooses_for_himself_is_recorded_as_forced() {
    let bench = Bench::new(&[experiment("x", "split", &["none", "a"])], &[]);
    let by_arm = Trial { arm: Some("arm-a".into()), ..trial(1, "u") };
    let by_adapter = Trial {
        request: SearchRequest { adapter: "a".parse().unwrap(), ..SearchRequest::new("query") },
        ..trial(2, "u")
    };
    let elsewhere = Trial {
        request: SearchRequest { adapter: "b".parse().unwrap(), ..SearchRequest::new("query") },
        ..trial(3, "u")
    };
    for forced in [&by_arm, &by_adapter] {
        let part = bench.ask(forced).participation.unwrap();
        assert_eq!((part.arm.as_deref(), part.forced), (Some("arm-a"), true));
    }
    let answered = bench.ask(&elsewhere);
    let part = answered.participation.unwrap();
    assert_eq!((part.arm.as_deref(), part.forced), (None, true), "no arm has that adapter");
    let plain = bench.plain(&SearchRequest::new("query"), "b");
    assert_eq!(without_origins(&answered.answer), without_origins(&plain));
    let records = bench.records("x");
    assert!(records.len() == 3 && records.iter().all(|record| record.forced));
    assert!(records[..2].iter().all(|record| record.arm == 1));

    assert_eq!(
        error(&bench, &Trial { arm: Some("z".into()), ..trial(4, "u") }),
        "no running experiment has an arm `z`; the arms are `arm-none`, `arm-a`"
    );
    assert_eq!(
        error(&bench, &Trial { experiment: Some("y".into()), ..trial(4, "u") }),
        "no experiment `y` is running; running are `x`"
    );
    assert!(matches!(
        bench.experiments.search(&Trial { arm: Some("arm-a".into()), ..by_adapter }),
        Err(ExperimentPipelineError::ArmAndAdapter)
    ));
    let missing = Trial {
        request: SearchRequest { adapter: "missing".parse().unwrap(), ..SearchRequest::new("query") },
        ..trial(5, "u")
    };
    assert_eq!(error(&bench, &missing), "the adapter `missing` cannot be used");
}

#[test]
fn of_several_experiments_the_request_may_name_one() {
    let bench = Bench::new(&[experiment("x", "split", &["none", "a"]), experiment("y", "split", &["none", "b"])], &[]);
    assert_eq!(bench.ask(&trial(1, "u")).participation.unwrap().experiment, "x");
    let named = Trial { experiment: Some("y".into()), ..trial(2, "u") };
    assert_eq!(bench.ask(&named).participation.unwrap().experiment, "y");
    let arm = Trial { arm: Some("arm-none".into()), ..trial(3, "u") };
    assert_eq!(
        error(&bench, &arm),
        "the running experiments `x`, `y` all have an arm `arm-none`; name the `experiment` as well"
    );
    assert_eq!(bench.ask(&Trial { experiment: Some("y".into()), ..arm }).participation.unwrap().experiment, "y");
}

#[test]
fn without_a_unit_id_the_query_is_the_unit() {
    let bench = Bench::new(&[experiment("x", "split", &["none", "a"])], &[]);
    bench.ask(&Trial { unit_id: None, ..trial(1, "u") });
    assert_eq!(bench.records("x")[0].unit, "query");
}

#[test]
fn an_arm_whose_model_is_missing_answers_in_first_stage_order_and_says_so() {
    let bench = Bench::new(&[experiment("x", "split", &["gone", "gone-too"])], &[]);
    let answered = bench.ask(&trial(1, "u"));
    assert!(!answered.answer.reranked && answered.participation.is_some());
    let message = answered.answer.fallback.unwrap().to_string();
    assert!(message.starts_with("the adapter `gone") && message.contains("cannot be used: "), "{message}");
    assert_eq!(bench.records("x")[0].fallback.as_deref(), Some("reranker_failed"));
}

/// An experiment that is started with `versions` as the current versions of its names, as a server does.
fn pinned(bench: &Bench, id: &str, method: &str, models: &[&str]) {
    let store = bench.experiments.store().unwrap();
    store.create(serde_json::from_value(experiment(id, method, models)).unwrap()).unwrap();
    let version = |model: &&str| {
        let choice: AdapterChoice = model.parse().unwrap();
        pinned_version(&bench.experiments.pipeline().model(&choice).unwrap(), None, NOW)
    };
    store.start_pinned(id, models.iter().map(version).enumerate().collect(), NOW).unwrap();
}

#[test]
fn an_arm_serves_the_version_that_its_alias_stood_for_at_the_start() {
    let bench = Bench::new(&[], &[]);
    bench.reranker.point("latest", "a", 0);
    pinned(&bench, "x", "split", &["latest", "latest"]);
    let before = bench.ask(&trial(1, "u")).answer;
    bench.reranker.point("latest", "b", 0);
    let after = bench.ask(&trial(2, "u"));
    assert_eq!(without_origins(&after.answer), without_origins(&before));
    assert_eq!(after.answer.model.unwrap().adapter.unwrap().id.as_str(), "a");

    let name = |adapter: &str, n: usize| Trial {
        request: SearchRequest { adapter: adapter.parse().unwrap(), ..SearchRequest::new("query") },
        ..trial(n, "u")
    };
    let by_alias = bench.ask(&name("latest", 3));
    assert_eq!(
        (by_alias.participation.unwrap().arm, by_alias.answer.model.unwrap().adapter.unwrap().id.as_str()),
        (None, "b")
    );
    assert_eq!(bench.ask(&name("a", 4)).participation.unwrap().arm.as_deref(), Some("arm-latest"));
}

#[test]
fn an_arm_whose_version_was_replaced_answers_in_first_stage_order_and_says_so() {
    for method in ["split", "interleave"] {
        let bench = Bench::new(&[], &[]);
        pinned(&bench, "x", method, &["a", "b"]);
        bench.reranker.point("a", "a", 1);
        bench.reranker.point("b", "b", 1);
        let answered = bench.ask(&trial(1, "u"));
        let message = answered.answer.fallback.unwrap().to_string();
        assert!(!answered.answer.reranked && message.contains("is pinned to version "), "{message}");
        assert!(message.contains("; add the files of the pinned version again, or stop the experiment"), "{message}");
        // A request that names the adapter gets its current version.
        let request = SearchRequest { adapter: "a".parse().unwrap(), ..SearchRequest::new("query") };
        let named = bench.ask(&Trial { request, ..trial(2, "u") });
        assert!(named.answer.reranked && named.participation.unwrap().arm.is_none());
        assert_eq!(bench.records("x")[0].fallback.as_deref(), Some("reranker_failed"));
    }
}

#[test]
fn an_arm_that_is_not_pinned_yet_is_pinned_when_it_is_first_served() {
    let bench = Bench::new(&[experiment("x", "interleave", &["none", "a", "first-stage"])], &[]);
    bench.ask(&trial(1, "u"));
    bench.reranker.point("a", "b", 0);
    bench.experiments.store().unwrap().flush().unwrap();
    let arms = bench.experiments.store().unwrap().get("x").unwrap().arms;
    let pinned: Vec<_> =
        arms.iter().map(|arm| arm.pinned.as_ref().and_then(|pinned| pinned.adapter.as_ref())).collect();
    assert_eq!(pinned, [None, Some(&"a".parse().unwrap()), None]);
}

#[test]
fn an_empty_unit_is_refused() {
    let bench = Bench::new(&[], &[]);
    assert_eq!(
        error(&bench, &trial(1, "")),
        "`unit_id` is empty; set it to the unit that experiments assign, or omit it"
    );
}

#[test]
fn exposures_say_which_arms_ranked_the_same() {
    let bench = Bench::new(&[experiment("x", "interleave", &["a", "b", "a", "gone"])], &[]);
    bench.ask(&trial(1, "u"));
    let record = bench.records("x").remove(0);
    let rankings: Vec<_> = record.arms.iter().map(|arm| arm.ranking).collect();
    assert_eq!(rankings, [ArmRanking::Same, ArmRanking::Different, ArmRanking::Same, ArmRanking::Missing]);
    let models: Vec<_> = record.arms.iter().map(|arm| arm.model.clone()).collect();
    assert!(models[0].is_some() && models[0] == models[2] && models[0] != models[1] && models[3].is_none());
}

#[test]
fn mixed_pages_are_slices_of_one_draft_and_tell_nobody_whose_hits_they_are() {
    let models = ["first-stage", "a", "b"];
    let bench = Bench::new(&[experiment("x", "interleave", &models)], &[]);
    let page = |n: usize, offset: usize, top_k: usize| {
        let request =
            SearchRequest { offset, top_k: NonZeroUsize::new(top_k), snippets: true, ..SearchRequest::new("query") };
        bench.ask(&Trial { request, ..trial(n, "u") }).answer
    };
    let (all, first, second) = (page(1, 0, 12), page(2, 0, 5), page(3, 5, 7));
    assert_eq!([ids(&first), ids(&second)].concat(), ids(&all));
    assert_eq!(bench.reranker.n_calls(), 1, "one mixed batch, the rest from the cache");
    for (at, hit) in all.hits.iter().enumerate() {
        assert_eq!((hit.rank, hit.rerank_score, hit.snippet.is_some()), (at + 1, None, true));
    }
    assert!(all.reranked && all.model.is_none() && all.cache.misses == 60);

    // Every team's hit is the best remaining one of its arm.
    let tops = models.map(|model| bench.plain(&page_of(30), model));
    let [_, record] = &bench.records("x")[..] else { panic!("the pages of one query are one query") };
    assert_eq!((record.n_hits, record.teams.len()), (12, 12), "from rank 1 on, for the second page too");
    let mut placed: Vec<&str> = Vec::new();
    for (id, team) in ids(&all).into_iter().zip(&record.teams) {
        let arms = if *team == NO_TEAM { 0..3 } else { usize::from(*team)..usize::from(*team) + 1 };
        for arm in arms {
            let best = ids(&tops[arm]).into_iter().find(|id| !placed.contains(id));
            assert_eq!(best, Some(id));
        }
        placed.push(id);
    }
    let other = bench.ask(&trial(4, "somebody else"));
    assert_ne!(ids(&other.answer), ids(&all)[..10]);
}

fn page_of(n: usize) -> SearchRequest {
    SearchRequest { top_k: NonZeroUsize::new(n), ..SearchRequest::new("query") }
}

#[test]
fn an_arm_that_fails_leaves_the_others_answer() {
    let bench = Bench::new(&[experiment("x", "interleave", &["first-stage", "gone", "a"])], &[]);
    let answered = bench.ask(&trial(1, "u"));
    assert!(answered.answer.reranked && answered.answer.hits.len() == 10);
    let part = answered.participation.unwrap();
    assert_eq!(part.failed_arms.iter().map(|arm| arm.arm.as_str()).collect::<Vec<_>>(), ["arm-gone"]);
    assert!(!bench.records("x")[0].teams.contains(&1));
    assert_eq!(bench.records("x")[0].fallback.as_deref(), Some("reranker_failed"));

    let bench = Bench::new(&[experiment("x", "interleave", &["none", "a"])], &[]);
    bench.reranker.set_fault(Some(Fault::Error("broken")));
    let answered = bench.ask(&trial(1, "u"));
    assert_eq!(answered.answer.fallback.unwrap().to_string(), "arm `arm-none`: broken; arm `arm-a`: broken");
    assert_eq!(answered.participation.unwrap().failed_arms.len(), 2);
    assert_eq!(bench.records("x")[0].teams, [NO_TEAM; 10]);
}

/// The answer of an experiment over these arms to a request with `blend_weight`, `rank_by` and `min_rerank_score` as given.
fn answer_of(method: &str, models: &[&str], request: SearchRequest, fault: Option<Fault>) -> Answer {
    let bench = Bench::new(&[experiment("x", method, models)], &[]);
    bench.reranker.set_fault(fault);
    bench.ask(&Trial { request, ..trial(1, "u") }).answer
}

#[test]
fn a_key_that_an_experiment_cannot_honor_has_a_warning() {
    let plain = || SearchRequest::new("query");
    let minimum = || SearchRequest { min_rerank_score: Some(Score::new(0.5).unwrap()), ..plain() };
    let blended = || SearchRequest { blend_weight: BlendWeight::new(0.5).unwrap(), ..plain() };
    let both = || SearchRequest { min_rerank_score: Some(Score::new(0.5).unwrap()), ..blended() };
    let ranked_by = |expression: &str| {
        let rank_by = RankByChoice::Expression(Arc::new(expression.parse().unwrap()));
        SearchRequest { rank_by, ..plain() }
    };
    let rows: Vec<(&str, &[&str], SearchRequest, &[&str])> = vec![
        ("interleave", &["a", "b"], minimum(), &["min_rerank_score"]),
        ("interleave", &["first-stage", "b"], minimum(), &["min_rerank_score"]),
        ("interleave", &["first-stage", "b"], blended(), &[]),
        ("interleave", &["a", "b"], plain(), &[]),
        ("split", &["first-stage", "first-stage"], minimum(), &["min_rerank_score"]),
        ("split", &["first-stage", "first-stage"], blended(), &["blend_weight"]),
        ("split", &["first-stage", "first-stage"], both(), &["blend_weight", "min_rerank_score"]),
        ("split", &["first-stage", "first-stage"], ranked_by("rerank_score * 2"), &["rank_by"]),
        ("split", &["first-stage", "first-stage"], ranked_by("-first_stage_rank"), &[]),
        ("split", &["first-stage", "first-stage"], plain(), &[]),
        ("split", &["a", "b"], both(), &[]),
        ("split", &["a", "b"], ranked_by("rerank_score * 2"), &[]),
    ];
    for (method, models, request, keys) in rows {
        let answer = answer_of(method, models, request, None);
        let warned: Vec<String> = answer.warnings.iter().map(ToString::to_string).collect();
        assert!(answer.warnings.iter().all(|warning| warning.reason() == "key_without_effect"));
        assert_eq!(warned.len(), keys.len(), "{method} {models:?}: {warned:?}");
        for (key, warning) in keys.iter().zip(&warned) {
            assert!(
                warning.starts_with(&format!("`{key}` has no effect in this answer of an experiment: ")),
                "{warning}"
            );
        }
    }
    let interleaved = answer_of("interleave", &["a", "b"], minimum(), None);
    assert_eq!((interleaved.hits.len(), interleaved.n_left_out), (10, None));
    let failed = answer_of("interleave", &["a", "b"], minimum(), Some(Fault::Error("broken")));
    assert!(failed.fallback.is_some() && failed.warnings.is_empty(), "first-stage order has its reason already");
}

#[test]
fn clicks_come_to_the_arms_that_they_are_due() {
    let bench = Bench::new(&[experiment("x", "split", &["none", "a"])], &[]);
    let store = bench.experiments.store().unwrap();
    let answered = bench.ask(&trial(1, "u"));
    let clicked = answered.answer.hits[2].candidate.id.to_string();
    let click = json!({"action_name": "click", "query_id": "r1", "object_id": clicked, "timestamp": NOW});
    store.submit(vec![Event::from_json(click).unwrap()], NOW).unwrap();
    assert_eq!(bench.records("x")[0].clicks[0].rank, 3);
}

fn shadow(adapter: &str, share: f64) -> ShadowConfig {
    ShadowConfig { name: "candidate".into(), adapter: adapter.parse().unwrap(), share }
}

/// Waits until `n` answers were ranked again.
fn wait_for_followed(bench: &Bench, n: u64) {
    while bench.experiments.shadow_stats().n_followed < n {
        std::thread::yield_now();
    }
    bench.experiments.store().unwrap().flush().unwrap();
}

#[test]
fn a_shadow_tells_how_far_it_agrees() {
    let bench = Bench::new(&[], &[shadow("a", 1.0)]);
    for n in 0..5 {
        let request = SearchRequest { adapter: AdapterChoice::Base, ..SearchRequest::new(format!("query {n}")) };
        bench.ask(&Trial { request, ..trial(n, "u") });
    }
    let second_page = SearchRequest { offset: 10, ..SearchRequest::new("query 1") };
    bench.ask(&Trial { request: second_page, ..trial(9, "u") });
    let same = SearchRequest { adapter: "a".parse().unwrap(), ..SearchRequest::new("query 1") };
    bench.ask(&Trial { request: same, ..trial(10, "u") });
    wait_for_followed(&bench, 6);
    let summary = bench.experiments.store().unwrap().shadows().unwrap().remove(0);
    assert_eq!((summary.name.as_str(), summary.n_answers, summary.n_failures), ("candidate", 6, 0));
    let rbo = summary.mean_rbo.unwrap();
    assert!(rbo > 1.0 / 6.0 && rbo < 0.99, "one of six is the same ranking: {rbo}");
    assert!(summary.mean_kendall_tau.unwrap() < 0.6 && summary.mean_overlap_at_10.unwrap() < 0.9);
}

#[test]
fn a_shadow_follows_its_share_and_failures_are_told() {
    let bench = Bench::new(&[], &[shadow("gone", 0.3)]);
    for n in 0..64 {
        bench.ask(&Trial { request: SearchRequest::from_query(Query::new("query")), ..trial(n, "u") });
        // None is dropped: at most one is waiting.
        let stats = bench.experiments.shadow_stats();
        assert_eq!(stats.n_dropped, 0);
    }
    while bench.experiments.shadow_stats().n_followed < 10 {
        std::thread::yield_now();
    }
    bench.experiments.store().unwrap().flush().unwrap();
    let summary = bench.experiments.store().unwrap().shadows().unwrap().remove(0);
    assert!((10..30).contains(&summary.n_answers) && summary.n_failures == summary.n_answers, "{summary:?}");
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(ExperimentStore::open(folder.path(), StoreConfig::default()).unwrap());
    let refused =
        ExperimentPipeline::new(bench.experiments.pipeline().clone(), store, vec![shadow("a", 1.5)]).err().unwrap();
    assert_eq!(refused.to_string(), "the share of shadow `candidate` must be above 0 and at most 1, not 1.5");
}

#[test]
fn a_shadow_does_not_hold_up_an_answer() {
    let gate = Gate::closed();
    let reranker = FakeReranker::hashing().with_adapters(&["a"]).behind(gate.clone());
    let bench = Bench::over(reranker, &[], &[shadow("a", 1.0)]);
    // The answer itself needs no model, while its shadow is blocked: the answer comes first.
    let plain = SearchRequest { rerank: false, ..SearchRequest::new("query") };
    bench.ask(&Trial { request: plain, ..trial(1, "u") });
    gate.wait_for_arrivals(1);
    assert_eq!(bench.experiments.shadow_stats().n_followed, 0);
    gate.open();
    wait_for_followed(&bench, 1);
}

/// Documents of one passage each, which are called like their places.
fn given(texts: &[&str]) -> Vec<GivenDocument> {
    let nothing = Score::new(0.0).unwrap();
    let document = |(n, text): (usize, &&str)| GivenDocument {
        id: DocumentId::new(format!("d{n}")),
        passages: vec![Candidate::new(format!("d{n}"), *text, nothing)],
    };
    texts.iter().enumerate().map(document).collect()
}

#[test]
fn given_documents_are_ranked_by_the_arm_and_recorded() {
    let models = ["first-stage", "a"];
    let bench = Bench::new(&[experiment("x", "split", &models)], &[]);
    let documents = given(&["one", "two", "three", "four"]);
    for n in 0..20 {
        let unit = format!("unit {n}");
        let mut trial = trial(n, &unit);
        trial.request.top_k = NonZeroUsize::new(3);
        let answer = bench.experiments.rerank(&trial, &documents).unwrap();
        let part = answer.participation.unwrap();
        if part.arm.as_deref() == Some("arm-first-stage") {
            assert_eq!((answer.order, answer.scores, answer.fallback), (vec![0, 1, 2, 3], None, None));
        } else {
            let scores = answer.scores.unwrap();
            assert!(answer.order.windows(2).all(|pair| scores[pair[0]] >= scores[pair[1]]), "{scores:?}");
        }
    }
    let records = bench.records("x");
    assert!(records.len() == 20 && records.iter().all(|record| record.n_hits == 3 && !record.forced));
    // Who neither has a unit nor names an experiment takes no part, and nothing is recorded.
    let nobody = Trial { unit_id: None, ..trial(99, "") };
    assert_eq!(bench.experiments.rerank(&nobody, &documents).unwrap().participation, None);
    assert_eq!(bench.records("x").len(), 20);
}

#[test]
fn a_document_has_the_score_of_its_best_passage() {
    let reranker = FakeReranker::by(|_, _, candidate| candidate.text.len() as f32);
    let bench = Bench::over(reranker, &[], &[]);
    let mut documents = given(&["four", "sixsix"]);
    documents[0].passages.extend(given(&["eightabc", "x"]).into_iter().flat_map(|document| document.passages));
    let answer = bench.experiments.rerank(&trial(1, "u"), &documents).unwrap();
    let scores: Vec<f32> = answer.scores.unwrap().into_iter().map(Score::get).collect();
    assert_eq!((answer.order, scores), (vec![0, 1], vec![8.0, 6.0]));
}

#[test]
fn given_documents_of_a_failing_arm_keep_their_order_and_the_reason_is_recorded() {
    for method in ["split", "interleave"] {
        let bench = Bench::new(&[experiment("x", method, &["none", "a"])], &[]);
        bench.reranker.set_fault(Some(Fault::Error("broken")));
        let answer = bench.experiments.rerank(&trial(1, "u"), &given(&["one", "two"])).unwrap();
        assert_eq!((answer.order, answer.scores), (vec![0, 1], None), "{method}");
        assert!(answer.fallback.unwrap().to_string().contains("broken"));
        assert_eq!(bench.records("x")[0].fallback.as_deref(), Some("reranker_failed"));
        // The same request without the experiment is told the same, and leaves no record.
        let nobody = Trial { unit_id: None, ..trial(2, "") };
        assert!(bench.experiments.rerank(&nobody, &given(&["one"])).unwrap().fallback.is_some());
        assert_eq!(bench.records("x").len(), 1);
    }
}

#[test]
fn interleaved_documents_are_credited_to_their_arms() {
    let bench = Bench::new(&[experiment("x", "interleave", &["a", "b"])], &[]);
    let documents = given(&["one", "two", "three", "four", "five", "six"]);
    let answer = bench.experiments.rerank(&trial(1, "u"), &documents).unwrap();
    assert_eq!((answer.scores, answer.model, answer.fallback), (None, None, None));
    let mut places = answer.order;
    places.sort_unstable();
    assert_eq!(places, [0, 1, 2, 3, 4, 5]);
    let records = bench.records("x");
    assert_eq!((records.len(), records[0].n_hits), (1, 6));
}
