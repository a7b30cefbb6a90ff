//! The class `IndexWriter` of the native module.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lorank_core::{DocumentId, Filter};
use lorank_tantivy::{Document, Index, Selection, Writer, WriterOptions};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::call;
use crate::errors;
use crate::parse::{self, parsed};
use crate::process;

/// The one writer of an index. Changes count from `commit` on; dropping it discards others.
#[pyclass(frozen, module = "lorank._native")]
pub(crate) struct IndexWriter {
    /// `None` once it is closed.
    writer: Arc<Mutex<Option<Writer>>>,
}

#[pymethods]
impl IndexWriter {
    /// Adds documents, which are JSON objects. `n_before` is the number of those before them, for errors.
    fn add(&self, py: Python<'_>, documents: Vec<Vec<u8>>, n_before: usize) -> PyResult<()> {
        self.change(py, move |writer| {
            for (n, json) in (n_before..).zip(documents) {
                let document = Document::from_json(&json, writer.index().settings());
                let added = document.and_then(|document| writer.add(&document));
                added.map_err(|error| errors::of_document(n, &error))?;
            }
            Ok(())
        })
    }

    /// Deletes documents by their ids.
    fn delete(&self, py: Python<'_>, ids: Vec<String>) -> PyResult<()> {
        self.change(py, move |writer| {
            ids.into_iter().for_each(|id| writer.delete(&DocumentId::new(id)));
            Ok(())
        })
    }

    /// Deletes the documents that match filters and a query; without both, all documents.
    fn delete_matching(
        &self,
        py: Python<'_>,
        filters: Vec<String>,
        query: Option<String>,
        syntax: &str,
    ) -> PyResult<()> {
        let filters = filters.iter().map(|filter| parsed::<Filter>("filter", filter)).collect::<PyResult<_>>()?;
        let syntax = parse::syntax(syntax)?;
        let selection = Selection { words: query.map(|query| (query, syntax)), filters };
        self.change(py, move |writer| writer.delete_matching(&selection).map_err(|error| errors::of_index(&error)))
    }

    /// Makes all changes durable and visible.
    fn commit(&self, py: Python<'_>) -> PyResult<()> {
        self.change(py, |writer| writer.commit().map_err(|error| errors::of_index(&error)))
    }

    /// Waits for merges, and releases the index. Changes since the last commit are discarded.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let writer = self.writer.clone();
        call::run(py, &lorank_pipeline::Cancellation::default(), move || match lock(&writer).take() {
            Some(writer) => writer.close().map_err(|error| errors::of_index(&error)),
            None => Ok(()),
        })
    }

    /// Releases the index without waiting. Changes since the last commit are discarded.
    fn discard(&self, py: Python<'_>) -> PyResult<()> {
        let writer = self.writer.clone();
        call::run(py, &lorank_pipeline::Cancellation::default(), move || {
            drop(lock(&writer).take());
            Ok(())
        })
    }
}

impl IndexWriter {
    /// Opens the writer of an index.
    pub(crate) fn open(index: &Index) -> PyResult<Self> {
        let writer = index.writer(&WriterOptions::default()).map_err(|error| errors::of_index(&error))?;
        Ok(Self { writer: Arc::new(Mutex::new(Some(writer))) })
    }

    fn change(
        &self,
        py: Python<'_>,
        change: impl FnOnce(&mut Writer) -> PyResult<()> + Send + 'static,
    ) -> PyResult<()> {
        let writer = self.writer.clone();
        call::run(py, &lorank_pipeline::Cancellation::default(), move || match &mut *lock(&writer) {
            Some(writer) => change(writer),
            None => Err(PyValueError::new_err("the writer of the index is closed")),
        })
    }
}

impl Drop for IndexWriter {
    fn drop(&mut self) {
        if !process::has_threads() {
            // As for `Engine`: its threads are in the parent process, and so is its lock on the index.
            std::mem::forget(self.writer.clone());
        }
    }
}

fn lock(writer: &Mutex<Option<Writer>>) -> MutexGuard<'_, Option<Writer>> {
    writer.lock().unwrap_or_else(PoisonError::into_inner)
}
