//! What is measured of an answer.

use std::fmt;

use serde::Serialize;

use super::Interval;
use crate::{PrimaryMeasure, QueryRecord};

/// What arms are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// The share of queries with at least one click.
    ClickThrough,
    /// The share of queries with a click on one of the first three ranks.
    TopClick,
    /// The mean over queries of 1 / rank of the first click, 0 without one.
    ReciprocalRank,
    /// Of interleaved answers, the arm's lead over the control in credit, as a share of all leads of either: -1 to 1.
    Preference,
}

/// The measures of an answer that one arm ranked, in the order of [`answer_values`].
pub(crate) const ANSWER_MEASURES: [Measure; 3] = [Measure::ClickThrough, Measure::TopClick, Measure::ReciprocalRank];

/// The [`ANSWER_MEASURES`] measures of one answer.
pub(crate) fn answer_values(record: &QueryRecord) -> [f64; 3] {
    let has_top_click = record.clicks.iter().any(|click| click.rank <= 3);
    let reciprocal_rank = record.clicks.first().map_or(0.0, |click| 1.0 / click.rank.max(1) as f64);
    [f64::from(!record.clicks.is_empty()), f64::from(has_top_click), reciprocal_rank]
}

impl Measure {
    /// The difference that the intervals are tuned to find: about what a better ranking makes.
    pub(crate) fn expected_difference(self) -> f64 {
        if self == Self::Preference { 0.3 } else { 0.03 }
    }

    /// The smallest difference that is worth a change, unless the caller knows better.
    pub(crate) fn smallest_difference(self) -> f64 {
        if self == Self::Preference { 0.05 } else { 0.01 }
    }

    /// A difference in words: points of a percentage, or plainly for reciprocal ranks.
    pub fn difference(self, value: f64) -> String {
        match self {
            Self::ReciprocalRank => format!("{value:.3}"),
            _ => format!("{:.1} points", value * 100.0),
        }
    }

    /// An interval in words, as in `1.2 points (0.3 to 2.1)`.
    pub(crate) fn interval(self, of: Interval) -> String {
        let digits = |value: f64| self.difference(value).trim_end_matches(" points").to_owned();
        format!("{} ({} to {})", self.difference(of.estimate), digits(of.low), digits(of.high))
    }
}

impl From<PrimaryMeasure> for Measure {
    fn from(primary: PrimaryMeasure) -> Self {
        match primary {
            PrimaryMeasure::ClickThrough => Self::ClickThrough,
            PrimaryMeasure::ReciprocalRank => Self::ReciprocalRank,
            PrimaryMeasure::TopClick => Self::TopClick,
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ClickThrough => "click-through",
            Self::TopClick => "clicks on ranks 1 to 3",
            Self::ReciprocalRank => "MRR of the first click",
            Self::Preference => "preference",
        })
    }
}
