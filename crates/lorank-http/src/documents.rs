//! The interface between the document routes and the owner of the documents.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;

use lorank_core::{BoxError, DocumentId, ErrorKind, Fields, Filter, InvalidQuery, QuerySyntax};

/// Documents that can be read and changed while they are searched. The service handles HTTP, the host handles the index.
///
/// Changes are committed before a call returns: they are on disk, and every later search sees them.
pub trait DocumentHost: Send + Sync {
    /// Whether documents can be changed here. The routes ask before they read a body.
    ///
    /// # Errors
    /// [`DocumentError::Foreign`] for documents that belong to another engine.
    fn check_writable(&self) -> Result<(), DocumentError> {
        Ok(())
    }

    /// The fields of a document except its id; `None` if it does not exist.
    ///
    /// # Errors
    /// Documents that cannot be read.
    fn get(&self, id: &DocumentId) -> Result<Option<Fields>, DocumentError>;

    /// Adds documents, which are JSON objects; one with an existing id replaces that document. Invalid documents are reported, blank
    /// lines are skipped. The result has an entry for each document, in their order.
    ///
    /// The input is available completely, so reading does not wait for the client.
    ///
    /// # Errors
    /// Documents that cannot be written, or more lines than the limit. Nothing is acknowledged then, but lines that were read
    /// before may be stored.
    fn add(
        &self,
        documents: Box<dyn Read + Send>,
        form: BulkForm,
        limits: BulkLimits,
    ) -> Result<Vec<LineOutcome>, DocumentError>;

    /// A new unnamed file for an incomplete body, on the disk of the documents.
    ///
    /// # Errors
    /// The file cannot be created.
    fn scratch_file(&self) -> io::Result<File> {
        tempfile::tempfile()
    }

    /// Deletes a document. Returns whether it existed.
    ///
    /// # Errors
    /// Documents that cannot be written.
    fn delete(&self, id: &DocumentId) -> Result<bool, DocumentError>;

    /// Deletes the documents of a selection. Returns their number.
    ///
    /// # Errors
    /// An invalid query or filter, or documents that cannot be written.
    fn delete_matching(&self, selection: DocumentSelection) -> Result<u64, DocumentError>;

    /// The size of the index.
    ///
    /// # Errors
    /// Documents that cannot be read.
    fn stats(&self) -> Result<DocumentStats, DocumentError>;

    /// The fields of the documents, searched fields first. `None` if the host does not know them.
    ///
    /// # Errors
    /// Documents that cannot be read.
    fn fields(&self) -> Result<Option<Vec<FieldStats>>, DocumentError> {
        Ok(None)
    }
}

/// A field of the documents.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldStats {
    /// The name, with dots for nested objects.
    pub name: String,
    /// The factor for scores of this field; `None` if it is not searched.
    pub boost: Option<f32>,
    /// The types of the values for filters, sorting and facets: `booleans`, `numbers`, `dates`, `texts`. Empty if the field cannot be
    /// used for them.
    pub types: Vec<&'static str>,
}

/// The format of the documents of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkForm {
    /// One JSON object per line.
    Lines,
    /// A JSON array of objects, or one object.
    Array,
}

/// The limits of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BulkLimits {
    /// The maximum length of a document in bytes of input. A longer one is refused; the others are not affected.
    pub document_bytes_max: usize,
    /// The maximum number of documents.
    pub n_documents_max: NonZeroUsize,
}

/// The outcome of a line, or of an array element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineOutcome {
    /// The number of the line on which it begins, from 1.
    pub line: u64,
    /// The number of the array element, from 1; `None` for JSON Lines.
    pub item: Option<u64>,
    /// The outcome.
    pub outcome: DocumentOutcome,
}

/// The outcome of adding a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocumentOutcome {
    /// A new document.
    Added(DocumentId),
    /// The document replaced one with the same id.
    Replaced(DocumentId),
    /// Not a valid document.
    Refused {
        /// The kind of error.
        kind: ErrorKind,
        /// What is wrong with it.
        message: String,
    },
}

/// The documents to delete; without words and filters, all of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DocumentSelection {
    /// The query text that documents must match.
    pub words: Option<(String, QuerySyntax)>,
    /// The filters that documents must match.
    pub filters: Vec<Filter>,
}

/// The size of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DocumentStats {
    /// The number of documents.
    pub n_documents: u64,
    /// The number of index segments.
    pub n_segments: usize,
    /// The size of the index on disk, in bytes.
    pub bytes_on_disk: u64,
}

/// An error while reading or changing documents.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// An invalid query or filter.
    #[error("the query is invalid")]
    InvalidQuery {
        /// The error of the first stage.
        source: InvalidQuery,
    },
    /// Another writer is changing the documents.
    #[error("the documents cannot be changed now; retry later")]
    Busy {
        /// The other writer.
        source: BoxError,
    },
    /// The body is incomplete.
    #[error("the request body is incomplete; nothing was stored; send it again")]
    BrokenOff {
        /// The error of the connection.
        source: io::Error,
    },
    /// There are too many documents.
    #[error(
        "the request body has more documents than the limit of {n_documents_max}; send it in parts (none is acknowledged)"
    )]
    TooManyDocuments {
        /// The limit.
        n_documents_max: NonZeroUsize,
    },
    /// The documents belong to another engine.
    #[error("the documents belong to {engine} that is the first stage; add and delete them there")]
    Foreign {
        /// The engine.
        engine: &'static str,
    },
    /// The engine to which the documents belong cannot answer.
    #[error("{message}")]
    Engine {
        /// The reason, without names of hosts.
        message: String,
        /// The kind of error.
        kind: ErrorKind,
    },
    /// The documents could not be read or written.
    #[error("the documents could not be read or written; the change is not acknowledged")]
    Failed {
        /// The cause.
        source: BoxError,
    },
}

impl DocumentError {
    /// The kind of error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidQuery { .. } => ErrorKind::Invalid,
            Self::Foreign { .. } => ErrorKind::UnsupportedOperation,
            Self::Engine { kind, .. } => *kind,
            Self::Busy { .. } => ErrorKind::Conflict,
            Self::BrokenOff { .. } => ErrorKind::Malformed,
            Self::TooManyDocuments { .. } => ErrorKind::TooLarge,
            Self::Failed { .. } => ErrorKind::Unavailable,
        }
    }

    /// The invalid field of the request.
    pub fn field(&self) -> Option<&'static str> {
        if let Self::InvalidQuery { source } = self { Some(source.field) } else { None }
    }
}
