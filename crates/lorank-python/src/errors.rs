//! Errors as Python's exceptions, with the program's messages.

use std::error::Error;

use lorank_core::{ErrorKind, with_causes};
use lorank_pipeline::{Fallback, PipelineError};
use pyo3::exceptions::{
    PyException, PyFileNotFoundError, PyLookupError, PyOSError, PyPermissionError, PyRuntimeError, PyTimeoutError,
    PyValueError,
};
use pyo3::{PyErr, create_exception};

create_exception!(lorank, LorankError, PyException, "An error of lorank that none of Python's own exceptions fits.");
create_exception!(lorank, ModelError, LorankError, "A base model or an adapter whose files cannot be used.");

/// The exception for an error of loading a model.
pub(crate) fn of_loading(error: &lorank_server::Error) -> PyErr {
    let message = with_causes(error);
    match error.kind() {
        ErrorKind::Malformed | ErrorKind::UnsupportedFormat | ErrorKind::TooLarge | ErrorKind::Conflict => {
            ModelError::new_err(message)
        }
        ErrorKind::NotFound => PyFileNotFoundError::new_err(message),
        kind => of_kind(kind, message),
    }
}

/// The exception for an error of scoring.
pub(crate) fn of_pipeline(error: &PipelineError) -> PyErr {
    match error {
        PipelineError::NoDefaultModel { .. }
        | PipelineError::NoBareBase { .. }
        | PipelineError::UnusableAdapter { .. } => ModelError::new_err(with_causes(error)),
        _ => of(error, error.kind()),
    }
}

/// The exception for an error of an index.
pub(crate) fn of_index(error: &lorank_tantivy::Error) -> PyErr {
    match error.kind() {
        ErrorKind::NotFound => PyFileNotFoundError::new_err(with_causes(error)),
        kind => of(error, kind),
    }
}

/// The exception for a document that cannot be added, by its place.
pub(crate) fn of_document(n: usize, error: &lorank_tantivy::Error) -> PyErr {
    of_kind(error.kind(), format!("document {n}: {}", with_causes(error)))
}

/// The exception for scores that are not there.
pub(crate) fn of_fallback(fallback: &Fallback) -> PyErr {
    let message = fallback.to_string();
    match fallback {
        Fallback::DeadlinePassed | Fallback::WouldMissDeadline { .. } => PyTimeoutError::new_err(message),
        Fallback::RerankerFailed { .. } => ModelError::new_err(message),
        _ => LorankError::new_err(message),
    }
}

/// The exception for an error of a kind.
pub(crate) fn of(error: &dyn Error, kind: ErrorKind) -> PyErr {
    of_kind(kind, with_causes(error))
}

fn of_kind(kind: ErrorKind, message: String) -> PyErr {
    match kind {
        ErrorKind::Malformed | ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::UnsupportedOperation => {
            PyValueError::new_err(message)
        }
        ErrorKind::NotFound => PyLookupError::new_err(message),
        ErrorKind::Unauthenticated | ErrorKind::Forbidden => PyPermissionError::new_err(message),
        ErrorKind::ClientTimeout | ErrorKind::DeadlineExceeded => PyTimeoutError::new_err(message),
        ErrorKind::Unavailable => PyOSError::new_err(message),
        ErrorKind::Internal => PyRuntimeError::new_err(message),
        _ => LorankError::new_err(message),
    }
}
