//! Search-result reranking with LoRA adapters, inside the search engine.
//!
//! tantivy's BM25 finds candidates, a cross-encoder with a LoRA adapter puts them in a better order, and a score cache
//! makes repeats free. This crate is the door: each module below is a crate of its own, with its own page.
//!
//! - [`core`]: the words and the two seams, [`FirstStage`](core::FirstStage) and [`Reranker`](core::Reranker);
//! - [`tantivy`]: the index on disk, and BM25 as a first stage;
//! - [`model`]: base models, adapters and forward passes, as a reranker;
//! - [`cache`]: the score cache;
//! - [`pipeline`]: all of them in one search, with a deadline and a fallback;
//! - [`server`]: the pipeline over HTTP;
//! - [`starter`]: a small base model, adapters and a corpus, compiled in.
//!
//! ```no_run
//! use lorank::model::{Files, LoadOptions, ModelReranker};
//! use lorank::pipeline::{Pipeline, PipelineConfig, SearchRequest};
//! use lorank::tantivy::{Bm25FirstStage, Index};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let reranker = ModelReranker::load(&Files::folder("models/base")?, LoadOptions::default())?;
//! reranker.add_adapter("mine".parse()?, &Files::folder("adapters/mine")?)?;
//! let config = PipelineConfig { default_adapter: Some("mine".parse()?), ..PipelineConfig::default() };
//!
//! let pipeline = Pipeline::new(Bm25FirstStage::new(Index::open("data/index")?), reranker, config)?;
//! let answer = pipeline.search(&SearchRequest::new("who invented the light bulb"))?;
//! for hit in &answer.hits {
//!     println!("{} (was {}): {}", hit.rank, hit.first_stage_rank, hit.candidate.id);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `examples/embed.rs` is a whole program. The default features are those of the command `lorank`. A program that embeds the library leaves them out
//! (`default-features = false`): it then carries no command line and no embedded model.

pub use lorank_cache as cache;
pub use lorank_core as core;
pub use lorank_model as model;
pub use lorank_pipeline as pipeline;
#[cfg(feature = "server")]
pub use lorank_server as server;
#[cfg(feature = "starter")]
pub use lorank_starter as starter;
pub use lorank_tantivy as tantivy;
