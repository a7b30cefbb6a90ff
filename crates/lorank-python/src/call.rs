//! Calls of the engine from Python: the interpreter is released, and Ctrl-C ends the wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::{logging, process};

/// How often a waiting call looks for signals.
const SIGNALS_EVERY: Duration = Duration::from_millis(50);

/// Cancels a call from another thread.
#[pyclass(frozen, module = "lorank._native")]
#[derive(Default)]
pub(crate) struct Cancellation(lorank_pipeline::Cancellation);

#[pymethods]
impl Cancellation {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Cancels the calls that were given this object. Scores that are computed stay in the cache.
    fn cancel(&self) {
        self.0.cancel();
    }
}

impl Cancellation {
    /// The engine's flag of an optional cancellation.
    pub(crate) fn of(cancellation: Option<&Py<Self>>) -> lorank_pipeline::Cancellation {
        cancellation.map(|cancellation| cancellation.get().0.clone()).unwrap_or_default()
    }
}

/// Runs `work` on a thread of its own, while other Python threads run. If a signal's handler raises, as that of Ctrl-C does, the
/// work is cancelled and the exception is raised at once; the thread ends by itself.
///
/// # Errors
/// That of the work, of a signal's handler, or of [`process::enter`]. A panic is a `RuntimeError`.
pub(crate) fn run<T: Send + 'static>(
    py: Python<'_>,
    cancellation: &lorank_pipeline::Cancellation,
    work: impl FnOnce() -> PyResult<T> + Send + 'static,
) -> PyResult<T> {
    process::enter()?;
    logging::follow(py)?;
    let (sender, mut receiver) = mpsc::sync_channel(1);
    let work = move || {
        // The caller may have stopped waiting.
        let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
    };
    let thread = thread::Builder::new().name("lorank-call".to_owned()).spawn(work);
    thread.map_err(|error| PyRuntimeError::new_err(format!("could not start a thread: {error}")))?;
    loop {
        let (received, again) = py.detach(move || (receiver.recv_timeout(SIGNALS_EVERY), receiver));
        receiver = again;
        match received {
            Ok(Ok(done)) => return done,
            Ok(Err(panic)) => return Err(of_panic(&*panic)),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err("a thread ended without result"));
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Err(raised) = py.check_signals() {
                    cancellation.cancel();
                    return Err(raised);
                }
            }
        }
    }
}

fn of_panic(panic: &(dyn std::any::Any + Send)) -> PyErr {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    PyRuntimeError::new_err(format!("lorank has a bug; please report it: {text}"))
}
