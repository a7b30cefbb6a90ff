//! What an experiment has shown so far: records go in one by one, a verdict or a whole report comes out at any time.
//!
//! The unit is what was randomised, so variances are clustered by it. Intervals hold at every look together (see
//! [`Interval`]); with more than two arms each comparison gets its part of the error (Bonferroni). A unit's later queries refine
//! that unit instead of counting as new ones. What the intervals of all looks have in common is what counts, so a decision stands;
//! an effect that changes over time is no decision.

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
