//! One look at the running analysis.

use serde::Serialize;

use super::Interval;

/// How the arms stood when so many units had come.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Look {
    /// The units until then, over all arms.
    pub n_units: u64,
    /// The time of the query that brought the last of them, in milliseconds since 1970.
    pub at_millis: i64,
    /// For each arm but the control, its difference in the measure that decides; `None` while an arm has too few units.
    pub differences: Vec<Option<Interval>>,
}
