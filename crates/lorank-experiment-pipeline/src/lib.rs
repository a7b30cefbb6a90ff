//! Runs experiments on a pipeline: which arm answers a request, how arms are mixed in one answer, what is written down.
//!
//! An [`ExperimentPipeline`] takes a [`Pipeline`](lorank_pipeline::Pipeline) and an
//! [`ExperimentStore`](lorank_experiment_store::ExperimentStore) and answers searches in their place:
//!
//! - **Who ranks.** The arm or the adapter that the request names; else the arm of the running experiment that its unit takes
//!   part in; else the pipeline's default. What a request chose for itself, an arm or any adapter, is recorded as forced and kept
//!   out of the statistics.
//!   A unit can meet one experiment of each layer; where several would have it, the first by name does, or the one that
//!   the request names.
//! - **Pinned versions.** An arm serves the version that its adapter or alias stood for when the experiment was started, wherever
//!   the alias points later ([`pinned_version`]). Where that version is gone or was replaced, the arm's answers are in first-stage
//!   order and say so: no other version takes its place in the statistics.
//! - **Interleaving.** All arms rank the same candidates in batches that they share, and a team draft mixes them. The draft
//!   follows from experiment, unit and query, so a second page goes on where the first one ended, and any answer can be
//!   made again. Its hits carry no rerank score, which would tell the searcher whose they are.
//! - **Failures.** An arm whose model is missing, late or failing leaves the others' answer standing; where none is left, the
//!   answer is in first-stage order. Both are said.
//! - **Exposures.** Each answer goes to the store without waiting for it.
//! - **Shadows.** A share of the answers is ranked once more, by a candidate that nobody sees, when the model has nothing else
//!   to do ([`ShadowConfig`]).
//!
//! What this crate does not do: the statistics are those of `lorank-experiments`, and records are kept by
//! `lorank-experiment-store`. Without a store it is the pipeline and nothing more.

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
