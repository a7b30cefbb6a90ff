//! Requests on several base models, step by step and without threads.

use std::time::Duration;

use lorank_cache::CacheConfig;
use lorank_core::{Deadline, Precision};
use lorank_testing::toy::FakeReranker;

use super::base_copy::BaseCopy;
use super::waiting_tests::{Caller, Desk, counts, pairs};

/// The time of a token on each base model, in milliseconds: the second is ten times slower.
const MILLIS: [u64; 2] = [1, 10];

fn base(n: usize) -> BaseCopy {
    BaseCopy::numbered(n as u8)
}

fn enter(desk: &mut Desk, on: usize, query: &str, costs: &[usize]) -> Caller {
    desk.base = base(on);
    desk.enter(query, &pairs(costs)).unwrap()
}

/// Runs the next batch. Returns the number of pairs of each request, the base model and the time in milliseconds.
fn run(desk: &mut Desk, n_requests: usize) -> (Vec<usize>, usize, u64) {
    let batch = desk.next_batch();
    let on = (0..MILLIS.len()).find(|on| batch.base == Some(base(*on))).expect("a batch has a base model");
    let (counts, millis) = (counts(&batch, n_requests), MILLIS[on] * batch.n_tokens as u64);
    desk.finish_after(Duration::from_millis(millis), batch, &FakeReranker::hashing());
    (counts, on, millis)
}

/// A desk that has measured both base models, with the number of its requests so far.
fn measured(tokens_max: usize) -> (Desk, usize) {
    let mut desk = Desk::new(tokens_max, CacheConfig::default());
    for on in 0..MILLIS.len() {
        let _caller = enter(&mut desk, on, "measures", &[1; 10]);
        run(&mut desk, 2);
    }
    (desk, MILLIS.len())
}

#[test]
fn a_batch_has_pairs_of_one_base_model_and_they_take_turns() {
    let mut desk = Desk::new(4, CacheConfig::default());
    let callers = [(0, "a"), (0, "b"), (1, "c")].map(|(on, query)| enter(&mut desk, on, query, &[1; 4]));
    let found: Vec<Vec<usize>> = (0..3)
        .map(|_| {
            let batch = desk.next_batch();
            let found = counts(&batch, 3);
            desk.finish_after(Duration::from_millis(1), batch, &FakeReranker::hashing());
            found
        })
        .collect();
    assert_eq!(found, [[2, 2, 0], [0, 0, 4], [2, 2, 0]]);
    assert!(callers.iter().all(Caller::is_answered_with_its_scores));
}

#[test]
fn base_models_share_the_time_and_not_the_tokens() {
    let (mut desk, n_before) = measured(40);
    let fast = enter(&mut desk, 0, "fast", &[1; 5_000]);
    // The number of requests does not matter either.
    let slow = ["slow", "slower", "slowest"].map(|query| enter(&mut desk, 1, query, &[1; 5_000]));
    let mut millis = [0; 2];
    for _ in 0..60 {
        let (_, on, took) = run(&mut desk, n_before + 4);
        millis[on] += took;
    }
    drop((fast, slow));
    assert!(millis[0].abs_diff(millis[1]) <= 100, "{millis:?}");
}

#[test]
fn a_fast_request_waits_for_one_short_batch_of_a_slow_base_model() {
    let (mut desk, n_before) = measured(400);
    let _slow = enter(&mut desk, 1, "slow", &[1; 5_000]);
    run(&mut desk, n_before + 2);
    let batch = desk.next_batch();
    assert_eq!(batch.n_tokens, 50, "an eighth of the tokens of a batch of the fast one");
    let fast = enter(&mut desk, 0, "fast", &[1; 100]);
    desk.finish_after(Duration::from_millis(500), batch, &FakeReranker::hashing());
    assert_eq!(run(&mut desk, n_before + 2), (vec![0, 0, 0, 100], 0, 100));
    assert!(fast.is_answered_with_its_scores());
}

#[test]
fn a_slow_request_is_not_starved_by_fast_ones_that_keep_coming() {
    let (mut desk, n_before) = measured(40);
    let slow = enter(&mut desk, 1, "slow", &[10; 3]);
    let mut n_batches = 0;
    while !slow.is_answered_with_its_scores() {
        let query = format!("fast {n_batches}");
        let _fast = enter(&mut desk, 0, &query, &[1; 40]);
        run(&mut desk, n_before + 1);
        n_batches += 1;
        assert!(n_batches < 40, "300 ms of work, while 40 ms of work arrive before each batch");
    }
}

#[test]
fn admission_uses_the_pace_of_each_base_model() {
    let (mut desk, _) = measured(40);
    let enter_until = |desk: &mut Desk, on: usize, query: &str, n_tokens: usize, millis: u64| {
        desk.base = base(on);
        let deadline = Some(Deadline::at(desk.now + Duration::from_millis(millis)));
        desk.enter_until(deadline, false, query, &pairs(&vec![1; n_tokens]))
    };
    // 100 tokens take a tenth of a second on one and a second on the other, and each has half of the time.
    assert!(enter_until(&mut desk, 1, "slow", 100, 1_500).is_err());
    let _slow = enter_until(&mut desk, 1, "slow", 100, 2_600).unwrap();
    assert!(enter_until(&mut desk, 0, "fast", 100, 200).is_err());
    let _fast = enter_until(&mut desk, 0, "fast", 100, 400).unwrap();
    assert!(enter_until(&mut desk, 1, "slower", 100, 60_000).is_err(), "the first one would be late");
    assert!(enter_until(&mut desk, 0, "faster", 100, 60_000).is_err(), "the fast one would be late");
}

#[test]
fn a_base_model_that_is_not_measured_yet_is_tried() {
    let mut desk = Desk::new(40, CacheConfig::default());
    let _caller = enter(&mut desk, 0, "measures", &[1; 10]);
    run(&mut desk, 1);
    let _waits = enter(&mut desk, 0, "waits", &[1; 1_000]);
    desk.base = base(1);
    let deadline = Some(Deadline::at(desk.now + Duration::from_millis(1)));
    assert!(desk.enter_until(deadline, false, "tries", &pairs(&[1; 100])).is_ok());
    desk.base = base(0);
    assert!(desk.enter_until(deadline, false, "measured", &pairs(&[1; 100])).is_err());
}

#[test]
fn a_base_model_in_two_precisions_has_two_paces() {
    let copies = [Precision::F32, Precision::Int8].map(|precision| BaseCopy { precision, ..base(0) });
    let mut desk = Desk::new(40, CacheConfig::default());
    let callers = copies.map(|copy| {
        desk.base = copy;
        desk.enter(copy.precision.name(), &pairs(&[1; 10])).unwrap()
    });
    for millis_per_token in [10, 1] {
        let batch = desk.next_batch();
        assert_eq!(batch.n_tokens, 10, "a batch does not mix precisions");
        desk.finish_after(Duration::from_millis(10 * millis_per_token), batch, &FakeReranker::hashing());
    }
    drop(callers);
    // Each has half of the time: 100 tokens take 2 s in f32, and 0.2 s in int8.
    let mut admits = |copy: BaseCopy, millis: u64| {
        desk.base = copy;
        let deadline = Some(Deadline::at(desk.now + Duration::from_millis(millis)));
        desk.enter_until(deadline, false, copy.precision.name(), &pairs(&[1; 100])).is_ok()
    };
    assert!(!admits(copies[0], 1_500));
    assert!(admits(copies[1], 600));
    // 20 tokens in 110 ms.
    let both = desk.waiting.tokens_per_second_of(&base(0).digest).unwrap();
    assert!((both - 20.0 / 0.11).abs() < 1e-6, "{both}");
}
