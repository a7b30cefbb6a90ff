//! Search-result reranking with LoRA adapters, inside the search engine.
//!
//! tantivy's BM25 finds candidates, a cross-encoder with a LoRA adapter puts them in a better order, and a score cache
//! makes repeats free. This crate is the door: each module below is a crate of its own, with its own page.
//!
//! - [`core`]: the words and the two seams, [`FirstStage`](core::FirstStage) and [`Reranker`](core::Reranker);
//! - [`tantivy`]: the index on disk, BM25 as a first stage, and [`RerankCollector`](tantivy::RerankCollector) for an index of
//!   one's own;
//! - [`model`]: base models, adapters and forward passes, as a reranker;
//! - [`cache`]: the score cache;
//! - [`pipeline`]: all of them in one search, with a deadline and a fallback;
//! - [`adapters`]: the registry of adapters; [`registry_reranker`]: a reranker that follows it while it runs;
//! - [`experiments`]: who sees which arm, and what came of it: values and statistics alone; [`experiment_store`]: their store;
//!   [`experiment_pipeline`]: experiments on a pipeline;
//! - [`http`]: all of it over HTTP; [`server`]: the server that the command starts, put together, as a library;
//! - [`starter`]: a small base model, adapters and a corpus, compiled in.
//!
//! ```no_run
//! use lorank::model::{Files, LoadOptions, ModelReranker};
//! use lorank::pipeline::{Pipeline, PipelineConfig, SearchRequest};
//! use lorank::tantivy::{Bm25FirstStage, Index};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//!     let reranker = ModelReranker::load(&Files::folder("models/base")?, LoadOptions::default())?;
//!     reranker.add_adapter("mine".parse()?, &Files::folder("adapters/mine")?)?;
//!     let config = PipelineConfig { default_adapter: Some("mine".parse()?), ..PipelineConfig::default() };
//!
//!     let pipeline = Pipeline::new(Bm25FirstStage::new(Index::open("data/index")?), reranker, config)?;
//!     let answer = pipeline.search(&SearchRequest::new("who invented the light bulb"))?;
//!     for hit in &answer.hits {
//!         println!("{} (was {}): {}", hit.rank, hit.first_stage_rank, hit.candidate.id);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Where to begin
//!
//! - With documents and no index yet: the program above; `examples/embed.rs` is a whole one.
//! - With a tantivy index: [`tantivy::collector`], and `examples/basic_search`, where 15 lines of tantivy's own example change.
//! - With another search engine, or another model: implement [`FirstStage`](core::FirstStage) or
//!   [`Reranker`](core::Reranker), as `examples/own_stages.rs` does in under 30 lines each.
//! - With candidates in hand: [`Pipeline::rerank`](pipeline::Pipeline::rerank), from many threads (`examples/threads.rs`), from
//!   async code (`examples/async_search.rs`), from one's own server (`examples/own_server.rs`).
//! - With the whole server inside an application: [`server`], and `examples/embedded_server.rs`.
//! - With several adapters: `examples/swap_adapters.rs` promotes one while searches run, and `examples/experiment.rs` finds out which
//!   one to promote.
//! - To know whether it helps: `examples/evaluate.rs`.
//!
//! # Features and versions
//!
//! The default features are those of the command `lorank`. A program that embeds the library leaves them out
//! (`default-features = false`): it then carries no command line, no server, no database and no embedded model. The
//! feature `experiments` brings [`experiment_store`], and SQLite with it, and [`experiment_pipeline`]; assignment, interleaving
//! and statistics ([`experiments`]) need no feature. `http` brings the HTTP API over a pipeline, and `server` the whole server.
//!
//! tantivy's types stand in the signatures of [`tantivy`], so its version is part of this crate's: `lorank::tantivy::tantivy`
//! is the one to use. A new minor version of tantivy (0.28) means a new minor version of lorank.

pub use lorank_adapters as adapters;
pub use lorank_cache as cache;
pub use lorank_core as core;
#[cfg(feature = "experiments")]
pub use lorank_experiment_pipeline as experiment_pipeline;
#[cfg(feature = "experiments")]
pub use lorank_experiment_store as experiment_store;
pub use lorank_experiments as experiments;
#[cfg(feature = "http")]
pub use lorank_http as http;
pub use lorank_model as model;
pub use lorank_pipeline as pipeline;
pub use lorank_registry_reranker as registry_reranker;
#[cfg(feature = "server")]
pub use lorank_server as server;
#[cfg(feature = "starter")]
pub use lorank_starter as starter;
pub use lorank_tantivy as tantivy;
