//! Errors of training and its data.

use std::io;
use std::path::{Path, PathBuf};

use lorank_core::BoxError;
use lorank_model::ModelError;

/// Training data that cannot be used, or a failure of training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The file could not be read or written.
    #[error("could not {action} `{file}`", file = file.display())]
    File {
        /// `read`, `write` or `remove`.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A line of the file is invalid.
    #[error("line {line} of `{file}`: {problem}", file = file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// The problem, with the expected form.
        problem: String,
    },
    /// The data as a whole cannot be used.
    #[error("nothing can be trained: {0}")]
    Data(String),
    /// The first stage failed.
    #[error("could not retrieve candidates for query `{query}`")]
    FirstStage {
        /// The query's text.
        query: String,
        /// The cause.
        source: BoxError,
    },
    /// The loss is not a finite number.
    #[error("the loss of step {step} is not a finite number; use a lower learning rate")]
    NotFinite {
        /// The step.
        step: usize,
    },
    /// The training cannot go on where it stopped.
    #[error("cannot resume from `{file}`: {problem}", file = file.display())]
    Resume {
        /// The state of the interrupted training.
        file: PathBuf,
        /// The problem, and what to do.
        problem: String,
    },
    /// The model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl TrainError {
    pub(crate) fn line(file: &Path, line: usize, problem: impl ToString) -> Self {
        Self::Line { file: file.to_owned(), line, problem: problem.to_string() }
    }

    pub(crate) fn file(action: &'static str, file: &Path) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::File { action, file, source }
    }
}
