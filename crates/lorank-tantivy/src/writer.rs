//! The writer of an index.

use std::fmt;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use lorank_core::DocumentId;
use tantivy::indexer::UserOperation;
use tantivy::schema::Term;
use tantivy::{IndexWriter, TantivyError};

use crate::{Document, Error, Index, Selection, query};

/// tantivy's minimum memory per thread, and its maximum number of threads.
const THREAD_BYTES_MIN: usize = 15_000_000;
const THREAD_BYTES_MAX: usize = 4_000_000_000;
const THREADS_MAX: usize = 8;

/// The resources of a writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterOptions {
    /// The number of indexing threads, at most 8. `None` uses as many as processors and memory allow.
    pub n_threads: Option<NonZeroUsize>,
    /// The memory for documents before they are written to disk, over all threads; at least 15 MB per thread.
    pub memory_bytes: usize,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { n_threads: None, memory_bytes: 128_000_000 }
    }
}

impl WriterOptions {
    /// The number of threads, and the memory of each.
    fn resolve(&self) -> (usize, usize) {
        let n_threads = match self.n_threads {
            Some(n_threads) => n_threads.get(),
            None => available_parallelism().map_or(1, NonZeroUsize::get).min(self.memory_bytes / THREAD_BYTES_MIN),
        };
        let n_threads = n_threads.clamp(1, THREADS_MAX);
        (n_threads, (self.memory_bytes / n_threads).clamp(THREAD_BYTES_MIN, THREAD_BYTES_MAX))
    }
}

/// Adds documents to an index and deletes them. Changes become visible and durable with [`commit`](Self::commit): a
/// writer that is dropped, or whose process is killed, leaves the index in the state of the last commit.
pub struct Writer {
    index: Index,
    engine: IndexWriter,
}

impl Index {
    /// Opens the writer. The index is unlocked when the writer is dropped or its process ends.
    ///
    /// # Errors
    /// [`Error::WriterBusy`] while another writer exists, in this process or another.
    pub fn writer(&self, options: &WriterOptions) -> Result<Writer, Error> {
        Writer::new(self.clone(), options)
    }
}

impl Writer {
    pub(crate) fn new(index: Index, options: &WriterOptions) -> Result<Self, Error> {
        let (n_threads, thread_bytes) = options.resolve();
        let parts = index.parts();
        let engine = parts.engine.writer_with_num_threads(n_threads, n_threads * thread_bytes);
        let engine = engine.map_err(|source| parts.error("write to", source))?;
        let writer = Self { index, engine };
        writer.remove_leftovers();
        Ok(writer)
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Adds a document. It replaces the one with the same id, be that committed or not.
    ///
    /// # Errors
    /// A document that the index cannot hold (the writer stays as it was), or an index that cannot be written to.
    pub fn add(&self, document: &Document) -> Result<(), Error> {
        self.add_from(document, None)
    }

    /// Adds a document that is a file of this folder.
    pub(crate) fn add_from(&self, document: &Document, folder: Option<&str>) -> Result<(), Error> {
        let parts = self.index.parts();
        document.check(&parts.settings)?;
        let replaced = Term::from_field_text(parts.layout.id, document.id().as_str());
        // One group, so that of two threads that add the same id one surely replaces the other's document.
        let added = parts.layout.to_tantivy(document, folder, &parts.settings);
        let operations = [UserOperation::Delete(replaced), UserOperation::Add(added)];
        self.engine.run(operations).map(drop).map_err(|source| parts.error("write to", source))
    }

    /// Deletes the document with this id, if it exists.
    pub fn delete(&self, id: &DocumentId) {
        self.engine.delete_term(Term::from_field_text(self.index.parts().layout.id, id.as_str()));
    }

    /// Deletes the documents of a selection, including uncommitted ones.
    ///
    /// # Errors
    /// An invalid query or filter; the writer stays unchanged.
    pub fn delete_matching(&self, selection: &Selection) -> Result<(), Error> {
        let parts = self.index.parts();
        let query = query::build_selection(selection, parts, &self.index.searcher()?)?;
        self.engine.delete_query(query).map(drop).map_err(|source| parts.error("delete from", source))
    }

    /// Makes everything since the last commit durable, and visible to searches that start afterwards.
    ///
    /// # Errors
    /// The index cannot be written. It keeps the state of the last commit; roll back before continuing.
    pub fn commit(&mut self) -> Result<(), Error> {
        self.engine.commit().map_err(|source| self.index.parts().error("commit to", source))?;
        self.index.parts().finish()?;
        self.index.refresh()
    }

    /// Discards everything since the last commit.
    ///
    /// # Errors
    /// The index cannot be written any more.
    pub fn rollback(&mut self) -> Result<(), Error> {
        self.engine.rollback().map_err(|source| self.index.parts().error("roll back", source))?;
        self.remove_leftovers();
        Ok(())
    }

    /// Deletes files that belong to no commit: from a killed process or a rollback. On a full disk, they may be the
    /// reason why the next commit fails. A later writer deletes those that remain.
    fn remove_leftovers(&self) {
        if let Err(error) = self.engine.garbage_collect_files().wait() {
            tracing::debug!(error = &error as &dyn std::error::Error, "cannot delete leftover files of an index");
        }
    }

    /// The error of a failed indexing thread, if all that is known is that one has failed. tantivy returns it when its
    /// threads are joined. The writer must be rolled back afterwards.
    pub(crate) fn explain(&mut self, error: Error) -> Error {
        if !matches!(error, Error::Engine { source: TantivyError::ErrorInThread(_), .. }) {
            return error;
        }
        self.engine.prepare_commit().err().map_or(error, |source| self.index.parts().error("write to", source))
    }

    /// Waits for background merges, and releases the index. Uncommitted changes are lost. Dropping the writer does not
    /// wait; a later writer repeats the merges.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn close(self) -> Result<(), Error> {
        let Self { index, engine } = self;
        engine.wait_merging_threads().map_err(|source| index.parts().error("merge", source))
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("index", &self.index).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_has_its_memory() {
        check(Some(2), 100_000_000, (2, 50_000_000));
        check(Some(100), 160_000_000, (8, 20_000_000));
        check(Some(4), 0, (4, THREAD_BYTES_MIN));
        check(None, 0, (1, THREAD_BYTES_MIN));
        check(Some(1), usize::MAX, (1, THREAD_BYTES_MAX));
    }

    fn check(n_threads: Option<usize>, memory_bytes: usize, resolved: (usize, usize)) {
        let n_threads = n_threads.and_then(NonZeroUsize::new);
        assert_eq!(WriterOptions { n_threads, memory_bytes }.resolve(), resolved);
    }
}
