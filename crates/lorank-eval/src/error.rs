//! Errors of the files of a test collection.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// An unusable file of a test collection, or an unusable run.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The file could not be read or written.
    #[error("could not {action} `{file}`", file = file.display())]
    File {
        /// `read` or `write`.
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
    /// The file as a whole cannot be used.
    #[error("`{file}` {problem}", file = file.display())]
    Unusable {
        /// The file or folder.
        file: PathBuf,
        /// The problem, as the end of a sentence.
        problem: String,
    },
}

impl EvalError {
    pub(crate) fn line(file: &Path, line: usize, problem: impl fmt::Display) -> Self {
        Self::Line { file: file.to_owned(), line, problem: problem.to_string() }
    }

    pub(crate) fn unusable(file: &Path, problem: impl fmt::Display) -> Self {
        Self::Unusable { file: file.to_owned(), problem: problem.to_string() }
    }

    pub(crate) fn write(file: &Path) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        |source| Self::File { action: "write", file, source }
    }
}
