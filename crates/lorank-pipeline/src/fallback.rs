//! Why an answer is in first-stage order.

use std::fmt;
use std::time::Duration;

/// Why an answer is in first-stage order although reranking was requested.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// The deadline passed before all scores were available.
    DeadlinePassed,
    /// The reranker returned an error or a wrong number of scores, or panicked.
    RerankerFailed {
        /// A description of the failure.
        message: String,
    },
    /// The queue in front of the model was full.
    QueueFull,
    /// At the model's measured throughput the request would have missed its deadline, or made an earlier one miss its
    /// own. The model did no work for it.
    WouldMissDeadline {
        /// The estimated time after which the request would be admitted.
        retry_after: Duration,
    },
    /// The request was [cancelled](crate::Cancellation).
    Cancelled,
}

impl Fallback {
    /// Whether the model was overloaded, so that a later request may succeed.
    pub fn is_overload(&self) -> bool {
        matches!(self, Self::QueueFull | Self::WouldMissDeadline { .. })
    }

    /// The reason as one word, for machines. The words are stable.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::DeadlinePassed => "deadline_passed",
            Self::RerankerFailed { .. } => "reranker_failed",
            Self::QueueFull => "queue_full",
            Self::WouldMissDeadline { .. } => "would_miss_deadline",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A description of the reason.
impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeadlinePassed => f.write_str("the deadline passed before every candidate had a score"),
            Self::RerankerFailed { message } => f.write_str(message),
            Self::QueueFull => f.write_str("too many requests are waiting for the reranker"),
            Self::WouldMissDeadline { .. } => f.write_str("the reranker is overloaded and would miss the deadline"),
            Self::Cancelled => f.write_str("the request was cancelled"),
        }
    }
}
