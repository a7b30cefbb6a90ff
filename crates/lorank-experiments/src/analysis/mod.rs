//! What an experiment has shown so far: records go in one by one, a verdict or a whole report comes out at any time.
//!
//! The unit is what was randomised, so variances are clustered by it. Intervals hold at every look together (see
//! [`Interval`]); with more than two arms each comparison gets its part of the error (Bonferroni). A unit's later queries refine
//! that unit instead of counting as new ones.

mod look;
mod measure;
mod mismatch;
mod running;
mod sequence;
mod tally;
mod verdict;

pub use look::Look;
pub use measure::Measure;
pub use mismatch::SampleRatio;
pub use running::{Analysis, AnalysisOptions};
pub use sequence::Interval;
pub use verdict::{Forecast, Verdict, Wait};
