//! Errors of experiments and their records.

use lorank_core::ErrorKind;

use crate::ExperimentState;

/// An error of a definition, of a state change, or of a record.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ExperimentError {
    /// A field of an experiment is invalid.
    #[error("`{field}` of experiment `{experiment}` {why}")]
    Invalid {
        /// The experiment.
        experiment: String,
        /// The field.
        field: &'static str,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The experiment's state does not allow the action.
    #[error("experiment `{experiment}` ({state}) cannot be {action}; {hint}")]
    WrongState {
        /// The experiment.
        experiment: String,
        /// Its state.
        state: ExperimentState,
        /// The action, as in "cannot be started".
        action: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// The layer has not enough free traffic.
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
        /// The number of additional buckets that it needs.
        wanted: u16,
        /// The number of free buckets.
        free: u16,
        /// The experiments that own the others, as a list.
        holders: String,
    },
    /// An exposure or event is invalid.
    #[error("`{field}` of the {record} {why}")]
    Record {
        /// The kind of record.
        record: &'static str,
        /// The field.
        field: &'static str,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The JSON of an event has the wrong structure.
    #[error(
        "the event is not in the format of User Behavior Insights (https://ubisearch.dev): {}{problem}",
        path.as_ref().map(|path| format!("`{path}` ")).unwrap_or_default()
    )]
    EventShape {
        /// The path of the invalid value; `None` for the event itself.
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

    /// The invalid field.
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
