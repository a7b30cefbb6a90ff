//! Query records, which a store joins from exposures and events for the analysis.

use crate::InterleavedArm;

/// An answer of an experiment, with its clicks.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryRecord {
    /// The answer's request id, which clients send back as `query_id`.
    pub request_id: String,
    /// The assigned unit.
    pub unit: String,
    /// The index of the arm in [`Experiment::arms`](crate::Experiment::arms); 0 for interleaved answers.
    pub arm: usize,
    /// Whether the request named the arm or its adapter. Such answers are recorded, but excluded from the statistics.
    pub forced: bool,
    /// The time of the answer, in milliseconds since 1970.
    pub at_millis: i64,
    /// The number of returned hits.
    pub n_hits: usize,
    /// The duration of the search in microseconds.
    pub latency_micros: u64,
    /// The reason if the answer fell back to first-stage order.
    pub fallback: Option<String>,
    /// The exact model that ranked, as in [`Exposure::model`](crate::Exposure::model).
    pub model: Option<String>,
    /// For interleaved answers, the arm that contributed the hit at each rank, from rank 1, or [`NO_TEAM`](crate::NO_TEAM);
    /// otherwise empty.
    pub teams: Vec<u8>,
    /// For interleaved answers, the rankings of the arms, if recorded; otherwise empty.
    pub arms: Vec<InterleavedArm>,
    /// The sum of the numeric values of its events; `None` if there are none.
    pub value: Option<f64>,
    /// The quality by judgments; `None` if the query is not judged.
    pub judged: Option<Judged>,
    /// The unit's mean value per query from before the experiment; `None` without earlier records.
    pub past: Option<f64>,
    /// The clicks, oldest first. A hit may have several clicks.
    pub clicks: Vec<Click>,
}

/// The quality of an answer by judgments.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// nDCG@10 with the grades as gains; hits without a judgment count as not relevant.
    pub ndcg_at_10: f64,
    /// The share of the first ten hits that are judged.
    pub share: f64,
}

/// A click on a hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Click {
    /// The rank of the hit, from 1, over the whole answer.
    pub rank: usize,
    /// The time in milliseconds since 1970.
    pub at_millis: i64,
}
