//! The models' throughput, and the estimate of which requests they can finish in time.
//!
//! **The pace** is the throughput of the recent batches in tokens per second: a weighted sum of their tokens divided by
//! one of their times, in which the weight of a batch decreases by a tenth with every following one. It adapts to a
//! slower or faster machine within about ten batches.
//!
//! Each base model has a pace of its own, and one for each precision in which it is in memory: here, as in the rest of the
//! queue, "base model" means a copy of its weights in one precision.
//!
//! **Admission** simulates the queue as a fluid: from now on the base models share the time equally, and all requests that
//! wait for one share its pace equally, as the queue's fair shares do (processor sharing; Kleinrock, 1967). A request that
//! finishes leaves its share to the others of its base model. Base models that had a batch in the last [`RECENT`] keep their
//! share, because requests on them are to be expected; without this, an overload of one base model would leave no room to
//! admit requests on another one. Three terms are added to the fluid's time: the rest of the running batch; the other
//! requests' part of the batch with the request's last pair, because the request is answered when that batch ends (at most a
//! whole batch, and one of every other base model, and at most all waiting tokens); and a margin of [`MARGIN`], for batches
//! that take longer than the mean.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lorank_core::Digest;

use super::base_copy::BaseCopy;

/// The factor by which the weight of earlier batches decreases with each new one.
const KEPT_WEIGHT: f64 = 0.9;

/// The share of the estimated time by which a request may be late and still be in time.
const MARGIN: f64 = 0.1;

/// An idle model ignores the estimate if the last batch is older than this: the estimate may be wrong (a first batch is
/// slow), and without another batch it would stay wrong.
const ESTIMATE_MAX_AGE: Duration = Duration::from_secs(1);

/// The factor by which batches of a slow base model are smaller than those of the fastest one, at most: smaller ones would
/// leave processors idle.
const SMALLER_MAX: f64 = 8.0;

/// How long after its last batch a base model keeps its share of the time in estimates.
const RECENT: Duration = Duration::from_secs(10);

/// The measured throughput of each base model.
#[derive(Debug, Default)]
pub(super) struct Paces {
    by_base: BTreeMap<BaseCopy, Pace>,
    /// That of all batches.
    all: Pace,
}

/// The measured throughput of a model.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    tokens: f64,
    seconds: f64,
    last_batch_ended: Option<Instant>,
}

/// The remaining work of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Demand {
    pub n_tokens: usize,
    pub deadline: Option<Instant>,
}

/// The state of the queue when a request asks for admission.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub now: Instant,
    /// The running batch.
    pub running: Option<Running>,
    pub batch_tokens_max: NonZeroUsize,
}

/// A running batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Running {
    /// The base model.
    pub base: BaseCopy,
    pub n_tokens: usize,
    pub since: Instant,
}

impl Paces {
    /// Records a finished batch of a base model.
    pub(super) fn record(&mut self, base: BaseCopy, n_tokens: usize, took: Duration, now: Instant) {
        self.all.record(n_tokens, took, now);
        self.by_base.entry(base).or_default().record(n_tokens, took, now);
    }

    /// Tokens per second, whichever base models the batches ran on; `None` before the first batch.
    pub(super) fn tokens_per_second(&self) -> Option<f64> {
        self.all.tokens_per_second()
    }

    /// Tokens per second of a base model's batches; `None` before its first batch.
    pub(super) fn tokens_per_second_of(&self, base: &BaseCopy) -> Option<f64> {
        self.by_base.get(base).and_then(Pace::tokens_per_second)
    }

    /// Tokens per second of a base model's batches, in whichever precision; `None` before its first batch.
    pub(super) fn tokens_per_second_of_all_copies(&self, base: &Digest) -> Option<f64> {
        let copies = self.by_base.iter().filter(|(copy, _)| copy.digest == *base).map(|(_, pace)| pace);
        let sums = copies.fold(Pace::default(), |sums, pace| Pace {
            tokens: sums.tokens + pace.tokens,
            seconds: sums.seconds + pace.seconds,
            ..sums
        });
        sums.tokens_per_second()
    }

    /// Whether the last batch of a base model is too old for a reliable estimate.
    pub(super) fn is_outdated(&self, base: &BaseCopy, now: Instant) -> bool {
        self.by_base.get(base).is_none_or(|pace| pace.is_outdated(now))
    }

    /// The maximum tokens of a base model's batch: so few that it takes about the time of a batch of the fastest one,
    /// because requests on the others wait for it.
    pub(super) fn batch_tokens_max(&self, base: &BaseCopy, tokens_max: NonZeroUsize) -> usize {
        let paces = self.by_base.values().filter_map(Pace::tokens_per_second);
        let own = self.tokens_per_second_of(base);
        match own.zip(paces.max_by(f64::total_cmp)) {
            Some((own, fastest)) if own < fastest => {
                let smaller = (fastest / own).min(SMALLER_MAX);
                ((tokens_max.get() as f64 / smaller) as usize).max(1)
            }
            _ => tokens_max.get(),
        }
    }

    /// By how much the latest of these requests on a base model would miss its deadline; `None` if all are in time or there
    /// is no estimate. `waiting` are the base models that have requests.
    pub(super) fn excess(
        &self,
        base: BaseCopy,
        demands: &[Demand],
        waiting: impl Iterator<Item = BaseCopy>,
        moment: &Moment,
    ) -> Option<Duration> {
        // A base model without a batch so far is taken for the mean one.
        let mean = self.all.tokens_per_second()?;
        let pace = |base: &BaseCopy| self.tokens_per_second_of(base).unwrap_or(mean);
        let running = moment.running.map_or(0.0, |Running { base, n_tokens, since }| {
            let elapsed = moment.now.saturating_duration_since(since).as_secs_f64();
            (n_tokens as f64 / pace(&base) - elapsed).max(0.0)
        });
        let batch_of = |base: &BaseCopy| self.batch_tokens_max(base, moment.batch_tokens_max) as f64 / pace(base);
        let mut others: BTreeSet<BaseCopy> = waiting.chain(self.recent(moment.now)).collect();
        others.remove(&base);
        let batches_of_others: f64 = others.iter().map(batch_of).sum();
        let tokens_per_second = pace(&base) / (others.len() + 1) as f64;
        let n_tokens: f64 = demands.iter().map(|demand| demand.n_tokens as f64).sum();
        let (all, batch) = (n_tokens / tokens_per_second, batch_of(&base));
        let late = |(demand, seconds): (&Demand, f64)| {
            let remaining = demand.deadline?.saturating_duration_since(moment.now).as_secs_f64();
            let expected = (running + (seconds + batch).min(all) + batches_of_others) * (1.0 + MARGIN);
            (expected > remaining).then_some(expected - remaining)
        };
        let excess =
            demands.iter().zip(shared_seconds(demands, tokens_per_second)).filter_map(late).max_by(f64::total_cmp);
        excess.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }

    /// The base models that had a batch recently.
    fn recent(&self, now: Instant) -> impl Iterator<Item = BaseCopy> {
        let is_recent =
            move |pace: &Pace| pace.last_batch_ended.is_some_and(|ended| now.saturating_duration_since(ended) < RECENT);
        self.by_base.iter().filter(move |(_, pace)| is_recent(pace)).map(|(base, _)| *base)
    }
}

impl Pace {
    /// Records a finished batch.
    fn record(&mut self, n_tokens: usize, took: Duration, now: Instant) {
        self.tokens = self.tokens * KEPT_WEIGHT + n_tokens as f64;
        self.seconds = self.seconds * KEPT_WEIGHT + took.as_secs_f64();
        self.last_batch_ended = Some(now);
    }

    /// Tokens per second; `None` before the first batch.
    fn tokens_per_second(&self) -> Option<f64> {
        (self.tokens > 0.0 && self.seconds > 0.0).then(|| self.tokens / self.seconds)
    }

    /// Whether the last batch is too old for a reliable estimate.
    fn is_outdated(&self, now: Instant) -> bool {
        self.last_batch_ended.is_none_or(|ended| now.saturating_duration_since(ended) >= ESTIMATE_MAX_AGE)
    }
}

/// The time in seconds until each demand is met if all unfinished ones share the pace equally.
fn shared_seconds(demands: &[Demand], tokens_per_second: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..demands.len()).collect();
    order.sort_unstable_by_key(|&at| demands[at].n_tokens);
    let (mut seconds, mut n_tokens_before) = (0.0, 0.0);
    let mut met = vec![0.0; demands.len()];
    for (n_met, at) in order.into_iter().enumerate() {
        let n_tokens = demands[at].n_tokens as f64;
        seconds += (n_tokens - n_tokens_before) * (demands.len() - n_met) as f64 / tokens_per_second;
        n_tokens_before = n_tokens;
        met[at] = seconds;
    }
    met
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: BaseCopy = BaseCopy::numbered(1);
    const OTHER: BaseCopy = BaseCopy::numbered(2);

    fn paces(tokens_per_second: usize) -> Paces {
        let mut paces = Paces::default();
        paces.record(ONE, tokens_per_second, Duration::from_secs(1), Instant::now());
        paces
    }

    fn check(n_tokens: &[usize], expected: &[f64]) {
        let demands: Vec<Demand> = n_tokens.iter().map(|&n_tokens| Demand { n_tokens, deadline: None }).collect();
        assert_eq!(shared_seconds(&demands, 10.0), expected, "{n_tokens:?}");
    }

    #[test]
    fn those_that_wait_share_the_pace() {
        check(&[], &[]);
        check(&[20], &[2.0]);
        check(&[20, 20], &[4.0, 4.0]);
        // The small one is met while two share, then the large one has the rest alone.
        check(&[30, 10], &[4.0, 2.0]);
        check(&[10, 20, 30], &[3.0, 5.0, 6.0]);
    }

    #[test]
    fn a_base_model_with_recent_batches_keeps_its_share() {
        let (now, mut paces) = (Instant::now(), Paces::default());
        paces.record(ONE, 100, Duration::from_secs(1), now);
        paces.record(OTHER, 50, Duration::from_secs(1), now);
        let excess = |now: Instant, waiting: &[BaseCopy]| {
            let demand = Demand { n_tokens: 100, deadline: Some(now) };
            let moment = Moment { now, running: None, batch_tokens_max: NonZeroUsize::new(10).unwrap() };
            let excess = paces.excess(ONE, &[demand], waiting.iter().copied(), &moment).unwrap();
            (excess.as_secs_f64() * 1e3).round() / 1e3
        };
        // 1 s for the tokens, and a tenth; the same again for the other, and one batch of it.
        let shared = 2.31;
        assert_eq!(excess(now, &[]), shared);
        assert_eq!(excess(now + RECENT, &[]), 1.1);
        assert_eq!(excess(now + RECENT, &[ONE, OTHER]), shared);
    }

    #[test]
    fn batches_of_a_slow_base_model_are_smaller() {
        let mut paces = paces(100);
        let max = |paces: &Paces, base| paces.batch_tokens_max(&base, NonZeroUsize::new(4_096).unwrap());
        assert_eq!((max(&paces, ONE), max(&paces, OTHER)), (4_096, 4_096), "one is not measured yet");
        paces.record(OTHER, 50, Duration::from_secs(1), Instant::now());
        assert_eq!((max(&paces, ONE), max(&paces, OTHER)), (4_096, 2_048));
        let mut paces = self::paces(100);
        paces.record(OTHER, 1, Duration::from_secs(1), Instant::now());
        assert_eq!(max(&paces, OTHER), 512, "an eighth at least");
    }

    #[test]
    fn a_request_is_late_by_what_the_fluid_the_batches_and_the_margin_take() {
        let now = Instant::now();
        let at = |seconds: f64| Some(now + Duration::from_secs_f64(seconds));
        let excess = |demands: &[(usize, Option<Instant>)], running: Option<(usize, Instant)>, batch_tokens_max| {
            let demands: Vec<Demand> =
                demands.iter().map(|&(n_tokens, deadline)| Demand { n_tokens, deadline }).collect();
            let batch_tokens_max = NonZeroUsize::new(batch_tokens_max).unwrap();
            let running = running.map(|(n_tokens, since)| Running { base: ONE, n_tokens, since });
            let excess =
                paces(100).excess(ONE, &demands, [ONE].into_iter(), &Moment { now, running, batch_tokens_max });
            excess.map(|excess| (excess.as_secs_f64() * 1e3).round() / 1e3)
        };
        // 1 s for the tokens, and a tenth.
        assert_eq!(excess(&[(100, at(1.11))], None, 50), None);
        assert_eq!(excess(&[(100, at(1.0))], None, 50), Some(0.1));
        // Half a second of a running batch is left.
        assert_eq!(excess(&[(100, at(1.11))], Some((100, now - Duration::from_millis(500))), 50), Some(0.54));
        // Who has no deadline is not late, takes its share, and is in the last batch too: 2 s and 0.5 s.
        assert_eq!(excess(&[(100, None)], None, 50), None);
        assert_eq!(excess(&[(100, at(1.11)), (900, None)], None, 50), Some(1.64));
        // The later of two counts.
        assert_eq!(excess(&[(100, at(1.0)), (100, at(0.5))], None, 50), Some(1.7));
    }

    #[test]
    fn nothing_is_late_before_a_batch_was_measured() {
        let (now, mut paces) = (Instant::now(), Paces::default());
        let demand = Demand { n_tokens: usize::MAX, deadline: Some(now) };
        let moment = Moment { now, running: None, batch_tokens_max: NonZeroUsize::MIN };
        assert_eq!(paces.excess(ONE, &[demand], [ONE].into_iter(), &moment), None);
        assert!(paces.is_outdated(&ONE, now));
        paces.record(ONE, 100, Duration::from_secs(1), now);
        assert!(!paces.is_outdated(&ONE, now + Duration::from_millis(999)));
        assert!(paces.is_outdated(&ONE, now + ESTIMATE_MAX_AGE));
        assert!(paces.is_outdated(&OTHER, now));
        // No time at all is no pace.
        let mut instant = Paces::default();
        instant.record(ONE, 100, Duration::ZERO, now);
        assert_eq!(instant.tokens_per_second(), None);
    }

    #[test]
    fn the_pace_follows_the_last_batches() {
        let (now, mut paces) = (Instant::now(), paces(100));
        for _ in 0..50 {
            paces.record(ONE, 1_000, Duration::from_secs(1), now);
        }
        let found = paces.tokens_per_second().unwrap();
        assert!((990.0..=1_000.0).contains(&found), "{found}");
    }

    proptest! {
        /// Against a fluid in small steps.
        #[test]
        fn sharing_is_what_small_steps_give(n_tokens in prop::collection::vec(1_usize..50, 1..8)) {
            let demands: Vec<Demand> = n_tokens.iter().map(|&n_tokens| Demand { n_tokens, deadline: None }).collect();
            let found = shared_seconds(&demands, 10.0);
            let (mut left, mut seconds) = (n_tokens.iter().map(|&n| n as f64).collect::<Vec<_>>(), 0.0);
            let mut met = vec![None; left.len()];
            let step = 0.001;
            while met.iter().any(Option::is_none) {
                let share = 10.0 * step / left.iter().filter(|left| **left > 0.0).count() as f64;
                seconds += step;
                for (left, met) in left.iter_mut().zip(&mut met).filter(|(left, _)| **left > 0.0) {
                    *left -= share;
                    if *left <= 0.0 {
                        *met = Some(seconds);
                    }
                }
            }
            for (found, met) in found.iter().zip(met) {
                prop_assert!((found - met.unwrap()).abs() < 0.02 * (1.0 + found), "{found} {met:?}");
            }
        }
    }
}
