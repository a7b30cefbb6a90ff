//! Why an answer is in first-stage order.

use std::fmt;
use std::time::Duration;

/// Why an answer is in first-stage order although reranking was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// The deadline passed before all the scores were there.
    DeadlinePassed,
    /// The reranker gave an error, a wrong number of scores, or panicked.
    RerankerFailed {
        /// What happened, in words.
        message: String,
    },
    /// Too much was waiting for the model.
    QueueFull,
    /// At the model's measured pace the request would have missed its deadline, or made an earlier one miss its own. No model
    /// work was done for it.
    WouldMissDeadline {
        /// After about so long it would not have, as far as is known now.
        retry_after: Duration,
    },
    /// The request was [cancelled](crate::Cancellation).
    Cancelled,
}

impl Fallback {
    /// Whether the reason is that the model has too much to do, so that a later request may succeed.
    pub fn is_overload(&self) -> bool {
        matches!(self, Self::QueueFull | Self::WouldMissDeadline { .. })
    }

    /// The reason as one word, for machines. It never changes.
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

/// The reason in words, for people.
impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeadlinePassed => f.write_str("the deadline passed before every candidate had a score"),
            Self::RerankerFailed { message } => f.write_str(message),
            Self::QueueFull => f.write_str("too many requests are waiting for the reranker"),
            Self::WouldMissDeadline { .. } => {
                f.write_str("the reranker has too much to do to finish before the deadline")
            }
            Self::Cancelled => f.write_str("the request was cancelled"),
        }
    }
}
