//! Which adapters are in memory: loaded on demand, held up to a limit, the least recently used let go of first.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use lorank_core::BoxError;

use crate::RegistryError;

type SharedError = Arc<dyn std::error::Error + Send + Sync>;

/// Loaded values by key, up to a limit of bytes. One that is in use is never let go of, so the limit can be passed while
/// requests hold more than it; it holds again as soon as they end.
pub struct Residency<K: Ord + Clone, T> {
    shared: Arc<Shared<K, T>>,
}

struct Shared<K, T> {
    bytes_max: u64,
    held: Mutex<Held<K, T>>,
    /// Told whenever a load ends.
    loaded: Condvar,
}

struct Held<K, T> {
    slots: BTreeMap<K, Slot<T>>,
    /// Counts uses, to say which was last.
    n_uses: u64,
    stats: ResidencyStats,
}

enum Slot<T> {
    Loading(Arc<Load>),
    Ready(Ready<T>),
}

/// One load; what it failed of, for those that wait for it.
#[derive(Default)]
struct Load {
    failure: OnceLock<SharedError>,
}

struct Ready<T> {
    value: Arc<T>,
    bytes: u64,
    n_users: usize,
    last_use: u64,
}

/// What a [`Residency`] has done and holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResidencyStats {
    /// How many values are held.
    pub n_held: usize,
    /// The bytes of the values that are held.
    pub bytes: u64,
    /// How many loads succeeded.
    pub n_loads: u64,
    /// How many loads failed.
    pub n_failed_loads: u64,
    /// How many values were let go of.
    pub n_evictions: u64,
    /// How long all successful loads took.
    pub load_time: Duration,
    /// How long the last successful load took.
    pub last_load_time: Duration,
}

/// A loaded value in use. It stays in memory until the last of these is dropped, and longer where there is room.
pub struct Resident<K: Ord + Clone, T> {
    shared: Arc<Shared<K, T>>,
    key: K,
    value: Arc<T>,
}

impl<K: Ord + Clone + Display, T> Residency<K, T> {
    /// Nothing held yet, and at most so many bytes held when nothing is in use.
    pub fn new(bytes_max: u64) -> Self {
        let held = Held { slots: BTreeMap::new(), n_uses: 0, stats: ResidencyStats::default() };
        Self { shared: Arc::new(Shared { bytes_max, held: Mutex::new(held), loaded: Condvar::new() }) }
    }

    /// The value of a key: the one that is held, or else the one that `load` returns with its bytes in memory.
    ///
    /// Of several callers at once one loads and the others wait for it. A load must not ask for its own key.
    ///
    /// # Errors
    /// [`RegistryError::Load`] where the load failed, for all that waited for it. The next call tries again.
    pub fn get_or_load<E: Into<BoxError>>(
        &self,
        key: &K,
        load: impl FnOnce() -> Result<(T, u64), E>,
    ) -> Result<Resident<K, T>, RegistryError> {
        let mut held = self.shared.lock();
        let mine = loop {
            if let Some(value) = held.hand_out(key) {
                return Ok(Resident { shared: self.shared.clone(), key: key.clone(), value });
            }
            let Some(Slot::Loading(theirs)) = held.slots.get(key) else { break Arc::new(Load::default()) };
            let theirs = theirs.clone();
            held = self.shared.loaded.wait(held).unwrap_or_else(PoisonError::into_inner);
            if let Some(source) = theirs.failure.get() {
                return Err(RegistryError::Load { key: key.to_string(), source: source.clone() });
            }
        };
        held.slots.insert(key.clone(), Slot::Loading(mine.clone()));
        drop(held);
        self.load(key, &mine, load)
    }

    /// Whether the value of a key is held now.
    pub fn is_held(&self, key: &K) -> bool {
        matches!(self.shared.lock().slots.get(key), Some(Slot::Ready(_)))
    }

    /// What it has done and holds.
    pub fn stats(&self) -> ResidencyStats {
        let held = self.shared.lock();
        let n_held = held.slots.values().filter(|slot| matches!(slot, Slot::Ready(_))).count();
        ResidencyStats { n_held, ..held.stats }
    }

    fn load<E: Into<BoxError>>(
        &self,
        key: &K,
        mine: &Load,
        load: impl FnOnce() -> Result<(T, u64), E>,
    ) -> Result<Resident<K, T>, RegistryError> {
        // Should the load panic, this still stands, and those that wait are told.
        let failure = Some(SharedError::from(BoxError::from("the load panicked")));
        let mut ending = Ending { shared: &self.shared, key, load: mine, failure };
        let started = Instant::now();
        match load() {
            Ok((value, bytes)) => {
                ending.failure = None;
                Ok(self.take_in(key, value, bytes, started.elapsed()))
            }
            Err(error) => {
                let source = SharedError::from(error.into());
                ending.failure = Some(source.clone());
                Err(RegistryError::Load { key: key.to_string(), source })
            }
        }
    }

    fn take_in(&self, key: &K, value: T, bytes: u64, took: Duration) -> Resident<K, T> {
        let mut held = self.shared.lock();
        held.stats.n_loads += 1;
        held.stats.load_time += took;
        held.stats.last_load_time = took;
        held.stats.bytes += bytes;
        let value = Arc::new(value);
        let ready = Ready { value: value.clone(), bytes, n_users: 1, last_use: held.next_use() };
        held.slots.insert(key.clone(), Slot::Ready(ready));
        let let_go = held.trim(self.shared.bytes_max);
        drop(held);
        drop(let_go);
        Resident { shared: self.shared.clone(), key: key.clone(), value }
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

    /// Counts a user more of a key's value.
    fn hand_out(&mut self, key: &K) -> Option<Arc<T>> {
        let last_use = self.next_use();
        let Some(Slot::Ready(ready)) = self.slots.get_mut(key) else { return None };
        ready.n_users += 1;
        ready.last_use = last_use;
        Some(ready.value.clone())
    }

    fn hand_back(&mut self, key: &K) {
        let last_use = self.next_use();
        if let Some(Slot::Ready(ready)) = self.slots.get_mut(key) {
            ready.n_users -= 1;
            ready.last_use = last_use;
        }
    }

    /// Takes out values that nobody uses until the limit holds, and returns them to be dropped outside the lock.
    fn trim(&mut self, bytes_max: u64) -> Vec<Arc<T>> {
        let mut let_go = Vec::new();
        while self.stats.bytes > bytes_max {
            let idle = self.slots.iter().filter_map(|(key, slot)| match slot {
                Slot::Ready(ready) if ready.n_users == 0 => Some((ready.last_use, key)),
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

/// Ends a load, however it ends: a failed one makes room for another try, and all that wait are woken.
struct Ending<'a, K: Ord + Clone, T> {
    shared: &'a Shared<K, T>,
    key: &'a K,
    load: &'a Load,
    failure: Option<SharedError>,
}

impl<K: Ord + Clone, T> Drop for Ending<'_, K, T> {
    fn drop(&mut self) {
        if let Some(failure) = self.failure.take() {
            let mut held = self.shared.lock();
            held.slots.remove(self.key);
            held.stats.n_failed_loads += 1;
            let _ = self.load.failure.set(failure);
        }
        self.shared.loaded.notify_all();
    }
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
    use std::thread;

    use super::*;

    fn held_keys(residency: &Residency<u32, u32>) -> Vec<u32> {
        residency.shared.lock().slots.keys().copied().collect()
    }

    fn get(residency: &Residency<u32, u32>, key: u32) -> Resident<u32, u32> {
        residency.get_or_load(&key, || Ok::<_, BoxError>((key, 10))).unwrap()
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
        struct Counted<'a>(&'a AtomicU64, u32);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                assert!(self.0.fetch_sub(1, Ordering::SeqCst) > 0);
            }
        }
        let zeros = || -> Vec<AtomicU64> { (0..5).map(|_| AtomicU64::new(0)).collect() };
        // A value that was let go of ends outside the lock, so the next one may be there a moment before.
        let (alive, loading) = (zeros(), zeros());
        let (residency, start) = (Residency::new(20), Barrier::new(8));
        thread::scope(|scope| {
            for thread in 0..8 {
                let (alive, loading, residency, start) = (&alive, &loading, &residency, &start);
                scope.spawn(move || {
                    start.wait();
                    for n in 0..500_u32 {
                        let key = (n * (thread + 1) + n / 7) % 5;
                        let load = || {
                            assert_eq!(loading[key as usize].fetch_add(1, Ordering::SeqCst), 0, "loaded twice");
                            alive[key as usize].fetch_add(1, Ordering::SeqCst);
                            thread::yield_now();
                            loading[key as usize].fetch_sub(1, Ordering::SeqCst);
                            Ok::<_, BoxError>((Counted(&alive[key as usize], key), 10))
                        };
                        let value = residency.get_or_load(&key, load).unwrap();
                        assert_eq!(value.1, key);
                        assert!(value.0.load(Ordering::SeqCst) > 0, "let go of while in use");
                    }
                });
            }
        });
        let stats = residency.stats();
        assert_eq!((stats.n_held, stats.bytes), (2, 20));
        assert_eq!(stats.n_loads, stats.n_evictions + 2);
        assert_eq!(alive.iter().map(|n| n.load(Ordering::SeqCst)).sum::<u64>(), 2);
    }

    /// How many threads wait for the load of a key: each holds it, as do its slot and its loader.
    fn n_waiting(residency: &Residency<u32, u32>, key: u32) -> usize {
        match residency.shared.lock().slots.get(&key) {
            Some(Slot::Loading(load)) => Arc::strong_count(load) - 2,
            _ => 0,
        }
    }

    /// The answers of a load that ends when three others wait for it: the loader's first.
    fn answers_of(residency: &Residency<u32, u32>, load: fn() -> Result<(u32, u64), BoxError>) -> [String; 4] {
        let begun = Barrier::new(4);
        let answer = |got: Result<Resident<u32, u32>, RegistryError>| match got {
            Ok(value) => value.to_string(),
            Err(error) => std::error::Error::source(&error).unwrap().to_string(),
        };
        let slow = || {
            begun.wait();
            while n_waiting(residency, 1) < 3 {
                thread::yield_now();
            }
            load()
        };
        thread::scope(|scope| {
            let loader = scope.spawn(|| answer(residency.get_or_load(&1, slow)));
            let waiters = [(); 3].map(|()| {
                scope.spawn(|| {
                    begun.wait();
                    answer(residency.get_or_load(&1, || Err("loaded a second time")))
                })
            });
            let first = loader.join().unwrap_or_else(|_| "the loader panicked".into());
            let [a, b, c] = waiters.map(|waiter| waiter.join().unwrap());
            [first, a, b, c]
        })
    }

    #[test]
    fn all_that_wait_get_what_the_one_load_gave_and_a_failed_one_can_be_tried_again() {
        let residency = Residency::new(100);
        assert_eq!(answers_of(&residency, || Err("no disk".into())), ["no disk"; 4]);
        let panicked = answers_of(&residency, || panic!("on purpose"));
        assert_eq!(panicked, ["the loader panicked", "the load panicked", "the load panicked", "the load panicked"]);
        assert_eq!((residency.stats().n_failed_loads, residency.stats().bytes), (2, 0));
        assert_eq!(answers_of(&residency, || Ok((7, 10))), ["7"; 4]);
        assert_eq!((residency.stats().n_loads, residency.stats().n_held), (1, 1));
    }
}
