//! Shadow records: one for each answer that a shadow ranked.

use lorank_core::AdapterId;

/// An answer that a shadow's adapter ranked as well, without being shown.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowRecord {
    /// The request id of the served answer.
    pub request_id: String,
    /// The name of the shadow, or of its experiment.
    pub name: String,
    /// The shadow's adapter.
    pub candidate: AdapterId,
    /// The outcome.
    pub outcome: ShadowOutcome,
    /// The latency of the shadow in microseconds.
    pub latency_micros: u64,
    /// The time in milliseconds since 1970.
    pub at_millis: i64,
}

/// The outcome of a shadow's ranking.
#[derive(Debug, Clone, PartialEq)]
pub enum ShadowOutcome {
    /// The shadow ranked the answer. The agreement with the served answer, by the measures of [`agreement`](crate::agreement).
    Ranked {
        /// Rank-biased overlap.
        rbo: f64,
        /// Kendall's tau, from -1 to 1; `None` for fewer than two common hits.
        kendall_tau: Option<f64>,
        /// The share of the first ten hits that both have in common.
        overlap_at_10: f64,
    },
    /// The shadow failed, with the reason.
    Failed(String),
}
