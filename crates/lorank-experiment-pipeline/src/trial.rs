//! Searches with their experimental context, and their answers.

use lorank_core::with_causes;
use lorank_experiments::Method;
use lorank_pipeline::{Answer, Fallback, PipelineError, SearchRequest};

/// A search with its experimental context.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The search request.
    pub request: SearchRequest,
    /// The request id, which clients send back as `query_id` with events.
    pub request_id: String,
    /// The unit that experiments assign: a user or a session. The default is the query.
    pub unit_id: Option<String>,
    /// Restricts the choice to this running experiment.
    pub experiment: Option<String>,
    /// The arm that the request chooses.
    pub arm: Option<String>,
    /// The time, in milliseconds since 1970.
    pub at_millis: i64,
}

/// The answer to a trial.
#[derive(Debug, Clone, PartialEq)]
pub struct ExperimentAnswer {
    /// The answer. If arms were interleaved, its hits have no rerank scores, and it names no model.
    pub answer: Answer,
    /// The experiment that took part.
    pub participation: Option<Participation>,
}

/// The participation of an experiment in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participation {
    /// The experiment's name.
    pub experiment: String,
    /// The experiment's method: one arm per unit, or all arms interleaved.
    pub method: Method,
    /// The arm; `None` for interleaving, and if the request chose an adapter that no arm has.
    pub arm: Option<String>,
    /// Whether the request chose the arm or adapter.
    pub forced: bool,
    /// The arms that could not rank, for interleaving.
    pub failed_arms: Vec<FailedArm>,
}

/// An arm that could not rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedArm {
    /// The arm's name.
    pub arm: String,
    /// The reason as one word, as in [`Fallback::reason`].
    pub reason: String,
    /// A description of the reason.
    pub message: String,
}

impl FailedArm {
    pub(crate) fn new(arm: &str, fallback: &Fallback) -> Self {
        Self { arm: arm.to_owned(), reason: fallback.reason().to_owned(), message: fallback.to_string() }
    }
}

/// For the searcher, a missing model is equivalent to a failing one.
pub(crate) fn fallback_of(error: &PipelineError) -> Fallback {
    Fallback::RerankerFailed { message: with_causes(error) }
}
