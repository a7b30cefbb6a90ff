//! A second tier of the score cache: a store that several servers share, such as Valkey or Redis.
//!
//! The store only makes answers cheaper, so nothing waits for it longer than a time limit, and nothing fails with it:
//!
//! - A lookup is one call on the request's thread. After failures in a row, lookups go on without the store.
//! - A thread of its own stores new scores in batches, and tries the store again while it is not used. If it does not
//!   keep up, new scores are dropped and counted.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lorank_core::{BoxError, Deadline, Score};

use crate::ScoreKey;
use crate::breaker::Breaker;

/// The maximum number of scores of one call that stores them.
const BATCH_MAX: usize = 1_000;

/// The maximum number of scores that wait to be stored: 4 MB.
const WAITING_MAX: usize = 100_000;

/// The time limit of storing a batch and of trying the store again, for which no request waits.
const BACKGROUND_LIMIT: Duration = Duration::from_secs(1);

/// A lookup may use this part of the time before the request's deadline, because the model needs the rest.
const DEADLINE_PART: u32 = 4;

/// Less time than this is not worth a call.
const LIMIT_MIN: Duration = Duration::from_millis(1);

/// A store of scores outside of this process.
pub trait ScoreStore: Send + Sync + fmt::Debug {
    /// The stored score of each key, in the keys' order, within the time limit.
    ///
    /// # Errors
    /// The store does not answer in time, or rejects the request.
    fn get(&self, keys: &[ScoreKey], limit: Duration) -> Result<Vec<Option<Score>>, BoxError>;

    /// Stores scores, within the time limit.
    ///
    /// # Errors
    /// See [`StoreFailure`].
    fn put(&self, scores: &[(ScoreKey, Score)], limit: Duration) -> Result<(), StoreFailure>;
}

/// Why scores were not stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreFailure {
    /// The store does not answer.
    #[error("the store does not answer")]
    Unreachable(#[source] BoxError),
    /// The store answers, but does not accept scores: its memory is full, or it is read-only.
    #[error("the store rejects scores")]
    Rejected(#[source] BoxError),
}

/// The counters of a shared store, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SharedStats {
    /// Whether lookups use the store: it answered the last time.
    pub is_used: bool,
    /// Lookups of scores that the store had.
    pub hits: u64,
    /// Lookups of scores that it did not have.
    pub misses: u64,
    /// Lookups of scores while the store was not used.
    pub skipped: u64,
    /// Calls that failed: of lookups, of storing and of trying the store again.
    pub failures: u64,
    /// Scores that were stored.
    pub stored: u64,
    /// Scores that were not stored: the store was not used or rejected them, or too many waited.
    pub dropped: u64,
}

/// A shared store with its circuit breaker and the thread that stores scores.
#[derive(Debug)]
pub struct SharedScores {
    shared: Arc<Shared>,
    limit: Duration,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    store: Arc<dyn ScoreStore>,
    state: Mutex<State>,
    /// Signals new scores, an open breaker, and the end.
    changed: Condvar,
    counters: Counters,
}

#[derive(Debug, Default)]
struct State {
    breaker: Breaker,
    waiting: VecDeque<(ScoreKey, Score)>,
    is_closed: bool,
    /// Whether the last batch was rejected, which is logged once.
    is_rejected: bool,
}

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    skipped: AtomicU64,
    failures: AtomicU64,
    stored: AtomicU64,
    dropped: AtomicU64,
}

impl SharedScores {
    /// Starts using a store, with a time limit for each lookup.
    ///
    /// # Errors
    /// The thread cannot be started. A store that does not answer is no error: it is tried again.
    pub fn start(store: Arc<dyn ScoreStore>, limit: Duration) -> std::io::Result<Self> {
        let (state, changed, counters) = (Mutex::default(), Condvar::new(), Counters::default());
        let shared = Arc::new(Shared { store, state, changed, counters });
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name("lorank-scores".to_owned()).spawn(move || of_thread.run())?;
        Ok(Self { shared, limit, thread: Some(thread) })
    }

    /// The counters.
    pub fn stats(&self) -> SharedStats {
        let Counters { hits, misses, skipped, failures, stored, dropped } = &self.shared.counters;
        let n = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SharedStats {
            is_used: self.shared.lock().breaker.is_closed(),
            hits: n(hits),
            misses: n(misses),
            skipped: n(skipped),
            failures: n(failures),
            stored: n(stored),
            dropped: n(dropped),
        }
    }

    /// The stored scores; `None` for each if the store is not used or does not answer in time.
    pub(crate) fn get(&self, keys: &[ScoreKey], deadline: Option<Deadline>) -> Vec<Option<Score>> {
        let (shared, n_keys) = (&self.shared, keys.len() as u64);
        let limit = deadline.map_or(self.limit, |deadline| self.limit.min(deadline.remaining() / DEADLINE_PART));
        if limit < LIMIT_MIN || !shared.lock().breaker.is_closed() {
            shared.counters.skipped.fetch_add(n_keys, Ordering::Relaxed);
            return vec![None; keys.len()];
        }
        match shared.store.get(keys, limit) {
            Ok(found) if found.len() == keys.len() => {
                shared.succeeded();
                let n_hits = found.iter().flatten().count() as u64;
                shared.counters.hits.fetch_add(n_hits, Ordering::Relaxed);
                shared.counters.misses.fetch_add(n_keys - n_hits, Ordering::Relaxed);
                found
            }
            Ok(found) => {
                let error = format!("it answered {} scores for {} keys", found.len(), keys.len());
                shared.failed(&*BoxError::from(error), Breaker::failed);
                vec![None; keys.len()]
            }
            Err(error) => {
                shared.failed(&*error, Breaker::failed);
                vec![None; keys.len()]
            }
        }
    }

    /// Queues scores to store, without waiting.
    pub(crate) fn put(&self, scores: impl Iterator<Item = (ScoreKey, Score)>) {
        let mut state = self.shared.lock();
        let n_before = state.waiting.len();
        state.waiting.extend(scores);
        let n_max = if state.breaker.is_closed() { WAITING_MAX } else { n_before.min(WAITING_MAX) };
        let n_dropped = state.waiting.len().saturating_sub(n_max);
        state.waiting.truncate(n_max);
        drop(state);
        self.shared.counters.dropped.fetch_add(n_dropped as u64, Ordering::Relaxed);
        self.shared.changed.notify_all();
    }
}

impl Drop for SharedScores {
    /// Stores the waiting scores, while the store accepts them.
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the shared score cache panicked");
        }
    }
}

impl Shared {
    /// The thread: stores scores, and tries the store again while it is not used. The first attempt opens a connection
    /// before a request needs it.
    fn run(&self) {
        self.attempt();
        loop {
            let (batch, is_due) = self.next();
            if is_due {
                self.attempt();
                continue;
            }
            let is_at_end = batch.is_empty() || (!self.store(&batch) && self.lock().is_closed);
            if is_at_end {
                return;
            }
        }
    }

    /// Waits for scores to store, or until the store is to be tried again. Both are empty at the end.
    fn next(&self) -> (Vec<(ScoreKey, Score)>, bool) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let wait = state.breaker.tried_at().map(|at| at.saturating_duration_since(now));
            match wait {
                _ if state.is_closed && (wait.is_some() || state.waiting.is_empty()) => return (Vec::new(), false),
                Some(Duration::ZERO) => return (Vec::new(), true),
                Some(wait) => {
                    // What waits is as old as the failure.
                    let n_dropped = std::mem::take(&mut state.waiting).len();
                    self.counters.dropped.fetch_add(n_dropped as u64, Ordering::Relaxed);
                    state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
                }
                None if state.waiting.is_empty() => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                None => {
                    let n = state.waiting.len().min(BATCH_MAX);
                    return (state.waiting.drain(..n).collect(), false);
                }
            }
        }
    }

    /// Tries whether the store answers a lookup.
    fn attempt(&self) {
        match self.store.get(&[ScoreKey::from_bytes([0; 32])], BACKGROUND_LIMIT) {
            Ok(_) => self.succeeded(),
            Err(error) => self.failed(&*error, Breaker::attempt_failed),
        }
    }

    /// Stores a batch. Returns whether that succeeded.
    fn store(&self, batch: &[(ScoreKey, Score)]) -> bool {
        let result = self.store.put(batch, BACKGROUND_LIMIT);
        let counter = if result.is_ok() { &self.counters.stored } else { &self.counters.dropped };
        counter.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let is_rejected = matches!(result, Err(StoreFailure::Rejected(_)));
        let was_rejected = std::mem::replace(&mut self.lock().is_rejected, is_rejected);
        match &result {
            Ok(()) => self.succeeded(),
            Err(StoreFailure::Unreachable(error)) => self.failed(&**error, Breaker::failed),
            Err(StoreFailure::Rejected(error)) => {
                self.counters.failures.fetch_add(1, Ordering::Relaxed);
                if !was_rejected {
                    tracing::warn!("the shared score cache rejects new scores: {}", lorank_core::with_causes(&**error));
                }
            }
        }
        result.is_ok()
    }

    fn succeeded(&self) {
        if self.lock().breaker.succeeded() {
            tracing::info!("the shared score cache answers again");
        }
    }

    fn failed(&self, error: &(dyn std::error::Error + 'static), count: fn(&mut Breaker, Instant) -> bool) {
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        if count(&mut self.lock().breaker, Instant::now()) {
            let cause = lorank_core::with_causes(error);
            tracing::warn!("the shared score cache does not answer; searches go on without it: {cause}");
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The store's code does not run under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::{CacheConfig, ScoreCache};

    /// A store in memory that can be made to fail.
    #[derive(Debug, Default)]
    struct Toy {
        scores: Mutex<HashMap<ScoreKey, Score>>,
        failure: Mutex<Option<Failure>>,
        /// The limits of lookups, without attempts.
        limits: Mutex<Vec<Duration>>,
    }

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Failure {
        Gone,
        Full,
    }

    impl Toy {
        fn fail(&self, failure: Option<Failure>) {
            *self.failure.lock().unwrap() = failure;
        }
    }

    impl ScoreStore for Toy {
        fn get(&self, keys: &[ScoreKey], limit: Duration) -> Result<Vec<Option<Score>>, BoxError> {
            if keys != [ScoreKey::from_bytes([0; 32])] {
                self.limits.lock().unwrap().push(limit);
            }
            if *self.failure.lock().unwrap() == Some(Failure::Gone) {
                return Err("gone".into());
            }
            let scores = self.scores.lock().unwrap();
            Ok(keys.iter().map(|key| scores.get(key).copied()).collect())
        }

        fn put(&self, scores: &[(ScoreKey, Score)], _: Duration) -> Result<(), StoreFailure> {
            match *self.failure.lock().unwrap() {
                Some(Failure::Gone) => Err(StoreFailure::Unreachable("gone".into())),
                Some(Failure::Full) => Err(StoreFailure::Rejected("full".into())),
                None => {
                    self.scores.lock().unwrap().extend(scores.iter().copied());
                    Ok(())
                }
            }
        }
    }

    const LIMIT: Duration = Duration::from_secs(3_600);

    /// A cache in front of a store, whose first attempt to reach it is over: the thread has stored a score after it.
    fn cache(toy: &Arc<Toy>, entries_max: usize) -> ScoreCache {
        let shared = SharedScores::start(toy.clone(), LIMIT).unwrap();
        shared.put([(key(255), score(0.0))].into_iter());
        until(|| shared.stats().stored == 1 || !shared.stats().is_used);
        ScoreCache::new(CacheConfig { entries_max, ..CacheConfig::default() }).with_shared(shared)
    }

    fn stats(cache: &ScoreCache) -> SharedStats {
        cache.stats().shared.unwrap()
    }

    /// Waits for the thread.
    fn until(is_true: impl Fn() -> bool) {
        while !is_true() {
            std::thread::yield_now();
        }
    }

    fn key(n: u8) -> ScoreKey {
        ScoreKey::from_bytes([n; 32])
    }

    fn score(value: f32) -> Score {
        Score::new(value).unwrap()
    }

    fn put(cache: &ScoreCache, n: u8) {
        cache.put_many(&[key(n)], &[score(n.into())]);
    }

    #[test]
    fn a_score_of_one_cache_is_a_hit_in_another() {
        let toy = Arc::new(Toy::default());
        let (one, other) = (cache(&toy, 10), cache(&toy, 10));
        put(&one, 1);
        until(|| stats(&one).stored == 2);
        assert_eq!(other.get_many(&[key(2), key(1)], None), [None, Some(score(1.0))]);
        assert_eq!((stats(&other).hits, stats(&other).misses), (1, 1));
        assert_eq!(other.get_many(&[key(1)], None), [Some(score(1.0))]);
        assert_eq!((stats(&other).hits, other.stats().hits), (1, 1), "the second time it is in memory");
    }

    #[test]
    fn a_cache_without_memory_uses_the_store_alone() {
        let toy = Arc::new(Toy::default());
        let cache = cache(&toy, 0);
        put(&cache, 1);
        until(|| stats(&cache).stored == 2);
        assert_eq!(cache.get_many(&[key(1)], None), [Some(score(1.0))]);
        assert_eq!(cache.stats().entries, 0);
    }

    #[test]
    fn a_store_that_is_gone_costs_three_lookups_and_is_tried_again() {
        let toy = Arc::new(Toy::default());
        let cache = cache(&toy, 10);
        toy.fail(Some(Failure::Gone));
        for n in 1..=5 {
            assert_eq!(cache.get_many(&[key(n), key(n + 10)], None), [None, None]);
        }
        assert_eq!(toy.limits.lock().unwrap().len(), 3);
        assert!(!stats(&cache).is_used && stats(&cache).skipped == 4, "{:?}", stats(&cache));
        put(&cache, 1);
        assert_eq!((stats(&cache).dropped, stats(&cache).stored), (1, 1), "nothing waits for a store that is gone");
        assert_eq!(cache.get_many(&[key(1)], None), [Some(score(1.0))], "the memory is as it was");
        toy.fail(None);
        until(|| stats(&cache).is_used);
        put(&cache, 2);
        until(|| stats(&cache).stored == 2);
    }

    #[test]
    fn a_store_that_is_full_still_answers_lookups() {
        let toy = Arc::new(Toy::default());
        let cache = cache(&toy, 0);
        put(&cache, 1);
        until(|| stats(&cache).stored == 2);
        toy.fail(Some(Failure::Full));
        for n in 2..9 {
            put(&cache, n);
            until(|| stats(&cache).dropped == u64::from(n) - 1);
        }
        assert!(stats(&cache).is_used);
        assert_eq!(cache.get_many(&[key(1), key(2)], None), [Some(score(1.0)), None]);
    }

    #[test]
    fn a_lookup_leaves_the_model_most_of_the_time() {
        let toy = Arc::new(Toy::default());
        let cache = cache(&toy, 10);
        let second = Duration::from_secs(1);
        cache.get_many(&[key(1)], Deadline::after(40 * second));
        cache.get_many(&[key(1)], None);
        cache.get_many(&[key(1)], Some(Deadline::at(Instant::now())));
        let limits = toy.limits.lock().unwrap().clone();
        assert!(limits[0] <= 10 * second && limits[0] > 9 * second, "{limits:?}");
        assert_eq!(limits[1..], [LIMIT], "without time there is no lookup");
        assert_eq!(stats(&cache).skipped, 1);
    }

    #[test]
    fn what_waits_is_stored_at_the_end() {
        let toy = Arc::new(Toy::default());
        let cache = cache(&toy, 10);
        let keys: Vec<ScoreKey> = (1..=200).map(key).collect();
        cache.put_many(&keys, &vec![score(1.0); 200]);
        drop(cache);
        assert_eq!(toy.scores.lock().unwrap().len(), 201);
    }

    #[test]
    fn a_store_that_never_answered_does_not_keep_the_end_waiting() {
        let toy = Arc::new(Toy::default());
        toy.fail(Some(Failure::Gone));
        let cache = cache(&toy, 10);
        until(|| !stats(&cache).is_used);
        put(&cache, 1);
        drop(cache);
        assert!(toy.scores.lock().unwrap().is_empty());
    }
}
