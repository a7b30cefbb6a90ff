//! The score cache: a pair that a model has scored once costs no model work again.
//!
//! A score depends on the query's text, the document's title and text, the base model, the adapter, the prompt and the
//! precision, and on nothing else. A [`ScoreKey`] is the hash of exactly these, so a [`ScoreCache`] needs no
//! invalidation: a changed document, adapter or template has another key, and the old entry ages out.
//!
//! It is *not* a cache of answers: filters, depth and page change which pairs are asked for, never a pair's score.
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
//! assert_eq!(cache.get_many(&[egg, lamp]), [Some(Score::new(7.5)?), None]);
//! assert_eq!((cache.stats().hits, cache.stats().misses), (1, 1));
//! # Ok::<(), lorank_core::NotFinite>(())
//! ```

mod key;
mod score_cache;

pub use key::{KeyMaker, ScoreKey};
pub use score_cache::{BYTES_PER_ENTRY, CacheConfig, CacheStats, ScoreCache};
