//! Runs experiments on a pipeline: chooses the arm for a request, interleaves arms, and records exposures.
//!
//! An [`ExperimentPipeline`] wraps a [`Pipeline`](lorank_pipeline::Pipeline) and an
//! [`ExperimentStore`](lorank_experiment_store::ExperimentStore):
//!
//! - **Choice of the ranker.** The arm or adapter that the request names; else the arm of the running experiment that
//!   its unit takes part in; else the pipeline's default. A choice by the request, of an arm or any adapter, is recorded
//!   as forced and excluded from the statistics. A unit takes part in at most one experiment per layer: the one that the
//!   request names, or the first by name.
//! - **Pinned versions.** An arm serves the version that its adapter or alias had when the experiment was started, even
//!   if the alias moves later ([`pinned_version`]). If that version is gone or was replaced, the arm's answers are in
//!   first-stage order with the reason: no other version takes its place in the statistics.
//! - **Interleaving.** All arms rank the same candidates in shared batches, and a team draft combines them. The draft
//!   depends only on experiment, unit and query, so the second page continues the first one, and every answer is
//!   reproducible. Its hits have no rerank scores, which would reveal their arm.
//! - **Failures.** An arm whose model is missing, late or failing does not affect the other arms; if all arms fail, the
//!   answer is in first-stage order. Both are reported in the answer.
//! - **Exposures.** Each answer is queued for the store without waiting.
//! - **Given documents.** [`ExperimentPipeline::rerank`] ranks documents that the caller supplies by the same rules;
//!   shadows ignore them.
//! - **Shadows.** A share of the searches is ranked again by a candidate adapter in the background, when the model is
//!   idle ([`ShadowConfig`]).
//!
//! The crate is *not* the statistics (`lorank-experiments`) or the storage (`lorank-experiment-store`). Without a store
//! it only forwards to the pipeline.
//!
//! ```
//! use std::sync::Arc;
//!
//! use lorank_experiment_pipeline::{ExperimentPipeline, Trial};
//! use lorank_experiment_store::{ExperimentStore, StoreConfig};
//! use lorank_experiments::Experiment;
//! use lorank_pipeline::{Pipeline, PipelineConfig, SearchRequest};
//! # use lorank_testing::toy::{self, FakeReranker, ToyFirstStage};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! # let folder = tempfile::tempdir()?;
//! # let (first_stage, reranker) = (ToyFirstStage::new(toy::candidates(30)), FakeReranker::hashing());
//! # let now = 1_764_100_000_000;
//! let draft: Experiment = serde_json::from_value(serde_json::json!({
//!     "id": "rerank-or-not", "salt": "1", "layer": "main", "traffic_share": 1.0,
//!     "arms": [{"name": "bm25", "model": "first-stage"}, {"name": "reranked", "model": "none"}]
//! }))?;
//! let store = Arc::new(ExperimentStore::open(folder.path(), StoreConfig::default())?);
//! store.create(draft)?;
//! store.start("rerank-or-not", now)?;
//!
//! let pipeline = Arc::new(Pipeline::new(first_stage, reranker, PipelineConfig::default())?);
//! let experiments = ExperimentPipeline::new(pipeline, store, Vec::new())?;
//! let answered = experiments.search(&Trial {
//!     request: SearchRequest::new("who invented the light bulb"),
//!     request_id: "request-1".into(),
//!     unit_id: Some("user-1".into()),
//!     experiment: None,
//!     arm: None,
//!     at_millis: now,
//! })?;
//! let participation = answered.participation.ok_or("the unit takes part")?;
//! assert_eq!(participation.experiment, "rerank-or-not");
//! assert!(["bm25", "reranked"].contains(&participation.arm.as_deref().unwrap_or_default()));
//! # Ok(())
//! # }
//! ```

mod choice;
mod error;
mod experiment_pipeline;
mod interleaving;
mod pinning;
mod rerank;
mod shadow;
mod trial;
mod version;

pub use error::ExperimentPipelineError;
pub use experiment_pipeline::ExperimentPipeline;
pub use pinning::{pin_of_arm, pinned_version};
pub use rerank::{GivenDocument, RerankAnswer};
pub use shadow::{ShadowConfig, ShadowStats};
pub use trial::{ExperimentAnswer, FailedArm, Participation, Trial};
