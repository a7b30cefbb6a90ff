//! What keeps a search from being answered at all.

use std::time::Duration;

use lorank_core::{AdapterId, AdapterUnusable, BoxError, ErrorKind, InvalidQuery, with_causes};

use crate::fallback::Fallback;
use crate::request::AdapterChoice;

/// A search that has no answer. A late or failing reranker is not among these: it has a [fallback](crate::Fallback).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// A value of the [configuration](crate::PipelineConfig) contradicts another.
    #[error("`{field}` is refused: {reason}")]
    InvalidConfig {
        /// The configuration's field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A request asks for more than the configuration allows.
    #[error("{quantity} is {found}, which is above the limit of {max}")]
    TooLarge {
        /// The request's field.
        field: &'static str,
        /// What was measured, in words.
        quantity: &'static str,
        /// What it came to.
        found: usize,
        /// The most it may be.
        max: usize,
    },
    /// A part of a request contradicts another.
    #[error("`{field}` is refused: {reason}")]
    InvalidRequest {
        /// The request's field.
        field: &'static str,
        /// What it contradicts, and what to do.
        reason: &'static str,
    },
    /// The request names an adapter that the reranker does not hold.
    #[error("the adapter `{adapter}` cannot be used")]
    UnknownAdapter {
        /// The adapter, as the request named it.
        adapter: AdapterId,
        /// The reranker's own words.
        source: BoxError,
    },
    /// The request names an adapter that is there and cannot be loaded, or does not fit the base model.
    #[error("the adapter `{adapter}` is there and cannot be used")]
    UnusableAdapter {
        /// The adapter, as the request named it.
        adapter: AdapterId,
        /// The reranker's own words.
        source: BoxError,
    },
    /// The request asks for the bare base model, and the reranker does not answer without an adapter.
    #[error("the bare base model cannot be used without an adapter")]
    NoBareBase {
        /// The reranker's own words.
        source: BoxError,
    },
    /// The request leaves the choice of the model open, and the configured one does not exist or cannot be loaded.
    #[error("the default model cannot be used: {why}")]
    NoDefaultModel {
        /// The reranker's own words: which adapter, and why. They are part of the message, since whoever asks whether the service
        /// is ready has to know.
        why: String,
    },
    /// The model has too much to do, and the request asks to be refused then ([`OnOverload::Refuse`](crate::OnOverload)).
    #[error("{reason}; try again later, or without reranking")]
    Overloaded {
        /// Why.
        reason: Fallback,
        /// After about so long it is worth trying again.
        retry_after: Duration,
    },
    /// The first stage cannot answer the query as it stands.
    #[error("the query cannot be answered")]
    InvalidQuery {
        /// The first stage's own words.
        source: InvalidQuery,
    },
    /// The first stage failed, and below it there is nothing to fall back on.
    #[error("the first stage could not {task}")]
    FirstStage {
        /// What it was asked to do.
        task: &'static str,
        /// Its own words.
        source: BoxError,
    },
    /// The system gave the pipeline no thread to run the model on.
    #[error("no thread could be started for the reranker")]
    SpawnWorker {
        /// The system's own words.
        source: std::io::Error,
    },
}

impl PipelineError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidConfig { .. }
            | Self::TooLarge { .. }
            | Self::InvalidRequest { .. }
            | Self::InvalidQuery { .. } => ErrorKind::Invalid,
            Self::UnknownAdapter { .. } | Self::NoBareBase { .. } => ErrorKind::NotFound,
            Self::UnusableAdapter { .. } => ErrorKind::Conflict,
            Self::NoDefaultModel { .. } => ErrorKind::Unavailable,
            Self::Overloaded { .. } => ErrorKind::Overloaded,
            Self::FirstStage { .. } | Self::SpawnWorker { .. } => ErrorKind::Internal,
        }
    }

    /// After about so long it is worth trying again, where the error is an overload.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// The field of the request (or of the configuration) that the error is about.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::InvalidConfig { field, .. } | Self::TooLarge { field, .. } | Self::InvalidRequest { field, .. } => {
                Some(field)
            }
            Self::UnknownAdapter { .. } | Self::UnusableAdapter { .. } | Self::NoBareBase { .. } => Some("adapter"),
            Self::InvalidQuery { source } => Some(source.field),
            _ => None,
        }
    }

    /// The error for a model that cannot be used, by how the request chose it.
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

    /// The fallback in place of an error that is no fault of the request's: a search is answered by the first stage then.
    pub(crate) fn into_fallback(self) -> Result<Fallback, Self> {
        match self {
            Self::NoDefaultModel { .. } | Self::UnusableAdapter { .. } => {
                Ok(Fallback::RerankerFailed { message: with_causes(&self) })
            }
            error => Err(error),
        }
    }

    /// What the first stage's error means for the caller.
    pub(crate) fn of_first_stage(task: &'static str, source: BoxError) -> Self {
        match source.downcast::<InvalidQuery>() {
            Ok(source) => Self::InvalidQuery { source: *source },
            Err(source) => Self::FirstStage { task, source },
        }
    }
}

/// Refuses what is above a limit.
pub(crate) fn at_most(
    max: usize,
    field: &'static str,
    quantity: &'static str,
    found: usize,
) -> Result<(), PipelineError> {
    if found > max { Err(PipelineError::TooLarge { field, quantity, found, max }) } else { Ok(()) }
}
