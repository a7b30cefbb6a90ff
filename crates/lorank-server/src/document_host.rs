//! The documents of a running server, in the index that it searches.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::time::Duration;

use lorank_core::{DocumentId, ErrorKind, Fields, InvalidQuery, with_causes};
use lorank_http::{
    BulkForm, BulkLimits, DocumentError, DocumentHost, DocumentOutcome, DocumentSelection, DocumentStats, FieldStats,
    LineOutcome,
};
use lorank_tantivy::input::{self, BadLine, JsonForm, SourcedDocument};
use lorank_tantivy::{Change, Error, Index, Selection, SharedWriter, WriterOptions};

/// How long an idle writer keeps its lock on the index. Opening a writer takes some milliseconds.
const WRITER_IDLE_MAX: Duration = Duration::from_secs(10);

/// The writer's memory for documents that are not yet written to disk, in bytes.
const WRITER_BYTES: usize = 64_000_000;

/// The documents of an index.
pub(crate) struct IndexDocuments {
    writer: SharedWriter,
}

impl IndexDocuments {
    pub(crate) fn new(index: Index) -> Self {
        // One thread: the model needs the others, and each commit makes one segment instead of several.
        let options = WriterOptions { n_threads: Some(NonZeroUsize::MIN), memory_bytes: WRITER_BYTES };
        Self { writer: SharedWriter::new(index, options, WRITER_IDLE_MAX) }
    }
}

impl DocumentHost for IndexDocuments {
    fn get(&self, id: &DocumentId) -> Result<Option<Fields>, DocumentError> {
        let found = self.writer.index().get(id).map_err(document_error)?;
        Ok(found.map(|document| document.fields().clone()))
    }

    fn add(
        &self,
        documents: Box<dyn Read + Send>,
        form: BulkForm,
        limits: BulkLimits,
    ) -> Result<Vec<LineOutcome>, DocumentError> {
        let change = self.writer.begin().map_err(document_error)?;
        let settings = self.writer.index().settings();
        let mut outcomes = Vec::new();
        let form = match form {
            BulkForm::Lines => JsonForm::Lines,
            BulkForm::Array => JsonForm::Array,
        };
        for document in input::json(documents, form, "the body", settings, limits.document_bytes_max) {
            if outcomes.len() == limits.n_documents_max.get() {
                return Err(DocumentError::TooManyDocuments { n_documents_max: limits.n_documents_max });
            }
            outcomes.push(add_document(&change, document)?);
        }
        change.commit().map_err(document_error)?;
        Ok(outcomes)
    }

    fn scratch_file(&self) -> io::Result<File> {
        tempfile::tempfile_in(self.writer.index().dir())
    }

    fn delete(&self, id: &DocumentId) -> Result<bool, DocumentError> {
        let change = self.writer.begin().map_err(document_error)?;
        let was_there = change.delete(id).map_err(document_error)?;
        change.commit().map_err(document_error)?;
        Ok(was_there)
    }

    fn delete_matching(&self, selection: DocumentSelection) -> Result<u64, DocumentError> {
        let DocumentSelection { words, filters } = selection;
        self.writer.delete_matching(&Selection { words, filters }).map_err(document_error)
    }

    fn stats(&self) -> Result<DocumentStats, DocumentError> {
        let stats = self.writer.index().stats().map_err(document_error)?;
        Ok(DocumentStats {
            n_documents: stats.n_documents,
            n_segments: stats.n_segments,
            bytes_on_disk: stats.bytes_on_disk,
        })
    }

    fn fields(&self) -> Result<Option<Vec<FieldStats>>, DocumentError> {
        let index = self.writer.index();
        let searched = index.settings().text_fields.iter();
        let searched =
            searched.map(|field| FieldStats { name: field.name.clone(), boost: Some(field.boost), types: Vec::new() });
        let filtered = index.filter_fields().map_err(document_error)?.into_iter();
        let filtered = filtered.map(|field| FieldStats { name: field.name, boost: None, types: field.types });
        Ok(Some(searched.chain(filtered).collect()))
    }
}

fn add_document(change: &Change<'_>, document: Result<SourcedDocument, BadLine>) -> Result<LineOutcome, DocumentError> {
    let (origin, added) = match document {
        Ok(SourcedDocument { origin, document, .. }) => {
            (origin, change.add(&document).map(|is_replaced| (is_replaced, document.id().clone())))
        }
        Err(BadLine { origin, cause, .. }) => (origin, Err(*cause)),
    };
    let outcome = match added {
        Ok((false, id)) => DocumentOutcome::Added(id),
        Ok((true, id)) => DocumentOutcome::Replaced(id),
        Err(error) if is_about_a_line(&error) => {
            DocumentOutcome::Refused { kind: kind_of_line(&error), message: with_causes(&error) }
        }
        Err(error) => return Err(document_error(error)),
    };
    Ok(LineOutcome { line: origin.line.unwrap_or(1), item: origin.item, outcome })
}

fn is_about_a_line(error: &Error) -> bool {
    use lorank_tantivy::ErrorKind::{Invalid, Malformed, TooLarge};
    matches!(error.kind(), Malformed | Invalid | TooLarge)
}

fn kind_of_line(error: &Error) -> ErrorKind {
    match error {
        Error::NotUtf8 { .. } | Error::NotJson { .. } => ErrorKind::Malformed,
        Error::TooLong { .. } => ErrorKind::TooLarge,
        _ => ErrorKind::Invalid,
    }
}

fn document_error(error: Error) -> DocumentError {
    let invalid = |field, error: &Error| DocumentError::InvalidQuery {
        source: InvalidQuery { field, message: error.to_string() },
    };
    match error {
        Error::InvalidQuery { .. } => invalid("query", &error),
        Error::InvalidFilter { .. } => invalid("filters", &error),
        Error::WriterBusy { .. } => DocumentError::Busy { source: error.into() },
        Error::BrokenInput { source } => DocumentError::BrokenOff { source },
        error => DocumentError::Failed { source: error.into() },
    }
}
