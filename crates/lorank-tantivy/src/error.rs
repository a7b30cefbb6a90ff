//! Errors of the crate.

use std::io;
use std::path::{Path, PathBuf};

use lorank_core::ErrorKind;
use tantivy::TantivyError;
use tantivy::directory::error::LockError;

use crate::origin::Origin;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder is not there, or it is empty.
    #[error("there is no index in `{}`; make one by indexing into it", dir.display())]
    NoIndex {
        /// The folder.
        dir: PathBuf,
    },
    /// The first run that indexes into the folder has not committed anything yet: it is under way, or was killed.
    #[error(
        "the index in `{}` is not finished: the first run that indexes into it is under way or was interrupted; \
         wait for it, or index again",
        dir.display()
    )]
    Unfinished {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder holds something that is not an index of lorank.
    #[error("`{}` is not a lorank index: {found}; name an empty or a new folder", dir.display())]
    NotAnIndex {
        /// The folder's path.
        dir: PathBuf,
        /// What the folder contains instead.
        found: String,
    },
    /// The folder already contains an index.
    #[error("`{}` already contains an index; open it, or use another folder", dir.display())]
    AlreadyExists {
        /// The folder's path.
        dir: PathBuf,
    },
    /// The index was written by an earlier version, whose terms do not match the current analysis.
    #[error(
        "the index in `{}` has format {found} of an earlier version, but this version supports format {known}; \
         index the documents again into a new folder",
        dir.display()
    )]
    OlderFormat {
        /// The folder's path.
        dir: PathBuf,
        /// The format of the index.
        found: u64,
        /// The format that this version supports.
        known: u64,
    },
    /// The index was written by a later version.
    #[error("the index in `{}` has format {found}, but this version supports format {known}; update lorank", dir.display())]
    NewerFormat {
        /// The folder's path.
        dir: PathBuf,
        /// The format of the index.
        found: u64,
        /// The format that this version supports.
        known: u64,
    },
    /// The index has other settings than requested.
    #[error(
        "the index in `{}` was created with {setting} `{found}`, not `{requested}`; \
         leave the option out, or index into another folder",
        dir.display()
    )]
    SettingsDiffer {
        /// The folder's path.
        dir: PathBuf,
        /// The setting's name.
        setting: &'static str,
        /// The index's value.
        found: String,
        /// The requested value.
        requested: String,
    },
    /// Invalid settings.
    #[error("{problem}")]
    InvalidSettings {
        /// A description of the problem.
        problem: String,
    },
    /// The index's files are inconsistent or cannot be read.
    #[error("the index in `{}` is damaged: {problem}; index again into another folder", dir.display())]
    Corrupt {
        /// The folder's path.
        dir: PathBuf,
        /// A description of the problem.
        problem: String,
    },
    /// Another writer has locked the index.
    #[error("the index in `{}` is locked by another writer; wait until it has finished", dir.display())]
    WriterBusy {
        /// The folder's path.
        dir: PathBuf,
    },
    /// An uncommitted change was lost, because its writer had to be rolled back.
    #[error("the change of the index in `{}` was lost, because a concurrent change failed; repeat it", dir.display())]
    ChangeLost {
        /// The folder's path.
        dir: PathBuf,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// The failed action (`read`, `create the folder`).
        action: &'static str,
        /// The file's or folder's path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// tantivy failed.
    #[error("cannot {action} the index in `{}`", dir.display())]
    Engine {
        /// The failed action (`search`, `commit to`).
        action: &'static str,
        /// The folder's path.
        dir: PathBuf,
        /// The cause.
        source: TantivyError,
    },

    /// An input whose format is unknown or not suitable for the index.
    #[error("cannot index `{input}`: {problem}")]
    InvalidInput {
        /// The input's name.
        input: String,
        /// A description of the problem.
        problem: String,
    },
    /// An input that is not UTF-8 text.
    #[error("not UTF-8 text: {problem}")]
    NotText {
        /// What it is, and what to do.
        problem: String,
    },
    /// A line that is not valid UTF-8.
    #[error("invalid UTF-8 at column {column}; convert the text to UTF-8, for instance from Latin-1 or Windows-1252")]
    NotUtf8 {
        /// The 1-based byte column.
        column: usize,
    },
    /// A line that is not valid JSON.
    #[error("not valid JSON at {}column {column}: {problem}", if *line > 1 { format!("its line {line}, ") } else { String::new() })]
    NotJson {
        /// The 1-based line within the document.
        line: usize,
        /// The 1-based byte column.
        column: usize,
        /// A description of the problem.
        problem: String,
    },
    /// A line of JSON that is not an object.
    #[error("expected a JSON object, found {found}")]
    NotAnObject {
        /// The kind of the value.
        found: &'static str,
    },
    /// A document without an id.
    #[error(
        "no id: the field `{id_field}` is missing{}",
        misnamed.as_ref().map_or_else(String::new, |name| format!("; rename `{name}` to `{id_field}`, or name it as the id field"))
    )]
    NoId {
        /// The id field.
        id_field: String,
        /// A field whose name differs only in case or surrounding spaces.
        misnamed: Option<String>,
    },
    /// A document with an invalid id.
    #[error("the id in the field `{id_field}` is {problem}; an id must be a string or an integer")]
    InvalidId {
        /// The id field.
        id_field: String,
        /// A description of the problem.
        problem: String,
    },
    /// A document with an invalid field.
    #[error("the field `{field}` {problem}")]
    InvalidField {
        /// The field's name.
        field: String,
        /// A description of the problem, phrased to follow the field's name.
        problem: String,
    },
    /// A line or file exceeds the limit.
    #[error("longer than {bytes_max} bytes")]
    TooLong {
        /// The limit, in bytes.
        bytes_max: usize,
    },
    /// A table row whose number of cells differs from the header's.
    #[error("{n_cells} {}, but the header has {n_columns}", if *n_cells == 1 { "cell" } else { "cells" })]
    WrongNumberOfCells {
        /// The row's number of cells.
        n_cells: usize,
        /// The header's number of cells.
        n_columns: usize,
    },
    /// A value in a column without a name.
    #[error(
        "column {column} has the value `{}`, but no name in the header; name the column, or remove it",
        lorank_core::shortened(value)
    )]
    UnnamedColumn {
        /// The number of the column, from 1.
        column: usize,
        /// The value.
        value: String,
    },
    /// A table with an unclosed quote, within the limit of a row or by the end of the file.
    #[error(
        "the row that starts on line {line} has a quote that is not closed {}",
        match bytes_max {
            Some(bytes_max) => format!("within {bytes_max} bytes"),
            None => "by the end of the file".to_owned(),
        }
    )]
    OpenQuote {
        /// The 1-based line.
        line: u64,
        /// The limit of a row in bytes if it was exceeded; `None` if the file ended before.
        bytes_max: Option<usize>,
    },
    /// An input that ends prematurely, or cannot be read further.
    #[error("the input cannot be read further")]
    BrokenInput {
        /// The cause.
        source: io::Error,
    },
    /// Bulk indexing stopped at a bad line.
    #[error("indexing stopped; {} in the index", match n_committed {
        0 => "no document of this run is".to_owned(),
        1 => "the first document of this run is".to_owned(),
        n => format!("the first {n} documents of this run are"),
    })]
    Stopped {
        /// The number of documents that this run committed.
        n_committed: u64,
        /// The bad line.
        source: Box<BadLine>,
    },
    /// A skipped line could not be written to the reject file.
    #[error("cannot write a skipped line to the reject file")]
    Rejects {
        /// The cause.
        source: io::Error,
    },

    /// An advanced query that is malformed.
    #[error("the query is malformed: {problem}")]
    InvalidQuery {
        /// A description of the problem.
        problem: String,
    },
    /// An invalid filter.
    #[error("the filter on `{field}` {problem}")]
    InvalidFilter {
        /// The filter's field.
        field: String,
        /// A description of the problem, phrased to follow the field's name.
        problem: String,
    },
    /// A field that cannot be sorted.
    #[error("the sort field `{field}` {problem}")]
    InvalidSort {
        /// The field's name.
        field: String,
        /// A description of the problem, phrased to follow the field's name.
        problem: String,
    },
    /// A field in an expression that has no numeric values.
    #[error("the field `{field}` in the expression {problem}")]
    InvalidRankBy {
        /// The field's name.
        field: String,
        /// A description of the problem, phrased to follow the field's name.
        problem: String,
    },
    /// An invalid facet.
    #[error("the facet on `{field}` {problem}")]
    InvalidFacet {
        /// The facet's field.
        field: String,
        /// A description of the problem, phrased to follow the field's name.
        problem: String,
    },
}

/// A line that is not a valid document, with its origin, its bytes and the cause. The error's message is the origin;
/// the cause is its source.
#[derive(Debug, thiserror::Error)]
#[error("{origin}")]
pub struct BadLine {
    /// The location of the line.
    pub origin: Origin,
    /// The line or table row without its end. Empty for a line that exceeds the limit, and for a whole file.
    pub raw: Vec<u8>,
    /// Why the line is not a valid document.
    #[source]
    pub cause: Box<Error>,
}

impl Error {
    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoIndex { .. } => ErrorKind::NotFound,
            Self::Unfinished { .. } => ErrorKind::Unavailable,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::NotUtf8 { .. }
            | Self::NotText { .. }
            | Self::NotJson { .. }
            | Self::WrongNumberOfCells { .. }
            | Self::UnnamedColumn { .. }
            | Self::OpenQuote { .. }
            | Self::InvalidQuery { .. } => ErrorKind::Malformed,
            Self::NotAnIndex { .. }
            | Self::InvalidSettings { .. }
            | Self::InvalidInput { .. }
            | Self::NotAnObject { .. }
            | Self::NoId { .. }
            | Self::InvalidId { .. }
            | Self::InvalidField { .. }
            | Self::InvalidFilter { .. }
            | Self::InvalidSort { .. }
            | Self::InvalidFacet { .. }
            | Self::InvalidRankBy { .. } => ErrorKind::Invalid,
            Self::TooLong { .. } => ErrorKind::TooLarge,
            Self::OlderFormat { .. } | Self::NewerFormat { .. } => ErrorKind::UnsupportedFormat,
            Self::AlreadyExists { .. } | Self::SettingsDiffer { .. } | Self::WriterBusy { .. } => ErrorKind::Conflict,
            Self::Io { .. } | Self::BrokenInput { .. } | Self::Rejects { .. } | Self::ChangeLost { .. } => {
                ErrorKind::Unavailable
            }
            Self::Corrupt { .. } => ErrorKind::Internal,
            Self::Stopped { source, .. } => source.cause.kind(),
            Self::Engine { source, .. } => kind_of_engine_error(source),
        }
    }

    /// Converts an error of tantivy; a lock that is held or not available is a separate error.
    pub(crate) fn engine(action: &'static str, dir: &Path, source: TantivyError) -> Self {
        match source {
            TantivyError::LockFailure(LockError::LockBusy, _) => Self::WriterBusy { dir: dir.to_owned() },
            TantivyError::LockFailure(LockError::IoError(error), _) => Self::Io {
                action: "take a lock in the folder",
                path: dir.to_owned(),
                source: io::Error::new(error.kind(), error.to_string()),
            },
            source => Self::Engine { action, dir: dir.to_owned(), source },
        }
    }

    /// Whether the error concerns a single document or line, so that the next one may succeed.
    pub(crate) fn is_about_a_document(&self) -> bool {
        matches!(
            self,
            Self::NotUtf8 { .. }
                | Self::NotText { .. }
                | Self::NotJson { .. }
                | Self::NotAnObject { .. }
                | Self::NoId { .. }
                | Self::InvalidId { .. }
                | Self::InvalidField { .. }
                | Self::TooLong { .. }
                | Self::WrongNumberOfCells { .. }
                | Self::UnnamedColumn { .. }
        )
    }
}

fn kind_of_engine_error(error: &TantivyError) -> ErrorKind {
    match error {
        TantivyError::IncompatibleIndex(_) => ErrorKind::UnsupportedFormat,
        TantivyError::IoError(_)
        | TantivyError::OpenDirectoryError(_)
        | TantivyError::OpenReadError(_)
        | TantivyError::OpenWriteError(_)
        | TantivyError::ErrorInThread(_)
        | TantivyError::SystemError(_) => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}
