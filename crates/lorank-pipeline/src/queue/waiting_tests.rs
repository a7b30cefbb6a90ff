//! The choice of batches, step by step and without threads.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lorank_cache::{CacheConfig, KeyMaker, ScoreCache};
use lorank_core::{Candidate, Deadline, EncodedPair, ModelVersion, Query, Score};
use lorank_testing::toy::{self, FakeReranker, Fault, ToyPair};
use proptest::prelude::*;

use super::base_copy::BaseCopy;
use super::batch::Batch;
use super::began::Began;
use super::waiting::{Request, Waiting};
use super::{Limits, Outcome, Submission};
use crate::{Cancellation, Fallback};

pub(super) fn non_zero(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

/// The waiting requests, the cache, and limits that admit all requests of a test.
pub(super) struct Desk {
    pub(super) waiting: Waiting,
    cache: ScoreCache,
    limits: Limits,
    /// The base model of the requests that enter.
    pub(super) base: BaseCopy,
    /// The simulated time.
    pub(super) now: Instant,
}

/// A caller, which waits as long as this value exists.
pub(super) struct Caller {
    query: Query,
    texts: Vec<String>,
    began: Option<Arc<Began>>,
    cancellation: Cancellation,
    answer: Receiver<Outcome>,
}

impl Desk {
    pub(super) fn new(tokens_max: usize, cache: CacheConfig) -> Self {
        let (requests_max, pairs_max) = (non_zero(1_000), non_zero(1_000_000));
        let (tokens_max, wait) = (non_zero(tokens_max), Duration::ZERO);
        let limits = Limits { requests_max, pairs_max, tokens_max, wait, admits_by_estimate: true };
        let base = BaseCopy::from(&toy::model(None));
        Self { waiting: Waiting::default(), cache: ScoreCache::new(cache), limits, base, now: Instant::now() }
    }

    /// Submits a request for these texts with their costs in tokens.
    pub(super) fn enter(&mut self, query: &str, pairs: &[(String, usize)]) -> Result<Caller, Fallback> {
        self.enter_as(false, query, pairs)
    }

    fn enter_as(&mut self, is_background: bool, query: &str, pairs: &[(String, usize)]) -> Result<Caller, Fallback> {
        self.enter_until(None, is_background, query, pairs)
    }

    pub(super) fn enter_until(
        &mut self,
        deadline: Option<Deadline>,
        is_background: bool,
        query: &str,
        pairs: &[(String, usize)],
    ) -> Result<Caller, Fallback> {
        let (query, model) = (
            Query::new(query),
            ModelVersion { base_digest: self.base.digest, precision: self.base.precision, ..toy::model(None) },
        );
        let maker = KeyMaker::new(&query.text, &model);
        let keys = pairs.iter().map(|(text, _)| maker.key(None, text)).collect();
        let (shared_query, model) = (Arc::new(query.clone()), Arc::new(model));
        let encode = |(text, n_tokens): &(String, usize)| {
            let (query, model) = (shared_query.clone(), model.clone());
            EncodedPair::new(non_zero(*n_tokens), ToyPair { query, model, candidate: candidate(text) })
        };
        let (cancellation, began) = (Cancellation::default(), Arc::new(Began::not_yet(1)));
        let (reply, answer) = mpsc::sync_channel(1);
        let submission = Submission {
            base: self.base,
            pairs: pairs.iter().map(encode).collect(),
            keys,
            deadline,
            cancellation: cancellation.clone(),
            is_background,
        };
        let request = Request::new(submission, Arc::downgrade(&began), reply);
        self.waiting.admit(request, &self.limits, self.now)?;
        let texts = pairs.iter().map(|(text, _)| text.clone()).collect();
        Ok(Caller { query, texts, began: Some(began), cancellation, answer })
    }

    pub(super) fn next_batch(&mut self) -> Batch {
        self.waiting.next_batch(self.limits.tokens_max, &self.cache, self.now)
    }

    fn finish(&mut self, batch: Batch, reranker: &FakeReranker) {
        self.finish_after(Duration::ZERO, batch, reranker);
    }

    /// Finishes a batch after the given time.
    pub(super) fn finish_after(&mut self, took: Duration, batch: Batch, reranker: &FakeReranker) {
        self.now += took;
        let outcomes = batch.score(reranker);
        batch.keep(&outcomes, &self.cache);
        self.waiting.finish(batch, outcomes, took, self.now);
    }
}

impl Caller {
    pub(super) fn is_answered_with_its_scores(&self) -> bool {
        let score = |text: &String| toy::hashed_score(&self.query, &toy::model(None), &candidate(text));
        let expected: Vec<_> = self.texts.iter().map(|text| Score::new(score(text)).unwrap()).collect();
        self.answer.try_recv() == Ok(Ok(expected))
    }
}

fn candidate(text: &str) -> Candidate {
    Candidate::new(text, text, Score::new(0.0).unwrap())
}

/// Pairs with these costs and distinct texts.
pub(super) fn pairs(costs: &[usize]) -> Vec<(String, usize)> {
    costs.iter().enumerate().map(|(n, &cost)| (n.to_string(), cost)).collect()
}

/// The number of pairs of each request in the batch.
pub(super) fn counts(batch: &Batch, n_requests: usize) -> Vec<usize> {
    let of = |request| batch.pairs.iter().filter(|pair| pair.request == request as u64).count();
    (0..n_requests).map(of).collect()
}

/// Checks the batches of requests that arrive together: requests are costs of pairs, batches are numbers of pairs per
/// request.
fn check(tokens_max: usize, requests: &[&[usize]], expected: &[&[usize]]) {
    let mut desk = Desk::new(tokens_max, CacheConfig::default());
    let enter = |(n, costs): (usize, &&[usize])| desk.enter(&format!("query {n}"), &pairs(costs)).unwrap();
    let callers: Vec<Caller> = requests.iter().enumerate().map(enter).collect();
    let mut found = Vec::new();
    while !desk.waiting.is_empty() {
        let batch = desk.next_batch();
        found.push(counts(&batch, requests.len()));
        desk.finish(batch, &FakeReranker::hashing());
    }
    assert_eq!(found, expected, "{requests:?} in batches of {tokens_max}");
    assert!(callers.iter().all(Caller::is_answered_with_its_scores));
}

#[test]
fn batches_are_filled_in_equal_parts() {
    check(4, &[&[1; 10]], &[&[4], &[4], &[2]]);
    check(4, &[&[1; 4], &[1; 4]], &[&[2, 2], &[2, 2]]);
    // Capacity that a small request does not use goes to larger ones.
    check(9, &[&[1; 20], &[1, 1]], &[&[7, 2], &[9, 0], &[4, 0]]);
    check(9, &[&[1; 6], &[1; 6], &[1]], &[&[4, 4, 1], &[2, 2, 0]]);
    // Equal shares in tokens, not in pairs.
    check(12, &[&[1; 12], &[3; 4]], &[&[6, 2], &[6, 2]]);
    // If there are more requests than a batch has room for, they take turns, the earlier ones first.
    check(2, &[&[1, 1], &[1, 1], &[1, 1]], &[&[1, 1, 0], &[1, 0, 1], &[0, 1, 1]]);
}

#[test]
fn a_pair_that_is_too_long_for_any_batch_goes_alone() {
    check(4, &[&[9, 1, 9]], &[&[1], &[1], &[1]]);
    check(4, &[&[9], &[1, 1]], &[&[0, 2], &[1, 0]]);
    check(4, &[&[usize::MAX, usize::MAX]], &[&[1], &[1]]);
}

#[test]
fn a_long_pair_is_passed_over_only_as_long_as_the_others_catch_up() {
    check(4, &[&[3; 3], &[1; 9]], &[&[0, 4], &[1, 1], &[1, 1], &[0, 3], &[1, 0]]);
}

#[test]
fn a_long_pair_is_not_starved_by_short_requests_that_keep_coming() {
    let mut desk = Desk::new(4, CacheConfig::default());
    let long = desk.enter("long", &pairs(&[3])).unwrap();
    let mut short = Vec::new();
    // Two of them fill a batch, and at the start each is nearer to its end than the long one.
    let expected = [[0, 1, 1, 0, 0], [1, 0, 0, 0, 0]];
    for (n, expected) in expected.into_iter().enumerate() {
        short.extend([2 * n, 2 * n + 1].map(|n| desk.enter(&n.to_string(), &pairs(&[2])).unwrap()));
        let batch = desk.next_batch();
        assert_eq!(counts(&batch, 5), expected);
        desk.finish(batch, &FakeReranker::hashing());
    }
    assert!(long.is_answered_with_its_scores());
}

#[test]
fn a_thousand_documents_delay_ten_by_no_more_than_the_batch_that_runs() {
    let mut desk = Desk::new(400, CacheConfig::default());
    let _large = desk.enter("large", &pairs(&[10; 1_000])).unwrap();
    let running = desk.next_batch();
    assert_eq!(counts(&running, 2), [40, 0]);
    let small = desk.enter("small", &pairs(&[10; 10])).unwrap();
    desk.finish(running, &FakeReranker::hashing());
    let next = desk.next_batch();
    assert_eq!(counts(&next, 2), [30, 10]);
    desk.finish(next, &FakeReranker::hashing());
    assert!(small.is_answered_with_its_scores());
}

#[test]
fn background_work_waits_for_the_rest_and_then_goes_in_small_batches() {
    let mut desk = Desk::new(2_000, CacheConfig::default());
    let background = desk.enter_as(true, "background", &pairs(&[200; 4])).unwrap();
    let reranker = FakeReranker::hashing();
    let batch = desk.next_batch();
    assert_eq!(counts(&batch, 2), [2, 0], "two of 200 tokens in at most 512");
    desk.finish(batch, &reranker);
    let caller = desk.enter("other", &pairs(&[200; 11])).unwrap();
    for expected in [[0, 10], [0, 1], [2, 0]] {
        let batch = desk.next_batch();
        assert_eq!(counts(&batch, 2), expected);
        desk.finish(batch, &reranker);
    }
    assert!(background.is_answered_with_its_scores() && caller.is_answered_with_its_scores());
}

#[test]
fn background_work_takes_nobody_elses_place() {
    let mut desk = Desk::new(10, CacheConfig::default());
    desk.limits.requests_max = non_zero(1);
    let _background = desk.enter_as(true, "background", &pairs(&[1])).unwrap();
    assert!(desk.enter_as(true, "more", &pairs(&[1])).is_err_and(|reason| reason == Fallback::QueueFull));
    let _caller = desk.enter("caller", &pairs(&[1])).unwrap();
    assert!(desk.enter("another", &pairs(&[1])).is_err());
}

#[test]
fn what_another_request_had_scored_meanwhile_is_not_scored_again() {
    let mut desk = Desk::new(10, CacheConfig::default());
    let callers = ["same", "same"].map(|query| desk.enter(query, &pairs(&[4, 4, 4])).unwrap());
    let batch = desk.next_batch();
    assert_eq!((counts(&batch, 2), batch.joined.len()), (vec![1, 1], 2), "equal pairs of one batch are scored once");
    let late = desk.enter("same", &pairs(&[4, 4, 4])).unwrap();
    desk.finish(batch, &FakeReranker::hashing());
    let batch = desk.next_batch();
    assert_eq!((counts(&batch, 3), batch.joined.len()), (vec![1, 0, 0], 2), "what the first batch had is in the cache");
    desk.finish(batch, &FakeReranker::hashing());
    assert!(callers.iter().chain([&late]).all(Caller::is_answered_with_its_scores));
}

#[test]
fn a_pair_that_fails_takes_only_its_request_with_it() {
    let mut desk = Desk::new(10, CacheConfig::OFF);
    let failing = desk.enter("q", &[("a".to_owned(), 1), ("bad".to_owned(), 1)]).unwrap();
    let other = desk.enter("q", &[("a".to_owned(), 1), ("b".to_owned(), 1)]).unwrap();
    let batch = desk.next_batch();
    assert_eq!((counts(&batch, 2), batch.joined.len()), (vec![2, 1], 1));
    desk.finish(batch, &fails_on_bad());
    assert!(matches!(failing.answer.try_recv(), Ok(Err(Fallback::RerankerFailed { .. }))));
    assert!(other.is_answered_with_its_scores(), "the failing request's other pair has served it");
}

#[test]
fn a_pair_whose_equal_failed_is_scored_for_itself() {
    let mut desk = Desk::new(10, CacheConfig::OFF);
    let [failing, other] = [(); 2].map(|()| desk.enter("q", &pairs(&[1])).unwrap());
    let reranker = FakeReranker::hashing();
    reranker.set_fault(Some(Fault::Error("broken")));
    let batch = desk.next_batch();
    assert_eq!((counts(&batch, 2), batch.joined.len()), (vec![1, 0], 1));
    desk.finish(batch, &reranker);
    assert!(matches!(failing.answer.try_recv(), Ok(Err(Fallback::RerankerFailed { .. }))));
    reranker.set_fault(None);
    let batch = desk.next_batch();
    assert_eq!(counts(&batch, 2), [0, 1]);
    desk.finish(batch, &reranker);
    assert!(other.is_answered_with_its_scores());
}

/// Scores like the toy reranker, and fails on the text `bad`.
fn fails_on_bad() -> FakeReranker {
    FakeReranker::by(
        |query, model, candidate| {
            if &*candidate.text == "bad" { f32::NAN } else { toy::hashed_score(query, model, candidate) }
        },
    )
}

/// A desk whose model was measured at 100 tokens per second, in batches of up to 10.
fn measured_desk() -> Desk {
    let mut desk = Desk::new(10, CacheConfig::default());
    let _caller = desk.enter("measures", &pairs(&[10])).unwrap();
    let batch = desk.next_batch();
    desk.finish_after(Duration::from_millis(100), batch, &FakeReranker::hashing());
    assert_eq!(desk.waiting.stats().tokens_per_second, 100);
    desk
}

#[test]
fn what_cannot_be_done_in_time_is_refused_at_once() {
    let mut desk = measured_desk();
    let until = |desk: &Desk, millis| Some(Deadline::at(desk.now + Duration::from_millis(millis)));
    let deadline = until(&desk, 1_000);
    // 100 tokens take a second, and the margin is a tenth of it.
    let refused = desk.enter_until(deadline, false, "large", &pairs(&[10; 10])).err();
    assert!(
        matches!(refused, Some(Fallback::WouldMissDeadline { retry_after }) if retry_after.as_millis().abs_diff(100) <= 1),
        "{refused:?}"
    );
    let _first = desk.enter_until(deadline, false, "first", &pairs(&[10; 5])).unwrap();
    // It would finish in time, but the first one would not any more.
    let later = until(&desk, 60_000);
    assert!(desk.enter_until(later, false, "second", &pairs(&[10; 6])).is_err());
    assert!(desk.enter_until(None, false, "third", &pairs(&[10; 6])).is_err());
    assert!(desk.enter_until(later, false, "fourth", &pairs(&[10; 3])).is_ok());
    assert!(desk.enter_as(true, "background", &pairs(&[10; 50])).is_ok(), "it delays nobody");
}

#[test]
fn an_idle_model_tries_against_an_old_estimate() {
    let mut desk = measured_desk();
    let enter = |desk: &mut Desk, query: &str| {
        let deadline = Some(Deadline::at(desk.now + Duration::from_millis(1_000)));
        desk.enter_until(deadline, false, query, &pairs(&[10; 20])).map(drop)
    };
    assert!(enter(&mut desk, "at once").is_err());
    desk.now += Duration::from_secs(1);
    assert!(enter(&mut desk, "a second later").is_ok());
}

#[test]
fn without_admission_nothing_is_refused_for_its_deadline() {
    let mut desk = measured_desk();
    desk.limits.admits_by_estimate = false;
    let deadline = Some(Deadline::at(desk.now + Duration::from_millis(1)));
    assert!(desk.enter_until(deadline, false, "late", &pairs(&[10; 20])).is_ok());
}

#[test]
fn a_full_queue_counts_only_those_who_still_wait() {
    for (requests_max, pairs_max) in [(2, 1_000), (1_000, 6)] {
        let mut desk = Desk::new(1, CacheConfig::default());
        desk.limits = Limits { requests_max: non_zero(requests_max), pairs_max: non_zero(pairs_max), ..desk.limits };
        let mut enter = |query| desk.enter(query, &pairs(&[1; 3]));
        let (first, mut second) = (enter("first").unwrap(), enter("second").unwrap());
        assert_eq!(enter("third").err(), Some(Fallback::QueueFull));
        first.cancellation.cancel();
        assert!(enter("fourth").is_ok());
        assert_eq!(first.answer.try_recv(), Ok(Err(Fallback::Cancelled)), "its caller is told at once");
        second.began = None;
        assert!(enter("fifth").is_ok(), "the second caller has gone");
        assert_eq!(desk.waiting.stats().n_requests_waiting, 1, "and so have the fourth and the fifth");
    }
}

#[test]
fn an_empty_queue_takes_a_request_of_any_size() {
    let mut desk = Desk::new(1, CacheConfig::default());
    desk.limits = Limits { pairs_max: non_zero(2), ..desk.limits };
    let _large = desk.enter("large", &pairs(&[1; 5])).unwrap();
    assert_eq!(desk.enter("small", &pairs(&[1])).err(), Some(Fallback::QueueFull));
}

#[test]
fn a_closed_queue_answers_all_and_takes_none() {
    let mut desk = Desk::new(1, CacheConfig::default());
    let caller = desk.enter("first", &pairs(&[1; 3])).unwrap();
    let ended = Fallback::RerankerFailed { message: "the reranker's thread has stopped".to_owned() };
    desk.waiting.close();
    assert_eq!(caller.answer.try_recv(), Ok(Err(ended.clone())));
    assert_eq!(desk.enter("second", &pairs(&[1])).err(), Some(ended));
}

#[test]
fn the_statistics_tell_waiting_from_done() {
    let mut desk = Desk::new(4, CacheConfig::default());
    let _callers = ["a", "b"].map(|query| desk.enter(query, &pairs(&[1, 2, 3])).unwrap());
    let batch = desk.next_batch();
    let stats = desk.waiting.stats();
    assert_eq!((stats.n_requests_waiting, stats.n_pairs_waiting, stats.n_tokens_waiting), (2, 3, 8));
    desk.finish(batch, &FakeReranker::hashing());
    let stats = desk.waiting.stats();
    assert_eq!((stats.n_batches, stats.n_pairs_scored, stats.n_tokens_run), (1, 3, 4));
}

/// The maximum cost of a pair in the properties.
const COST_MAX: usize = 20;

/// With this much room per request, a batch includes every request that is not ahead of the others.
const ROOM: usize = 3 * COST_MAX;

fn costs() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..=COST_MAX, 1..30)
}

/// Requests that arrive together.
fn desk_with(requests: &[Vec<usize>], tokens_max: usize) -> (Desk, Vec<Caller>) {
    let mut desk = Desk::new(tokens_max, CacheConfig::default());
    let enter = |(n, costs): (usize, &Vec<usize>)| desk.enter(&n.to_string(), &pairs(costs)).unwrap();
    let callers = requests.iter().enumerate().map(enter).collect();
    (desk, callers)
}

/// An event at the desk. Numbers select among the existing requests.
#[derive(Debug, Clone)]
enum Step {
    Arrive { query: u8, texts: Vec<u8> },
    Cancel(usize),
    Leave(usize),
    Begin,
    Finish { fault: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        // A request has distinct texts, as in the pipeline.
        3 => (0_u8..2, prop::collection::hash_set(0_u8..9, 1..6))
            .prop_map(|(query, texts)| Step::Arrive { query, texts: texts.into_iter().collect() }),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => any::<usize>().prop_map(Step::Leave),
        3 => Just(Step::Begin),
        3 => prop::bool::weighted(0.2).prop_map(|fault| Step::Finish { fault }),
    ];
    prop::collection::vec(step, 0..40)
}

/// The text of a number; one of them makes its group fail.
fn text(n: u8) -> String {
    if n == 8 { "bad".to_owned() } else { n.to_string() }
}

/// A simulation of all events, and of the allowed answers.
struct Play {
    desk: Desk,
    reranker: FakeReranker,
    callers: Vec<Caller>,
    running: Option<Batch>,
    /// Requests with pairs in a batch that failed as a whole.
    hit: HashSet<u64>,
    /// The pairs that the reranker scored.
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Play {
    fn new(tokens_max: usize, cache: CacheConfig) -> Self {
        let asked = Arc::<Mutex<Vec<_>>>::default();
        let reranker = FakeReranker::by({
            let asked = asked.clone();
            move |query, model, candidate| {
                if &*candidate.text == "bad" {
                    return f32::NAN;
                }
                asked.lock().unwrap().push((query.text.clone(), candidate.text.to_string()));
                toy::hashed_score(query, model, candidate)
            }
        });
        let (desk, callers, hit) = (Desk::new(tokens_max, cache), Vec::new(), HashSet::new());
        Self { desk, reranker, callers, running: None, hit, asked }
    }

    fn step(&mut self, step: Step) {
        let n_callers = self.callers.len();
        match step {
            Step::Arrive { query, texts } => {
                let pairs: Vec<_> = texts.into_iter().map(|n| (text(n), 1 + usize::from(n) % 3)).collect();
                self.callers.push(self.desk.enter(&query.to_string(), &pairs).unwrap());
            }
            Step::Cancel(n) if n_callers > 0 => self.callers[n % n_callers].cancellation.cancel(),
            Step::Leave(n) if n_callers > 0 => self.callers[n % n_callers].began = None,
            Step::Cancel(_) | Step::Leave(_) => {}
            Step::Begin => {
                self.running =
                    self.running.take().or_else(|| Some(self.desk.next_batch())).filter(|batch| !batch.is_empty());
            }
            Step::Finish { fault } => self.finish(fault),
        }
    }

    fn finish(&mut self, fault: bool) {
        let Some(batch) = self.running.take() else { return };
        if fault {
            self.hit.extend(batch.pairs.iter().map(|pair| pair.request));
        }
        self.reranker.set_fault(fault.then_some(Fault::NoScores));
        self.desk.finish(batch, &self.reranker);
    }

    /// Runs the rest, without faults.
    fn drain(&mut self) {
        self.finish(false);
        self.reranker.set_fault(None);
        while !self.desk.waiting.is_empty() {
            let batch = self.desk.next_batch();
            self.desk.finish(batch, &self.reranker);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_request_within_its_share_is_wholly_in_the_next_batch(
        others in prop::collection::vec(costs(), 0..6),
        small in costs(),
        n_batches_before in 0_usize..5,
        slack in 0_usize..10,
    ) {
        let (mut desk, _callers) = desk_with(&others, ROOM * (1 + others.len()));
        // They have waited before, so some are ahead of others.
        for _ in 0..n_batches_before {
            let batch = desk.next_batch();
            desk.finish(batch, &FakeReranker::hashing());
        }
        let share = small.iter().sum::<usize>() + slack;
        desk.limits.tokens_max = non_zero(share * (1 + others.len()));
        let caller = desk.enter("small", &pairs(&small)).unwrap();
        let batch = desk.next_batch();
        prop_assert_eq!(counts(&batch, 1 + others.len())[others.len()], small.len());
        desk.finish(batch, &FakeReranker::hashing());
        prop_assert!(caller.is_answered_with_its_scores());
    }

    #[test]
    fn requests_stay_level(requests in prop::collection::vec(costs(), 1..6), room in 0_usize..50) {
        let (mut desk, _callers) = desk_with(&requests, ROOM * requests.len() + room);
        let mut n_taken = vec![0; requests.len()];
        while !desk.waiting.is_empty() {
            let batch = desk.next_batch();
            for (n_taken, n_new) in n_taken.iter_mut().zip(counts(&batch, requests.len())) {
                *n_taken += n_new;
            }
            desk.finish(batch, &FakeReranker::hashing());
            let waits = |&n: &usize| n_taken[n] < requests[n].len();
            let levels = (0..requests.len()).filter(waits).map(|n| requests[n][..n_taken[n]].iter().sum::<usize>());
            let (least, most) = levels.fold((usize::MAX, 0), |(least, most), level| (least.min(level), most.max(level)));
            // One long pair ahead, and another one that did not fit into the batch.
            prop_assert!(most <= least.saturating_add(2 * COST_MAX), "{least} to {most}");
        }
    }

    #[test]
    fn batches_keep_to_their_tokens(requests in prop::collection::vec(costs(), 1..6), tokens_max in 1_usize..60) {
        let (mut desk, callers) = desk_with(&requests, tokens_max);
        while !desk.waiting.is_empty() {
            let batch = desk.next_batch();
            let n_pairs: usize = counts(&batch, requests.len()).iter().sum();
            prop_assert!(n_pairs == 1 || (n_pairs > 1 && batch.n_tokens <= tokens_max));
            desk.finish(batch, &FakeReranker::hashing());
        }
        prop_assert!(callers.iter().all(Caller::is_answered_with_its_scores));
    }

    /// Whatever arrives, leaves, fails or repeats: each request gets one answer, with its own scores unless it was
    /// cancelled or the reranker failed on it.
    #[test]
    fn every_request_is_answered_once(
        steps in steps(),
        tokens_max in 1_usize..12,
        cache in prop::sample::select(vec![CacheConfig::default(), CacheConfig::OFF]),
    ) {
        let mut play = Play::new(tokens_max, cache);
        for step in steps {
            play.step(step);
        }
        play.drain();
        for (number, caller) in play.callers.iter().enumerate() {
            let was_given_up = caller.cancellation.is_cancelled() || caller.began.is_none();
            let was_hit = play.hit.contains(&(number as u64)) || caller.texts.iter().any(|text| text == "bad");
            let answered = caller.answer.try_recv();
            prop_assert_eq!(caller.answer.try_recv(), Err(TryRecvError::Disconnected), "one answer, not two");
            match answered.expect("an answer") {
                Ok(scores) => {
                    let score = |text: &String| toy::hashed_score(&caller.query, &toy::model(None), &candidate(text));
                    let expected: Vec<f32> = caller.texts.iter().map(score).collect();
                    prop_assert_eq!(scores.into_iter().map(Score::get).collect::<Vec<_>>(), expected);
                }
                Err(Fallback::Cancelled) => prop_assert!(was_given_up),
                Err(Fallback::RerankerFailed { .. }) => prop_assert!(was_hit),
                Err(other) => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn with_a_cache_no_pair_is_scored_twice(steps in steps(), tokens_max in 1_usize..12) {
        // Without failures, which lose scores.
        let is_sound = |step: &Step| match step {
            Step::Arrive { texts, .. } => !texts.contains(&8),
            Step::Finish { fault } => !fault,
            _ => true,
        };
        let mut play = Play::new(tokens_max, CacheConfig::default());
        for step in steps.into_iter().filter(is_sound) {
            play.step(step);
        }
        play.drain();
        let asked = play.asked.lock().unwrap();
        prop_assert_eq!(asked.iter().collect::<HashSet<_>>().len(), asked.len());
    }
}
