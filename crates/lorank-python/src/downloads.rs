//! The progress of downloads from the hub, which the package shows.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lorank_server::{LoadEvent, OnLoadEvent};
use pyo3::prelude::*;

/// The shortest time between two updates of a file: each takes the interpreter.
const UPDATES_EVERY: Duration = Duration::from_millis(100);

/// Calls `lorank._progress.download(repository, file, n_bytes_done, n_bytes)` as files are downloaded, and always at their ends.
pub(crate) fn shown() -> OnLoadEvent {
    let last = Mutex::new(None::<Instant>);
    Arc::new(move |event| {
        let LoadEvent::Fetching { repository, file, n_bytes_done, n_bytes } = *event else { return };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if n_bytes_done < n_bytes && last.is_some_and(|last| last.elapsed() < UPDATES_EVERY) {
            return;
        }
        *last = Some(Instant::now());
        // Not while Python ends. A bar that cannot be shown does not stop the download.
        let _ = Python::try_attach(|py| -> PyResult<()> {
            let progress = PyModule::import(py, "lorank._progress")?;
            progress.call_method1("download", (repository, file, n_bytes_done, n_bytes))?;
            Ok(())
        });
    })
}
