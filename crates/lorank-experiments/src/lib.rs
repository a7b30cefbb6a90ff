//! Experiments between adapters: who sees which arm, what they did with it, and which arm to ship.

pub mod agreement;
mod analysis;
mod assignment;
mod definition;
mod error;
#[cfg(test)]
mod examples;
mod interleave;
mod layer;
mod lifecycle;
mod record;
mod report;
mod store;

pub use analysis::{Analysis, AnalysisOptions, Forecast, Interval, Look, Measure, SampleRatio, Verdict, Wait};
pub use assignment::Assigner;
pub use definition::{Arm, ArmModel, Experiment, ExperimentState, Method, PrimaryMeasure, UnitKind, looking_up};
pub use error::{ExperimentError, ExperimentErrorKind};
pub use interleave::{Drafted, NO_TEAM, credits, team_draft};
pub use layer::{BucketRange, N_BUCKETS};
pub use lifecycle::ARMS_MAX;
pub use record::{Click, QueryRecord};
pub use report::{ArmSummary, Comparison, Difference, DuelSummary, Report};
pub use store::{
    Assigned, EVENT_ATTRIBUTES_BYTES_MAX, EVENT_MESSAGE_BYTES_MAX, EVENT_NAME_BYTES_MAX, EXPOSURE_BYTES_MAX, Event,
    ExperimentStore, Exposure, Forgotten, JoinCounts, Records, ShadowOutcome, ShadowRecord, ShadowSummary, StoreConfig,
    StoreStats, Submitted,
};
