//! Adapters in memory: loaded on demand, kept up to a limit, and evicted in LRU order.
//!
//! Loads run on their own threads, at most [`LOADERS_MAX`] at once and one per key. A caller waits for the load until
//! its deadline; the load then continues without it, and the next caller finds its result.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Display};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lorank_core::{BoxError, Deadline};

use crate::RegistryError;

/// The maximum number of concurrent loads. Each reads files and lays out weights on one core.
const LOADERS_MAX: usize = 2;

/// The maximum number of loads waiting for a thread.
const WAITING_LOADS_MAX: usize = 256;

type SharedError = Arc<dyn std::error::Error + Send + Sync>;

/// A load that waits for a thread.
type LoadFn<T> = Box<dyn FnOnce() -> Result<(T, u64), BoxError> + Send>;

/// Loaded values by key, up to a limit in bytes. A value in use is never evicted, so the total may exceed the limit
/// while requests use more; it returns below the limit as soon as they end. A value whose load ended when no caller was
/// waiting any more counts as in use until it is requested, or another such value replaces it.
pub struct Residency<K: Ord + Clone, T> {
    shared: Arc<Shared<K, T>>,
}

struct Shared<K, T> {
    bytes_max: u64,
    held: Mutex<Held<K, T>>,
    /// Signaled whenever a load ends.
    loaded: Condvar,
}

struct Held<K, T> {
    slots: BTreeMap<K, Slot<T>>,
    /// The loads that wait for a thread.
    queue: VecDeque<(K, LoadFn<T>)>,
    n_loaders: usize,
    /// The last value whose load ended without a waiting caller, until it is requested.
    unclaimed: Option<K>,
    /// A counter of uses, for the LRU order.
    n_uses: u64,
    stats: ResidencyStats,
}

enum Slot<T> {
    /// The load is queued or running, with this number of waiting callers.
    Loading {
        load: Arc<Load<T>>,
        n_waiting: usize,
    },
    Ready(Ready<T>),
}

/// The result of one load, for its waiting callers. If it succeeds, all of them count as users.
struct Load<T> {
    outcome: OnceLock<Result<Arc<T>, SharedError>>,
}

struct Ready<T> {
    value: Arc<T>,
    bytes: u64,
    n_users: usize,
    last_use: u64,
}

/// The contents and counters of a [`Residency`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResidencyStats {
    /// The number of values in memory.
    pub n_held: usize,
    /// The memory of these values, in bytes.
    pub bytes: u64,
    /// The number of successful loads.
    pub n_loads: u64,
    /// The number of failed loads.
    pub n_failed_loads: u64,
    /// The number of evictions.
    pub n_evictions: u64,
    /// The total time of successful loads.
    pub load_time: Duration,
    /// The time of the last successful load.
    pub last_load_time: Duration,
}

/// A loaded value in use. It stays in memory until the last handle is dropped, and longer if there is room.
pub struct Resident<K: Ord + Clone, T> {
    shared: Arc<Shared<K, T>>,
    key: K,
    value: Arc<T>,
}

impl<K: Ord + Clone + Display + Send + 'static, T: Send + Sync + 'static> Residency<K, T> {
    /// An empty residency that keeps at most `bytes_max` bytes of unused values.
    pub fn new(bytes_max: u64) -> Self {
        let held = Held {
            slots: BTreeMap::new(),
            queue: VecDeque::new(),
            n_loaders: 0,
            unclaimed: None,
            n_uses: 0,
            stats: ResidencyStats::default(),
        };
        Self { shared: Arc::new(Shared { bytes_max, held: Mutex::new(held), loaded: Condvar::new() }) }
    }

    /// The value of a key, from memory or from `load`, which returns it with its size in bytes; `None` if the deadline
    /// passes first. The load then continues, and a later call finds the value.
    ///
    /// Concurrent callers share one load.
    ///
    /// # Errors
    /// [`RegistryError::Load`] if the load failed, for all callers that waited for it. The next call retries.
    pub fn get_or_load<E: Into<BoxError>>(
        &self,
        key: &K,
        deadline: Option<Deadline>,
        load: impl FnOnce() -> Result<(T, u64), E> + Send + 'static,
    ) -> Result<Option<Resident<K, T>>, RegistryError> {
        let mut held = self.shared.lock();
        if let Some(value) = held.hand_out(key) {
            return Ok(Some(self.resident(key, value)));
        }
        let load = match held.slots.get_mut(key) {
            Some(Slot::Loading { load, n_waiting }) => {
                *n_waiting += 1;
                load.clone()
            }
            _ => {
                if held.queue.len() >= WAITING_LOADS_MAX {
                    return Err(failure(
                        key,
                        &SharedError::from(BoxError::from("too many adapters are waiting to be loaded")),
                    ));
                }
                let new = Arc::new(Load { outcome: OnceLock::new() });
                held.slots.insert(key.clone(), Slot::Loading { load: new.clone(), n_waiting: 1 });
                held.queue.push_back((key.clone(), Box::new(move || load().map_err(Into::into))));
                self.shared.start_loader(&mut held);
                new
            }
        };
        self.wait(key, &load, deadline, held)
    }

    /// Waits for a load for which this caller is already counted.
    fn wait(
        &self,
        key: &K,
        load: &Load<T>,
        deadline: Option<Deadline>,
        mut held: MutexGuard<'_, Held<K, T>>,
    ) -> Result<Option<Resident<K, T>>, RegistryError> {
        loop {
            match load.outcome.get() {
                Some(Ok(value)) => return Ok(Some(self.resident(key, value.clone()))),
                Some(Err(source)) => return Err(failure(key, source)),
                None => {}
            }
            let Some(deadline) = deadline else {
                held = self.shared.loaded.wait(held).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if deadline.has_passed() {
                if let Some(Slot::Loading { n_waiting, .. }) = held.slots.get_mut(key) {
                    *n_waiting -= 1;
                }
                return Ok(None);
            }
            let waited = self.shared.loaded.wait_timeout(held, deadline.remaining());
            held = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn resident(&self, key: &K, value: Arc<T>) -> Resident<K, T> {
        Resident { shared: self.shared.clone(), key: key.clone(), value }
    }

    /// Whether the value of a key is in memory.
    pub fn is_held(&self, key: &K) -> bool {
        matches!(self.shared.lock().slots.get(key), Some(Slot::Ready(_)))
    }

    /// The contents and counters.
    pub fn stats(&self) -> ResidencyStats {
        let held = self.shared.lock();
        let n_held = held.slots.values().filter(|slot| matches!(slot, Slot::Ready(_))).count();
        ResidencyStats { n_held, ..held.stats }
    }
}

impl<K: Ord + Clone + Send + 'static, T: Send + Sync + 'static> Shared<K, T> {
    /// Starts a thread for waiting loads, unless enough are running.
    fn start_loader(self: &Arc<Self>, held: &mut Held<K, T>) {
        if held.n_loaders >= LOADERS_MAX {
            return;
        }
        let shared = self.clone();
        let thread = thread::Builder::new().name("lorank-load".to_owned()).spawn(move || shared.run_loads());
        match thread {
            Ok(_) => held.n_loaders += 1,
            // A running thread will process it.
            Err(_) if held.n_loaders > 0 => {}
            Err(error) => {
                let source = SharedError::from(BoxError::from(error));
                for (key, _) in std::mem::take(&mut held.queue) {
                    held.fail(&key, &source);
                }
            }
        }
    }

    /// Runs loads until none is waiting.
    fn run_loads(&self) {
        loop {
            let mut held = self.lock();
            let Some((key, load)) = held.queue.pop_front() else {
                held.n_loaders -= 1;
                return;
            };
            drop(held);
            let started = Instant::now();
            // A panic is a failed load; its partial result is dropped.
            let outcome = catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|_| Err("the load panicked".into()));
            let took = started.elapsed();
            let mut held = self.lock();
            let let_go = match outcome {
                Ok((value, bytes)) => held.take_in(&key, value, bytes, took, self.bytes_max),
                Err(error) => {
                    held.fail(&key, &SharedError::from(error));
                    Vec::new()
                }
            };
            drop(held);
            drop(let_go);
            self.loaded.notify_all();
        }
    }
}

impl<K: Ord + Clone, T> Shared<K, T> {
    fn lock(&self) -> MutexGuard<'_, Held<K, T>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord + Clone, T> Held<K, T> {
    fn next_use(&mut self) -> u64 {
        self.n_uses += 1;
        self.n_uses
    }

    /// Adds a user to a key's value.
    fn hand_out(&mut self, key: &K) -> Option<Arc<T>> {
        let last_use = self.next_use();
        let Some(Slot::Ready(ready)) = self.slots.get_mut(key) else { return None };
        ready.n_users += 1;
        ready.last_use = last_use;
        self.unclaimed.take_if(|unclaimed| unclaimed == key);
        Some(ready.value.clone())
    }

    /// Completes a load: all waiting callers become users. Returns the evicted values, to be dropped outside the lock.
    fn take_in(&mut self, key: &K, value: T, bytes: u64, took: Duration, bytes_max: u64) -> Vec<Arc<T>> {
        self.stats.n_loads += 1;
        self.stats.load_time += took;
        self.stats.last_load_time = took;
        self.stats.bytes += bytes;
        let value = Arc::new(value);
        let n_users = self.end(key, Ok(value.clone()));
        let ready = Ready { value, bytes, n_users, last_use: self.next_use() };
        self.slots.insert(key.clone(), Slot::Ready(ready));
        if n_users == 0 {
            self.unclaimed = Some(key.clone());
        }
        self.trim(bytes_max)
    }

    /// Fails a load: all waiting callers get the error, and the next call retries.
    fn fail(&mut self, key: &K, source: &SharedError) {
        self.stats.n_failed_loads += 1;
        self.end(key, Err(source.clone()));
    }

    /// Delivers the result of a load to its waiting callers, and returns their number.
    fn end(&mut self, key: &K, outcome: Result<Arc<T>, SharedError>) -> usize {
        let Some(Slot::Loading { load, n_waiting }) = self.slots.remove(key) else { return 0 };
        // A load ends once, so the result is not set yet.
        let _ = load.outcome.set(outcome);
        n_waiting
    }

    fn hand_back(&mut self, key: &K) {
        let last_use = self.next_use();
        if let Some(Slot::Ready(ready)) = self.slots.get_mut(key) {
            ready.n_users -= 1;
            ready.last_use = last_use;
        }
    }

    /// Evicts unused values until the limit is met, and returns them, to be dropped outside the lock.
    fn trim(&mut self, bytes_max: u64) -> Vec<Arc<T>> {
        let mut let_go = Vec::new();
        while self.stats.bytes > bytes_max {
            let idle = self.slots.iter().filter_map(|(key, slot)| match slot {
                Slot::Ready(ready) if ready.n_users == 0 && self.unclaimed.as_ref() != Some(key) => {
                    Some((ready.last_use, key))
                }
                _ => None,
            });
            let Some(key) = idle.min_by_key(|(last_use, _)| *last_use).map(|(_, key)| key.clone()) else { break };
            if let Some(Slot::Ready(ready)) = self.slots.remove(&key) {
                self.stats.bytes -= ready.bytes;
                self.stats.n_evictions += 1;
                let_go.push(ready.value);
            }
        }
        let_go
    }
}

fn failure(key: &impl Display, source: &SharedError) -> RegistryError {
    RegistryError::Load { key: key.to_string(), source: source.clone() }
}

impl<K: Ord + Clone, T> Deref for Resident<K, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<K: Ord + Clone, T> Drop for Resident<K, T> {
    fn drop(&mut self) {
        let mut held = self.shared.lock();
        held.hand_back(&self.key);
        let let_go = held.trim(self.shared.bytes_max);
        drop(held);
        drop(let_go);
    }
}

impl<K: Ord + Clone, T> fmt::Debug for Residency<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Residency").field("bytes_max", &self.shared.bytes_max).finish_non_exhaustive()
    }
}

impl<K: Ord + Clone, T> fmt::Debug for Resident<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resident").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    fn held_keys(residency: &Residency<u32, u32>) -> Vec<u32> {
        residency.shared.lock().slots.keys().copied().collect()
    }

    fn get(residency: &Residency<u32, u32>, key: u32) -> Resident<u32, u32> {
        residency.get_or_load(&key, None, move || Ok::<_, BoxError>((key, 10))).unwrap().unwrap()
    }

    #[test]
    fn the_least_recently_used_goes_first_and_one_in_use_never() {
        let residency = Residency::new(20);
        let one = get(&residency, 1);
        drop(get(&residency, 2));
        drop(get(&residency, 3));
        assert_eq!(held_keys(&residency), [1, 3]);
        assert_eq!([1, 2, 3].map(|key| residency.is_held(&key)), [true, false, true]);
        let two = get(&residency, 2);
        assert_eq!(held_keys(&residency), [1, 2]);
        let three = get(&residency, 3);
        assert_eq!((residency.stats().bytes, *one + *two + *three), (30, 6));
        drop(two);
        assert_eq!(held_keys(&residency), [1, 3]);
        drop((one, three));
        drop(get(&residency, 1));
        drop(get(&residency, 2));
        assert_eq!(held_keys(&residency), [1, 2]);
        let stats = residency.stats();
        assert_eq!((stats.n_held, stats.bytes, stats.n_loads, stats.n_evictions), (2, 20, 6, 4));
        assert!(stats.load_time >= stats.last_load_time);
    }

    #[test]
    fn one_larger_than_the_limit_is_held_while_it_is_used() {
        let residency = Residency::new(5);
        let one = get(&residency, 1);
        assert_eq!((*one, residency.stats().n_held), (1, 1));
        drop(one);
        assert_eq!((residency.stats().n_held, residency.stats().bytes), (0, 0));
    }

    /// Many threads, few keys, room for two of five: every value counts itself in and out.
    #[test]
    fn nothing_is_loaded_twice_at_once_and_the_limit_holds_once_idle() {
        type Counts = [AtomicU64; 5];
        struct Counted(Arc<Counts>, u32);
        impl Drop for Counted {
            fn drop(&mut self) {
                assert!(self.0[self.1 as usize].fetch_sub(1, Ordering::SeqCst) > 0);
            }
        }
        // A value that was let go of ends outside the lock, so the next one may be there a moment before.
        let (alive, loading) = (Arc::<Counts>::default(), Arc::<Counts>::default());
        let (residency, start) = (Residency::new(20), Barrier::new(8));
        thread::scope(|scope| {
            for thread in 0..8 {
                let (alive, loading, residency, start) = (&alive, &loading, &residency, &start);
                scope.spawn(move || {
                    start.wait();
                    for n in 0..500_u32 {
                        let key = (n * (thread + 1) + n / 7) % 5;
                        let load = {
                            let (alive, loading) = (alive.clone(), loading.clone());
                            move || {
                                let n_loading = &loading[key as usize];
                                assert_eq!(n_loading.fetch_add(1, Ordering::SeqCst), 0, "loaded twice");
                                alive[key as usize].fetch_add(1, Ordering::SeqCst);
                                thread::yield_now();
                                n_loading.fetch_sub(1, Ordering::SeqCst);
                                Ok::<_, BoxError>((Counted(alive.clone(), key), 10))
                            }
                        };
                        let value = residency.get_or_load(&key, None, load).unwrap().unwrap();
                        assert_eq!(value.1, key);
                        assert!(value.0[key as usize].load(Ordering::SeqCst) > 0, "let go of while in use");
                    }
                });
            }
        });
        let stats = residency.stats();
        assert_eq!((stats.n_held, stats.bytes), (2, 20));
        assert_eq!(stats.n_loads, stats.n_evictions + 2);
        // The last value that was let go of may still be on its way out.
        while alive.iter().map(|n| n.load(Ordering::SeqCst)).sum::<u64>() != 2 {
            thread::yield_now();
        }
    }

    /// How many threads wait for the load of a key.
    fn n_waiting(residency: &Residency<u32, u32>, key: u32) -> usize {
        match residency.shared.lock().slots.get(&key) {
            Some(Slot::Loading { n_waiting, .. }) => *n_waiting,
            _ => 0,
        }
    }

    /// A load that ends when a test says so.
    fn gated(
        load: fn() -> Result<(u32, u64), BoxError>,
    ) -> (Sender<()>, impl FnOnce() -> Result<(u32, u64), BoxError>) {
        let (open, opened) = channel();
        let gated = move || {
            let _ = opened.recv();
            load()
        };
        (open, gated)
    }

    /// What four callers get of a load that ends when all of them wait for it.
    fn answers_of(residency: &Residency<u32, u32>, load: fn() -> Result<(u32, u64), BoxError>) -> [String; 4] {
        let answer = |got: Result<Option<Resident<u32, u32>>, RegistryError>| match got {
            Ok(value) => value.unwrap().to_string(),
            Err(error) => std::error::Error::source(&error).unwrap().to_string(),
        };
        let (open, first_load) = gated(load);
        thread::scope(|scope| {
            let first = scope.spawn(|| answer(residency.get_or_load(&1, None, first_load)));
            while n_waiting(residency, 1) < 1 {
                thread::yield_now();
            }
            let second_load = || answer(residency.get_or_load(&1, None, || Err("loaded a second time")));
            let others = [(); 3].map(|()| scope.spawn(second_load));
            while n_waiting(residency, 1) < 4 {
                thread::yield_now();
            }
            open.send(()).unwrap();
            let [a, b, c] = others.map(|other| other.join().unwrap());
            [first.join().unwrap(), a, b, c]
        })
    }

    #[test]
    fn all_that_wait_get_what_the_one_load_gave_and_a_failed_one_can_be_tried_again() {
        let residency = Residency::new(100);
        assert_eq!(answers_of(&residency, || Err("no disk".into())), ["no disk"; 4]);
        assert_eq!(answers_of(&residency, || panic!("on purpose")), ["the load panicked"; 4]);
        assert_eq!((residency.stats().n_failed_loads, residency.stats().bytes), (2, 0));
        assert_eq!(answers_of(&residency, || Ok((7, 10))), ["7"; 4]);
        assert_eq!((residency.stats().n_loads, residency.stats().n_held), (1, 1));
    }

    /// Room for none, and a caller that comes too late for its deadline.
    #[test]
    fn a_load_that_nobody_waits_for_any_more_goes_on_and_is_kept_for_the_next_caller() {
        let residency = Residency::new(0);
        let (open, load) = gated(|| Ok((7, 10)));
        let past = Some(Deadline::at(Instant::now()));
        assert!(residency.get_or_load(&1, past, load).unwrap().is_none());
        assert_eq!(n_waiting(&residency, 1), 0);
        open.send(()).unwrap();
        while !residency.is_held(&1) {
            thread::yield_now();
        }
        let again = || Err::<(u32, u64), _>("loaded a second time");
        let value = residency.get_or_load(&1, past, again).unwrap().expect("it is there without a wait");
        assert_eq!((*value, residency.stats().n_loads), (7, 1));
        drop(value);
        assert!(!residency.is_held(&1), "used once, it has to go like any other");
    }

    #[test]
    fn one_key_does_not_wait_for_another() {
        let residency = Residency::new(100);
        let (open, load) = gated(|| Ok((1, 10)));
        thread::scope(|scope| {
            let slow = scope.spawn(|| *residency.get_or_load(&1, None, load).unwrap().unwrap());
            while n_waiting(&residency, 1) < 1 {
                thread::yield_now();
            }
            assert_eq!(*get(&residency, 2), 2);
            open.send(()).unwrap();
            assert_eq!(slow.join().unwrap(), 1);
        });
    }
}
