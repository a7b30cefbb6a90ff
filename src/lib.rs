//! Search-result reranking with LoRA adapters, inside the search engine.
//!
//! tantivy's BM25 finds candidates, a cross-encoder with a LoRA adapter reranks them, and a score cache makes repeated
//! searches cheap. This crate re-exports the crates of the project:
//!
//! - [`core`]: the vocabulary and the two traits, [`FirstStage`](core::FirstStage) and [`Reranker`](core::Reranker);
//! - [`tantivy`]: the index on disk, BM25 as a first stage, and [`RerankCollector`](tantivy::RerankCollector) for an
//!   existing index;
//! - [`elastic`]: OpenSearch, Elasticsearch and Quickwit as a first stage;
//! - [`model`]: base models, adapters and forward passes, as a reranker;
//! - [`cache`]: the score cache;
//! - [`pipeline`]: all of them in one search, with a deadline and a fallback;
//! - [`adapters`]: the registry of adapters; [`registry_reranker`]: a reranker that uses it at run time;
//! - [`experiments`]: assignment, interleaving and statistics of experiments; [`experiment_store`]: their storage;
//!   [`experiment_pipeline`]: experiments on a pipeline;
//! - [`http`]: the HTTP API; [`server`]: the assembled server, as a library;
//! - [`starter`]: a small base model, adapters and a corpus, compiled in.
//!
//! The crate has *no* code of its own, and its library is *not* the command line: the binary `lorank` runs `lorank-cli`.
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
//! # Where to start
//!
//! - Documents without an index: the program above; `examples/embed.rs` is complete.
//! - An existing tantivy index: [`tantivy::collector`], and `examples/basic_search`, which changes 15 lines of
//!   tantivy's own example.
//! - Another search engine or model: implement [`FirstStage`](core::FirstStage) or [`Reranker`](core::Reranker), in
//!   under 30 lines each, as in `examples/own_stages.rs`.
//! - Existing candidates: [`Pipeline::rerank`](pipeline::Pipeline::rerank), from many threads (`examples/threads.rs`),
//!   from async code (`examples/async_search.rs`), or from your own server (`examples/own_server.rs`).
//! - The whole server in an application: [`server`], and `examples/embedded_server.rs`.
//! - Several adapters: `examples/swap_adapters.rs` promotes one during searches, and `examples/experiment.rs` finds the
//!   one to promote.
//! - Measuring the benefit: `examples/evaluate.rs`.
//!
//! # Features and versions
//!
//! The default features are those of the command `lorank`. A program that embeds the library disables them
//! (`default-features = false`), and then has no command line, server, database or built-in model. The feature
//! `experiments` adds [`experiment_store`] with SQLite, and [`experiment_pipeline`]; assignment, interleaving and
//! statistics ([`experiments`]) need no feature. `elastic` adds the first stage over a search engine, with an HTTP client. `http` adds the HTTP API over a pipeline, and `server` the whole
//! server.
//!
//! tantivy's types appear in the signatures of [`tantivy`], so use tantivy as `lorank::tantivy::tantivy`. A new minor
//! version of tantivy (0.28) needs a new minor version of lorank.

pub use lorank_adapters as adapters;
pub use lorank_cache as cache;
pub use lorank_core as core;
#[cfg(feature = "elastic")]
pub use lorank_elastic as elastic;
pub use lorank_eval as eval;
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
