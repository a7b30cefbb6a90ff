//! The measures of an answer.

use std::fmt;

use serde::Serialize;

use super::Interval;
use super::sequence::Part;
use crate::{PrimaryMeasure, QueryRecord};

/// The maximum time to the first click; later clicks count with this time, because the user was probably away.
const FIRST_CLICK_SECONDS_MAX: f64 = 600.0;

/// A measure by which arms are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// The share of queries with at least one click.
    ClickThrough,
    /// The share of queries with a click on one of the first three ranks.
    TopClick,
    /// The mean over queries of 1 / rank of the first click, or 0 without a click.
    ReciprocalRank,
    /// The mean over queries of the values of the events on their answers, or 0 without one. For units with records from before the
    /// experiment, adjusted by their past values (CUPED).
    Value,
    /// The mean time from an answer to its first click in seconds, over answers with clicks. Lower is better.
    TimeToFirstClick,
    /// The mean nDCG@10 of answers to judged queries.
    Ndcg,
    /// For interleaved answers, the arm's lead over the control in credit, relative to the sum of all leads: -1 to 1.
    Preference,
}

/// The measures of an answer ranked by one arm, in the order of [`answer_parts`].
pub(crate) const ANSWER_MEASURES: [Measure; 6] = [
    Measure::ClickThrough,
    Measure::TopClick,
    Measure::ReciprocalRank,
    Measure::Value,
    Measure::TimeToFirstClick,
    Measure::Ndcg,
];

/// The contribution of an answer to the [`ANSWER_MEASURES`]: its value, and whether it counts.
pub(crate) fn answer_parts(record: &QueryRecord) -> [Part; ANSWER_MEASURES.len()] {
    let has_top_click = record.clicks.iter().any(|click| click.rank <= 3);
    let first = record.clicks.first();
    let reciprocal_rank = first.map_or(0.0, |click| 1.0 / click.rank.max(1) as f64);
    let seconds = first.map(|click| {
        // By the client's clock, which may be wrong.
        (click.at_millis.saturating_sub(record.at_millis) as f64 / 1_000.0).clamp(0.0, FIRST_CLICK_SECONDS_MAX)
    });
    let each = |value: f64| Part::new(value, 1.0);
    [
        each(f64::from(first.is_some())),
        each(f64::from(has_top_click)),
        each(reciprocal_rank),
        each(record.value.unwrap_or(0.0)),
        seconds.map_or(Part::default(), each),
        record.judged.map_or(Part::default(), |judged| each(judged.ndcg_at_10)),
    ]
}

impl Measure {
    /// The typical difference of a better ranking, for which the intervals are tuned. `None` for a measure without a fixed scale.
    pub(crate) fn expected_difference(self) -> Option<f64> {
        match self {
            Self::Preference => Some(0.3),
            Self::ClickThrough | Self::TopClick | Self::ReciprocalRank | Self::Ndcg => Some(0.03),
            Self::Value | Self::TimeToFirstClick => None,
        }
    }

    /// The default smallest relevant difference; `None` for a measure without a fixed scale.
    pub(crate) fn smallest_difference(self) -> Option<f64> {
        match self {
            Self::Preference => Some(0.05),
            Self::ClickThrough | Self::TopClick | Self::ReciprocalRank | Self::Ndcg => Some(0.01),
            Self::Value | Self::TimeToFirstClick => None,
        }
    }

    /// The range of one answer's value, for measures with a fixed scale.
    pub(crate) fn step(self) -> f64 {
        if self.expected_difference().is_some() { 1.0 } else { 0.0 }
    }

    /// Whether lower values are better.
    pub fn is_better_lower(self) -> bool {
        self == Self::TimeToFirstClick
    }

    /// A difference as text: in percentage points, in seconds, or as a number.
    pub fn difference(self, value: f64) -> String {
        match self {
            Self::ReciprocalRank | Self::Ndcg => format!("{value:.3}"),
            Self::Value => plain(value),
            Self::TimeToFirstClick => format!("{value:.2} s"),
            Self::ClickThrough | Self::TopClick | Self::Preference => format!("{:.1} points", value * 100.0),
        }
    }

    /// A value as text.
    pub fn value(self, value: f64) -> String {
        match self {
            Self::ClickThrough | Self::TopClick | Self::Preference => format!("{:.1} %", value * 100.0),
            _ => self.difference(value),
        }
    }

    /// An interval as text, such as `1.2 points (0.3 to 2.1)`.
    pub(crate) fn interval(self, of: Interval) -> String {
        let digits = |value: f64| self.difference(value).trim_end_matches(" points").trim_end_matches(" s").to_owned();
        format!("{} ({} to {})", self.difference(of.estimate), digits(of.low), digits(of.high))
    }

    /// The side of a better arm: `above` or `below`.
    pub(crate) fn better_side(self) -> &'static str {
        if self.is_better_lower() { "below" } else { "above" }
    }
}

/// A value with about four significant digits.
fn plain(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

impl From<PrimaryMeasure> for Measure {
    fn from(primary: PrimaryMeasure) -> Self {
        match primary {
            PrimaryMeasure::ClickThrough => Self::ClickThrough,
            PrimaryMeasure::ReciprocalRank => Self::ReciprocalRank,
            PrimaryMeasure::TopClick => Self::TopClick,
            PrimaryMeasure::Value => Self::Value,
            PrimaryMeasure::TimeToFirstClick => Self::TimeToFirstClick,
            PrimaryMeasure::Ndcg => Self::Ndcg,
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ClickThrough => "click-through",
            Self::TopClick => "clicks on ranks 1 to 3",
            Self::ReciprocalRank => "MRR of the first click",
            Self::Value => "value per query",
            Self::TimeToFirstClick => "time to the first click",
            Self::Ndcg => "judged nDCG@10",
            Self::Preference => "preference",
        })
    }
}
