//! Errors of the pipeline.

use std::time::Duration;

use lorank_core::{
    AdapterChoice, AdapterId, AdapterUnusable, BoxError, ErrorKind, FirstStageFailure, InvalidPassages, InvalidQuery,
    with_causes,
};

use crate::fallback::Fallback;
use crate::rank_by::InvalidRankBy;

/// A search without an answer. A late or failing reranker is not an error but a [fallback](crate::Fallback).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// A value of the [configuration](crate::PipelineConfig) contradicts another.
    #[error("`{field}` is invalid: {reason}")]
    InvalidConfig {
        /// The configuration field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A request exceeds a limit of the configuration.
    #[error("{quantity} is {found}, which is above the limit of {max}")]
    TooLarge {
        /// The request field.
        field: &'static str,
        /// A description of the measured quantity.
        quantity: &'static str,
        /// The value found.
        found: usize,
        /// The maximum.
        max: usize,
    },
    /// A part of a request contradicts another.
    #[error("`{field}` is invalid: {reason}")]
    InvalidRequest {
        /// The request field.
        field: &'static str,
        /// The contradiction, and what to do.
        reason: &'static str,
    },
    /// The request names an adapter that the reranker does not know.
    #[error("the adapter `{adapter}` cannot be used")]
    UnknownAdapter {
        /// The adapter, as in the request.
        adapter: AdapterId,
        /// The reranker's error.
        source: BoxError,
    },
    /// The request names an adapter that exists but cannot be loaded, or does not fit the base model.
    #[error("the adapter `{adapter}` exists but cannot be used")]
    UnusableAdapter {
        /// The adapter, as in the request.
        adapter: AdapterId,
        /// The reranker's error.
        source: BoxError,
    },
    /// The request asks for the bare base model, but the reranker needs an adapter.
    #[error("the bare base model cannot be used without an adapter")]
    NoBareBase {
        /// The reranker's error.
        source: BoxError,
    },
    /// A rerank stage names an adapter together with a base model that the adapter does not belong to.
    #[error("`{adapter}` belongs to the base model `{found}`, not to `{base}`; change or remove `base`")]
    OnOtherBase {
        /// The adapter.
        adapter: AdapterChoice,
        /// The base model that the stage names.
        base: AdapterId,
        /// The adapter's base model.
        found: String,
    },
    /// A rerank stage names as its base model what is an adapter.
    #[error("`{base}` is an adapter and no base model; name it as the stage's `adapter`")]
    NotABase {
        /// The name.
        base: AdapterId,
    },
    /// A rerank stage cannot be served.
    #[error("stage {stage} cannot be used")]
    InStage {
        /// The number of the stage, from 1.
        stage: usize,
        /// Why not.
        source: Box<PipelineError>,
    },
    /// The request names no model, and the default one does not exist or cannot be loaded.
    #[error("the default model cannot be used: {why}")]
    NoDefaultModel {
        /// The reranker's error with the adapter's name. It is part of the message, because readiness checks show only
        /// that.
        why: String,
    },
    /// The expression that goes with the name of an adapter cannot be read.
    #[error("the expression of `{name}` cannot be used; give it another one")]
    NamedRankBy {
        /// The adapter or alias.
        name: AdapterId,
        /// What is wrong with it.
        source: InvalidRankBy,
    },
    /// The model is overloaded, and the request asks for an error then ([`OnOverload::Refuse`](crate::OnOverload)).
    #[error("{reason}; try again later, or without reranking")]
    Overloaded {
        /// The reason.
        reason: Fallback,
        /// The estimated time after which a retry may succeed.
        retry_after: Duration,
    },
    /// The query is invalid for the first stage or the reranker.
    #[error("the query is invalid")]
    InvalidQuery {
        /// Their error.
        source: InvalidQuery,
    },
    /// A service behind the first stage failed; there is no fallback for it.
    #[error("the first stage could not {task}: {failure}")]
    FirstStageUnavailable {
        /// The failed task.
        task: &'static str,
        /// The first stage's error. It is part of the message, because readiness checks show only that.
        failure: FirstStageFailure,
    },
    /// The first stage failed; there is no fallback for it.
    #[error("the first stage could not {task}")]
    FirstStage {
        /// The failed task.
        task: &'static str,
        /// The first stage's error.
        source: BoxError,
    },
    /// The reranker's thread could not be started.
    #[error("could not start the reranker's thread")]
    SpawnWorker {
        /// The system's error.
        source: std::io::Error,
    },
}

impl PipelineError {
    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidConfig { .. }
            | Self::TooLarge { .. }
            | Self::InvalidRequest { .. }
            | Self::OnOtherBase { .. }
            | Self::NotABase { .. }
            | Self::InvalidQuery { .. } => ErrorKind::Invalid,
            Self::InStage { source, .. } => source.kind(),
            Self::UnknownAdapter { .. } | Self::NoBareBase { .. } => ErrorKind::NotFound,
            Self::UnusableAdapter { .. } => ErrorKind::Conflict,
            Self::NoDefaultModel { .. } | Self::NamedRankBy { .. } => ErrorKind::Unavailable,
            Self::Overloaded { .. } => ErrorKind::Overloaded,
            Self::FirstStageUnavailable { failure, .. } => failure.kind,
            Self::FirstStage { .. } | Self::SpawnWorker { .. } => ErrorKind::Internal,
        }
    }

    /// The time after which a retry may succeed, if known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after, .. } => Some(*retry_after),
            Self::FirstStageUnavailable { failure, .. } => failure.retry_after,
            _ => None,
        }
    }

    /// The field of the request or configuration that the error is about.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::InvalidConfig { field, .. } | Self::TooLarge { field, .. } | Self::InvalidRequest { field, .. } => {
                Some(field)
            }
            Self::UnknownAdapter { .. } | Self::UnusableAdapter { .. } | Self::NoBareBase { .. } => Some("adapter"),
            Self::OnOtherBase { .. } | Self::NotABase { .. } => Some("stages"),
            Self::InStage { source, .. } => {
                source.field().map(|field| if field == "adapter" { "stages" } else { field })
            }
            Self::InvalidQuery { source } => Some(source.field),
            _ => None,
        }
    }

    /// Whether it is about a model that does not exist, or not on its base model.
    pub(crate) fn is_of_model(&self) -> bool {
        matches!(
            self.without_stage(),
            Self::UnknownAdapter { .. } | Self::NoBareBase { .. } | Self::OnOtherBase { .. } | Self::NotABase { .. }
        )
    }

    /// The error without the number of a stage.
    pub fn without_stage(&self) -> &Self {
        match self {
            Self::InStage { source, .. } => source.without_stage(),
            error => error,
        }
    }

    /// The error for a model that cannot be used, depending on how the request chose it.
    pub(crate) fn unusable(choice: &AdapterChoice, source: BoxError) -> Self {
        match choice {
            AdapterChoice::Default => Self::NoDefaultModel { why: with_causes(&*source) },
            AdapterChoice::Base => Self::NoBareBase { source },
            AdapterChoice::Named(name) => match source.downcast::<AdapterUnusable>() {
                Ok(unusable) => Self::UnusableAdapter { adapter: name.clone(), source: unusable.source },
                Err(source) => Self::UnknownAdapter { adapter: name.clone(), source },
            },
        }
    }

    /// The fallback for an error that the request did not cause: such a search is answered in first-stage order.
    pub(crate) fn into_fallback(self) -> Result<Fallback, Self> {
        match self.without_stage() {
            error @ (Self::NoDefaultModel { .. } | Self::UnusableAdapter { .. }) => {
                Ok(Fallback::RerankerFailed { message: with_causes(error) })
            }
            _ => Err(self),
        }
    }

    /// The pipeline's error for an error of the first stage.
    pub(crate) fn of_first_stage(task: &'static str, source: BoxError) -> Self {
        let source = match source.downcast::<InvalidQuery>() {
            Ok(source) => return Self::InvalidQuery { source: *source },
            Err(source) => source,
        };
        match source.downcast::<FirstStageFailure>() {
            Ok(failure) => Self::FirstStageUnavailable { task, failure: *failure },
            Err(source) => Self::FirstStage { task, source },
        }
    }
}

impl From<InvalidPassages> for PipelineError {
    fn from(InvalidPassages { field, reason }: InvalidPassages) -> Self {
        Self::InvalidRequest { field, reason }
    }
}

/// Checks a limit.
pub(crate) fn at_most(
    max: usize,
    field: &'static str,
    quantity: &'static str,
    found: usize,
) -> Result<(), PipelineError> {
    if found > max { Err(PipelineError::TooLarge { field, quantity, found, max }) } else { Ok(()) }
}
