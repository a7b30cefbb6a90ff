//! A cache of tokenized documents, bounded by its memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// The maximum memory of the cache, in bytes: about fifteen thousand passages of 250 tokens.
pub(crate) const BYTES_MAX: usize = 16 << 20;

/// The memory of an entry besides its tokens, in bytes: the key (32), the list node's pointers and the shared slice's
/// header (48), and the hash table's slots, which may be only 7/16 full (40).
const ENTRY_BYTES: usize = 120;

/// The hash of a text.
pub(crate) type TextHash = [u8; 32];

/// The contents and counters of a model's token cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TokenCacheStats {
    /// Documents found in the cache.
    pub hits: u64,
    /// Documents that had to be encoded.
    pub misses: u64,
    /// The current number of documents.
    pub entries: usize,
    /// The memory in bytes, including keys.
    pub bytes: usize,
}

/// An LRU cache of tokens by the hash of their text: a document that is scored under several adapters is encoded once.
/// Threads share it by reference.
#[derive(Debug)]
pub(crate) struct TokenCache {
    bytes_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    tokens: LruCache<TextHash, Arc<[u32]>>,
    stats: TokenCacheStats,
}

impl TokenCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let inner = Inner { tokens: LruCache::unbounded(), stats: TokenCacheStats::default() };
        Self { bytes_max, inner: Mutex::new(inner) }
    }

    /// The cached tokens of a text, which are marked as most recently used.
    pub(crate) fn get(&self, text: &TextHash) -> Option<Arc<[u32]>> {
        let mut inner = self.lock();
        let found = inner.tokens.get(text).cloned();
        match found {
            Some(_) => inner.stats.hits += 1,
            None => inner.stats.misses += 1,
        }
        found
    }

    /// Caches the tokens of a text, if they fit.
    pub(crate) fn put(&self, text: TextHash, tokens: Arc<[u32]>) {
        if n_bytes(&tokens) > self.bytes_max {
            return;
        }
        let mut inner = self.lock();
        inner.stats.bytes += n_bytes(&tokens);
        if let Some(replaced) = inner.tokens.put(text, tokens) {
            inner.stats.bytes -= n_bytes(&replaced);
        }
        while inner.stats.bytes > self.bytes_max {
            let Some((_, dropped)) = inner.tokens.pop_lru() else { break };
            inner.stats.bytes -= n_bytes(&dropped);
        }
    }

    /// Drops all entries; the counters stay.
    pub(crate) fn clear(&self) {
        let mut inner = self.lock();
        inner.tokens.clear();
        inner.stats.bytes = 0;
    }

    pub(crate) fn stats(&self) -> TokenCacheStats {
        let inner = self.lock();
        TokenCacheStats { entries: inner.tokens.len(), ..inner.stats }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn n_bytes(tokens: &[u32]) -> usize {
    ENTRY_BYTES + size_of_val(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u8) -> TextHash {
        [n; 32]
    }

    #[test]
    fn tokens_are_bounded_by_their_bytes_keys_included() {
        let cache = TokenCache::new(3 * ENTRY_BYTES + 48);
        for n in 0..3 {
            cache.put(hash(n), vec![u32::from(n); 2].into());
        }
        assert_eq!(cache.stats().bytes, 3 * (ENTRY_BYTES + 8));
        assert_eq!(cache.get(&hash(0)).as_deref(), Some(&[0, 0][..]));
        cache.put(hash(3), vec![3; 8].into());
        assert_eq!([0, 1, 2, 3].map(|n| cache.get(&hash(n)).is_some()), [true, false, true, true]);
        // One larger than all room is not kept, and drops nothing.
        cache.put(hash(4), vec![4; 200].into());
        cache.put(hash(3), vec![5; 1].into());
        assert_eq!(cache.get(&hash(3)).as_deref(), Some(&[5][..]));
        let bytes = 3 * ENTRY_BYTES + 8 + 8 + 4;
        assert_eq!(cache.stats(), TokenCacheStats { hits: 5, misses: 1, entries: 3, bytes });
        cache.clear();
        assert_eq!(cache.stats(), TokenCacheStats { hits: 5, misses: 1, entries: 0, bytes: 0 });
        assert_eq!(cache.get(&hash(3)), None);
    }
}
