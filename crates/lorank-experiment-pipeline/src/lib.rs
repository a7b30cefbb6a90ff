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
//! - **Shadows.** A share of the searches is ranked again by a candidate adapter in the background, when the model is
//!   idle ([`ShadowConfig`]).
//!
//! The crate is *not* the statistics (`lorank-experiments`) or the storage (`lorank-experiment-store`). Without a store
//! it only forwards to the pipeline.

mod choice;
mod error;
mod experiment_pipeline;
mod interleaving;
mod pinning;
mod shadow;
mod trial;
mod version;

pub use error::ExperimentPipelineError;
pub use experiment_pipeline::ExperimentPipeline;
pub use pinning::pinned_version;
pub use shadow::{ShadowConfig, ShadowStats};
pub use trial::{ExperimentAnswer, FailedArm, Participation, Trial};
