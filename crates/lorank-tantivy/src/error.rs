//! What can go wrong, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use lorank_core::ErrorKind;
use tantivy::TantivyError;
use tantivy::directory::error::LockError;

use crate::origin::Origin;

/// What went wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder is not there, or it is empty.
    #[error("there is no index in `{}`; make one by indexing into it", dir.display())]
    NoIndex {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder holds something that is not an index of lorank.
    #[error("`{}` is not a lorank index: {found}; name an empty or a new folder", dir.display())]
    NotAnIndex {
        /// The folder.
        dir: PathBuf,
        /// What was found instead.
        found: String,
    },
    /// The folder holds an index already.
    #[error("`{}` holds an index already; open it, or name another folder", dir.display())]
    AlreadyExists {
        /// The folder.
        dir: PathBuf,
    },
    /// The index was written by an earlier version, whose terms are not those of today's queries.
    #[error(
        "the index in `{}` has format {found} of an earlier version, and this version reads format {known}; \
         index the documents again into a new folder",
        dir.display()
    )]
    OlderFormat {
        /// The folder.
        dir: PathBuf,
        /// The format that was found.
        found: u64,
        /// The format that this version reads.
        known: u64,
    },
    /// The index was written by a later version.
    #[error("the index in `{}` has format {found}, and this version reads format {known}; update lorank", dir.display())]
    NewerFormat {
        /// The folder.
        dir: PathBuf,
        /// The format that was found.
        found: u64,
        /// The format that this version reads.
        known: u64,
    },
    /// The index was made with other settings than those asked for.
    #[error(
        "the index in `{}` was made with {setting} `{found}`, not `{requested}`; \
         leave the option out, or index into another folder",
        dir.display()
    )]
    SettingsDiffer {
        /// The folder.
        dir: PathBuf,
        /// Which setting.
        setting: &'static str,
        /// The index's value.
        found: String,
        /// The value asked for.
        requested: String,
    },
    /// Settings that cannot be.
    #[error("{problem}")]
    InvalidSettings {
        /// What is wrong with them.
        problem: String,
    },
    /// The index's files contradict each other or cannot be read.
    #[error("the index in `{}` is damaged: {problem}; index again into another folder", dir.display())]
    Corrupt {
        /// The folder.
        dir: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Another writer holds the index.
    #[error("the index in `{}` is being written to by another writer; wait until it is done", dir.display())]
    WriterBusy {
        /// The folder.
        dir: PathBuf,
    },
    /// A change that was not committed yet when the writer that held it had to be given up.
    #[error("the change of the index in `{}` is lost, as another one with it could not be written; make it again", dir.display())]
    ChangeLost {
        /// The folder.
        dir: PathBuf,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried (`read`, `create the folder`).
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The engine failed.
    #[error("cannot {action} the index in `{}`", dir.display())]
    Engine {
        /// What was tried (`search`, `commit to`).
        action: &'static str,
        /// The folder.
        dir: PathBuf,
        /// Why not.
        source: TantivyError,
    },

    /// An input whose format cannot be told or does not fit the index.
    #[error("cannot index `{input}`: {problem}")]
    InvalidInput {
        /// The input's name.
        input: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A text file in another encoding than UTF-8, or of another program.
    #[error("not a text in UTF-8: {problem}")]
    NotText {
        /// What it is, and what to do about it.
        problem: String,
    },
    /// A line that is not UTF-8.
    #[error(
        "not valid UTF-8: a bad byte at column {column}; convert it to UTF-8, for instance from Latin-1 or Windows-1252"
    )]
    NotUtf8 {
        /// The 1-based byte column.
        column: usize,
    },
    /// A line that is not JSON.
    #[error("not valid JSON at {}column {column}: {problem}", if *line > 1 { format!("its line {line}, ") } else { String::new() })]
    NotJson {
        /// The line within the document, from 1.
        line: usize,
        /// The 1-based byte column.
        column: usize,
        /// What is wrong there.
        problem: String,
    },
    /// A line of JSON that is no object.
    #[error("{found}, where a document is a JSON object")]
    NotAnObject {
        /// What the line holds.
        found: &'static str,
    },
    /// A document without an id.
    #[error(
        "no id: the field `{id_field}` is missing{}",
        misnamed.as_ref().map_or_else(String::new, |name| format!("; rename `{name}` to `{id_field}`, or name it as the id field"))
    )]
    NoId {
        /// The field that should hold the id.
        id_field: String,
        /// A field whose name differs from that in case or in spaces around it alone.
        misnamed: Option<String>,
    },
    /// A document whose id cannot be one.
    #[error("the id in the field `{id_field}` is {problem}, where an id is a text or an integer")]
    InvalidId {
        /// The field that holds the id.
        id_field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A document with a field that cannot be what it is.
    #[error("the field `{field}` {problem}")]
    InvalidField {
        /// The field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A line or file over the limit.
    #[error("longer than {bytes_max} bytes")]
    TooLong {
        /// The limit.
        bytes_max: usize,
    },
    /// A row of a table whose number of cells is not that of the header.
    #[error("{n_cells} {}, where the header has {n_columns}", if *n_cells == 1 { "cell" } else { "cells" })]
    WrongNumberOfCells {
        /// The row's number of cells.
        n_cells: usize,
        /// The header's number of cells.
        n_columns: usize,
    },
    /// A table with a quote that is not closed: within the limit of a row, or by the end of the file.
    #[error(
        "the row that begins on line {line} has a quote that is not closed {}",
        match bytes_max {
            Some(bytes_max) => format!("within {bytes_max} bytes"),
            None => "by the end of the file".to_owned(),
        }
    )]
    OpenQuote {
        /// The 1-based line.
        line: u64,
        /// The limit of a row in bytes, where it was passed; `None` where the file ended before.
        bytes_max: Option<usize>,
    },
    /// An input that ends before its end, or cannot be read on.
    #[error("cannot be read on from here")]
    BrokenInput {
        /// Why not.
        source: io::Error,
    },
    /// Bulk indexing met a bad line and stopped.
    #[error("indexing stopped; {} in the index", match n_committed {
        0 => "no document of this run is".to_owned(),
        1 => "the first document of this run is".to_owned(),
        n => format!("the first {n} documents of this run are"),
    })]
    Stopped {
        /// The number of documents that this run committed before.
        n_committed: u64,
        /// The bad line.
        source: Box<BadLine>,
    },
    /// A skipped line could not be written to where skipped lines go.
    #[error("cannot write a skipped line to the reject file")]
    Rejects {
        /// Why not.
        source: io::Error,
    },

    /// An advanced query that is malformed.
    #[error("the query is malformed: {problem}")]
    InvalidQuery {
        /// What is wrong with it.
        problem: String,
    },
    /// A filter that cannot be.
    #[error("the filter on `{field}` {problem}")]
    InvalidFilter {
        /// The filter's field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A field that documents cannot be sorted by.
    #[error("the sort field `{field}` {problem}")]
    InvalidSort {
        /// The field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A field that an expression takes numbers from, and that has none.
    #[error("the field `{field}` of the expression {problem}")]
    InvalidRankBy {
        /// The field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A facet that cannot be counted.
    #[error("the facet on `{field}` {problem}")]
    InvalidFacet {
        /// The facet's field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// A line that is no document: where it stands, its bytes, and why. As an error its text is the place; the cause is its
/// source.
#[derive(Debug, thiserror::Error)]
#[error("{origin}")]
pub struct BadLine {
    /// Where it stands.
    pub origin: Origin,
    /// The line, or the table's row, without its end. Empty for one over the limit and for a whole file.
    pub raw: Vec<u8>,
    /// Why it is no document.
    #[source]
    pub cause: Box<Error>,
}

impl Error {
    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoIndex { .. } => ErrorKind::NotFound,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::NotUtf8 { .. }
            | Self::NotText { .. }
            | Self::NotJson { .. }
            | Self::WrongNumberOfCells { .. }
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

    /// An error of the engine; a lock that is taken or cannot be had is told from the rest.
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

    /// Whether a document or a line is at fault, so that the next one may do.
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
