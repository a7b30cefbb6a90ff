//! What a candidate would have done: one record for each answer that it ranked unseen.

use lorank_core::AdapterId;

/// One answer that a candidate adapter ranked too, unseen.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowRecord {
    /// The request id of the answer that went out.
    pub request_id: String,
    /// The name of the shadow, or of the experiment that it belongs to.
    pub name: String,
    /// The adapter that ranked unseen.
    pub candidate: AdapterId,
    /// What came of it.
    pub outcome: ShadowOutcome,
    /// How long the candidate took.
    pub latency_micros: u64,
    /// When, in milliseconds since 1970.
    pub at_millis: i64,
}

/// What came of a candidate's ranking.
#[derive(Debug, Clone, PartialEq)]
pub enum ShadowOutcome {
    /// It ranked. How far that ranking agrees with the answer that went out, by the measures of
    /// [`agreement`](crate::agreement).
    Ranked {
        /// Rank-biased overlap.
        rbo: f64,
        /// Kendall's tau, from -1 to 1; `None` where fewer than two hits leave it undefined.
        kendall_tau: Option<f64>,
        /// The share of the first ten hits that both have.
        overlap_at_10: f64,
    },
    /// It failed, and why.
    Failed(String),
}
