//! An LRU cache of scores in memory, with a shared store behind it if there is one.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lorank_core::{Deadline, Digest, Score};
use lru::LruCache;

use crate::key::{AdapterTag, adapter_tag};
use crate::{ScoreKey, SharedScores, SharedStats};

/// The estimated memory of one cached score, in bytes.
///
/// A list node holds the key, the score and two links (56 bytes); the hash table holds two pointers and a control byte
/// per slot, and is between 7/16 and 7/8 full (20 to 39 bytes); the allocator adds a header of 8 to 16 bytes. All
/// entries have the same size, so the estimate does not depend on the texts.
pub const BYTES_PER_ENTRY: usize = 104;

/// The limits of a [`ScoreCache`]. Whichever is reached first applies; zero in either disables the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheConfig {
    /// The maximum number of scores.
    pub entries_max: usize,
    /// The maximum memory in bytes, at [`BYTES_PER_ENTRY`] per score.
    pub bytes_max: usize,
}

impl Default for CacheConfig {
    /// A million scores in 128 MiB: ten thousand queries at depth 100.
    fn default() -> Self {
        Self { entries_max: 1_000_000, bytes_max: 128 << 20 }
    }
}

impl CacheConfig {
    /// The limits of a disabled cache.
    pub const OFF: Self = Self { entries_max: 0, bytes_max: 0 };

    /// The maximum number of scores under both limits; `None` if disabled.
    fn capacity(&self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.entries_max.min(self.bytes_max / BYTES_PER_ENTRY))
    }
}

/// The contents and counters of a [`ScoreCache`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Lookups that found a score in memory.
    pub hits: u64,
    /// Lookups that found none in memory.
    pub misses: u64,
    /// Evicted scores.
    pub evictions: u64,
    /// The current number of scores in memory.
    pub entries: usize,
    /// Their estimated memory in bytes, at [`BYTES_PER_ENTRY`] each.
    pub bytes: usize,
    /// The counters of the shared store, if there is one.
    pub shared: Option<SharedStats>,
}

/// An LRU cache of scores by key. Threads share it by reference.
///
/// With a [shared store](Self::with_shared), lookups that find nothing in memory go there, and new scores are stored
/// there too.
#[derive(Debug)]
pub struct ScoreCache {
    capacity: Option<NonZeroUsize>,
    inner: Mutex<Inner>,
    shared: Option<SharedScores>,
}

#[derive(Debug)]
struct Inner {
    scores: LruCache<ScoreKey, Score>,
    /// The number of scores per adapter, without zeros.
    n_of_adapter: HashMap<AdapterTag, usize>,
    hits: u64,
    misses: u64,
    evictions: u64,
}

impl ScoreCache {
    /// An empty cache. Memory is allocated as scores are added.
    pub fn new(config: CacheConfig) -> Self {
        let n_of_adapter = HashMap::new();
        let inner = Inner { scores: LruCache::unbounded(), n_of_adapter, hits: 0, misses: 0, evictions: 0 };
        Self { capacity: config.capacity(), inner: Mutex::new(inner), shared: None }
    }

    /// The cache with a shared store behind it.
    #[must_use]
    pub fn with_shared(self, shared: SharedScores) -> Self {
        Self { shared: Some(shared), ..self }
    }

    /// Whether the cache in memory is enabled.
    pub fn is_on(&self) -> bool {
        self.capacity.is_some()
    }

    /// The cached score of each key, in the keys' order. Marks each one found as most recently used.
    ///
    /// Scores that are not in memory are looked up in the shared store, in one call. It takes at most the time limit of
    /// the store, and a quarter of the time before the deadline.
    pub fn get_many(&self, keys: &[ScoreKey], deadline: Option<Deadline>) -> Vec<Option<Score>> {
        let mut found = self.get_in_memory(keys);
        let Some(shared) = &self.shared else { return found };
        let missing: Vec<usize> =
            found.iter().zip(0..).filter(|(score, _)| score.is_none()).map(|(_, at)| at).collect();
        if missing.is_empty() {
            return found;
        }
        let missing_keys: Vec<ScoreKey> = missing.iter().map(|at| keys[*at]).collect();
        let scores = shared.get(&missing_keys, deadline);
        self.put_in_memory(missing_keys.iter().copied().zip(&scores).filter_map(|(key, score)| Some((key, (*score)?))));
        for (at, score) in missing.into_iter().zip(scores) {
            found[at] = score;
        }
        found
    }

    fn get_in_memory(&self, keys: &[ScoreKey]) -> Vec<Option<Score>> {
        let mut inner = self.lock();
        let found: Vec<_> = keys.iter().map(|key| inner.scores.get(key).copied()).collect();
        let hits = found.iter().flatten().count();
        inner.hits += hits as u64;
        inner.misses += (keys.len() - hits) as u64;
        found
    }

    /// The score of a key in memory. Does not count as hit or miss, and does not mark the key as used: for a second
    /// lookup after a miss.
    pub fn peek(&self, key: &ScoreKey) -> Option<Score> {
        self.lock().scores.peek(key).copied()
    }

    /// Caches the score of each key, replacing existing scores. Does not wait for the shared store.
    ///
    /// # Panics
    /// If the numbers of keys and scores differ.
    pub fn put_many(&self, keys: &[ScoreKey], scores: &[Score]) {
        assert_eq!(keys.len(), scores.len(), "one score per key");
        let scored = keys.iter().copied().zip(scores.iter().copied());
        if let Some(shared) = &self.shared {
            shared.put(scored.clone());
        }
        self.put_in_memory(scored);
    }

    fn put_in_memory(&self, scored: impl Iterator<Item = (ScoreKey, Score)>) {
        let Some(capacity) = self.capacity else { return };
        let mut inner = self.lock();
        for (key, score) in scored {
            if inner.scores.put(key, score).is_none() {
                *inner.n_of_adapter.entry(key.adapter_tag()).or_default() += 1;
            }
            if inner.scores.len() > capacity.get() {
                inner.evict();
            }
        }
    }

    /// The number of scores in memory of an adapter, by the digest of its files; `None` is the bare base model.
    pub fn n_scores_of(&self, adapter: Option<&Digest>) -> usize {
        self.lock().n_of_adapter.get(&adapter_tag(adapter)).copied().unwrap_or(0)
    }

    /// The contents and counters of the cache.
    pub fn stats(&self) -> CacheStats {
        let inner = self.lock();
        let entries = inner.scores.len();
        let Inner { hits, misses, evictions, .. } = *inner;
        drop(inner);
        let shared = self.shared.as_ref().map(SharedScores::stats);
        CacheStats { hits, misses, evictions, entries, bytes: entries * BYTES_PER_ENTRY, shared }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No caller's code runs under the lock, so a poisoned lock still guards a valid list.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Evicts the least recently used score.
    fn evict(&mut self) {
        let Some((key, _)) = self.scores.pop_lru() else { return };
        self.evictions += 1;
        let tag = key.adapter_tag();
        if let Some(n) = self.n_of_adapter.get_mut(&tag) {
            *n -= 1;
            if *n == 0 {
                self.n_of_adapter.remove(&tag);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lorank_core::{AdapterVersion, ModelVersion, Precision};
    use proptest::prelude::*;

    use super::*;
    use crate::KeyMaker;

    const QA: Digest = Digest::new([1; 32]);

    fn key_of(adapter: Option<Digest>, text: &str) -> ScoreKey {
        let zero = Digest::new([0; 32]);
        let adapter = adapter.map(|digest| AdapterVersion { id: "qa".parse().unwrap(), digest });
        let (prompt_version, precision) = (zero, Precision::F32);
        let base_model = String::new();
        let model = ModelVersion { base_model, base_digest: zero, adapter, prompt_version, precision, merged: false };
        KeyMaker::new("query", &model).key(None, text)
    }

    fn key(text: &str) -> ScoreKey {
        key_of(None, text)
    }

    fn score(x: f32) -> Score {
        Score::new(x).unwrap()
    }

    fn cache(entries_max: usize) -> ScoreCache {
        ScoreCache::new(CacheConfig { entries_max, ..CacheConfig::default() })
    }

    /// The cached score of each text.
    fn get(cache: &ScoreCache, texts: &[&str]) -> Vec<Option<f32>> {
        let keys: Vec<_> = texts.iter().map(|text| key(text)).collect();
        cache.get_many(&keys, None).into_iter().map(|score| score.map(Score::get)).collect()
    }

    #[test]
    fn the_least_recently_used_score_makes_room() {
        let cache = cache(2);
        cache.put_many(&[key("a"), key("b")], &[score(1.0), score(2.0)]);
        assert_eq!(get(&cache, &["a"]), [Some(1.0)]);
        cache.put_many(&[key("c")], &[score(3.0)]);
        assert_eq!(get(&cache, &["a", "b", "c"]), [Some(1.0), None, Some(3.0)]);
        let bytes = 2 * BYTES_PER_ENTRY;
        let stats = CacheStats { hits: 3, misses: 1, evictions: 1, entries: 2, bytes, shared: None };
        assert_eq!(cache.stats(), stats);
    }

    #[test]
    fn a_peek_leaves_no_trace() {
        let cache = cache(2);
        cache.put_many(&[key("a"), key("b")], &[score(1.0), score(2.0)]);
        assert_eq!(["a", "c"].map(|text| cache.peek(&key(text)).map(Score::get)), [Some(1.0), None]);
        assert_eq!((cache.stats().hits, cache.stats().misses), (0, 0));
        cache.put_many(&[key("c")], &[score(3.0)]);
        assert_eq!(get(&cache, &["a", "b"]), [None, Some(2.0)], "the one that was peeked at is still the oldest");
    }

    #[test]
    fn a_second_score_replaces_the_first() {
        let cache = cache(2);
        cache.put_many(&[key("a"), key("a")], &[score(1.0), score(-0.0)]);
        assert_eq!(get(&cache, &["a"])[0].map(f32::to_bits), Some((-0.0_f32).to_bits()), "kept to the bit");
        assert_eq!((cache.stats().entries, cache.stats().evictions), (1, 0));
    }

    #[test]
    fn the_smaller_limit_counts() {
        for (entries_max, bytes_max, entries) in [
            (2, usize::MAX, 2),
            (usize::MAX, 3 * BYTES_PER_ENTRY + 1, 3),
            (0, usize::MAX, 0),
            (usize::MAX, BYTES_PER_ENTRY - 1, 0),
        ] {
            let cache = ScoreCache::new(CacheConfig { entries_max, bytes_max });
            for text in ["a", "b", "c", "d", "e"] {
                cache.put_many(&[key(text)], &[score(1.0)]);
            }
            assert_eq!(cache.stats().entries, entries, "{entries_max} entries, {bytes_max} bytes");
            assert_eq!(cache.is_on(), entries > 0);
        }
    }

    #[test]
    fn the_estimate_of_bytes_covers_the_parts_and_not_twice_over() {
        let pointer = size_of::<usize>();
        let node = (size_of::<ScoreKey>() + size_of::<Score>()).next_multiple_of(pointer) + 2 * pointer;
        let slot = 2 * pointer + 1;
        // Slots per entry: 8/7 in a table that is full, 16/7 in one that has just grown.
        let (least, most) = (node + slot * 8 / 7 + 8, node + slot * 16 / 7 + 16);
        assert!((least..=most).contains(&BYTES_PER_ENTRY), "{least} to {most} bytes, estimated {BYTES_PER_ENTRY}");
    }

    #[test]
    fn it_knows_how_many_scores_an_adapter_has() {
        let cache = cache(3);
        let counts = || [None, Some(&QA)].map(|adapter| cache.n_scores_of(adapter));
        assert_eq!(counts(), [0, 0]);
        let keys = [key("a"), key_of(Some(QA), "a"), key("b"), key("b")];
        cache.put_many(&keys, &[score(1.0); 4]);
        assert_eq!(counts(), [2, 1]);
        cache.put_many(&[key_of(Some(QA), "b")], &[score(1.0)]);
        assert_eq!(counts(), [1, 2]);
        cache.put_many(&[key("c"), key("d"), key("e")], &[score(1.0); 3]);
        assert_eq!(counts(), [3, 0]);
    }

    #[test]
    fn threads_share_one_cache() {
        let cache = cache(1_000);
        let texts: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        std::thread::scope(|scope| {
            for chunk in texts.chunks(25) {
                let cache = &cache;
                scope.spawn(move || chunk.iter().for_each(|text| cache.put_many(&[key(text)], &[score(1.0)])));
            }
        });
        assert_eq!(cache.stats().entries, 100);
    }

    proptest! {
        /// Against the plainest model of a bounded LRU: a list with the most recently used last.
        #[test]
        fn it_behaves_as_a_list_would(
            capacity in 0_usize..5,
            steps in prop::collection::vec((any::<bool>(), 0_u8..8, -9_i8..9), 0..60),
        ) {
            let cache = cache(capacity);
            let mut list: Vec<(u8, f32)> = Vec::new();
            for (is_put, name, value) in steps {
                let text = name.to_string();
                let held = list.iter().position(|(n, _)| *n == name).map(|at| list.remove(at));
                if is_put {
                    cache.put_many(&[key(&text)], &[score(value.into())]);
                    list.push((name, value.into()));
                    list.drain(..list.len().saturating_sub(capacity));
                } else {
                    prop_assert_eq!(get(&cache, &[&text]), [held.map(|(_, score)| score)]);
                    list.extend(held);
                }
                prop_assert_eq!(cache.stats().entries, list.len());
            }
        }
    }
}
