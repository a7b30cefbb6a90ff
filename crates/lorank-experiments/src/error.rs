//! What can be wrong with an experiment and with the records of one.

use lorank_core::ErrorKind;

use crate::ExperimentState;

/// An error of a definition, of a step in an experiment's life, or of a record.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ExperimentError {
    /// A field of an experiment cannot be what it is.
    #[error("`{field}` of experiment `{experiment}` {why}")]
    Invalid {
        /// The experiment.
        experiment: String,
        /// The field.
        field: &'static str,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The experiment's state does not allow what was asked.
    #[error("experiment `{experiment}` ({state}) cannot be {action}; {hint}")]
    WrongState {
        /// The experiment.
        experiment: String,
        /// Its state.
        state: ExperimentState,
        /// What was asked, as in "cannot be started".
        action: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// The layer has not enough traffic left.
    #[error(
        "`traffic_share` of experiment `{experiment}` needs {} % of layer `{layer}`, of which {} % is free; \
         ask for less, use another layer, or stop one of its experiments ({holders})",
        percent(*wanted),
        percent(*free)
    )]
    NoRoom {
        /// The experiment.
        experiment: String,
        /// Its layer.
        layer: String,
        /// The buckets that it needs in addition.
        wanted: u16,
        /// The buckets that are free.
        free: u16,
        /// The experiments that hold the others, as a list.
        holders: String,
    },
    /// An exposure or an event cannot be kept as it is.
    #[error("`{field}` of the {record} {why}")]
    Record {
        /// The kind of record.
        record: &'static str,
        /// The field.
        field: &'static str,
        /// What is wrong, and what to do.
        why: String,
    },
    /// An event's JSON does not have the shape of one.
    #[error(
        "the event is not in the shape of User Behavior Insights (https://ubisearch.dev): {}{problem}",
        path.as_ref().map(|path| format!("`{path}` ")).unwrap_or_default()
    )]
    EventShape {
        /// The path of the value that does not fit, if it is not the event itself.
        path: Option<String>,
        /// What is wrong with it.
        problem: String,
    },
}

impl ExperimentError {
    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } | Self::Record { .. } | Self::EventShape { .. } => ErrorKind::Invalid,
            Self::WrongState { .. } | Self::NoRoom { .. } => ErrorKind::Conflict,
        }
    }

    /// The field that the error is about.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Invalid { field, .. } | Self::Record { field, .. } => Some(field),
            Self::EventShape { path, .. } => path.as_deref(),
            Self::WrongState { .. } | Self::NoRoom { .. } => None,
        }
    }
}

/// Buckets as a percentage of their layer. A bucket is 0.01 %.
fn percent(n_buckets: u16) -> f64 {
    f64::from(n_buckets) / 100.0
}
