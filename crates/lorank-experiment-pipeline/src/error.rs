//! Errors of the experiment pipeline.

use lorank_core::ErrorKind;
use lorank_pipeline::PipelineError;

/// A trial without an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExperimentPipelineError {
    /// An error of the pipeline.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The request names an experiment that is not running.
    #[error("no experiment `{experiment}` is running; {running}")]
    UnknownExperiment {
        /// The experiment, as in the request.
        experiment: String,
        /// A description of the running experiments.
        running: String,
    },
    /// The request names an arm that no running experiment has.
    #[error("no running experiment has an arm `{arm}`; {arms}")]
    UnknownArm {
        /// The arm, as in the request.
        arm: String,
        /// A description of the existing arms.
        arms: String,
    },
    /// The request names an arm of several running experiments.
    #[error("the running experiments {experiments} all have an arm `{arm}`; name the `experiment` as well")]
    AmbiguousArm {
        /// The arm, as in the request.
        arm: String,
        /// The experiments' names.
        experiments: String,
    },
    /// The request brings its documents, and names an experiment that compares something else.
    #[error(
        "experiment `{experiment}` cannot rank given documents: its arm `{arm}` sets `{key}`, which is about the candidates \
         of a search"
    )]
    SearchesOnly {
        /// The experiment.
        experiment: String,
        /// The arm.
        arm: String,
        /// The arm's setting.
        key: &'static str,
    },
    /// The request names both an arm and an adapter.
    #[error("`arm` and `adapter` cannot be combined, because an arm has its own adapter")]
    ArmAndAdapter,
    /// The request has an empty unit.
    #[error("`unit_id` is empty; set it to the unit that experiments assign, or omit it")]
    EmptyUnit,
    /// A shadow's share is out of range.
    #[error("the share of shadow `{name}` must be above 0 and at most 1, not {share}")]
    Share {
        /// The shadow's name.
        name: String,
        /// Its share.
        share: f64,
    },
    /// The shadows' thread could not be started.
    #[error("could not start the shadows' thread")]
    SpawnWorker {
        /// The system's error.
        source: std::io::Error,
    },
}

impl ExperimentPipelineError {
    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Pipeline(error) => error.kind(),
            Self::UnknownExperiment { .. } | Self::UnknownArm { .. } => ErrorKind::NotFound,
            Self::AmbiguousArm { .. }
            | Self::SearchesOnly { .. }
            | Self::ArmAndAdapter
            | Self::EmptyUnit
            | Self::Share { .. } => ErrorKind::Invalid,
            Self::SpawnWorker { .. } => ErrorKind::Internal,
        }
    }

    /// The field of the request that the error is about.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::Pipeline(error) => error.field(),
            Self::UnknownExperiment { .. } | Self::SearchesOnly { .. } => Some("experiment"),
            Self::UnknownArm { .. } | Self::AmbiguousArm { .. } | Self::ArmAndAdapter => Some("arm"),
            Self::EmptyUnit => Some("unit_id"),
            Self::Share { .. } | Self::SpawnWorker { .. } => None,
        }
    }
}
