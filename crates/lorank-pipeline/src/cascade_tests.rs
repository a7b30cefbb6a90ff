//! Tests of several rerank stages, with toy engines.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lorank_core::{
    AdapterId, BlendWeight, BoxError, Digest, EncodedPair, ErrorKind, Group, InvalidQuery, ModelVersion, Query,
    RankerSettings, RerankStages, Reranker, Score, reranked_order, with_causes,
};
use lorank_testing::toy::{self, FakeReranker, Gate, ToyFirstStage};
use proptest::prelude::*;

use crate::*;

fn non_zero(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

fn stages(text: &str) -> Option<RerankStages> {
    Some(text.parse().unwrap())
}

fn search(text: &str) -> SearchRequest {
    SearchRequest { stages: stages(text), ..SearchRequest::new("query") }
}

fn adapter_of(model: &ModelVersion) -> &str {
    model.adapter.as_ref().map_or("none", |adapter| adapter.id.as_str())
}

/// The documents' numbers: `up` prefers high ones, `down` low ones, and `broken` fails.
fn by_number(model: &ModelVersion, text: &str) -> f32 {
    let number: f32 = text["text of document ".len()..].parse().unwrap();
    match adapter_of(model) {
        "up" => number,
        "down" => -number,
        "broken" => f32::NAN,
        other => panic!("{other}"),
    }
}

fn pipeline(n: usize, config: PipelineConfig) -> (Pipeline<ToyFirstStage, Arc<FakeReranker>>, Arc<FakeReranker>) {
    let reranker = FakeReranker::by(|_, model, candidate| by_number(model, &candidate.text));
    let reranker = Arc::new(reranker.with_adapters(&["up", "down", "broken"]));
    (Pipeline::new(ToyFirstStage::new(toy::candidates(n)), reranker.clone(), config).unwrap(), reranker)
}

fn numbers(answer: &Answer) -> Vec<usize> {
    answer.hits.iter().map(|hit| hit.first_stage_rank).collect()
}

#[test]
fn each_stage_reranks_the_best_of_the_stage_before() {
    let (pipeline, reranker) = pipeline(8, PipelineConfig::default());
    let answer = pipeline.search(&search("up:6,down:3")).unwrap();
    assert_eq!(numbers(&answer), [4, 5, 6, 3, 2, 1, 7, 8]);
    assert_eq!((pipeline.first_stage().asked()[0].1, reranker.n_pairs()), (10, 9), "the page is longer than the depth");
    let scores: Vec<_> = answer.hits.iter().map(|hit| hit.rerank_score.map(Score::get)).collect();
    assert_eq!(scores[..4], [Some(-4.0), Some(-5.0), Some(-6.0), None], "those of the last stage");
    let of_stages: Vec<Vec<_>> = answer
        .hits
        .iter()
        .map(|hit| hit.stages.iter().map(|stage| (stage.rank, stage.rerank_score.map(Score::get))).collect())
        .collect();
    assert_eq!(of_stages[0], [(3, Some(4.0)), (1, Some(-4.0))]);
    assert_eq!(of_stages[3], [(4, Some(3.0)), (4, None)]);
    assert_eq!(of_stages[6], [(7, None), (7, None)]);
    assert!(answer.reranked && answer.fallback.is_none());
    assert_eq!((answer.depth.get(), answer.n_candidates), (3, 3));
    assert_eq!(answer.model.as_ref().map(adapter_of), Some("down"));
    assert_eq!(answer.cache, CacheUse { hits: 0, misses: 9 });
    let listed: Vec<_> = answer
        .stages
        .iter()
        .map(|stage| (adapter_of(stage.model.as_ref().unwrap()), stage.depth.get(), stage.n_candidates))
        .collect();
    assert_eq!(listed, [("up", 6, 6), ("down", 3, 3)]);

    let again = pipeline.search(&SearchRequest { offset: 3, top_k: Some(non_zero(3)), ..search("up:6,down:3") });
    let again = again.unwrap();
    assert_eq!((numbers(&again), again.cache.misses), (vec![3, 2, 1], 0), "pages are slices of one order");
    assert_eq!(again.hits[0].stages, answer.hits[3].stages.iter().map(cached).collect::<Vec<_>>());
}

fn cached(stage: &lorank_core::StageRank) -> lorank_core::StageRank {
    let score_origin = stage.rerank_score.map(|_| lorank_core::ScoreOrigin::Cache);
    lorank_core::StageRank { score_origin, ..*stage }
}

#[test]
fn a_stage_that_fails_hands_on_the_order_that_it_got() {
    let (pipeline, _) = pipeline(6, PipelineConfig::default());
    let check = |text: &str, order: &[usize], model: &str, fallen: &[usize]| {
        let min_rerank_score = Some(Score::new(-100.0).unwrap());
        let blend_weight = BlendWeight::new(0.9).unwrap();
        let answer = pipeline.search(&SearchRequest { min_rerank_score, blend_weight, ..search(text) }).unwrap();
        assert_eq!(numbers(&answer), order, "{text}");
        assert_eq!(answer.model.as_ref().map(adapter_of), Some(model), "{text}");
        let found: Vec<usize> =
            (1..).zip(&answer.stages).filter(|(_, it)| it.fallback.is_some()).map(|it| it.0).collect();
        assert_eq!(found, fallen, "{text}");
        assert_eq!(answer.fallen_stage(), fallen.last().copied(), "{text}");
        assert_eq!(answer.fallback.as_ref().map(Fallback::reason), fallen.first().map(|_| "reranker_failed"), "{text}");
        assert_eq!(answer.reranked, fallen.len() < answer.stages.len(), "{text}");
        let is_complete = fallen.last() != Some(&answer.stages.len());
        assert_eq!(answer.n_left_out.is_some(), is_complete, "{text}: a minimum is one of the last stage's scores");
        assert_eq!(answer.hits.iter().any(|hit| hit.blend.is_some()), is_complete, "{text}");
    };
    check("up:4,down:2", &[3, 4], "down", &[]);
    check("up:4,broken:2", &[4, 3, 2, 1, 5, 6], "up", &[2]);
    check("broken:4,up:2", &[2, 1], "up", &[1]);
    check("broken:4,broken:2", &[1, 2, 3, 4, 5, 6], "broken", &[1, 2]);
    check("up:6,broken:4,down:2", &[5, 6], "down", &[2]);
    check("up:6,broken:4,broken:2", &[6, 5, 4, 3, 2, 1], "up", &[2, 3]);
}

#[test]
fn a_stage_that_stalls_hands_on_the_order_that_it_got() {
    for (stalled, expected, fallen) in [("down", [4, 3, 2, 1, 5, 6], 2), ("up", [1, 2, 3, 4, 5, 6], 1)] {
        let gate = Gate::closed();
        let at_gate = gate.clone();
        let reranker = FakeReranker::by(move |query, model, candidate| {
            if adapter_of(model) == stalled && query.text == "query" {
                at_gate.pass();
            }
            by_number(model, &candidate.text)
        });
        let reranker = reranker.with_adapters(&["up", "down"]);
        let pipeline =
            Pipeline::new(ToyFirstStage::new(toy::candidates(6)), reranker, PipelineConfig::default()).unwrap();
        // Cached scores need no model, so the other stage is in time, however short the deadline is.
        let other = if stalled == "up" { "down" } else { "up" };
        let known = SearchRequest { adapter: other.parse().unwrap(), ..SearchRequest::new("query") };
        pipeline.search(&known).unwrap();
        let deadline = lorank_core::Deadline::after(Duration::from_millis(5));
        let answer = pipeline.search(&SearchRequest { deadline, ..search("up:4,down:3") }).unwrap();
        assert_eq!(numbers(&answer), expected, "{stalled}");
        assert_eq!((answer.fallen_stage(), answer.reranked), (Some(fallen), true), "{stalled}");
        assert_eq!(answer.fallback, Some(Fallback::DeadlinePassed), "{stalled}");
        gate.open();
    }
}

#[test]
fn an_overloaded_stage_falls_back_or_is_refused() {
    let gate = Gate::closed();
    let at_gate = gate.clone();
    let reranker = FakeReranker::by(move |query, model, candidate| {
        if query.text == "slow" {
            at_gate.pass();
        }
        by_number(model, &candidate.text)
    });
    let config = PipelineConfig { queue_max: non_zero(1), ..PipelineConfig::default() };
    let first_stage = ToyFirstStage::new(toy::candidates(4));
    let pipeline = Pipeline::new(first_stage, reranker.with_adapters(&["up", "down"]), config).unwrap();
    let adapter =
        |name: &str, query: &str| SearchRequest { adapter: name.parse().unwrap(), ..SearchRequest::new(query) };
    pipeline.search(&adapter("up", "query")).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| pipeline.search(&adapter("up", "slow")));
        gate.wait_for_arrivals(1);
        scope.spawn(|| pipeline.search(&adapter("up", "waits")));
        while pipeline.queue_stats().n_requests_waiting == 0 {
            std::thread::yield_now();
        }
        let answer = pipeline.search(&search("up:3,down:2")).unwrap();
        assert_eq!((numbers(&answer), answer.fallen_stage()), (vec![3, 2, 1, 4], Some(2)));
        assert_eq!(answer.fallback, Some(Fallback::QueueFull));
        let refused = SearchRequest { on_overload: OnOverload::Refuse, ..search("up:3,down:2") };
        let error = pipeline.search(&refused).unwrap_err();
        assert!(matches!(error, PipelineError::Overloaded { reason: Fallback::QueueFull, .. }), "{error:?}");
        // A stage before the last one is refused as well, although the last one could rank.
        let refused = SearchRequest { on_overload: OnOverload::Refuse, ..search("down:3,up:2") };
        assert!(matches!(pipeline.search(&refused).unwrap_err(), PipelineError::Overloaded { .. }));
        gate.open();
    });
}

#[test]
fn stages_that_cannot_be_served_are_errors_that_name_the_stage() {
    let (pipeline, _) = pipeline(3, PipelineConfig::default());
    let depth = |depth| SearchRequest { depth: Some(non_zero(depth)), ..search("up:3") };
    let adapter = SearchRequest { adapter: AdapterChoice::Base, ..search("up:3") };
    let rerank = SearchRequest { rerank: false, ..search("up:3") };
    for (request, kind, message) in [
        (search("up:3,missing:2"), ErrorKind::NotFound, "stage 2 cannot be used: the adapter `missing` cannot be used"),
        (
            search("up:1001,down:2"),
            ErrorKind::Invalid,
            "the depth of a stage is 1001, which is above the limit of 1000",
        ),
        (depth(3), ErrorKind::Invalid, "they cannot be combined with `depth`"),
        (adapter, ErrorKind::Invalid, "they cannot be combined with `adapter`"),
        (rerank, ErrorKind::Invalid, "the search is not reranked"),
    ] {
        let error = pipeline.search(&request).unwrap_err();
        assert_eq!((error.kind(), error.field()), (kind, Some("stages")), "{message}");
        assert!(with_causes(&error).contains(message), "{}", with_causes(&error));
    }
}

#[test]
fn stages_of_the_configuration_are_for_requests_that_choose_nothing() {
    let config = PipelineConfig {
        stages: stages("up:3,down:2"),
        default_adapter: "up".parse().ok(),
        ..PipelineConfig::default()
    };
    let (pipeline, _) = pipeline(4, config);
    let plain = SearchRequest::new("query");
    let adapter = SearchRequest { adapter: "down".parse().unwrap(), ..plain.clone() };
    let unranked = SearchRequest { rerank: false, ..plain.clone() };
    for (request, order, n_stages) in [
        (plain.clone(), [2, 3, 1, 4], 2),
        (search("up:2"), [2, 1, 3, 4], 1),
        (adapter, [1, 2, 3, 4], 0),
        (SearchRequest { depth: Some(non_zero(3)), ..plain.clone() }, [3, 2, 1, 4], 0),
        (unranked, [1, 2, 3, 4], 0),
    ] {
        let answer = pipeline.search(&request).unwrap();
        assert_eq!((numbers(&answer), answer.stages.len()), (order.to_vec(), n_stages));
    }
    // The request is not responsible for a model that the configuration names.
    let config = PipelineConfig { stages: stages("missing:3,up:2"), ..PipelineConfig::default() };
    let answer = self::pipeline(4, config).0.search(&plain).unwrap();
    let message = answer.fallback.as_ref().unwrap().to_string();
    assert_eq!((numbers(&answer), answer.fallen_stage()), (vec![2, 1, 3, 4], Some(1)));
    assert!(message.starts_with("the adapter `missing` cannot be used"), "{message}");
    // Each ranker of several is one model, unless it has stages of its own.
    let ranked = pipeline.search_each(&plain, [("up", "up".parse().unwrap())]).unwrap().remove(0).answer.unwrap();
    assert_eq!((numbers(&ranked), ranked.stages.len()), (vec![4, 3, 2, 1], 0));
}

#[test]
fn rankers_with_stages_share_batches() {
    let (together, reranker) = pipeline(9, PipelineConfig::default());
    let rankers = ["up:6,down:3", "down:4,broken:4", "up:5,missing:2", "up:2"];
    let contestant = |text: &'static str| {
        let settings = RankerSettings { stages: stages(text), ..RankerSettings::default() };
        Contestant { key: text, ranker: Ranker::Model(AdapterChoice::Default), settings }
    };
    let request = SearchRequest { rerank: false, ..SearchRequest::new("query") };
    let ranked = together.contest(&request, rankers.map(contestant)).unwrap();
    assert_eq!((together.first_stage().asked()[0].1, reranker.n_calls()), (10, 2), "a batch for each round");
    let (apart, _) = pipeline(9, PipelineConfig::default());
    for Ranked { key, answer } in ranked {
        match (apart.search(&search(key)), answer) {
            (Ok(alone), Ok(answer)) => {
                assert_eq!((numbers(&alone), &alone.fallback), (numbers(&answer), &answer.fallback), "{key}");
                let ranks = |answer: &Answer| {
                    let of_hit = |hit: &lorank_core::Hit| hit.stages.iter().map(cached).collect::<Vec<_>>();
                    answer.hits.iter().map(of_hit).collect::<Vec<_>>()
                };
                assert_eq!(ranks(&alone), ranks(&answer), "{key}");
            }
            (Err(alone), Err(error)) => assert_eq!(with_causes(&alone), with_causes(&error), "{key}"),
            (alone, answer) => panic!("{key}: {alone:?}, {answer:?}"),
        }
    }
}

/// Bare base models `small` and `large`, the adapter `qa` on `small`; only `large` takes instructions.
struct TwoBases;

impl TwoBases {
    fn digest(name: &str) -> Digest {
        Digest::new([name.as_bytes()[0]; 32])
    }
}

impl Reranker for TwoBases {
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        let bases = BTreeMap::from([("small", "small"), ("large", "large"), ("qa", "small")]);
        let name = adapter.map_or("small", AdapterId::as_str);
        let base = *bases.get(name).ok_or("there is no such model")?;
        let model = toy::model(adapter.filter(|_| name == "qa"));
        Ok(ModelVersion { base_model: base.to_owned(), base_digest: Self::digest(base), ..model })
    }

    fn instructed(&self, model: ModelVersion, _instruction: &str) -> Result<ModelVersion, BoxError> {
        match model.base_model.as_str() {
            "large" => Ok(ModelVersion { prompt_version: Digest::new([9; 32]), ..model }),
            _ => Err(InvalidQuery { field: "instruction", message: "it takes none".to_owned() }.into()),
        }
    }

    fn encode(&self, group: Group<'_>, _: Option<lorank_core::Deadline>) -> Result<Vec<EncodedPair>, BoxError> {
        let reads = group.query.instruction.is_some();
        assert_eq!(reads, group.model.prompt_version == Digest::new([9; 32]), "an instruction for who reads it");
        Ok(EncodedPair::from_texts(group))
    }

    fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
        batch.iter().map(|pair| Ok(Score::new(pair.texts()?.text.len() as f32)?)).collect()
    }
}

#[test]
fn stages_name_different_base_models() {
    let first_stage = ToyFirstStage::new(toy::candidates(12));
    let pipeline = Pipeline::new(first_stage, TwoBases, PipelineConfig::default()).unwrap();
    let check = |text: &str, instruction: Option<&str>, expected: Result<&[&str], &str>| {
        let query = Query { instruction: instruction.map(str::to_owned), ..Query::new("query") };
        let request = SearchRequest { stages: stages(text), ..SearchRequest::from_query(query) };
        let found = pipeline.search(&request).map_err(|error| with_causes(&error));
        let names = |answer: &Answer| {
            let model = |stage: &StageAnswer| {
                let model = stage.model.as_ref().unwrap();
                format!("{}/{}", model.base_model, adapter_of(model))
            };
            answer.stages.iter().map(model).collect::<Vec<_>>()
        };
        match (found, expected) {
            (Ok(answer), Ok(models)) => assert_eq!(names(&answer), models, "{text}"),
            (Err(error), Err(message)) => assert!(error.contains(message), "{text}: {error}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    };
    check("qa@small:12,none@large:3", None, Ok(&["small/qa", "large/none"]));
    check("none:12,large:3", None, Ok(&["small/none", "large/none"]));
    check("qa@large:12", None, Err("stage 1 cannot be used: `qa` belongs to the base model `small`, not to `large`"));
    check("none@qa:12", None, Err("`qa` is an adapter and no base model"));
    check("qa@huge:12", None, Err("there is no such model"));
    check("qa:12,large:3", Some("judge"), Ok(&["small/qa", "large/none"]));
    check("large:12,qa:3", Some("judge"), Err("stage 2 cannot be used: the query is invalid: it takes none"));
}

proptest! {
    /// One stage is what it is without a list of stages, bit for bit.
    #[test]
    fn one_stage_is_the_request_with_its_adapter_and_depth(
        n in 0_usize..12,
        depth in 1_usize..15,
        page in (0_usize..6, 1_usize..8),
        least in prop::option::of(-3_i8..3),
        weight in prop::option::of(0.0_f32..1.0),
    ) {
        let engine = || FakeReranker::hashing().with_adapters(&["a"]);
        let new = || Pipeline::new(ToyFirstStage::new(toy::candidates(n)), engine(), PipelineConfig::default()).unwrap();
        let request = SearchRequest {
            offset: page.0,
            top_k: Some(non_zero(page.1)),
            min_rerank_score: least.map(|least| Score::new(least.into()).unwrap()),
            blend_weight: weight.map_or(BlendWeight::RERANK_ALONE, |weight| BlendWeight::new(weight).unwrap()),
            ..SearchRequest::new("query")
        };
        let plain = SearchRequest { adapter: "a".parse().unwrap(), depth: Some(non_zero(depth)), ..request.clone() };
        let plain = new().search(&plain).unwrap();
        let mut staged = new().search(&SearchRequest { stages: stages(&format!("a:{depth}")), ..request }).unwrap();
        for hit in &mut staged.hits {
            let stages = std::mem::take(&mut hit.stages);
            prop_assert_eq!(stages.len(), 1);
            prop_assert_eq!((stages[0].rank, stages[0].rerank_score), (hit.rank, hit.rerank_score));
        }
        prop_assert_eq!(std::mem::take(&mut staged.stages).len(), 1);
        staged.timings = plain.timings;
        prop_assert_eq!(staged, plain);
    }

    /// As brute force says, and a permutation of the candidates.
    #[test]
    fn stages_are_reranked_orders_of_one_another(n in 0_usize..14, depths in prop::collection::vec(1_usize..16, 1..4)) {
        let mut depths = depths;
        depths.sort_by(|a, b| b.cmp(a));
        let names = ["a", "b", "c"];
        let engine = FakeReranker::hashing().with_adapters(&names);
        let documents = toy::candidates(n);
        let pipeline = Pipeline::new(ToyFirstStage::new(documents.clone()), engine, PipelineConfig::default()).unwrap();
        let text: Vec<String> = depths.iter().zip(names).map(|(depth, name)| format!("{name}:{depth}")).collect();
        let request = SearchRequest { top_k: Some(non_zero(20)), ..search(&text.join(",")) };
        let answer = pipeline.search(&request).unwrap();
        let mut order: Vec<usize> = (0..n).collect();
        for (at, (depth, name)) in depths.iter().zip(names).enumerate() {
            let model = toy::model(name.parse().ok().as_ref());
            let score = |&document: &usize| {
                Score::new(toy::hashed_score(&request.query, &model, &documents[document])).unwrap()
            };
            let scores: Vec<Score> = order.iter().take(*depth).map(score).collect();
            order = reranked_order(n, &scores).into_iter().map(|place| order[place]).collect();
            for hit in &answer.hits {
                prop_assert_eq!(order[hit.stages[at].rank - 1] + 1, hit.first_stage_rank);
            }
        }
        prop_assert_eq!(numbers(&answer), order.iter().map(|at| at + 1).collect::<Vec<_>>());
    }
}
