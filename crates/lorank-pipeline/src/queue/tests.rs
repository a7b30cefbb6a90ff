//! Concurrent requests over a pipeline whose reranker advances only when a test allows it.

use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use lorank_cache::CacheConfig;
use lorank_core::{AdapterId, BoxError, Deadline, EncodedPair, Group, Hit, ModelVersion, Reranker, Score};
use lorank_testing::toy::{self, FakeReranker, Fault, Gate, ToyPair};
use proptest::prelude::*;

use crate::*;

fn non_zero(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

/// A batch as seen by the reranker: each run of pairs as query, adapter and number.
type Seen = Vec<(String, String, usize)>;

/// Sends every batch to the test, and waits for permission before scoring it.
struct Stepped {
    seen: Mutex<Sender<Seen>>,
    word: Mutex<Receiver<()>>,
    within: FakeReranker,
}

impl Reranker for Stepped {
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        self.within.resolve(adapter)
    }

    fn encode(&self, group: Group<'_>, deadline: Option<Deadline>) -> Result<Vec<EncodedPair>, BoxError> {
        self.within.encode(group, deadline)
    }

    fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
        let name = |pair: &&EncodedPair| {
            let ToyPair { query, model, .. } = pair.payload().unwrap();
            let adapter = model.adapter.as_ref().map_or("none", |it| it.id.as_str()).to_owned();
            (query.text.clone(), adapter)
        };
        let runs = batch.chunk_by(|a, b| name(a) == name(b));
        let seen = runs.map(|run| {
            let (query, adapter) = name(&run[0]);
            (query, adapter, run.len())
        });
        // After the test has ended, nobody allows the remaining batches.
        let _ = self.seen.lock().unwrap().send(seen.collect());
        let _ = self.word.lock().unwrap().recv();
        self.within.score(batch)
    }
}

/// A pipeline, and control over its reranker.
struct Stage {
    pipeline: Pipeline<NoFirstStage, Arc<Stepped>>,
    reranker: Arc<Stepped>,
    seen: Receiver<Seen>,
    word: Sender<()>,
}

impl Stage {
    fn new(config: PipelineConfig) -> Self {
        let (seen_by, seen) = mpsc::channel();
        let (word, words) = mpsc::channel();
        let within = FakeReranker::hashing().with_adapters(&["qa"]);
        let reranker = Arc::new(Stepped { seen: Mutex::new(seen_by), word: Mutex::new(words), within });
        let pipeline = Pipeline::without_first_stage(reranker.clone(), config).unwrap();
        Self { pipeline, reranker, seen, word }
    }

    /// Sends a request for `n` documents.
    fn send<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        query: &str,
        n: usize,
    ) -> ScopedJoinHandle<'scope, Answer> {
        self.send_request(scope, SearchRequest { depth: Some(non_zero(n)), ..SearchRequest::new(query) })
    }

    /// Sends a request for `depth` documents.
    fn send_request<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        request: SearchRequest,
    ) -> ScopedJoinHandle<'scope, Answer> {
        let (pipeline, candidates) = (&self.pipeline, toy::candidates(request.depth.unwrap().get()));
        scope.spawn(move || pipeline.rerank(&request, candidates).unwrap())
    }

    /// Waits until `n_requests` requests are waiting.
    fn wait_for(&self, n_requests: usize) {
        while self.pipeline.queue_stats().n_requests_waiting != n_requests {
            thread::yield_now();
        }
    }

    /// The batch that the reranker is processing, without adapters.
    fn seen(&self) -> Vec<(String, usize)> {
        self.seen.recv().unwrap().into_iter().map(|(query, _, n)| (query, n)).collect()
    }

    fn step(&self) {
        self.word.send(()).unwrap();
    }
}

/// Releases the reranker if a test fails, so that its threads end and the failure is reported.
struct Release<'a>(&'a Stage);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            (0..1_000).for_each(|_| self.0.step());
        }
    }
}

fn expect(seen: Vec<(String, usize)>, expected: &[(&str, usize)]) {
    assert_eq!(seen.iter().map(|(query, n)| (query.as_str(), *n)).collect::<Vec<_>>(), expected);
}

fn batches_of(tokens_max: usize) -> PipelineConfig {
    PipelineConfig { tokens_max: non_zero(tokens_max), ..PipelineConfig::default() }
}

#[test]
fn concurrent_requests_share_a_batch_whatever_their_models() {
    let stage = Stage::new(batches_of(10));
    thread::scope(|scope| {
        let _release = Release(&stage);
        let first = stage.send(scope, "one", 3);
        expect(stage.seen(), &[("one", 3)]);
        let second = stage.send(scope, "two", 3);
        stage.wait_for(1);
        let adapter = "qa".parse().unwrap();
        let third = SearchRequest { depth: Some(non_zero(4)), adapter, ..SearchRequest::new("three") };
        let third = stage.send_request(scope, third);
        stage.wait_for(2);
        stage.step();
        let group = |query: &str, adapter: &str, n| (query.to_owned(), adapter.to_owned(), n);
        assert_eq!(stage.seen.recv().unwrap(), [group("two", "none", 3), group("three", "qa", 4)]);
        stage.step();
        for request in [first, second, third] {
            assert!(request.join().unwrap().reranked);
        }
    });
    let stats = stage.pipeline.queue_stats();
    assert_eq!((stats.n_batches, stats.n_pairs_scored, stats.n_tokens_run), (2, 10, 10));
    assert_eq!((stats.n_requests_waiting, stats.n_pairs_waiting, stats.n_tokens_waiting), (0, 0, 0));
}

#[test]
fn ten_documents_do_not_wait_for_a_thousand() {
    let stage = Stage::new(batches_of(100));
    thread::scope(|scope| {
        let _release = Release(&stage);
        let large = stage.send(scope, "large", 1_000);
        expect(stage.seen(), &[("large", 100)]);
        let small = stage.send(scope, "small", 10);
        stage.wait_for(2);
        stage.step();
        expect(stage.seen(), &[("large", 90), ("small", 10)]);
        stage.step();
        assert!(small.join().unwrap().reranked, "answered while most of the large request still waits");
        for _ in 0..9 {
            stage.step();
        }
        assert!(large.join().unwrap().reranked);
    });
}

#[test]
fn two_requests_for_the_same_cost_as_much_as_one() {
    for cache in [CacheConfig::default(), CacheConfig::OFF] {
        let stage = Stage::new(PipelineConfig { cache, ..PipelineConfig::default() });
        thread::scope(|scope| {
            let _release = Release(&stage);
            let _other = stage.send(scope, "other", 1);
            expect(stage.seen(), &[("other", 1)]);
            let mut same = vec![stage.send(scope, "same", 5), stage.send(scope, "same", 5)];
            stage.wait_for(2);
            stage.step();
            assert_eq!(stage.seen().iter().map(|(_, n)| n).sum::<usize>(), 5);
            if cache == CacheConfig::default() {
                // This one arrives when the pairs are at the model already.
                same.push(stage.send(scope, "same", 5));
                stage.wait_for(1);
            }
            stage.step();
            let answers: Vec<Answer> = same.into_iter().map(|request| request.join().unwrap()).collect();
            for answer in &answers {
                assert_eq!((answer.reranked, answer.cache), (true, CacheUse { hits: 0, misses: 5 }));
                assert_eq!(without_origins(answer), without_origins(&answers[0]));
            }
        });
        assert_eq!(stage.reranker.within.n_pairs(), 1 + 5);
    }
}

#[test]
fn a_cancelled_request_costs_no_forward_pass_and_no_place() {
    let stage = Stage::new(PipelineConfig { queue_max: non_zero(1), ..PipelineConfig::default() });
    thread::scope(|scope| {
        let _release = Release(&stage);
        let at_the_model = stage.send(scope, "at the model", 3);
        expect(stage.seen(), &[("at the model", 3)]);
        let request = SearchRequest { depth: Some(non_zero(3)), ..SearchRequest::new("cancelled") };
        let cancellation = request.cancellation.clone();
        let cancelled = stage.send_request(scope, request);
        stage.wait_for(1);
        assert_eq!(stage.send(scope, "turned away", 3).join().unwrap().fallback, Some(Fallback::QueueFull));
        cancellation.cancel();
        let in_time = stage.send(scope, "in time", 3);
        assert_eq!(cancelled.join().unwrap().fallback, Some(Fallback::Cancelled), "it had to make place");
        stage.step();
        expect(stage.seen(), &[("in time", 3)]);
        stage.step();
        assert!(at_the_model.join().unwrap().reranked && in_time.join().unwrap().reranked);
    });
}

#[test]
fn a_request_past_its_deadline_costs_no_forward_pass() {
    let stage = Stage::new(PipelineConfig::default());
    thread::scope(|scope| {
        let _release = Release(&stage);
        let _at_the_model = stage.send(scope, "at the model", 3);
        expect(stage.seen(), &[("at the model", 3)]);
        let deadline = Deadline::after(Duration::from_millis(5));
        let late = SearchRequest { depth: Some(non_zero(3)), deadline, ..SearchRequest::new("late") };
        let late = stage.send_request(scope, late);
        assert_eq!(late.join().unwrap().fallback, Some(Fallback::DeadlinePassed));
        let _in_time = stage.send(scope, "in time", 3);
        while stage.pipeline.queue_stats().n_pairs_waiting < 3 {
            thread::yield_now();
        }
        stage.step();
        expect(stage.seen(), &[("in time", 3)]);
        stage.step();
    });
}

#[test]
fn a_breakdown_fails_the_requests_of_its_batch_alone() {
    for fault in [Fault::Panic("index out of range"), Fault::NoScores] {
        let stage = Stage::new(batches_of(4));
        thread::scope(|scope| {
            let _release = Release(&stage);
            let broken = stage.send(scope, "broken", 6);
            expect(stage.seen(), &[("broken", 4)]);
            let standing = stage.send(scope, "standing", 4);
            stage.wait_for(2);
            stage.reranker.within.set_fault(Some(fault));
            stage.step();
            expect(stage.seen(), &[("standing", 4)]);
            assert_eq!(broken.join().unwrap().fallback.unwrap().reason(), "reranker_failed");
            stage.reranker.within.set_fault(None);
            stage.step();
            assert!(standing.join().unwrap().reranked);
        });
    }
}

#[test]
fn what_the_cache_holds_does_not_enter_the_queue() {
    let stage = Stage::new(PipelineConfig { queue_max: non_zero(1), ..PipelineConfig::default() });
    thread::scope(|scope| {
        let _release = Release(&stage);
        let first = stage.send(scope, "held", 100);
        stage.step();
        assert!(first.join().unwrap().reranked);
        stage.seen();
        // The model is blocked, and the queue is full.
        let _at_the_model = stage.send(scope, "at the model", 1);
        expect(stage.seen(), &[("at the model", 1)]);
        let _waits = stage.send(scope, "waits", 1);
        stage.wait_for(1);
        let held = stage.send(scope, "held", 100).join().unwrap();
        assert_eq!((held.reranked, held.cache), (true, CacheUse { hits: 100, misses: 0 }));
        assert_eq!((held.timings.rerank, held.timings.queue), (Duration::ZERO, Duration::ZERO));
        stage.step();
        stage.step();
    });
}

#[test]
fn the_time_in_the_queue_ends_when_the_first_batch_begins() {
    let stage = Stage::new(batches_of(1));
    thread::scope(|scope| {
        let _release = Release(&stage);
        let request = stage.send(scope, "query", 2);
        stage.seen();
        stage.step();
        stage.seen();
        stage.step();
        let timings = request.join().unwrap().timings;
        assert!(timings.queue < timings.rerank && timings.rerank <= timings.total, "{timings:?}");
    });
}

#[test]
fn an_idle_model_waits_for_others_until_its_batch_is_full() {
    let an_hour_micros = 3_600_000_000;
    let stage = Stage::new(PipelineConfig { wait_micros: an_hour_micros, ..batches_of(5) });
    thread::scope(|scope| {
        let _release = Release(&stage);
        let first = stage.send(scope, "first", 3);
        stage.wait_for(1);
        let second = stage.send(scope, "second", 2);
        expect_either_order(stage.seen(), &[("first", 3), ("second", 2)]);
        stage.step();
        assert!(first.join().unwrap().reranked && second.join().unwrap().reranked);
    });
}

fn expect_either_order(mut seen: Vec<(String, usize)>, expected: &[(&str, usize)]) {
    seen.sort();
    expect(seen, expected);
}

#[test]
fn the_thread_ends_with_the_pipeline() {
    for wait_micros in [0, 3_600_000_000] {
        let reranker = Arc::new(FakeReranker::hashing());
        let config = PipelineConfig { wait_micros, ..PipelineConfig::default() };
        drop(Pipeline::without_first_stage(reranker.clone(), config).unwrap());
        while Arc::strong_count(&reranker) > 1 {
            thread::yield_now();
        }
    }
}

#[test]
fn a_pipeline_does_not_wait_for_its_batch_to_end() {
    let gate = Gate::closed();
    let reranker = Arc::new(FakeReranker::hashing().behind(gate.clone()));
    let config = PipelineConfig { deadline: Some(Duration::from_millis(5)), ..PipelineConfig::default() };
    let pipeline = Pipeline::without_first_stage(reranker.clone(), config).unwrap();
    let late = pipeline.rerank(&SearchRequest::new("query"), toy::candidates(3)).unwrap();
    assert_eq!(late.fallback, Some(Fallback::DeadlinePassed));
    drop(pipeline);
    gate.open();
    while Arc::strong_count(&reranker) > 1 {
        thread::yield_now();
    }
}

/// The hits, without the origins of their scores.
fn without_origins(answer: &Answer) -> Vec<Hit> {
    answer.hits.iter().map(|hit| Hit { score_origin: None, ..hit.clone() }).collect()
}

/// A request of the property below: its query, its depth, and whether it is cancelled before it is sent.
type Sent = (u8, usize, bool);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn company_changes_no_answer(
        sent in prop::collection::vec((0_u8..3, 1_usize..12, prop::bool::weighted(0.2)), 1..8),
        tokens_max in 1_usize..20,
        wait_micros in prop::sample::select(vec![0_u64, 50]),
        entries_max in prop::sample::select(vec![0_usize, 3, 1_000]),
    ) {
        let cache = CacheConfig { entries_max, ..CacheConfig::default() };
        let config = PipelineConfig { wait_micros, cache, ..batches_of(tokens_max) };
        let ask = |pipeline: &Pipeline<_, FakeReranker>, &(query, depth, is_given_up): &Sent| {
            let request = SearchRequest { depth: Some(non_zero(depth)), ..SearchRequest::new(query.to_string()) };
            if is_given_up {
                request.cancellation.cancel();
            }
            pipeline.rerank(&request, toy::candidates(depth)).unwrap()
        };
        let new = |config| Pipeline::without_first_stage(FakeReranker::hashing(), config).unwrap();
        let together = new(config);
        let answers: Vec<Answer> = thread::scope(|scope| {
            let requests: Vec<_> = sent.iter().map(|sent| scope.spawn(|| ask(&together, sent))).collect();
            requests.into_iter().map(|request| request.join().unwrap()).collect()
        });
        for ((query, depth, is_given_up), answer) in sent.into_iter().zip(answers) {
            // A cancelled one may still find all its scores in the cache.
            let alone = ask(&new(batches_of(100)), &(query, depth, is_given_up && !answer.reranked));
    prop_assert_eq!(without_origins(&answer), without_origins(&alone));
            prop_assert_eq!(answer.fallback, alone.fallback);
        }
    }
}
