//! The analysis of an experiment: takes records one by one, and returns a verdict or a report at any time.
//!
//! Units are randomized, so variances are clustered by unit. Intervals hold simultaneously at all looks (see [`Interval`]); with
//! more than two arms, the comparisons share the error probability (Bonferroni). Later queries of a unit refine that unit instead of
//! counting as new ones. Decisions use the intersection of the intervals of all looks, so they stand; an effect that changes over time
//! is not a decision.

mod latencies;
mod look;
mod measure;
mod mismatch;
mod outcome;
mod path;
mod rules;
mod running;
mod sequence;
mod tally;
mod unit;
mod verdict;
mod versions;

pub use look::Look;
pub use measure::Measure;
pub use mismatch::{DayRatio, SampleRatio, Scope};
pub use running::{Analysis, AnalysisOptions};
pub use sequence::Interval;
pub use verdict::{Forecast, Guardrail, Verdict, Wait};
pub use versions::ServedVersion;
