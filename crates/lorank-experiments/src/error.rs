//! What can go wrong with an experiment and with what is kept of it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::ExperimentState;

/// An error of defining, running or keeping an experiment.
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
    /// No experiment has that name.
    #[error("there is no experiment `{experiment}`")]
    Unknown {
        /// The name.
        experiment: String,
    },
    /// The name is taken.
    #[error("there is an experiment `{experiment}` already; choose another name, or delete it while it is a draft")]
    Exists {
        /// The name.
        experiment: String,
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
    /// An event, an answer or a shadow's record cannot be kept as it is.
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
    #[error("the event is not in the shape of User Behavior Insights (https://ubisearch.dev)")]
    EventShape {
        /// Why.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// More at once than is taken.
    #[error("{found} {what} are more than the {max} that are taken; {hint}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many may be.
        max: usize,
        /// What to do.
        hint: &'static str,
    },
    /// The file could not be opened.
    #[error("could not open `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The file is a database of something else.
    #[error("`{}` is a database of another program; name another folder", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer version.
    #[error("`{}` has the schema {found}, and this version knows those up to {known}; use a newer lorank", path.display())]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest one that is known here.
        known: i64,
    },
    /// The database failed.
    #[error("could not {what} in the experiments' database")]
    Database {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// What is stored cannot be understood.
    #[error("{what} in the experiments' database cannot be understood")]
    Corrupt {
        /// The row.
        what: String,
        /// Why.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// The thread that writes is gone.
    #[error("the experiments' database is no longer written to, since its thread has ended; restart")]
    WriterGone,
    /// The export could not be written.
    #[error("could not write the export")]
    Export {
        /// Why.
        #[source]
        source: Arc<csv::Error>,
    },
}

/// The kind of an [`ExperimentError`], for callers that choose by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExperimentErrorKind {
    /// What was named is not there.
    NotFound,
    /// A definition, an event or a file that cannot be used as it is.
    Invalid,
    /// The state of things does not allow it.
    Conflict,
    /// The database or the export's destination cannot be read or written.
    Unavailable,
}

impl ExperimentError {
    /// The kind of the error.
    pub fn kind(&self) -> ExperimentErrorKind {
        match self {
            Self::Unknown { .. } => ExperimentErrorKind::NotFound,
            Self::Exists { .. } | Self::WrongState { .. } | Self::NoRoom { .. } => ExperimentErrorKind::Conflict,
            Self::Open { .. } | Self::Database { .. } | Self::WriterGone | Self::Export { .. } => {
                ExperimentErrorKind::Unavailable
            }
            _ => ExperimentErrorKind::Invalid,
        }
    }

    /// Says what was tried when the database failed.
    pub(crate) fn database(what: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Database { what, source: Arc::new(source) }
    }
}

impl From<csv::Error> for ExperimentError {
    fn from(source: csv::Error) -> Self {
        Self::Export { source: Arc::new(source) }
    }
}

/// Buckets as a percentage of their layer. A bucket is 0.01 %.
fn percent(n_buckets: u16) -> f64 {
    f64::from(n_buckets) / 100.0
}
