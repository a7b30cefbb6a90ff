//! Experiments between rankings: who sees which arm, what they did with it, and which arm to ship.
//!
//! This crate holds the rules and the statistics, as plain values and functions of them:
//!
//! - **Definitions.** An [`Experiment`] compares [`Arm`]s. It goes from draft to running to stopped, and owns buckets of its
//!   layer while it runs ([`Experiment::start`] and its neighbors).
//! - **Assignment.** An [`Assigner`] hashes a unit to its arm: the same in every process, without shared state.
//! - **Interleaving.** [`team_draft`] mixes the arms' rankings in one answer, and [`credits`] says which arm a click counts for.
//! - **Records.** An [`Exposure`] says what was shown, an [`Event`] what was done with it (in the format of User Behavior
//!   Insights), a [`ShadowRecord`] what an unseen candidate would have shown.
//! - **Statistics.** An [`Analysis`] takes [`QueryRecord`]s and gives a [`Verdict`] that may be read at any time, and a
//!   [`Report`] as JSON, text or HTML.
//!
//! What this crate does not do: it reads no file, keeps no record, starts no thread and asks no clock (a caller passes the
//! time). Records are kept by `lorank-experiment-store`; experiments run on a pipeline in `lorank-experiment-pipeline`.
//! The statistics work without either:
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
//!     let arm = assigner.arm(&unit).expect("the whole traffic takes part");
//!     // Three in ten answers of the control are clicked, and six in ten of the other arm.
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

pub use analysis::{
    Analysis, AnalysisOptions, DayRatio, Forecast, Guardrail, Interval, Look, Measure, SampleRatio, Scope,
    ServedVersion, Verdict, Wait,
};
pub use assignment::Assigner;
pub use definition::{
    Arm, ArmModel, Experiment, ExperimentState, Method, PinnedVersion, PrimaryMeasure, UnitKind, experiments_naming,
};
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
