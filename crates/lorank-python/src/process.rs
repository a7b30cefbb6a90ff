//! The process that uses the engine.
//!
//! A child made by `fork` has a copy of the engine's memory but none of its threads, so a call there would wait forever.

use std::process;
use std::sync::OnceLock;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// The process that used the engine first, from which its children have the number.
static OWNER: OnceLock<u32> = OnceLock::new();

/// Takes the engine for this process.
///
/// # Errors
/// A `RuntimeError` in a forked child of a process that used the engine.
pub(crate) fn enter() -> PyResult<()> {
    let owner = *OWNER.get_or_init(process::id);
    if is_of(owner) {
        return Ok(());
    }
    Err(PyRuntimeError::new_err(format!(
        "lorank was used by process {owner} before it forked this one, which has none of its threads; start processes with \
         multiprocessing's method `spawn` (`multiprocessing.get_context(\"spawn\")`), or use lorank only after the fork"
    )))
}

/// Whether the engine's threads are in this process.
pub(crate) fn has_threads() -> bool {
    OWNER.get().is_none_or(|owner| is_of(*owner))
}

fn is_of(owner: u32) -> bool {
    owner == process::id()
}
