//! Indexing many documents: error handling, commits and progress.

use std::fmt;
use std::io::Write;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use lorank_core::Value;

use crate::input::{BadLine, Folder, SourcedDocument};
use crate::{Document, Error, Writer};

/// The maximum number of skipped lines in a report.
const FIRST_SKIPPED_MAX: usize = 10;
/// The number of fields whose names are kept.
const OTHER_TEXT_FIELDS_MAX: usize = 5;

/// What to do at a bad line.
#[derive(Default)]
pub enum OnError<'a> {
    /// Roll back to the last commit, and return the error.
    #[default]
    Stop,
    /// Count it and continue. An input that ends prematurely still stops indexing, because more than a line is missing
    /// then.
    Skip {
        /// Where the skipped lines are written, unchanged.
        rejects: Option<&'a mut (dyn Write + Send)>,
    },
}

impl fmt::Debug for OnError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stop => f.write_str("Stop"),
            Self::Skip { rejects } => f.debug_struct("Skip").field("rejects", &rejects.is_some()).finish(),
        }
    }
}

/// How to index many documents. By default: stop at a bad line, commit once at the end, delete nothing.
#[derive(Debug, Default)]
pub struct BulkOptions<'a> {
    /// What to do at a bad line.
    pub on_error: OnError<'a>,
    /// Commit after every so many documents; `None`: once, at the end.
    pub commit_every: Option<NonZeroU64>,
    /// Folders (see [`Documents::folders`](crate::input::Documents::folders)) whose documents are deleted from the index where their
    /// files are gone. Documents that came from elsewhere, or were replaced from elsewhere, stay.
    pub remove_missing: Vec<Folder>,
}

/// The progress of bulk indexing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BulkProgress {
    /// The number of indexed documents.
    pub n_indexed: u64,
    /// The number of committed documents.
    pub n_committed: u64,
    /// The number of skipped lines.
    pub n_skipped: u64,
}

/// The result of bulk indexing.
#[derive(Debug)]
pub struct IndexReport {
    /// The documents that were indexed. One that replaced another counts as well.
    pub n_indexed: u64,
    /// The documents that were deleted since their files are gone.
    pub n_removed: u64,
    /// The bad lines that were skipped.
    pub n_skipped: u64,
    /// The number of indexed documents without text in any text field, which no words match. A large number indicates
    /// that the fields have other names than in the settings.
    pub n_without_text: u64,
    /// The names of other fields that have text in these documents, the first five.
    pub other_text_fields: Vec<String>,
    /// The first skipped lines.
    pub first_skipped: Vec<BadLine>,
    /// The number of documents in the index before.
    pub n_documents_before: u64,
    /// The number of documents in the index now.
    pub n_documents: u64,
    /// The elapsed time.
    pub elapsed: Duration,
}

/// Indexes documents and commits them. Calls `on_progress` after each document or skipped line.
///
/// Uncommitted changes of the writer are committed or rolled back together with the documents.
///
/// # Errors
/// [`Error::Stopped`] at a bad line, unless bad lines are skipped, and any failure of writing the index. After an error
/// the index has the state of the last commit: what this call committed before (see [`BulkOptions::commit_every`])
/// stays.
pub fn index_documents(
    writer: &mut Writer,
    documents: impl IntoIterator<Item = Result<SourcedDocument, BadLine>>,
    options: BulkOptions<'_>,
    on_progress: impl FnMut(&BulkProgress),
) -> Result<IndexReport, Error> {
    let begun = Instant::now();
    let n_documents_before = writer.index().n_documents()?;
    let mut run = Run {
        options,
        on_progress,
        progress: BulkProgress::default(),
        n_removed: 0,
        n_without_text: 0,
        other_text_fields: Vec::new(),
        skipped: Vec::new(),
    };
    if let Err(error) = run.all(writer, documents) {
        if let Err(second) = writer.rollback() {
            tracing::warn!(error = &second as &dyn std::error::Error, "cannot roll back after an error");
        }
        return Err(error);
    }
    Ok(IndexReport {
        n_indexed: run.progress.n_indexed,
        n_removed: run.n_removed,
        n_skipped: run.progress.n_skipped,
        n_without_text: run.n_without_text,
        other_text_fields: run.other_text_fields,
        first_skipped: run.skipped,
        n_documents_before,
        n_documents: writer.index().n_documents()?,
        elapsed: begun.elapsed(),
    })
}

/// A running call of [`index_documents`].
struct Run<'a, F> {
    options: BulkOptions<'a>,
    on_progress: F,
    progress: BulkProgress,
    n_removed: u64,
    n_without_text: u64,
    other_text_fields: Vec<String>,
    skipped: Vec<BadLine>,
}

impl<F: FnMut(&BulkProgress)> Run<'_, F> {
    fn all(
        &mut self,
        writer: &mut Writer,
        documents: impl IntoIterator<Item = Result<SourcedDocument, BadLine>>,
    ) -> Result<(), Error> {
        for document in documents {
            match document {
                Ok(document) => self.add(writer, document)?,
                Err(bad_line) => self.skip(bad_line)?,
            }
            (self.on_progress)(&self.progress);
        }
        self.remove_missing(writer)?;
        self.commit(writer)?;
        if let OnError::Skip { rejects: Some(rejects) } = &mut self.options.on_error {
            rejects.flush().map_err(|source| Error::Rejects { source })?;
        }
        (self.on_progress)(&self.progress);
        Ok(())
    }

    fn add(&mut self, writer: &mut Writer, document: SourcedDocument) -> Result<(), Error> {
        let SourcedDocument { origin, document, folder } = document;
        match writer.add_from(&document, folder.as_deref()) {
            Ok(()) => {}
            Err(cause) if cause.is_about_a_document() => {
                return self.skip(BadLine { origin, raw: Vec::new(), cause: Box::new(cause) });
            }
            Err(error) => return Err(writer.explain(error)),
        }
        self.progress.n_indexed += 1;
        if !document.has_text(writer.index().settings()) {
            self.n_without_text += 1;
            self.note_text_of(&document);
        }
        let n_pending = self.progress.n_indexed - self.progress.n_committed;
        if self.options.commit_every.is_some_and(|n| n_pending >= n.get()) { self.commit(writer) } else { Ok(()) }
    }

    /// Keeps the names of the fields in which a document without text in its text fields has text.
    fn note_text_of(&mut self, document: &Document) {
        for (name, value) in document.fields() {
            let has_text = matches!(value, Value::Text(text) if !text.trim().is_empty());
            if self.other_text_fields.len() < OTHER_TEXT_FIELDS_MAX
                && has_text
                && !self.other_text_fields.contains(name)
            {
                self.other_text_fields.push(name.clone());
            }
        }
    }

    fn remove_missing(&mut self, writer: &Writer) -> Result<(), Error> {
        for Folder { path, ids } in &self.options.remove_missing {
            for id in writer.index().ids_from_folder(path)?.iter().filter(|id| !ids.contains(*id)) {
                writer.delete(id);
                self.n_removed += 1;
            }
        }
        Ok(())
    }

    fn commit(&mut self, writer: &mut Writer) -> Result<(), Error> {
        writer.commit()?;
        self.progress.n_committed = self.progress.n_indexed;
        Ok(())
    }

    fn skip(&mut self, bad_line: BadLine) -> Result<(), Error> {
        let OnError::Skip { rejects } = &mut self.options.on_error else { return Err(self.stopped(bad_line)) };
        if !bad_line.cause.is_about_a_document() {
            return Err(self.stopped(bad_line));
        }
        if let Some(rejects) = rejects
            && !bad_line.raw.is_empty()
        {
            let written = rejects.write_all(&bad_line.raw).and_then(|()| rejects.write_all(b"\n"));
            written.map_err(|source| Error::Rejects { source })?;
        }
        self.progress.n_skipped += 1;
        if self.skipped.len() < FIRST_SKIPPED_MAX {
            self.skipped.push(bad_line);
        }
        Ok(())
    }

    fn stopped(&self, bad_line: BadLine) -> Error {
        Error::Stopped { n_committed: self.progress.n_committed, source: Box::new(bad_line) }
    }
}
