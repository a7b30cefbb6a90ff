//! Errors of the first stage.

use std::time::Duration;

use lorank_core::{BoxError, ErrorKind, FirstStageFailure, InvalidQuery};

/// An error of the engine, or of a request to it. Messages name no hosts and no secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is invalid, or contradicts another.
    #[error("`{setting}` {problem}")]
    Config {
        /// The setting.
        setting: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A part of a search is invalid.
    #[error("{message}")]
    InvalidQuery {
        /// The part: `query`, `filters`, `sort`, `facets` or `rank_by`.
        part: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// No node answers.
    #[error("the search engine is not reachable: {} ({reason})", no_node_answers(*.n_nodes))]
    Unreachable {
        /// The number of nodes.
        n_nodes: usize,
        /// The failure of the last one.
        reason: String,
    },
    /// The engine refuses the credentials.
    #[error("the search engine refuses the credentials (status {status}): {reason}")]
    Credentials {
        /// 401 or 403.
        status: u16,
        /// The engine's reason.
        reason: String,
    },
    /// The engine has no such index.
    #[error("the search engine has no index `{index}`: {reason}")]
    NoIndex {
        /// The index.
        index: String,
        /// The engine's reason.
        reason: String,
    },
    /// The index has no such field.
    #[error("the index `{index}` has no field `{field}`, which is configured as `{setting}`")]
    NoField {
        /// The index.
        index: String,
        /// The field.
        field: String,
        /// The setting that names it.
        setting: &'static str,
    },
    /// The engine refuses a request for which the caller is not responsible.
    #[error("the search engine refuses the request (status {status}): {reason}")]
    Refused {
        /// The status.
        status: u16,
        /// The engine's reason.
        reason: String,
    },
    /// The engine has too many requests.
    #[error("the search engine is overloaded: {reason}")]
    Overloaded {
        /// The engine's reason.
        reason: String,
        /// The time after which the engine wants a retry.
        retry_after: Option<Duration>,
    },
    /// The deadline passed before the engine answered.
    #[error("the search engine did not answer within {millis} ms{}", last_failure(.last))]
    Late {
        /// The time limit.
        millis: u128,
        /// The failure of an earlier attempt.
        last: Option<String>,
    },
    /// The answer is larger than the limit.
    #[error(
        "the search engine's answer is larger than the limit of {bytes_max} bytes; return fewer fields (`_source` filtering), or \
         raise `elastic.answer_bytes_max`"
    )]
    AnswerTooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// The answer cannot be read.
    #[error("the search engine's answer cannot be read: {problem}")]
    BadAnswer {
        /// What is wrong with it.
        problem: String,
    },
}

fn last_failure(last: &Option<String>) -> String {
    last.as_ref().map_or_else(String::new, |last| format!(" (an earlier attempt: {last})"))
}

fn no_node_answers(n_nodes: usize) -> String {
    match n_nodes {
        1 => "its node does not answer".to_owned(),
        n => format!("none of its {n} nodes answers"),
    }
}

impl Error {
    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config { .. } | Self::InvalidQuery { .. } => ErrorKind::Invalid,
            Self::Overloaded { .. } => ErrorKind::Overloaded,
            Self::Late { .. } => ErrorKind::DeadlineExceeded,
            Self::Unreachable { .. }
            | Self::Credentials { .. }
            | Self::NoIndex { .. }
            | Self::NoField { .. }
            | Self::Refused { .. }
            | Self::AnswerTooLarge { .. }
            | Self::BadAnswer { .. } => ErrorKind::Unavailable,
        }
    }

    pub(crate) fn filters(field: &str, problem: &str) -> Self {
        Self::InvalidQuery { part: "filters", message: format!("the filter on `{field}` {problem}") }
    }

    /// The form of the error in which first stages return it.
    pub(crate) fn into_seam(self) -> BoxError {
        let retry_after = match &self {
            Self::Overloaded { retry_after, .. } => *retry_after,
            _ => None,
        };
        match self {
            Self::InvalidQuery { part, message } => InvalidQuery { field: part, message }.into(),
            error => FirstStageFailure { kind: error.kind(), message: error.to_string(), retry_after }.into(),
        }
    }
}
