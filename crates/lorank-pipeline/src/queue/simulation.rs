//! The queue under twice the capacity of the model, for one simulated minute.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use lorank_cache::{CacheConfig, KeyMaker, ScoreCache};
use lorank_core::{Deadline, EncodedPair, Score};
use lorank_testing::toy;

use super::base_copy::BaseCopy;
use super::began::Began;
use super::waiting::{Request, Waiting};
use super::{Limits, Outcome, Submission};
use crate::{Cancellation, Fallback, PipelineConfig};

/// The simulated throughput: a request of 100 passages alone takes 0.45 s.
const TOKENS_PER_SECOND: f64 = 40_000.0;

/// The base models.
const FAST: BaseCopy = BaseCopy::numbered(1);
const SLOW: BaseCopy = BaseCopy::numbered(2);

/// How many times slower the slow base model is.
const SLOWER: f64 = 20.0;

/// The simulated time.
const SECONDS: f64 = 60.0;

/// The arrival of a request.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    /// The base model; tokens on [`SLOW`] take [`SLOWER`] times as long.
    base: BaseCopy,
    at_seconds: f64,
    n_pairs: usize,
    tokens_per_pair: usize,
    deadline_seconds: f64,
}

impl Arrival {
    fn n_tokens(&self) -> usize {
        self.n_pairs * self.tokens_per_pair
    }
}

/// The results of a simulated minute.
#[derive(Debug, Default)]
struct Minute {
    n_offered: usize,
    n_admitted: usize,
    n_reranked: usize,
    tokens_offered: usize,
    tokens_reranked: usize,
    /// The requests that were offered and those that were reranked in time, by base model.
    by_base: BTreeMap<BaseCopy, (usize, usize)>,
}

impl Minute {
    /// The tokens reranked in time, as a share of the model's capacity.
    fn goodput(&self) -> f64 {
        self.tokens_reranked as f64 / (TOKENS_PER_SECOND * SECONDS)
    }
}

/// A caller that waits until its deadline.
struct Caller {
    arrival: Arrival,
    deadline: Instant,
    _began: Arc<Began>,
    answer: Receiver<Outcome>,
}

/// SplitMix64 (Steele, Lea and Flood, 2014): reproducible on every machine.
struct Random(u64);

impl Random {
    /// Uniform from 0 to 1.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn choose<T: Copy>(&mut self, among: &[T]) -> T {
        among[(self.uniform() * among.len() as f64) as usize]
    }
}

/// Arrivals at a multiple of the model's capacity, with exponentially distributed intervals.
fn arrivals(load: f64, n_pairs: &[usize], deadline_seconds: &[f64], random: &mut Random) -> Vec<Arrival> {
    const TOKENS_PER_PAIR: usize = 180;
    let mean_tokens = (n_pairs.iter().sum::<usize>() * TOKENS_PER_PAIR) as f64 / n_pairs.len() as f64;
    let per_second = load * TOKENS_PER_SECOND / mean_tokens;
    let (mut arrivals, mut at_seconds) = (Vec::new(), 0.0);
    loop {
        at_seconds -= (1.0 - random.uniform()).ln() / per_second;
        if at_seconds >= SECONDS {
            return arrivals;
        }
        let (n_pairs, deadline_seconds) = (random.choose(n_pairs), random.choose(deadline_seconds));
        arrivals.push(Arrival { base: FAST, at_seconds, n_pairs, tokens_per_pair: TOKENS_PER_PAIR, deadline_seconds });
    }
}

/// The queue's core with a model whose time is proportional to its tokens, with random `noise`.
struct Simulation {
    waiting: Waiting,
    limits: Limits,
    cache: ScoreCache,
    random: Random,
    noise: f64,
    started: Instant,
    callers: Vec<Caller>,
    minute: Minute,
}

impl Simulation {
    fn new(admits_by_estimate: bool, noise: f64, seed: u64) -> Self {
        let config = PipelineConfig::default();
        let limits = Limits {
            requests_max: config.queue_max,
            pairs_max: config.queue_pairs_max,
            tokens_max: config.tokens_max,
            wait: Duration::ZERO,
            admits_by_estimate,
        };
        Self {
            waiting: Waiting::default(),
            limits,
            cache: ScoreCache::new(CacheConfig::OFF),
            random: Random(seed),
            noise,
            started: Instant::now(),
            callers: Vec::new(),
            minute: Minute::default(),
        }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.started + Duration::from_secs_f64(seconds)
    }

    /// Runs until every request has its answer.
    fn run(mut self, arrivals: &[Arrival]) -> Minute {
        let mut arrivals = arrivals.iter().copied().peekable();
        let mut now = 0.0;
        loop {
            while let Some(arrival) = arrivals.next_if(|arrival| arrival.at_seconds <= now) {
                self.arrive(arrival);
            }
            let batch = self.waiting.next_batch(self.limits.tokens_max, &self.cache, self.at(now));
            if batch.is_empty() {
                // An idle model starts with the next request.
                let Some(next) = arrivals.peek() else { return self.minute };
                now = next.at_seconds;
                continue;
            }
            let factor = 1.0 + self.noise * (2.0 * self.random.uniform() - 1.0);
            let slower = if batch.base == Some(SLOW) { SLOWER } else { 1.0 };
            let ends = now + batch.n_tokens as f64 / TOKENS_PER_SECOND * slower * factor;
            while let Some(arrival) = arrivals.next_if(|arrival| arrival.at_seconds <= ends) {
                self.arrive(arrival);
            }
            let score = Score::new(0.0).expect("zero is finite");
            let outcomes = vec![Ok(score); batch.pairs.len()];
            let took = Duration::from_secs_f64(ends - now);
            self.waiting.finish(batch, outcomes, took, self.at(ends));
            self.collect(self.at(ends));
            now = ends;
        }
    }

    fn arrive(&mut self, arrival: Arrival) {
        let (now, n) = (self.at(arrival.at_seconds), self.minute.n_offered);
        self.minute.n_offered += 1;
        self.minute.tokens_offered += arrival.n_tokens();
        self.minute.by_base.entry(arrival.base).or_default().0 += 1;
        let deadline = now + Duration::from_secs_f64(arrival.deadline_seconds);
        let n_tokens = arrival.tokens_per_pair.try_into().expect("a pair has tokens");
        let maker = KeyMaker::new(&n.to_string(), &toy::model(None));
        let (reply, answer) = mpsc::sync_channel(1);
        let began = Arc::new(Began::not_yet(arrival.n_pairs));
        let submission = Submission {
            base: arrival.base,
            pairs: (0..arrival.n_pairs).map(|_| EncodedPair::new(n_tokens, ())).collect(),
            keys: (0..arrival.n_pairs).map(|at| maker.key(None, &at.to_string())).collect(),
            deadline: Some(Deadline::at(deadline)),
            cancellation: Cancellation::default(),
            is_background: false,
        };
        let request = Request::new(submission, Arc::downgrade(&began), reply);
        match self.waiting.admit(request, &self.limits, now) {
            Ok(()) => {
                self.minute.n_admitted += 1;
                self.callers.push(Caller { arrival, deadline, _began: began, answer });
            }
            Err(reason) => assert!(reason.is_overload(), "{reason:?}"),
        }
    }

    /// Counts the answers so far, in time or late.
    fn collect(&mut self, now: Instant) {
        let minute = &mut self.minute;
        self.callers.retain(|caller| match caller.answer.try_recv() {
            Ok(outcome) => {
                if outcome.is_ok() && now <= caller.deadline {
                    minute.n_reranked += 1;
                    minute.tokens_reranked += caller.arrival.n_tokens();
                    minute.by_base.entry(caller.arrival.base).or_default().1 += 1;
                }
                assert!(outcome.is_ok() || outcome == Err(Fallback::DeadlinePassed));
                false
            }
            Err(_) => true,
        });
    }
}

fn simulate(admits: bool, load: f64, noise: f64, n_pairs: &[usize], deadline_seconds: &[f64], seed: u64) -> Minute {
    let arrivals = arrivals(load, n_pairs, deadline_seconds, &mut Random(seed));
    Simulation::new(admits, noise, seed + 1).run(&arrivals)
}

fn check(noise: f64, n_pairs: &[usize], deadline_seconds: &[f64]) {
    for seed in 1..=5 {
        let minute = simulate(true, 2.0, noise, n_pairs, deadline_seconds, seed);
        assert!(minute.goodput() >= 0.9, "seed {seed}: {:.3} of the capacity, {minute:?}", minute.goodput());
        let kept = minute.n_reranked as f64 / minute.n_admitted as f64;
        assert!(kept >= 0.95, "seed {seed}: {kept:.3} of what was admitted was in time, {minute:?}");
    }
}

#[test]
fn at_twice_the_capacity_the_model_works_for_those_who_get_their_answer() {
    check(0.0, &[100], &[2.0]);
    check(0.2, &[100], &[2.0]);
}

#[test]
fn so_it_does_for_mixed_sizes_and_deadlines() {
    check(0.2, &[10, 50, 100, 100], &[2.0]);
    check(0.2, &[100], &[1.5, 2.0, 5.0]);
    check(0.2, &[10, 50, 100, 150], &[1.0, 2.0, 5.0]);
}

#[test]
fn below_the_capacity_nearly_all_are_served() {
    for seed in 1..=5 {
        let minute = simulate(true, 0.4, 0.2, &[10, 50, 100], &[2.0], seed);
        assert!(minute.n_reranked as f64 >= 0.95 * minute.n_offered as f64, "seed {seed}: {minute:?}");
    }
}

#[test]
fn without_admission_an_overload_makes_all_late() {
    let minute = simulate(false, 2.0, 0.2, &[100], &[2.0], 1);
    assert!(minute.goodput() < 0.5, "{:.3} of the capacity, {minute:?}", minute.goodput());
}

/// Requests on a fast base model at a quarter of the capacity, beside twice the capacity on a slow one: the fast ones are
/// served as if they were alone, and the slow ones get the rest.
#[test]
fn an_overload_of_a_slow_base_model_leaves_a_fast_one_its_share() {
    for seed in 1..=5 {
        let mut random = Random(seed);
        let fast = arrivals(0.25, &[100], &[5.0], &mut random);
        let slow = arrivals(2.0 / SLOWER, &[10], &[10.0], &mut random);
        let slow = slow.into_iter().map(|arrival| Arrival { base: SLOW, ..arrival });
        let mut all: Vec<Arrival> = fast.into_iter().chain(slow).collect();
        all.sort_by(|a, b| a.at_seconds.total_cmp(&b.at_seconds));
        let minute = Simulation::new(true, 0.2, seed).run(&all);
        let share = |base: BaseCopy| {
            let (n_offered, n_reranked) = minute.by_base[&base];
            (n_reranked as f64 / n_offered as f64, n_reranked)
        };
        let ((fast, _), (slow, n_slow)) = (share(FAST), share(SLOW));
        assert!(fast >= 0.9, "seed {seed}: {fast:.3} of the requests on the fast base model, {minute:?}");
        assert!(slow >= 0.25 && n_slow > 0, "seed {seed}: {slow:.3} of those on the slow one, {minute:?}");
    }
}
