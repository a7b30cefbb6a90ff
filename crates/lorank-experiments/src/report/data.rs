//! The values of a report.

use serde::Serialize;

use super::guardrails::GuardrailCheck;
use crate::analysis::{Interval, Look, Measure, SampleRatio, ServedVersion, Verdict};
use crate::{ExperimentState, Method, PinnedVersion};

/// All that an experiment has shown so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The experiment's id.
    pub experiment: String,
    /// Whether it runs; one whose end has passed is stopped.
    pub state: ExperimentState,
    /// From when units were assigned, in milliseconds since 1970.
    pub start_millis: Option<i64>,
    /// Until when; `None` while no end is set.
    pub end_millis: Option<i64>,
    /// Whether traffic was split or answers were interleaved.
    pub method: Method,
    /// The measure that decides.
    pub measure: Measure,
    /// How sure the intervals are, over all looks and comparisons together.
    pub confidence: f64,
    /// Differences smaller than this are taken for none.
    pub smallest_difference: f64,
    /// What each arm did; where answers are interleaved, all of them as one.
    pub arms: Vec<ArmSummary>,
    /// Each arm but the control against it.
    pub comparisons: Vec<Comparison>,
    /// Whether units arrive as weighted; where answers are interleaved each unit meets all arms.
    pub sample_ratio: Option<SampleRatio>,
    /// Queries left out because their unit had met another arm before, or because the experiment has no such arm.
    pub n_inconsistent: u64,
    /// What must be in order before a difference is worth anything, and whether it is.
    pub guardrails: Vec<GuardrailCheck>,
    /// What each arm was, the control first.
    pub served: Vec<ServedArm>,
    /// How the intervals narrowed.
    pub looks: Vec<Look>,
    /// What to do.
    pub verdict: Verdict,
    /// The same in words.
    pub sentence: String,
}

/// What one arm did. Means are `None` without a query; forced requests are in `n_forced` alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmSummary {
    /// The arm's name.
    pub arm: String,
    /// How many units it has met.
    pub n_units: u64,
    /// How many queries it has answered.
    pub n_queries: u64,
    /// All clicks on its answers.
    pub n_clicks: u64,
    /// The share of queries with a click.
    pub click_through: Option<f64>,
    /// The share of queries with a click on ranks 1 to 3.
    pub top_click: Option<f64>,
    /// The mean of 1 / rank of the first click, 0 without one.
    pub reciprocal_rank: Option<f64>,
    /// The mean over queries of the values in the events on their answers; `None` where no event has a value.
    pub value: Option<f64>,
    /// The mean time to the first click, in seconds, over the answers that were clicked.
    pub time_to_first_click_seconds: Option<f64>,
    /// The mean nDCG@10 of the answers whose queries are judged.
    pub ndcg_at_10: Option<f64>,
    /// How many answers that were.
    pub n_judged: u64,
    /// The share of their first ten hits that are judged.
    pub judged_share: Option<f64>,
    /// The share of answers with hits that nobody clicked.
    pub abandonment: Option<f64>,
    /// Half the queries took no longer.
    pub latency_p50_millis: Option<f64>,
    /// Nineteen in twenty queries took no longer.
    pub latency_p95_millis: Option<f64>,
    /// How many answers were in first-stage order although the arm reranks.
    pub n_fallbacks: u64,
    /// How many requests named their arm themselves.
    pub n_forced: u64,
}

/// What an arm was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServedArm {
    /// The arm's name.
    pub arm: String,
    /// What ranks for it, as its definition names it.
    pub model: String,
    /// What that name stood for at the start; `None` for the first stage, the bare base model, and where nothing was pinned.
    pub pinned: Option<PinnedVersion>,
    /// The exact models that ranked its answers, as far as they were recorded. More than one is a warning in the sentence.
    pub versions: Vec<ServedVersion>,
}

/// An arm against the control.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The arm's name.
    pub arm: String,
    /// The control's name.
    pub control: String,
    /// Measure by measure.
    pub differences: Vec<Difference>,
    /// For interleaved answers, who won how many.
    pub duel: Option<DuelSummary>,
}

/// An arm's difference to the control in one measure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// What was measured.
    pub measure: Measure,
    /// The arm's value less the control's; `None` while there are too few units.
    pub interval: Option<Interval>,
    /// Whether the verdict rests on it.
    pub decides: bool,
}

/// Who won how many of the interleaved answers that held hits of both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DuelSummary {
    /// Answers in which the clicks were worth more to the arm.
    pub n_won: u64,
    /// Answers in which they were worth more to the control.
    pub n_lost: u64,
    /// Answers in which they were worth as much to both, mostly nothing.
    pub n_drawn: u64,
    /// Answers for which both ranked the same hits in the same order, which no click tells apart.
    pub n_same: u64,
    /// Answers without a hit of one of the two.
    pub n_missing: u64,
    /// What the clicks on its hits were worth to the arm: 1 / rank each.
    pub credit: f64,
    /// What they were worth to the control.
    pub control_credit: f64,
}
