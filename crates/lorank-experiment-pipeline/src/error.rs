//! What keeps a trial from being answered.

use lorank_pipeline::PipelineError;

/// A trial that has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExperimentPipelineError {
    /// The pipeline's own.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The request names an experiment that does not run.
    #[error("no experiment `{experiment}` is running; {running}")]
    UnknownExperiment {
        /// The experiment, as the request named it.
        experiment: String,
        /// Those that are, as a phrase.
        running: String,
    },
    /// The request names an arm that no running experiment has.
    #[error("no running experiment has an arm `{arm}`; {arms}")]
    UnknownArm {
        /// The arm, as the request named it.
        arm: String,
        /// Those that there are, as a phrase.
        arms: String,
    },
    /// The request names an arm that several running experiments have.
    #[error("the running experiments {experiments} all have an arm `{arm}`; name the `experiment` as well")]
    AmbiguousArm {
        /// The arm, as the request named it.
        arm: String,
        /// The experiments, as a list.
        experiments: String,
    },
    /// The request names an arm and an adapter.
    #[error("`arm` and `adapter` are both given; an arm has its own")]
    ArmAndAdapter,
    /// A shadow's share is not a share.
    #[error("the share of shadow `{name}` is {share}; give a number above 0 and up to 1")]
    Share {
        /// The shadow.
        name: String,
        /// Its share.
        share: f64,
    },
    /// The system gave no thread for the shadows.
    #[error("no thread could be started for the shadows")]
    SpawnWorker {
        /// The system's own words.
        source: std::io::Error,
    },
}

/// What sort of error it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExperimentPipelineErrorKind {
    /// The request or the configuration says something impossible.
    InvalidInput,
    /// The request names something that is not there.
    NotFound,
    /// The service is not set up to answer now.
    Unavailable,
    /// Something broke.
    Internal,
}

impl ExperimentPipelineError {
    /// What sort of error it is.
    pub fn kind(&self) -> ExperimentPipelineErrorKind {
        match self {
            Self::Pipeline(error) => match error.kind() {
                lorank_core::ErrorKind::Invalid => ExperimentPipelineErrorKind::InvalidInput,
                lorank_core::ErrorKind::NotFound => ExperimentPipelineErrorKind::NotFound,
                lorank_core::ErrorKind::Unavailable => ExperimentPipelineErrorKind::Unavailable,
                _ => ExperimentPipelineErrorKind::Internal,
            },
            Self::UnknownExperiment { .. } | Self::UnknownArm { .. } => ExperimentPipelineErrorKind::NotFound,
            Self::AmbiguousArm { .. } | Self::ArmAndAdapter | Self::Share { .. } => {
                ExperimentPipelineErrorKind::InvalidInput
            }
            Self::SpawnWorker { .. } => ExperimentPipelineErrorKind::Internal,
        }
    }

    /// The field of the request that the error is about.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Pipeline(error) => error.field(),
            Self::UnknownExperiment { .. } => Some("experiment"),
            Self::UnknownArm { .. } | Self::AmbiguousArm { .. } | Self::ArmAndAdapter => Some("arm"),
            Self::Share { .. } | Self::SpawnWorker { .. } => None,
        }
    }
}
