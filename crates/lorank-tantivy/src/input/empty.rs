//! Files in which there is no document.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The number of files whose names are kept.
const NAMES_MAX: usize = 5;

/// The files read so far that have no document and no bad line: an empty file, an empty JSON array, a table without
/// rows. Clones share it, so that it can be read while or after the documents are read elsewhere.
#[derive(Debug, Clone, Default)]
pub struct EmptyFiles(Arc<Mutex<Found>>);

#[derive(Debug, Default)]
struct Found {
    n_files: u64,
    first: Vec<Arc<str>>,
}

impl EmptyFiles {
    /// The number of files.
    pub fn n_files(&self) -> u64 {
        self.found().n_files
    }

    /// The names of the first five, in the order of reading.
    pub fn first(&self) -> Vec<Arc<str>> {
        self.found().first.clone()
    }

    pub(super) fn add(&self, name: Arc<str>) {
        let mut found = self.found();
        found.n_files += 1;
        if found.first.len() < NAMES_MAX {
            found.first.push(name);
        }
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        // Each change leaves both fields valid.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
