//! What can go wrong with the store.

use std::path::PathBuf;
use std::sync::Arc;

use lorank_core::ErrorKind;
use lorank_experiments::ExperimentError;

/// An error of the store.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ExperimentStoreError {
    /// A definition, a step or a record that the rules of experiments refuse.
    #[error(transparent)]
    Experiment(#[from] ExperimentError),
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
    /// A line of qrels that cannot be understood.
    #[error("line {line} of the qrels {problem}")]
    Qrels {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
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

impl ExperimentStoreError {
    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Experiment(error) => error.kind(),
            Self::Unknown { .. } => ErrorKind::NotFound,
            Self::Exists { .. } => ErrorKind::Conflict,
            Self::TooMany { .. } | Self::Qrels { .. } => ErrorKind::Invalid,
            Self::Foreign { .. } | Self::NewerSchema { .. } => ErrorKind::UnsupportedFormat,
            Self::Open { .. } | Self::Database { .. } | Self::WriterGone | Self::Export { .. } => {
                ErrorKind::Unavailable
            }
            // It was readable when it was written.
            Self::Corrupt { .. } => ErrorKind::Internal,
        }
    }

    /// The field of the definition or of the record that the error is about.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Experiment(error) => error.field(),
            Self::Qrels { .. } => Some("qrels"),
            _ => None,
        }
    }

    /// Adds what was tried to an error of the database.
    pub(crate) fn database(what: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Database { what, source: Arc::new(source) }
    }
}

impl From<csv::Error> for ExperimentStoreError {
    fn from(source: csv::Error) -> Self {
        Self::Export { source: Arc::new(source) }
    }
}
