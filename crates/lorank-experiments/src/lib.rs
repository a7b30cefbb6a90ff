//! Experiments between adapters: who sees which arm, what they did with it, and which arm to ship.

mod definition;
mod error;
mod layer;
mod lifecycle;
mod record;
mod store;

pub use definition::{Arm, ArmModel, Experiment, ExperimentState, Method, PrimaryMeasure, UnitKind};
pub use error::{ExperimentError, ExperimentErrorKind};
pub use layer::{BucketRange, N_BUCKETS};
pub use lifecycle::ARMS_MAX;
pub use record::{Click, QueryRecord};
pub use store::{
    Assigned, EVENT_ATTRIBUTES_BYTES_MAX, EVENT_MESSAGE_BYTES_MAX, EVENT_NAME_BYTES_MAX, EXPOSURE_BYTES_MAX, Event,
    ExperimentStore, Exposure, Forgotten, JoinCounts, Records, ShadowOutcome, ShadowRecord, ShadowSummary, StoreConfig,
    StoreStats, Submitted,
};
