//! Reranked, fallen back, or not asked for.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lorank_core::{AdapterId, BoxError, Deadline, EncodedPair, Group, ModelVersion, Reranker, Score};
use lorank_tantivy::Texts;
use lorank_tantivy::collector::{FallbackReason, Outcome};
use lorank_testing::toy::{self, FakeReranker, Fault, ToyPair};

use super::{Shelf, by_length, n, places, rerank};

fn three() -> Shelf {
    Shelf::of(&[&["cat", "cat and dog", "cat and dog and eel"]])
}

const FIRST_STAGE: [(u32, u32); 3] = [(0, 0), (0, 1), (0, 2)];
const RERANKED: [(u32, u32); 3] = [(0, 2), (0, 1), (0, 0)];

#[test]
fn an_answer_says_whose_order_it_is_in() {
    let answer = three().search("cat", &rerank(by_length()));
    assert_eq!((places(&answer).as_slice(), &answer.outcome), (&RERANKED[..], &Outcome::Reranked));
    assert_eq!(answer.model, Some(toy::model(None)));

    let reranker = by_length();
    let off = three().search("cat", &rerank(reranker.clone()).rerank(false).depth(n(1)));
    assert_eq!((places(&off).as_slice(), &off.outcome, &off.model), (&FIRST_STAGE[..], &Outcome::NotAsked, &None));
    assert!(off.hits.iter().all(|hit| hit.rerank_score.is_none()) && reranker.n_calls() == 0);
}

#[test]
fn a_failing_reranker_leaves_the_first_stages_order() {
    let failed = |fault, message: &str| {
        let reranker = by_length();
        reranker.set_fault(Some(fault));
        let answer = three().search("cat", &rerank(reranker));
        let reason = FallbackReason::RerankerFailed { message: message.into() };
        assert_eq!((reason.reason(), reason.to_string().as_str()), ("reranker_failed", message));
        assert_eq!((places(&answer).as_slice(), answer.outcome), (&FIRST_STAGE[..], Outcome::FellBack { reason }));
        assert!(answer.hits.iter().all(|hit| hit.rerank_score.is_none()) && answer.model.is_some());
    };
    failed(Fault::Error("out of memory"), "out of memory");
    failed(Fault::Panic("a bug"), "the reranker panicked: a bug");
    failed(Fault::OneScoreTooFew, "the reranker returned 2 scores for 3 pairs");
    failed(Fault::NoScores, "the reranker returned 0 scores for 3 pairs");
    failed(Fault::Encoding("no tokens"), "no tokens");
    let nan = Arc::new(FakeReranker::by(|_, _, _| f32::NAN));
    let answer = three().search("cat", &rerank(nan));
    assert!(matches!(answer.outcome, Outcome::FellBack { .. }), "{:?}", answer.outcome);
}

#[test]
fn past_its_deadline_a_search_reads_no_text_and_asks_no_model() {
    let reranker = by_length();
    let past = Deadline::at(Instant::now());
    let texts = Texts::from_fn(|_| panic!("nobody reads the texts"));
    let collector = lorank_tantivy::RerankCollector::new("cat", reranker.clone(), texts).deadline(past);
    let answer = three().search("cat", &collector);
    assert_eq!(answer.outcome, Outcome::FellBack { reason: FallbackReason::DeadlinePassed });
    assert_eq!((places(&answer).as_slice(), reranker.n_calls()), (&FIRST_STAGE[..], 0));

    let future = Deadline::after(Duration::from_secs(3600));
    assert!(three().search("cat", &rerank(reranker).deadline(future)).outcome.is_reranked());
}

/// Takes as long as there is until the deadline for its first batch. Each of its pairs is as much as a batch holds.
struct Slow {
    deadline: Deadline,
    n_pairs: AtomicUsize,
}

impl Reranker for Slow {
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        Ok(toy::model(adapter))
    }

    fn encode(&self, group: Group<'_>, _deadline: Option<Deadline>) -> Result<Vec<EncodedPair>, BoxError> {
        Ok(ToyPair::encode(group, NonZeroUsize::new(100_000).unwrap()))
    }

    fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
        while !self.deadline.has_passed() {
            std::thread::yield_now();
        }
        self.n_pairs.fetch_add(batch.len(), Ordering::SeqCst);
        batch.iter().map(|_| Ok(Score::new(1.0).unwrap())).collect()
    }
}

#[test]
fn the_model_stops_at_the_deadline() {
    let deadline = Deadline::after(Duration::from_millis(20)).unwrap();
    let slow = Arc::new(Slow { deadline, n_pairs: AtomicUsize::new(0) });
    let answer = three().search("cat", &rerank(slow.clone()).deadline(deadline));
    assert_eq!(answer.outcome, Outcome::FellBack { reason: FallbackReason::DeadlinePassed });
    assert!(slow.n_pairs.load(Ordering::SeqCst) <= 1);
}

#[test]
fn batches_change_no_order() {
    // 1,500 pairs at one token each: two batches with a deadline, one without.
    let bodies: Vec<String> = (0..1500).map(|n| format!("cat {}", "x".repeat(n * 7919 % 1500))).collect();
    let shelf = Shelf::of(&[&bodies.iter().map(String::as_str).collect::<Vec<_>>()]);
    let reranker = by_length();
    let search = |deadline: Option<Deadline>| {
        let collector = rerank(reranker.clone()).depth(n(1500)).top_k(n(1500)).deadline(deadline);
        shelf.search("cat", &collector)
    };
    let at_once = search(None);
    assert_eq!((reranker.n_calls(), reranker.n_pairs()), (1, 1500));
    assert_eq!(search(Deadline::after(Duration::from_secs(3600))), at_once);
    assert_eq!((reranker.n_calls(), reranker.n_pairs()), (3, 3000));
}

#[test]
fn adapters_are_named_and_an_unknown_one_is_an_error() {
    let reranker = Arc::new(FakeReranker::hashing().with_adapters(&["qa"]));
    let id = |name: &str| name.parse::<AdapterId>().unwrap();
    let answer = three().search("cat", &rerank(reranker.clone()).adapter(id("qa")));
    assert_eq!(answer.model, Some(toy::model(Some(&id("qa")))));

    let shelf = three();
    let error = shelf.searcher().search(&*shelf.query("cat"), &rerank(reranker).adapter(id("law"))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "An invalid argument was passed: 'the adapter `law` cannot be used: no adapter `law` is loaded; loaded are {\"qa\"}'"
    );
}

#[test]
fn a_score_that_overflows_is_an_error() {
    let shelf = three();
    let query = lorank_tantivy::tantivy::query::BoostQuery::new(shelf.query("cat"), f32::INFINITY);
    let error = shelf.searcher().search(&query, &rerank(by_length())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "An invalid argument was passed: 'the query's boosts cannot be ranked by: the score is `inf`, which is not a finite number'"
    );
}
