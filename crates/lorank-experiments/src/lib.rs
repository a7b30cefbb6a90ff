//! Experiments between adapters: who sees which arm, what they did with it, and which arm to ship.

mod definition;
mod record;

pub use definition::{Arm, ArmModel, Experiment, ExperimentState, Method, PrimaryMeasure, UnitKind};
pub use record::{Click, QueryRecord};
