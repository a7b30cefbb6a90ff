//! What keeps a trial from being answered.

use lorank_core::ErrorKind;
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
    /// The request names an empty unit.
    #[error("`unit_id` is empty; name whom experiments assign, or leave it out")]
    EmptyUnit,
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

impl ExperimentPipelineError {
    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Pipeline(error) => error.kind(),
            Self::UnknownExperiment { .. } | Self::UnknownArm { .. } => ErrorKind::NotFound,
            Self::AmbiguousArm { .. } | Self::ArmAndAdapter | Self::EmptyUnit | Self::Share { .. } => {
                ErrorKind::Invalid
            }
            Self::SpawnWorker { .. } => ErrorKind::Internal,
        }
    }

    /// The field of the request that the error is about.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Pipeline(error) => error.field(),
            Self::UnknownExperiment { .. } => Some("experiment"),
            Self::UnknownArm { .. } | Self::AmbiguousArm { .. } | Self::ArmAndAdapter => Some("arm"),
            Self::EmptyUnit => Some("unit_id"),
            Self::Share { .. } | Self::SpawnWorker { .. } => None,
        }
    }
}
