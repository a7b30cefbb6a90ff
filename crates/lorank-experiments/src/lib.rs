//! Experiments that compare rankings on live traffic: assignment of arms, events, statistics and verdicts.
//!
//! The rules and the statistics are plain values and pure functions:
//!
//! - **Definitions.** An [`Experiment`] compares [`Arm`]s. It is a draft, then running, then stopped, and owns buckets of its
//!   layer while it runs ([`Experiment::start`]).
//! - **Assignment.** An [`Assigner`] hashes a unit to its arm, with the same result in every process and without shared state.
//! - **Interleaving.** [`team_draft`] mixes the arms' rankings in one answer, and [`credits`] attributes clicks to arms.
//! - **Records.** An [`Exposure`] records the shown hits, an [`Event`] a user action on them (in the format of User Behavior
//!   Insights), a [`ShadowRecord`] the ranking of a shadow.
//! - **Statistics.** An [`Analysis`] takes [`QueryRecord`]s and returns a [`Verdict`], which is valid at every look, and a
//!   [`Report`] as JSON, text or HTML.
//!
//! This crate does *not* read files, store records, start threads or read the clock (the caller passes the time).
//! `lorank-experiment-store` stores records; `lorank-experiment-pipeline` runs experiments on a pipeline. The statistics can be used
//! without either:
//!
//! ```
//! use lorank_experiments::{Analysis, AnalysisOptions, Assigner, Click, Experiment, QueryRecord, Verdict};
//!
//! let mut experiment: Experiment = serde_json::from_str(
//!     r#"{"id": "qa-or-not", "salt": "1", "layer": "main", "traffic_share": 1.0, "arms": [
//!         {"name": "control", "model": "none", "weight": 1}, {"name": "qa", "model": "qa", "weight": 1}]}"#,
//! )?;
//! experiment.start(0, &[])?;
//!
//! let assigner = Assigner::new(&experiment);
//! let mut analysis = Analysis::new(&experiment, AnalysisOptions::default());
//! for n in 0..2_000 {
//!     let unit = format!("user {n}");
//!     let arm = assigner.arm(&unit).expect("all traffic takes part");
//!     // The click-through rate is 30 % for the control and 60 % for the other arm.
//!     let is_clicked = n % 10 < if arm == 0 { 3 } else { 6 };
//!     analysis.add(&QueryRecord {
//!         request_id: format!("r{n}"),
//!         unit,
//!         arm,
//!         forced: false,
//!         at_millis: n * 60_000,
//!         n_hits: 10,
//!         latency_micros: 30_000,
//!         fallback: None,
//!         model: None,
//!         teams: vec![],
//!         arms: vec![],
//!         value: None,
//!         judged: None,
//!         past: None,
//!         clicks: if is_clicked { vec![Click { rank: 1, at_millis: n * 60_000 }] } else { vec![] },
//!     });
//! }
//! assert!(matches!(analysis.verdict(), Verdict::Ship { arm, .. } if arm == "qa"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod agreement;
mod analysis;
mod arm;
mod assignment;
mod definition;
mod error;
mod event;
mod event_time;
#[cfg(test)]
mod examples;
mod exposure;
mod format;
#[doc(hidden)]
pub mod fuzzing;
mod interleave;
mod layer;
mod lifecycle;
mod record;
mod report;
mod shadow;
mod stage_form;

pub use analysis::{
    Analysis, AnalysisOptions, DayRatio, Forecast, Guardrail, Interval, Look, Measure, SampleRatio, Scope,
    ServedVersion, Verdict, Wait,
};
pub use arm::{Arm, ArmModel, PinnedBase, PinnedVersion};
pub use assignment::Assigner;
pub use definition::{Experiment, ExperimentState, Method, PrimaryMeasure, UnitKind, experiments_naming};
pub use error::ExperimentError;
pub use event::{EVENT_ATTRIBUTES_BYTES_MAX, EVENT_MESSAGE_BYTES_MAX, EVENT_NAME_BYTES_MAX, EVENT_VALUE_MAX, Event};
pub use event_time::CLOCK_SKEW_MILLIS;
pub use exposure::{ArmRanking, Assigned, EXPOSURE_BYTES_MAX, Exposure, InterleavedArm};
pub use interleave::{Drafted, NO_TEAM, credits, team_draft};
pub use layer::{BucketRange, N_BUCKETS};
pub use lifecycle::ARMS_MAX;
pub use record::{Click, Judged, QueryRecord};
pub use report::{ArmSummary, Comparison, Difference, DuelSummary, GuardrailCheck, Report, ServedArm};
pub use shadow::{ShadowOutcome, ShadowRecord};
