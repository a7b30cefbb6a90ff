//! The score cache: a pair that was scored once needs no model work again.
//!
//! A score depends only on the query's text, the document's title and text, the base model, the adapter, the prompt and
//! the precision. A [`ScoreKey`] is a hash of these, so a [`ScoreCache`] needs no invalidation: a changed document,
//! adapter or template has another key, and the old entry is eventually evicted.
//!
//! Behind it can be a store that several servers share ([`SharedScores`]), such as Valkey or Redis (`RedisScores`, with
//! the feature `redis`).
//!
//! A [`ScoreFile`] keeps scores on disk, for long jobs that may be interrupted.
//!
//! The crate is *not* a cache of answers: filters, depth and page decide which pairs are scored, but never affect a
//! score.
//!
//! ```
//! use lorank_cache::{CacheConfig, KeyMaker, ScoreCache};
//! use lorank_core::{Digest, ModelVersion, Precision, Score};
//!
//! let model = ModelVersion {
//!     base_model: "tiny".into(),
//!     base_digest: Digest::new([1; 32]),
//!     adapter: None,
//!     prompt_version: Digest::new([2; 32]),
//!     precision: Precision::F32,
//!     merged: false,
//! };
//! let keys = KeyMaker::new("how long to boil an egg", &model);
//! let (egg, lamp) = (keys.key(None, "Boil it for nine minutes."), keys.key(Some("Lamps"), "Edison's lamp."));
//!
//! let cache = ScoreCache::new(CacheConfig::default());
//! cache.put_many(&[egg], &[Score::new(7.5)?]);
//! assert_eq!(cache.get_many(&[egg, lamp], None), [Some(Score::new(7.5)?), None]);
//! assert_eq!((cache.stats().hits, cache.stats().misses), (1, 1));
//! # Ok::<(), lorank_core::NotFinite>(())
//! ```

mod breaker;
mod key;
#[cfg(feature = "redis")]
mod redis_scores;
mod score_cache;
mod score_file;
mod shared;

pub use key::{KeyMaker, ScoreKey};
#[cfg(feature = "redis")]
pub use redis_scores::{RedisConfig, RedisError, RedisScores, RedisUrl};
pub use score_cache::{BYTES_PER_ENTRY, CacheConfig, CacheStats, ScoreCache};
pub use score_file::{ScoreFile, ScoreFileError};
pub use shared::{ScoreStore, SharedScores, SharedStats, StoreFailure};
