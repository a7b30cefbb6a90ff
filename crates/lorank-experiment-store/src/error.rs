//! Errors of the store.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lorank_core::ErrorKind;
use lorank_experiments::ExperimentError;

use crate::database::DatabaseError;

/// An error of the store.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ExperimentStoreError {
    /// A definition, state change or record that violates the rules of experiments.
    #[error(transparent)]
    Experiment(#[from] ExperimentError),
    /// Unknown experiment.
    #[error("there is no experiment `{experiment}`")]
    Unknown {
        /// The name.
        experiment: String,
    },
    /// The experiment exists already.
    #[error("the experiment `{experiment}` exists already; choose another id, or delete it while it is a draft")]
    Exists {
        /// The name.
        experiment: String,
    },
    /// A limit is exceeded.
    #[error("{found} {what} exceed the limit of {max}; {hint}")]
    TooMany {
        /// The counted objects.
        what: &'static str,
        /// Their number.
        found: usize,
        /// The limit.
        max: usize,
        /// What to do.
        hint: &'static str,
    },
    /// An invalid line of qrels.
    #[error("line {line} of the qrels {problem}")]
    Qrels {
        /// The line number, from 1.
        line: usize,
        /// The problem.
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
    /// The file is a database of another program.
    #[error("`{}` is a database of another program; name another folder", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer version.
    #[error("`{}` has the schema {found}, but this version only supports schemas up to {known}; use a newer lorank", path.display())]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest supported schema.
        known: i64,
    },
    /// The database failed.
    #[error("could not {what} in the experiment store")]
    Database {
        /// The failed action.
        what: &'static str,
        /// Why.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A stored value is damaged.
    #[error("{what} in the experiment store is damaged")]
    Corrupt {
        /// The row.
        what: String,
        /// Why.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// The database did not confirm a change or a submission in time: it stands still, or is too slow.
    #[error(
        "the experiment store did not confirm the {what} within {} s; {}",
        wait_max.as_secs_f64(),
        what.advice(*is_begun)
    )]
    NotInTime {
        /// What is not confirmed.
        what: Unconfirmed,
        /// The longest wait.
        wait_max: Duration,
        /// Whether it may have been stored, or may be stored later. Otherwise it is not.
        is_begun: bool,
    },
    /// The writer thread has stopped.
    #[error("the writer of the experiment store has stopped; restart the process")]
    WriterGone,
    /// The export could not be written.
    #[error("could not write the export")]
    Export {
        /// Why.
        #[source]
        source: Arc<csv::Error>,
    },
}

/// What the store did not confirm in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unconfirmed {
    /// Submitted events or exposures.
    Records,
    /// A change of experiments or judgments.
    Change,
}

impl Unconfirmed {
    fn advice(self, is_begun: bool) -> &'static str {
        match (self, is_begun) {
            (Self::Records, true) => "they may be stored later; send them again with the same ids, and they count once",
            (Self::Records, false) => "none of them is stored; send them again",
            (Self::Change, true) => "it may be made later; look before you try again",
            (Self::Change, false) => "it is not made; try again",
        }
    }
}

impl fmt::Display for Unconfirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Records => "records",
            Self::Change => "change",
        })
    }
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
            Self::Open { .. }
            | Self::Database { .. }
            | Self::NotInTime { .. }
            | Self::WriterGone
            | Self::Export { .. } => ErrorKind::Unavailable,
            // It was readable when it was written.
            Self::Corrupt { .. } => ErrorKind::Internal,
        }
    }

    /// The invalid field of the definition or record.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Experiment(error) => error.field(),
            Self::Qrels { .. } => Some("qrels"),
            _ => None,
        }
    }

    /// Adds what was tried to an error of the database.
    pub(crate) fn database(what: &'static str) -> impl FnOnce(DatabaseError) -> Self {
        move |error| Self::Database { what, source: error.source }
    }
}

impl From<csv::Error> for ExperimentStoreError {
    fn from(source: csv::Error) -> Self {
        Self::Export { source: Arc::new(source) }
    }
}
