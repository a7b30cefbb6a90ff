//! Tests of the whole pipeline, with toy engines.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use lorank_cache::CacheConfig;
use lorank_core::{
    AdapterId, BlendWeight, BoxError, Candidate, Deadline, EncodedPair, ErrorKind, Hit, ModelVersion, Query, Reranker,
    Score, ScoreOrigin,
};
use lorank_testing::toy::{self, FakeReranker, Fault, Gate, ToyFirstStage};
use proptest::prelude::*;

use crate::*;

type ToyPipeline = Pipeline<ToyFirstStage, Arc<FakeReranker>>;

fn non_zero(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

/// A pipeline over `n` toy documents, and its reranker.
fn pipeline(n: usize, reranker: FakeReranker, config: PipelineConfig) -> (ToyPipeline, Arc<FakeReranker>) {
    let reranker = Arc::new(reranker);
    let first_stage = ToyFirstStage::new(toy::candidates(n));
    (Pipeline::new(first_stage, reranker.clone(), config).unwrap(), reranker)
}

/// Batches of four pairs (a toy pair costs one token), so that a small request needs several.
fn small_batches() -> PipelineConfig {
    PipelineConfig { tokens_max: non_zero(4), ..PipelineConfig::default() }
}

/// The hits, without the origins of their scores.
fn without_origins(answer: &Answer) -> Vec<Hit> {
    answer.hits.iter().map(|hit| Hit { score_origin: None, ..hit.clone() }).collect()
}

fn ids(answer: &Answer) -> Vec<&str> {
    answer.hits.iter().map(|hit| hit.candidate.id.as_str()).collect()
}

/// The request for one page.
fn page(offset: usize, top_k: usize) -> SearchRequest {
    SearchRequest { offset, top_k: Some(non_zero(top_k)), ..SearchRequest::new("query") }
}

fn assert_in_first_stage_order(answer: &Answer) {
    assert!(!answer.reranked);
    for (at, hit) in answer.hits.iter().enumerate() {
        assert_eq!((hit.rank, hit.first_stage_rank, hit.rerank_score), (at + 1, at + 1, None));
    }
    assert!(answer.hits.iter().all(|hit| hit.score_origin.is_none() && hit.blend.is_none()));
}

#[test]
fn several_rankers_share_one_retrieval_and_one_batch() {
    let reranker = || FakeReranker::hashing().with_adapters(&["a", "b"]);
    let (together, engine) = pipeline(20, reranker(), PipelineConfig::default());
    let rankers = ["first-stage", "a", "none", "missing", "b"].map(|name| name.parse::<Ranker>().unwrap());
    let request = SearchRequest { snippets: true, ..page(2, 5) };
    let answers = together.search_each(&request, rankers.iter().map(|ranker| (ranker, ranker.clone()))).unwrap();
    assert_eq!((together.first_stage().asked().len(), engine.n_calls(), engine.n_pairs()), (1, 1, 60));
    assert!(answers.iter().map(|ranked| ranked.key).eq(&rankers));
    let missing = answers[3].answer.as_ref().unwrap_err().to_string();
    assert_eq!(missing, "the adapter `missing` cannot be used");

    let (apart, _) = pipeline(20, reranker(), PipelineConfig::default());
    for Ranked { key: ranker, answer } in answers.iter().filter(|ranked| ranked.answer.is_ok()) {
        let request = match ranker {
            Ranker::FirstStage => SearchRequest { rerank: false, ..request.clone() },
            Ranker::Model(adapter) => SearchRequest { adapter: adapter.clone(), ..request.clone() },
        };
        let (alone, answer) = (apart.search(&request).unwrap(), answer.as_ref().unwrap());
        assert_eq!((&alone.hits, &alone.ranking, &alone.model), (&answer.hits, &answer.ranking, &answer.model));
        assert_eq!((alone.reranked, alone.fallback.is_some()), (answer.reranked, false));
    }
}

#[test]
fn a_passage_is_the_same_memory_from_the_first_stage_to_the_model_and_the_hit() {
    struct Seen(Mutex<Vec<Arc<str>>>);
    impl Reranker for Seen {
        fn resolve(&self, _: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
            FakeReranker::hashing().resolve(None)
        }
        fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
            self.0.lock().unwrap().extend(batch.iter().map(|pair| pair.texts().unwrap().text.clone()));
            batch.iter().map(|_| Ok(Score::new(1.0)?)).collect()
        }
    }
    let documents = toy::candidates(7);
    let passages: Vec<Arc<str>> = documents.iter().map(|document| document.text.clone()).collect();
    let seen = Arc::new(Seen(Mutex::default()));
    let pipeline = Pipeline::new(ToyFirstStage::new(documents), seen.clone(), PipelineConfig::default()).unwrap();
    let answer = pipeline.search(&SearchRequest::new("query")).unwrap();
    let scored = seen.0.lock().unwrap();
    assert_eq!((scored.len(), answer.hits.len()), (7, 7));
    for (passage, hit) in passages.iter().zip(&answer.hits) {
        assert!(Arc::ptr_eq(passage, &hit.candidate.text));
        assert!(scored.iter().any(|text| Arc::ptr_eq(passage, text)));
    }
}

#[test]
fn any_number_of_documents_is_scored_in_their_own_order() {
    let reranker = FakeReranker::by(|_, _, candidate| candidate.text.len() as f32);
    let (pipeline, engine) =
        pipeline(1, reranker, PipelineConfig { queue_pairs_max: non_zero(10), ..PipelineConfig::default() });
    let documents = toy::candidates(2_500);
    let scoring = pipeline.score(&SearchRequest::new("query"), &documents).unwrap();
    let expected: Vec<_> = documents.iter().map(|one| Score::new(one.text.len() as f32).unwrap()).collect();
    assert_eq!((scoring.scores, scoring.cache.misses, engine.n_pairs()), (Ok(expected), 2_500, 2_500));
    assert!(scoring.n_tokens >= 2_500);
    assert_eq!(pipeline.score(&SearchRequest::new("query"), &documents).unwrap().cache.hits, 2_500);
    engine.set_fault(Some(Fault::Error("broken")));
    let failed = pipeline.score(&SearchRequest::new("other"), &documents).unwrap();
    assert_eq!(failed.scores.unwrap_err().to_string(), "broken");
}

#[test]
fn documents_of_several_queries_enter_the_queue_together() {
    let (pipeline, engine) = pipeline(1, FakeReranker::hashing(), PipelineConfig::default());
    let (queries, documents) = (["one", "two", "one"].map(Query::new), toy::candidates(3));
    let groups = [(0, 0..2), (1, 0..3), (2, 1..3)]
        .map(|(query, range)| Documents { query: &queries[query], candidates: &documents[range] });
    let scoring = pipeline.score_each(&SearchRequest::new("left aside"), &groups).unwrap();
    let score = |query, document: &Candidate| toy::hashed_score(query, &toy::model(None), document);
    let expected = groups.iter().flat_map(|group| group.candidates.iter().map(|document| score(group.query, document)));
    let found: Vec<f32> = scoring.scores.unwrap().into_iter().map(Score::get).collect();
    assert_eq!(found, expected.collect::<Vec<_>>());
    assert_eq!((engine.n_calls(), engine.n_pairs(), scoring.cache.misses), (1, 6, 7), "one pair comes twice");
}

#[test]
fn who_asks_for_it_is_refused_where_the_model_has_too_much_to_do() {
    let gate = Gate::closed();
    let config = PipelineConfig { queue_max: non_zero(1), ..PipelineConfig::default() };
    let (pipeline, _) = pipeline(3, FakeReranker::hashing().behind(gate.clone()), config);
    std::thread::scope(|scope| {
        scope.spawn(|| pipeline.search(&SearchRequest::new("at the model")));
        gate.wait_for_arrivals(1);
        scope.spawn(|| pipeline.search(&SearchRequest::new("waits")));
        while pipeline.queue_stats().n_requests_waiting == 0 {
            std::thread::yield_now();
        }
        let refused = SearchRequest { on_overload: OnOverload::Refuse, ..SearchRequest::new("refused") };
        let error = pipeline.search(&refused).unwrap_err();
        assert!(matches!(error, PipelineError::Overloaded { reason: Fallback::QueueFull, .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Overloaded);
        // A ranker that needs no model does not compensate for one that does.
        let error =
            pipeline.search_each(&refused, [(0, Ranker::FirstStage), (1, "none".parse().unwrap())]).unwrap_err();
        assert!(matches!(error, PipelineError::Overloaded { reason: Fallback::QueueFull, .. }), "{error:?}");
        assert!(error.retry_after().is_some());
        gate.open();
    });
}

#[test]
fn the_ranking_reaches_from_the_top_to_the_end_of_the_page() {
    let (pipeline, _) = pipeline(9, FakeReranker::hashing(), PipelineConfig::default());
    let all = pipeline.search(&page(0, 9)).unwrap();
    let second = pipeline.search(&page(3, 3)).unwrap();
    assert_eq!(second.ranking, all.ranking[..6]);
    let hits = second.hits.iter().map(|hit| hit.candidate.id.clone());
    assert_eq!(hits.collect::<Vec<_>>(), all.ranking[3..6]);
}

#[test]
fn hits_carry_both_ranks_and_both_scores() {
    // The document's number is its score, so the order is reversed up to the depth.
    let reranker = FakeReranker::by(|_, _, candidate| candidate.text["text of document ".len()..].parse().unwrap());
    let (pipeline, _) = pipeline(5, reranker, PipelineConfig::default());
    let request = SearchRequest { depth: Some(non_zero(3)), snippets: true, ..page(1, 3) };
    let answer = pipeline.search(&request).unwrap();

    assert_eq!(ids(&answer), ["d2", "d1", "d4"]);
    let rows: Vec<_> = answer
        .hits
        .iter()
        .map(|hit| {
            let rerank_score = hit.rerank_score.map(Score::get);
            (hit.rank, hit.first_stage_rank, rerank_score, hit.candidate.first_stage_score.get())
        })
        .collect();
    assert_eq!(rows, [(2, 2, Some(2.0), 4.0), (3, 1, Some(1.0), 5.0), (4, 4, None, 2.0)]);
    let origins: Vec<_> = answer.hits.iter().map(|hit| hit.score_origin).collect();
    assert_eq!(origins, [Some(ScoreOrigin::Model), Some(ScoreOrigin::Model), None]);
    assert_eq!(answer.hits[0].candidate, toy::candidates(5)[1], "the stored fields come back");
    assert_eq!(answer.hits[0].snippet.as_ref().unwrap().to_html(), "<b>text</b> of document 2");
    assert_eq!((answer.n_candidates, answer.depth.get()), (3, 3));
    assert_eq!(answer.cache, CacheUse { hits: 0, misses: 3 });
    assert_eq!(answer.model, Some(toy::model(None)));
    assert!(answer.reranked && answer.fallback.is_none());
}

#[test]
fn the_second_page_costs_no_model_work() {
    let (pipeline, reranker) = pipeline(25, FakeReranker::hashing(), PipelineConfig::default());
    pipeline.search(&page(0, 10)).unwrap();
    assert_eq!(reranker.n_pairs(), 25);
    for offset in [10, 20, 30] {
        let answer = pipeline.search(&page(offset, 10)).unwrap();
        assert_eq!(answer.cache, CacheUse { hits: 25, misses: 0 });
        assert!(answer.hits.iter().all(|hit| hit.score_origin == Some(ScoreOrigin::Cache)));
    }
    assert_eq!(reranker.n_pairs(), 25);
}

#[test]
fn the_first_stage_is_asked_once_for_all_that_a_page_needs() {
    let (pipeline, _) = pipeline(50, FakeReranker::hashing(), PipelineConfig::default());
    for (offset, top_k, depth, expected) in [(0, 10, 20, 20), (0, 30, 20, 30), (25, 10, 20, 35), (5, 10, 20, 20)] {
        let request = SearchRequest { depth: Some(non_zero(depth)), ..page(offset, top_k) };
        let answer = pipeline.search(&request).unwrap();
        assert_eq!(pipeline.first_stage().asked().last().unwrap().1, expected);
        assert_eq!(answer.n_candidates, depth);
    }
    assert_eq!(pipeline.first_stage().asked().len(), 4);
}

#[test]
fn a_pair_that_comes_twice_is_scored_once() {
    let reranker = Arc::new(FakeReranker::hashing());
    let pipeline = Pipeline::without_first_stage(reranker.clone(), PipelineConfig::default()).unwrap();
    let score = Score::new(1.0).unwrap();
    let candidates = ["a", "b", "a", "a"].iter().enumerate();
    let candidates = candidates.map(|(n, text)| Candidate::new(n.to_string(), *text, score)).collect();
    let answer = pipeline.rerank(&SearchRequest::new("query"), candidates).unwrap();
    assert_eq!(reranker.n_pairs(), 2);
    assert_eq!(answer.cache, CacheUse { hits: 0, misses: 4 });
    assert_eq!(answer.hits.len(), 4);
}

#[test]
fn without_reranking_no_model_is_asked() {
    let (pipeline, reranker) = pipeline(5, FakeReranker::hashing(), PipelineConfig::default());
    let adapter = "missing".parse().unwrap();
    let answer = pipeline.search(&SearchRequest { rerank: false, adapter, ..page(0, 3) }).unwrap();
    assert_in_first_stage_order(&answer);
    assert_eq!((answer.fallback, answer.model, answer.cache), (None, None, CacheUse::default()));
    assert_eq!(answer.n_candidates, 5);
    assert_eq!(reranker.n_calls(), 0);
}

#[test]
fn no_candidates_are_an_answer() {
    let (pipeline, reranker) = pipeline(0, FakeReranker::hashing(), PipelineConfig::default());
    let late = Some(Deadline::at(Instant::now()));
    let answer = pipeline.search(&SearchRequest { deadline: late, snippets: true, ..page(0, 10) }).unwrap();
    assert!(answer.hits.is_empty() && answer.reranked && answer.fallback.is_none());
    assert_eq!((answer.n_candidates, reranker.n_calls()), (0, 0));
}

#[test]
fn adapters_are_chosen_by_request_then_alias_then_default() {
    let id = |text: &str| text.parse::<lorank_core::AdapterId>().unwrap();
    let config = PipelineConfig {
        default_adapter: Some(id("default")),
        aliases: [(id("default"), id("qa")), (id("legal"), id("qa"))].into(),
        ..PipelineConfig::default()
    };
    let (pipeline, _) = pipeline(3, FakeReranker::hashing().with_adapters(&["qa", "legal", "news"]), config);
    for (choice, expected) in [
        (AdapterChoice::Default, Some("qa")),
        (AdapterChoice::Base, None),
        (AdapterChoice::Named(id("news")), Some("news")),
        (AdapterChoice::Named(id("default")), Some("qa")),
        (AdapterChoice::Named(id("legal")), Some("qa")),
    ] {
        let answer = pipeline.search(&SearchRequest { adapter: choice, ..page(0, 3) }).unwrap();
        assert_eq!(answer.model, Some(toy::model(expected.map(id).as_ref())));
    }
}

#[test]
fn adapters_do_not_share_scores() {
    let reranker = FakeReranker::hashing().with_adapters(&["qa", "legal"]);
    let (pipeline, reranker) = pipeline(3, reranker, PipelineConfig::default());
    for adapter in ["qa", "legal", "none", "qa"] {
        pipeline.search(&SearchRequest { adapter: adapter.parse().unwrap(), ..page(0, 3) }).unwrap();
    }
    assert_eq!(reranker.n_pairs(), 9);
}

#[test]
fn what_cannot_be_answered_is_an_error() {
    let config = PipelineConfig { query_bytes_max: 12, ..PipelineConfig::default() };
    let (pipeline, _) = pipeline(3, FakeReranker::hashing().with_adapters(&["qa"]), config);
    let adapter = |name: &str| SearchRequest { adapter: name.parse().unwrap(), ..page(0, 3) };
    let depth = SearchRequest { depth: Some(non_zero(1_001)), ..page(0, 3) };
    for (request, kind, field, message) in [
        (adapter("missing"), ErrorKind::NotFound, "adapter", "the adapter `missing` cannot be used"),
        (depth, ErrorKind::Invalid, "depth", "`depth` is 1001, which is above the limit of 1000"),
        (
            page(9_991, 10),
            ErrorKind::Invalid,
            "offset",
            "`offset` + `top_k` is 10001, which is above the limit of 10000",
        ),
        (
            page(1, 10_000),
            ErrorKind::Invalid,
            "top_k",
            "`offset` + `top_k` is 10001, which is above the limit of 10000",
        ),
        (
            page(usize::MAX, 1),
            ErrorKind::Invalid,
            "offset",
            &format!("`offset` + `top_k` is {}, which is above the limit of 10000", usize::MAX),
        ),
        (
            SearchRequest::new("thirteen byte"),
            ErrorKind::Invalid,
            "query",
            "the length of `query` in bytes is 13, which is above the limit of 12",
        ),
    ] {
        let error = pipeline.search(&request).unwrap_err();
        assert_eq!((error.kind(), error.field(), error.to_string().as_str()), (kind, Some(field), message));
    }
}

#[test]
fn an_unknown_adapter_is_told_in_the_reranker_s_words() {
    let (pipeline, _) = pipeline(3, FakeReranker::hashing().with_adapters(&["qa"]), PipelineConfig::default());
    let adapter = "missing".parse().unwrap();
    let error = pipeline.search(&SearchRequest { adapter, ..page(0, 3) }).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, r#"no adapter `missing` is loaded; loaded are {"qa"}"#);
}

#[test]
fn a_missing_default_adapter_answers_in_first_stage_order_and_says_which() {
    let config = PipelineConfig { default_adapter: Some("gone".parse().unwrap()), ..PipelineConfig::default() };
    let (pipeline, _) = pipeline(3, FakeReranker::hashing(), config);
    let answer = pipeline.search(&page(0, 3)).unwrap();
    assert!(!answer.reranked && answer.model.is_none());
    let fallback = answer.fallback.unwrap();
    assert_eq!(fallback.reason(), "reranker_failed");
    assert!(fallback.to_string().contains("the default model cannot be used: no adapter `gone`"), "{fallback}");
    assert_eq!(answer.hits.iter().map(|hit| hit.first_stage_rank).collect::<Vec<_>>(), [1, 2, 3]);
    let soon = Deadline::after(Duration::from_secs(5)).unwrap();
    let error = pipeline.probe_model(&AdapterChoice::Default, soon).unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Unavailable, None));
}

#[test]
fn a_failing_first_stage_is_an_error() {
    let first_stage = ToyFirstStage::failing("the disk is gone");
    let pipeline = Pipeline::new(first_stage, FakeReranker::hashing(), PipelineConfig::default()).unwrap();
    let error = pipeline.search(&page(0, 3)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert_eq!(error.to_string(), "the first stage could not retrieve candidates");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "the disk is gone");
}

#[test]
fn a_broken_reranker_falls_back_and_may_recover() {
    let (pipeline, reranker) = pipeline(6, FakeReranker::hashing(), small_batches());
    for (fault, message) in [
        (Fault::Error("out of memory"), "out of memory"),
        (Fault::Panic("index out of range"), "the reranker panicked: index out of range"),
        (Fault::OneScoreTooFew, "the reranker returned 3 scores for 4 pairs"),
        (Fault::NoScores, "the reranker returned 0 scores for 4 pairs"),
        (Fault::Encoding("no tokens"), "no tokens"),
    ] {
        reranker.set_fault(Some(fault));
        let answer = pipeline.search(&page(0, 6)).unwrap();
        assert_in_first_stage_order(&answer);
        let fallback = answer.fallback.unwrap();
        assert_eq!((fallback.reason(), fallback.to_string().as_str()), ("reranker_failed", message));
        assert_eq!(answer.model, Some(toy::model(None)));
    }
    reranker.set_fault(None);
    assert!(pipeline.search(&page(0, 6)).unwrap().reranked, "the thread has survived the panic");
}

#[test]
fn a_score_that_is_not_finite_falls_back() {
    let reranker = FakeReranker::by(|_, _, candidate| if candidate.id.as_str() == "d6" { f32::NAN } else { 1.0 });
    let (pipeline, reranker) = pipeline(6, reranker, small_batches());
    let answer = pipeline.search(&page(0, 6)).unwrap();
    assert_in_first_stage_order(&answer);
    let message = "the score is `NaN`, which is not a finite number".to_owned();
    assert_eq!(answer.fallback, Some(Fallback::RerankerFailed { message }));
    assert_eq!(pipeline.cache_stats().entries, 5, "the batch before it is kept, and the pair beside it");
    assert_eq!(reranker.n_calls(), 2);
}

#[test]
fn past_the_deadline_on_arrival_there_is_no_forward_pass() {
    let (pipeline, reranker) = pipeline(6, FakeReranker::hashing(), PipelineConfig::default());
    let late = SearchRequest { deadline: Some(Deadline::at(Instant::now())), ..page(0, 6) };
    let answer = pipeline.search(&late).unwrap();
    assert_in_first_stage_order(&answer);
    assert_eq!(answer.fallback, Some(Fallback::DeadlinePassed));
    assert_eq!((answer.n_candidates, reranker.n_calls()), (6, 0));

    // Cached scores need no forward pass, so they are used even now.
    let in_time = pipeline.search(&page(0, 6)).unwrap();
    let late = pipeline.search(&late).unwrap();
    assert!(late.reranked);
    assert_eq!(ids(&late), ids(&in_time));
}

#[test]
fn the_deadline_ends_the_wait_for_a_slow_model() {
    let gate = Gate::closed();
    let config = PipelineConfig { deadline: Some(Duration::from_millis(5)), ..small_batches() };
    let (pipeline, _) = pipeline(6, FakeReranker::hashing().behind(gate.clone()), config);
    let answer = pipeline.search(&page(0, 6)).unwrap();
    assert_in_first_stage_order(&answer);
    assert_eq!(answer.fallback, Some(Fallback::DeadlinePassed));
    gate.open();
}

/// The model is blocked in its first batch until the deadline has passed. That batch is finished and cached; no other
/// is started.
#[test]
fn a_batch_that_ends_too_late_is_kept_and_the_rest_dropped() {
    // The machine may stall past any deadline before the model starts: the next attempt gets twice the time.
    for budget in (4..).map(|power| Duration::from_millis(1 << power)) {
        let deadline = Arc::new(OnceLock::new());
        let reranker = FakeReranker::by({
            let deadline = deadline.clone();
            move |query, model, candidate| {
                while !deadline.get().is_some_and(Deadline::has_passed) {
                    std::thread::yield_now();
                }
                toy::hashed_score(query, model, candidate)
            }
        });
        let (pipeline, reranker) = pipeline(10, reranker, small_batches());
        let until = *deadline.get_or_init(|| Deadline::after(budget).unwrap());
        let answer = pipeline.search(&SearchRequest { deadline: Some(until), ..page(0, 10) }).unwrap();
        assert_in_first_stage_order(&answer);
        assert_eq!(answer.fallback, Some(Fallback::DeadlinePassed));
        if reranker.n_calls() == 0 {
            continue;
        }
        while pipeline.cache_stats().entries < 4 {
            std::thread::yield_now();
        }
        let again = pipeline.search(&page(0, 10)).unwrap();
        assert!(again.reranked);
        assert_eq!(reranker.n_pairs(), 10, "the first four pairs were not scored again, and no pair twice");
        return;
    }
}

#[test]
fn a_cancelled_request_frees_the_model_after_its_batch() {
    let cancellation = Cancellation::default();
    let reranker = FakeReranker::by({
        let cancellation = cancellation.clone();
        move |_, _, _| {
            cancellation.cancel();
            1.0
        }
    });
    let (pipeline, reranker) = pipeline(10, reranker, small_batches());
    let answer = pipeline.search(&SearchRequest { cancellation, ..page(0, 10) }).unwrap();
    assert_in_first_stage_order(&answer);
    assert_eq!(answer.fallback, Some(Fallback::Cancelled));
    assert_eq!((reranker.n_calls(), pipeline.cache_stats().entries), (1, 4));
}

#[test]
fn a_full_queue_falls_back_at_once() {
    let gate = Gate::closed();
    let config = PipelineConfig { queue_max: non_zero(1), ..PipelineConfig::default() };
    let (pipeline, _) = pipeline(3, FakeReranker::hashing().behind(gate.clone()), config);
    let search = |query: &str| pipeline.search(&SearchRequest::new(query)).unwrap();
    std::thread::scope(|scope| {
        let at_the_model = scope.spawn(|| search("one"));
        gate.wait_for_arrivals(1);
        // Of the next two requests, one takes the only place in the queue; the other finds it full.
        let (done, first_done) = std::sync::mpsc::channel();
        for query in ["two", "three"] {
            let done = done.clone();
            scope.spawn(move || done.send(search(query)).unwrap());
        }
        let turned_away = first_done.recv().unwrap();
        gate.open();
        assert_in_first_stage_order(&turned_away);
        assert_eq!(turned_away.fallback, Some(Fallback::QueueFull));
        assert!(at_the_model.join().unwrap().reranked);
        assert!(first_done.recv().unwrap().reranked);
    });
}

#[test]
fn a_pipeline_of_trait_objects_needs_no_other_code() {
    let first_stage: Arc<dyn lorank_core::FirstStage> = Arc::new(ToyFirstStage::new(toy::candidates(3)));
    let reranker: Arc<dyn lorank_core::Reranker> = Arc::new(FakeReranker::hashing());
    let pipeline = Pipeline::new(first_stage, reranker, PipelineConfig::default()).unwrap();
    assert_eq!(pipeline.search(&page(0, 3)).unwrap().hits.len(), 3);
}

/// Settings that do not affect the order: batches, cache.
fn configs() -> impl Strategy<Value = PipelineConfig> {
    (1_usize..6, prop::sample::select(vec![0, 2, 1_000])).prop_map(|(tokens_max, entries_max)| PipelineConfig {
        tokens_max: non_zero(tokens_max),
        cache: CacheConfig { entries_max, ..CacheConfig::default() },
        ..PipelineConfig::default()
    })
}

/// Few different texts, so that equal pairs and equal scores are frequent.
fn candidate_lists() -> impl Strategy<Value = Vec<Candidate>> {
    let candidate = |(n, text): (usize, u8)| {
        Candidate::new(format!("d{n}"), format!("text {text}"), Score::new(-(n as f32)).unwrap())
    };
    prop::collection::vec(0_u8..12, 0..30).prop_map(move |texts| texts.into_iter().enumerate().map(candidate).collect())
}

/// The order by its definition: repeatedly takes the best remaining candidate, the first one for ties.
fn brute_force(candidates: &[Candidate], depth: usize) -> Vec<String> {
    let (query, model) = (Query::new("query"), toy::model(None));
    let mut left: Vec<&Candidate> = candidates.iter().take(depth).collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let score = |at: usize| toy::hashed_score(&query, &model, left[at]);
        let best = (0..left.len()).fold(0, |best, at| if score(at) > score(best) { at } else { best });
        order.push(left.remove(best).id.to_string());
    }
    order.extend(candidates.iter().skip(depth).map(|candidate| candidate.id.to_string()));
    order
}

#[test]
fn what_scores_low_is_left_out_and_counted() {
    let reranker = FakeReranker::by(|_, _, candidate| candidate.id.as_str()[1..].parse().unwrap());
    let (pipeline, reranker) = pipeline(6, reranker, PipelineConfig::default());
    let request = |least: f32, depth: usize| SearchRequest {
        depth: Some(non_zero(depth)),
        min_rerank_score: Some(Score::new(least).unwrap()),
        ..page(0, 6)
    };
    for (least, depth, expected, n_left_out) in [
        (3.0, 6, &["d6", "d5", "d4", "d3"][..], 2),
        (3.5, 4, &["d4"], 3),
        (-1.0, 4, &["d4", "d3", "d2", "d1"], 0),
        (9.0, 6, &[], 6),
    ] {
        let answer = pipeline.search(&request(least, depth)).unwrap();
        assert_eq!((ids(&answer), answer.n_left_out), (expected.to_vec(), Some(n_left_out)));
        assert_eq!((answer.n_candidates, answer.hits.len()), (depth, depth - n_left_out));
    }
    assert_eq!(pipeline.search(&page(0, 6)).unwrap().n_left_out, None);
    // First-stage order has no rerank scores to compare.
    reranker.set_fault(Some(Fault::Error("broken")));
    let query = Query::new("other");
    for request in [SearchRequest { rerank: false, ..request(9.0, 6) }, SearchRequest { query, ..request(9.0, 6) }] {
        let answer = pipeline.search(&request).unwrap();
        assert_in_first_stage_order(&answer);
        assert_eq!((answer.hits.len(), answer.n_left_out), (6, None));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn blending_permutes_and_a_least_score_leaves_out_of_one_order(
        candidates in candidate_lists(),
        depth in 1_usize..35,
        weight in 0.0_f32..=1.0,
        least in prop::option::of(-5.0_f32..5.0),
        top_k in 1_usize..8,
    ) {
        let n_found = candidates.len();
        let first_stage = ToyFirstStage::new(candidates);
        let pipeline = Pipeline::new(first_stage, FakeReranker::hashing(), PipelineConfig::default()).unwrap();
        let search = |offset, top_k, weight: f32, least: Option<f32>| {
            let blend_weight = BlendWeight::new(weight).unwrap();
            let min_rerank_score = least.map(|least| Score::new(least).unwrap());
            let depth = Some(non_zero(depth));
            pipeline.search(&SearchRequest { depth, blend_weight, min_rerank_score, ..page(offset, top_k) }).unwrap()
        };
        let whole = search(0, 40, weight, None);
        let mut places: Vec<usize> = whole.hits.iter().map(|hit| hit.first_stage_rank).collect();
        for hit in &whole.hits {
            prop_assert_eq!(hit.blend.is_some(), hit.rerank_score.is_some() && weight < 1.0);
        }
        places.sort_unstable();
        prop_assert_eq!(places, (1..=n_found).collect::<Vec<_>>());
        // The remaining candidates keep their order.
        let left = search(0, 40, weight, least);
        let stays = |score: Option<Score>| least.is_none_or(|least| score.is_some_and(|score| score.get() >= least));
        let expected: Vec<_> = whole.hits.iter().filter(|hit| stays(hit.rerank_score)).collect();
        prop_assert_eq!(&left.ranking, &expected.iter().map(|hit| hit.candidate.id.clone()).collect::<Vec<_>>());
        if let Some(n_left_out) = left.n_left_out {
            prop_assert_eq!(left.n_candidates - n_left_out, expected.len());
        }
        let pages = (0..40).step_by(top_k).flat_map(|offset| without_origins(&search(offset, top_k, weight, least)));
        prop_assert_eq!(pages.collect::<Vec<_>>(), without_origins(&left));
        // A weight of 0 or 1 leaves one score only.
        let order = |weight| search(0, 40, weight, None).ranking;
        prop_assert_eq!(order(1.0), pipeline.search(&SearchRequest { depth: Some(non_zero(depth)), ..page(0, 40) }).unwrap().ranking);
        let rerank = SearchRequest { rerank: false, ..page(0, 40) };
        prop_assert_eq!(order(0.0), pipeline.search(&rerank).unwrap().ranking);
    }

    #[test]
    fn the_order_is_the_definition_s_whatever_batches_and_cache(
        candidates in candidate_lists(),
        depth in 1_usize..35,
        config in configs(),
    ) {
        let pipeline = Pipeline::new(ToyFirstStage::new(candidates.clone()), FakeReranker::hashing(), config).unwrap();
        let whole = SearchRequest { depth: Some(non_zero(depth)), ..page(0, 40) };
        let cold = pipeline.search(&whole).unwrap();
        prop_assert_eq!(ids(&cold), brute_force(&candidates, depth));
        prop_assert_eq!(cold.n_candidates, depth.min(candidates.len()));

        // A permutation, with each document's own first-stage rank.
        let mut places: Vec<usize> = cold.hits.iter().map(|hit| hit.first_stage_rank).collect();
        for hit in &cold.hits {
            prop_assert_eq!(&hit.candidate, &candidates[hit.first_stage_rank - 1]);
        }
        places.sort_unstable();
        prop_assert_eq!(places, (1..=candidates.len()).collect::<Vec<_>>());

        // A cached answer equals the first one, bit for bit.
        let warm = pipeline.search(&whole).unwrap();
        let bits = |answer: &Answer| -> Vec<_> {
            answer.hits.iter().map(|hit| hit.rerank_score.map(|score| score.get().to_bits())).collect()
        };
        prop_assert_eq!(bits(&warm), bits(&cold));
        prop_assert_eq!(without_origins(&warm), without_origins(&cold));
        prop_assert_eq!(warm.cache.hits + warm.cache.misses, warm.n_candidates);

        // Reranking given candidates returns the same.
        prop_assert_eq!(without_origins(&pipeline.rerank(&whole, candidates).unwrap()), without_origins(&cold));
    }

    #[test]
    fn pages_join_to_the_whole(
        candidates in candidate_lists(),
        depth in 1_usize..35,
        top_k in 1_usize..8,
        config in configs(),
    ) {
        let pipeline = Pipeline::new(ToyFirstStage::new(candidates), FakeReranker::hashing(), config).unwrap();
        let request = |offset, top_k| SearchRequest { depth: Some(non_zero(depth)), ..page(offset, top_k) };
        let whole = pipeline.search(&request(0, 40)).unwrap();
        let page = |offset| without_origins(&pipeline.search(&request(offset, top_k)).unwrap());
        let pages = (0..40).step_by(top_k).flat_map(page);
        prop_assert_eq!(pages.collect::<Vec<_>>(), without_origins(&whole));
    }

    #[test]
    fn a_fallback_keeps_first_stage_order(
        candidates in candidate_lists(),
        depth in 1_usize..35,
        config in configs(),
    ) {
        let reranker = FakeReranker::hashing();
        reranker.set_fault(Some(Fault::Error("broken")));
        let expected: Vec<_> = candidates.iter().map(|candidate| candidate.id.to_string()).collect();
        let pipeline = Pipeline::new(ToyFirstStage::new(candidates), reranker, config).unwrap();
        let answer = pipeline.search(&SearchRequest { depth: Some(non_zero(depth)), ..page(0, 40) }).unwrap();
        prop_assert_eq!(ids(&answer), expected);
        prop_assert!(answer.hits.iter().all(|hit| hit.rerank_score.is_none() && hit.rank == hit.first_stage_rank));
        prop_assert_eq!(answer.reranked, answer.n_candidates == 0);
    }
}

/// An expression that orders the candidates.
fn rank_by(expression: &str) -> RankByChoice {
    RankByChoice::Expression(Arc::new(expression.parse().unwrap()))
}

#[test]
fn an_expression_orders_the_candidates_within_the_depth() {
    let (pipeline, _) = pipeline(6, FakeReranker::by(|_, _, _| 1.0), PipelineConfig::default());
    let request = |expression| SearchRequest { rank_by: rank_by(expression), depth: Some(non_zero(4)), ..page(0, 6) };
    for (expression, expected) in [
        // The toy documents' years increase with their numbers.
        ("year", ["d4", "d3", "d2", "d1", "d5", "d6"]),
        ("-year", ["d1", "d2", "d3", "d4", "d5", "d6"]),
        ("first_stage_rank", ["d4", "d3", "d2", "d1", "d5", "d6"]),
        ("rerank_score", ["d1", "d2", "d3", "d4", "d5", "d6"]),
        ("-abs(year - 2003)", ["d3", "d2", "d4", "d1", "d5", "d6"]),
        ("log(2002 - year)", ["d1", "d2", "d3", "d4", "d5", "d6"]),
        ("log(year - 2002)", ["d4", "d3", "d2", "d1", "d5", "d6"]),
        ("missing", ["d1", "d2", "d3", "d4", "d5", "d6"]),
    ] {
        let answer = pipeline.search(&request(expression)).unwrap();
        assert_eq!(ids(&answer), expected, "{expression}");
        assert!(answer.reranked && answer.rank_by.as_ref().is_some_and(|it| it.to_string() == expression));
        assert!(answer.hits.iter().all(|hit| hit.ranked_by.is_some() == (hit.first_stage_rank <= 4)));
        for offset in 0..6 {
            let one = SearchRequest { offset, top_k: Some(non_zero(1)), ..request(expression) };
            assert_eq!(
                ids(&pipeline.search(&one).unwrap()),
                expected[offset..=offset],
                "pages are slices of one order"
            );
        }
    }
    let answer = pipeline.search(&request("year + missing * 0")).unwrap();
    let ranked = answer.hits[0].ranked_by.as_ref().unwrap();
    let inputs = [("missing".to_owned(), None), ("year".to_owned(), Some(2001.0))];
    assert_eq!((ranked.value, ranked.inputs.as_slice()), (None, inputs.as_slice()));
}

#[test]
fn an_answer_that_falls_back_is_not_ordered_by_an_expression() {
    let (pipeline, engine) = pipeline(4, FakeReranker::hashing(), PipelineConfig::default());
    engine.set_fault(Some(Fault::Error("broken")));
    let answer = pipeline.search(&SearchRequest { rank_by: rank_by("year"), ..page(0, 4) }).unwrap();
    assert_in_first_stage_order(&answer);
    assert_eq!((answer.rank_by, answer.fallback.is_some()), (None, true));
}

#[test]
fn a_usual_expression_orders_where_the_request_names_no_order() {
    let usual = |expression: &str| PipelineConfig {
        rank_by: Some(Arc::new(expression.parse().unwrap())),
        ..PipelineConfig::default()
    };
    let (pipeline, _) = pipeline(3, FakeReranker::by(|_, _, _| 1.0), usual("year * rerank_score"));
    let request = page(0, 3);
    let by = |request: &SearchRequest| pipeline.search(request).unwrap().rank_by.map(|it| it.to_string());
    assert_eq!(by(&request).as_deref(), Some("year * rerank_score"));
    assert_eq!(by(&SearchRequest { rank_by: rank_by("year"), ..request.clone() }).as_deref(), Some("year"));
    assert_eq!(by(&SearchRequest { rank_by: RankByChoice::Scores, ..request.clone() }), None);
    assert_eq!(by(&SearchRequest { blend_weight: BlendWeight::new(0.5).unwrap(), ..request.clone() }), None);
    assert_eq!(by(&SearchRequest { rerank: false, ..request }), None, "there are no rerank scores to read");
}

#[test]
fn what_contradicts_itself_is_refused_by_its_field() {
    let (pipeline, engine) = pipeline(3, FakeReranker::hashing(), PipelineConfig::default());
    let sort = vec!["year".parse::<lorank_core::SortKey>().unwrap()];
    let request = page(0, 3);
    let facets =
        |n| vec![lorank_core::FacetRequest { field: "f".into(), by: lorank_core::FacetBy::Ranges(Vec::new()) }; n];
    let values = |top_n| {
        vec![lorank_core::FacetRequest {
            field: "f".into(),
            by: lorank_core::FacetBy::Values { top_n: non_zero(top_n) },
        }]
    };
    for (request, field) in [
        (SearchRequest { sort: sort.clone(), ..request.clone() }, "sort"),
        (SearchRequest { query: Query::match_all(), ..request.clone() }, "rerank"),
        (
            SearchRequest { rank_by: rank_by("year"), blend_weight: BlendWeight::new(0.5).unwrap(), ..request.clone() },
            "rank_by",
        ),
        (SearchRequest { rank_by: rank_by("year"), sort: sort.clone(), rerank: false, ..request.clone() }, "rank_by"),
        (SearchRequest { rank_by: rank_by("rerank_score"), rerank: false, ..request.clone() }, "rank_by"),
        (SearchRequest { sort: vec![sort[0].clone(); 9], rerank: false, ..request.clone() }, "sort"),
        (SearchRequest { facets: facets(33), ..request.clone() }, "facets"),
        (SearchRequest { facets: values(1_001), ..request.clone() }, "facets"),
        // The toy first stage supports neither sorting nor facets.
        (SearchRequest { sort: sort.clone(), rerank: false, ..request.clone() }, "sort"),
        (SearchRequest { facets: facets(1), ..request.clone() }, "facets"),
    ] {
        let error = pipeline.search(&request).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some(field)), "{error}");
    }
    let error =
        pipeline.rerank(&SearchRequest { sort, rerank: false, ..request.clone() }, toy::candidates(2)).unwrap_err();
    assert_eq!(error.field(), Some("sort"));
    let ranker = Ranker::Model(AdapterChoice::Base);
    let error = pipeline.search_each(&SearchRequest { query: Query::match_all(), ..request }, [((), ranker)]);
    assert_eq!(error.unwrap_err().field(), Some("rerank"));
    assert_eq!(engine.n_calls(), 0);
}

#[test]
fn the_number_of_matches_is_known_below_the_depth() {
    let (pipeline, _) = pipeline(5, FakeReranker::hashing(), PipelineConfig::default());
    let total =
        |depth| pipeline.search(&SearchRequest { depth: Some(non_zero(depth)), ..page(0, 1) }).unwrap().total_hits;
    assert_eq!((total(6).n(), total(6).relation()), (5, "eq"));
    assert_eq!((total(5).n(), total(5).relation()), (5, "gte"));
    let brought = pipeline.rerank(&page(0, 1), toy::candidates(2)).unwrap().total_hits;
    assert_eq!((brought.n(), brought.relation()), (2, "gte"));
}
