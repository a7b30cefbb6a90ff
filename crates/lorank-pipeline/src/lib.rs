//! The pipeline: first stage, score cache and reranker in one search, with a deadline and a fallback.
//!
//! A [`Pipeline`] connects any [`FirstStage`](lorank_core::FirstStage) with any [`Reranker`](lorank_core::Reranker) and
//! provides everything between them:
//!
//! - **Order.** The first `depth` candidates by rerank score, ties by first-stage rank; the others follow in
//!   first-stage order. No candidate is added, lost or repeated. A request may blend both scores
//!   ([`SearchRequest::blend_weight`]) and set a minimum score ([`SearchRequest::min_rerank_score`]).
//! - **Pages.** Every page retrieves the same candidates and reranks the same `depth` of them, so pages are slices of
//!   one order. The second page finds its scores in the cache.
//! - **Cache.** A pair that was scored before needs no model work, and a pair that occurs twice in one request is
//!   scored once.
//! - **Queue.** The model runs on the pipeline's own thread behind a bounded queue. Concurrent requests share its
//!   batches fairly, so a large request does not delay a small one; a full queue rejects requests immediately
//!   ([`Fallback::QueueFull`]). Callers encode texts on their own threads, so the queue counts exact tokens and the
//!   model's thread only computes.
//! - **Admission.** A request that would miss its deadline at the model's measured throughput, or make an earlier one
//!   miss its own, is rejected immediately ([`Fallback::WouldMissDeadline`]); admitted requests finish in time.
//! - **Deadline.** When the deadline passes, the answer comes in first-stage order with a reason
//!   ([`Answer::fallback`]); the remaining work is dropped, and finished scores stay in the cache. A reranker that
//!   fails or panics is handled in the same way, and affects only the requests of its batch.
//! - **Stages.** Several models may rerank one after the other, each fewer candidates than the one before
//!   ([`SearchRequest::stages`]). Each stage has a share of the deadline; one that falls back hands on the order that it
//!   got.
//! - **Several answers to one query.** [`Pipeline::search_each`] retrieves once and lets several models score the
//!   candidates in shared batches: to compare adapters, mix their rankings, or evaluate one in the background. In a
//!   [`Pipeline::contest`] each ranker may also have its own depth, blend, passages and instruction.
//!
//! The crate is *not* an engine: it contains no index and no model, and works with any implementation of the two
//! traits. It is synchronous and needs no particular runtime; async programs call it where blocking is allowed.
//!
//! ```
//! use std::num::NonZeroUsize;
//! use lorank_core::*;
//! use lorank_pipeline::{Pipeline, PipelineConfig, SearchRequest};
//!
//! /// Finds every document, in the order they came in.
//! struct Everything(Vec<&'static str>);
//!
//! impl FirstStage for Everything {
//!     fn retrieve(&self, _query: &Query, depth: NonZeroUsize) -> Result<Vec<Candidate>, BoxError> {
//!         let found = self.0.iter().take(depth.get()).enumerate();
//!         found.map(|(n, text)| Ok(Candidate::new(n.to_string(), *text, Score::new(-(n as f32))?))).collect()
//!     }
//! }
//!
//! /// Likes short documents.
//! struct Brevity;
//!
//! impl Reranker for Brevity {
//!     fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
//!         if let Some(adapter) = adapter {
//!             return Err(format!("there is no adapter `{adapter}`").into());
//!         }
//!         let (base_digest, prompt_version) = (Digest::new([0; 32]), Digest::new([0; 32]));
//!         let (base_model, precision) = ("brevity".into(), Precision::F32);
//!         Ok(ModelVersion { base_model, base_digest, adapter: None, prompt_version, precision, merged: false })
//!     }
//!
//!     fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
//!         let score = |pair: &&EncodedPair| Ok(Score::new(-(pair.texts()?.text.len() as f32))?);
//!         batch.iter().map(score).collect()
//!     }
//! }
//!
//! let first_stage = Everything(vec!["a long document", "short", "a longer document"]);
//! let pipeline = Pipeline::new(first_stage, Brevity, PipelineConfig::default())?;
//! let answer = pipeline.search(&SearchRequest::new("anything"))?;
//!
//! assert!(answer.reranked);
//! assert_eq!(&*answer.hits[0].candidate.text, "short");
//! assert_eq!((answer.hits[0].rank, answer.hits[0].first_stage_rank), (1, 2));
//!
//! // A repeated search costs no model work.
//! assert_eq!(pipeline.search(&SearchRequest::new("anything"))?.cache.hits, 3);
//! # Ok::<(), lorank_pipeline::PipelineError>(())
//! ```

mod answer;
mod cascade;
#[cfg(test)]
mod cascade_tests;
mod config;
mod contest;
mod error;
mod fallback;
mod limits;
mod no_reranker;
mod page;
mod passages;
mod pipeline;
mod plan;
mod queue;
mod rank_by;
mod request;
mod reranking;
#[cfg(test)]
mod tests;
mod warning;

pub use answer::{Answer, CacheUse, Ranked, Scoring, StageAnswer, Timings};
pub use config::{NamedRankBy, PipelineConfig, SharedScoresConfig};
pub use error::PipelineError;
pub use fallback::Fallback;
pub use lorank_cache::{CacheConfig, CacheStats, SharedStats};
pub use lorank_core::AdapterChoice;
pub use no_reranker::NoReranker;
pub use pipeline::{Documents, NoFirstStage, Pipeline};
pub use queue::QueueStats;
pub use rank_by::{InvalidRankBy, RankBy};
pub use request::{Cancellation, Contestant, OnOverload, RankByChoice, Ranker, SearchRequest};
pub use warning::{ExperimentRanking, Warning};
