//! What the document routes ask of whoever holds the documents.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;

use lorank_core::{BoxError, DocumentId, ErrorKind, Fields, Filter, InvalidQuery, QuerySyntax};

/// Documents that can be read and changed while they are searched. The service knows HTTP; the host knows the index.
///
/// What changes is committed (on the disk, and seen by every search that begins later) before a call returns.
pub trait DocumentHost: Send + Sync {
    /// The fields of a document but its id; `None` where there is no such document.
    ///
    /// # Errors
    /// Documents that cannot be read.
    fn get(&self, id: &DocumentId) -> Result<Option<Fields>, DocumentError>;

    /// Adds documents, JSON objects; one whose id is there replaces that document. What is no document is told and passed over, a
    /// blank line is passed over. Each document is in the answer, in their order.
    ///
    /// They are read at once: they are there already.
    ///
    /// # Errors
    /// Documents that cannot be written, and more lines than the limit. Nothing is acknowledged then; lines that were read before
    /// may be kept nevertheless.
    fn add(
        &self,
        documents: Box<dyn Read + Send>,
        form: BulkForm,
        limits: BulkLimits,
    ) -> Result<Vec<LineOutcome>, DocumentError>;

    /// A new file without a name, for what is to be added and has not come whole yet: where there is room for documents.
    ///
    /// # Errors
    /// A file that cannot be made.
    fn scratch_file(&self) -> io::Result<File> {
        tempfile::tempfile()
    }

    /// Deletes a document; whether there was one.
    ///
    /// # Errors
    /// Documents that cannot be written.
    fn delete(&self, id: &DocumentId) -> Result<bool, DocumentError>;

    /// Deletes the documents of a selection; how many there were.
    ///
    /// # Errors
    /// A query or a filter that cannot be, and documents that cannot be written.
    fn delete_matching(&self, selection: DocumentSelection) -> Result<u64, DocumentError>;

    /// How much there is.
    ///
    /// # Errors
    /// Documents that cannot be read.
    fn stats(&self) -> Result<DocumentStats, DocumentError>;

    /// The fields of the documents: those that are searched first. `None` where the host does not know them.
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
    /// The name; a dot reaches into an object.
    pub name: String,
    /// What a score in this field is multiplied by; `None` where the field is not searched.
    pub boost: Option<f32>,
    /// What the values are that filters, sort keys and facets read: `booleans`, `numbers`, `dates`, `texts`. None where they do not
    /// read the field.
    pub types: Vec<&'static str>,
}

/// How the documents of one call are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkForm {
    /// One JSON object a line.
    Lines,
    /// A JSON array of objects, or one object.
    Array,
}

/// The most that one call may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BulkLimits {
    /// The longest document in bytes, as it is written. A longer one is refused, and the others stand.
    pub document_bytes_max: usize,
    /// The most documents.
    pub n_documents_max: NonZeroUsize,
}

/// What became of a line, or of an element of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineOutcome {
    /// The number of the line on which it begins, from 1.
    pub line: u64,
    /// The number of the element, from 1, where there is an array.
    pub item: Option<u64>,
    /// What became of it.
    pub outcome: DocumentOutcome,
}

/// What became of a document that was to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocumentOutcome {
    /// There was none with its id.
    Added(DocumentId),
    /// It took the place of one.
    Replaced(DocumentId),
    /// It is no document.
    Refused {
        /// What kind of error it is.
        kind: ErrorKind,
        /// What is wrong with it.
        message: String,
    },
}

/// The documents to delete: without words and filters, all of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DocumentSelection {
    /// Those that a query's text matches.
    pub words: Option<(String, QuerySyntax)>,
    /// Those of them for which all of this holds.
    pub filters: Vec<Filter>,
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DocumentStats {
    /// The number of documents.
    pub n_documents: u64,
    /// The number of segments that they lie in.
    pub n_segments: usize,
    /// The size of the index on the disk.
    pub bytes_on_disk: u64,
}

/// Why documents were not read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// A query or a filter that cannot be.
    #[error("the query cannot be answered")]
    InvalidQuery {
        /// The first stage's own words.
        source: InvalidQuery,
    },
    /// Somebody else is changing them.
    #[error("the documents cannot be changed now; send the request again later")]
    Busy {
        /// Who.
        source: BoxError,
    },
    /// The lines broke off.
    #[error("the body broke off, and nothing of it is kept; send it again")]
    BrokenOff {
        /// How.
        source: io::Error,
    },
    /// There are too many documents.
    #[error(
        "the body has more documents than the limit of {n_documents_max}; nothing of it is acknowledged: send it in parts"
    )]
    TooManyDocuments {
        /// The limit.
        n_documents_max: NonZeroUsize,
    },
    /// They could not be read or written.
    #[error("the documents could not be read or written; what was to be changed is not acknowledged")]
    Failed {
        /// Why.
        source: BoxError,
    },
}

impl DocumentError {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidQuery { .. } => ErrorKind::Invalid,
            Self::Busy { .. } => ErrorKind::Conflict,
            Self::BrokenOff { .. } => ErrorKind::Malformed,
            Self::TooManyDocuments { .. } => ErrorKind::TooLarge,
            Self::Failed { .. } => ErrorKind::Unavailable,
        }
    }

    /// The field of the request that the error is about.
    pub fn field(&self) -> Option<&'static str> {
        if let Self::InvalidQuery { source } = self { Some(source.field) } else { None }
    }
}
