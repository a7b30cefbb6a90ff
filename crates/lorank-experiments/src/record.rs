//! What is known of one answered query: a store joins these from exposures and events, the analysis consumes them.

use crate::InterleavedArm;

/// One answer that an experiment was part of, with the clicks that followed.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryRecord {
    /// The answer's request id, which clients send back as `query_id`.
    pub request_id: String,
    /// What was assigned.
    pub unit: String,
    /// The place of the arm in [`Experiment::arms`](crate::Experiment::arms); for an interleaved answer 0.
    pub arm: usize,
    /// Whether the request named its arm or adapter itself: recorded, and kept out of the statistics.
    pub forced: bool,
    /// When it was answered, in milliseconds since 1970.
    pub at_millis: i64,
    /// How many hits were returned.
    pub n_hits: usize,
    /// How long the search took.
    pub latency_micros: u64,
    /// The reason, where the answer was in first-stage order although the arm reranks.
    pub fallback: Option<String>,
    /// Which exact model ranked, as in [`Exposure::model`](crate::Exposure::model).
    pub model: Option<String>,
    /// For interleaved answers, the arm that contributed the hit at each rank (rank 1 first), or
    /// [`NO_TEAM`](crate::NO_TEAM); empty for others.
    pub teams: Vec<u8>,
    /// For interleaved answers, what each arm ranked, where that was recorded; empty for others.
    pub arms: Vec<InterleavedArm>,
    /// The sum of the numeric values in the events on it; `None` without one.
    pub value: Option<f64>,
    /// How good the answer is by judgments; `None` where its query is not judged.
    pub judged: Option<Judged>,
    /// What is known of the unit from before the experiment: its mean value per query; `None` without a past.
    pub past: Option<f64>,
    /// The clicks, oldest first. A hit may be clicked more than once.
    pub clicks: Vec<Click>,
}

/// How good an answer is by judgments.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// nDCG of the first ten hits, with the grades as gains; a hit without a judgment counts as not relevant.
    pub ndcg_at_10: f64,
    /// The share of the first ten hits that are judged.
    pub share: f64,
}

/// One click on a hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Click {
    /// The rank of the hit that was clicked, counted from 1 over the whole answer.
    pub rank: usize,
    /// When, in milliseconds since 1970.
    pub at_millis: i64,
}
