//! A look at the running analysis.

use serde::Serialize;

use super::Interval;

/// The differences between arms at a number of units.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Look {
    /// The number of units so far, over all arms.
    pub n_units: u64,
    /// The time of the query of the last unit, in milliseconds since 1970.
    pub at_millis: i64,
    /// The difference of each other arm to the control in the primary measure; `None` while an arm has too few units.
    pub differences: Vec<Option<Interval>>,
}
