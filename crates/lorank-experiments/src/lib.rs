//! Experiments between adapters: who sees which arm, what they did with it, and which arm to ship.

pub mod agreement;
mod analysis;
mod assignment;
mod definition;
#[cfg(test)]
mod examples;
mod interleave;
mod record;
mod report;

pub use analysis::{Analysis, AnalysisOptions, Forecast, Interval, Look, Measure, SampleRatio, Verdict, Wait};
pub use assignment::{Assigner, InvalidSlots, LayerFull, N_SLOTS, Slots};
pub use definition::{Arm, ArmModel, Experiment, ExperimentState, Method, PrimaryMeasure, UnitKind};
pub use interleave::{Drafted, NO_TEAM, credits, team_draft};
pub use record::{Click, QueryRecord};
pub use report::{ArmSummary, Comparison, Difference, DuelSummary, Report};
