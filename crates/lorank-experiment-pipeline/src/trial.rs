//! A search as experiments see it, and its answer.

use lorank_core::with_causes;
use lorank_experiments::Method;
use lorank_pipeline::{Answer, Fallback, PipelineError, SearchRequest};

/// A search, and who asks it when.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The search.
    pub request: SearchRequest,
    /// The id of the request, which clients send back as `query_id` with what people do.
    pub request_id: String,
    /// Whom or what experiments assign: a user, a session. Without one it is the query.
    pub unit_id: Option<String>,
    /// The one experiment that may choose, among those that run.
    pub experiment: Option<String>,
    /// The arm that the request chooses for itself.
    pub arm: Option<String>,
    /// The time, in milliseconds since 1970.
    pub at_millis: i64,
}

/// The answer to a trial.
#[derive(Debug, Clone, PartialEq)]
pub struct ExperimentAnswer {
    /// The answer. Where arms were mixed its hits have no rerank scores, and it names no model.
    pub answer: Answer,
    /// The experiment that took part in it.
    pub participation: Option<Participation>,
}

/// How an experiment took part in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participation {
    /// The experiment.
    pub experiment: String,
    /// Whether units see one arm or all.
    pub method: Method,
    /// The arm; `None` where all were mixed, and where the request chose an adapter that is none of the arms'.
    pub arm: Option<String>,
    /// Whether the request chose the arm or its adapter itself.
    pub forced: bool,
    /// The arms that could not rank, where all were to be mixed.
    pub failed_arms: Vec<FailedArm>,
}

/// An arm that could not rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedArm {
    /// Its name.
    pub arm: String,
    /// The reason as one word, as [`Fallback::reason`] has it.
    pub reason: String,
    /// The reason for people.
    pub message: String,
}

impl FailedArm {
    pub(crate) fn new(arm: &str, fallback: &Fallback) -> Self {
        Self { arm: arm.to_owned(), reason: fallback.reason().to_owned(), message: fallback.to_string() }
    }
}

/// A model that is not there is to the searcher what a failing one is.
pub(crate) fn fallback_of(error: &PipelineError) -> Fallback {
    Fallback::RerankerFailed { message: with_causes(error) }
}
