//! The native module of the Python package `lorank`.
//!
//! It is a thin layer: it reads values from Python, runs the engine of `lorank-server` and `lorank-pipeline` with Python's
//! interpreter released, and turns errors into Python's exceptions. The classes that people use are in `python/lorank`, in
//! Python, with their documentation.
//!
//! The crate is *not* a Rust library. `lorank._native` has what `python/lorank/_native.pyi` lists.

mod call;
mod downloads;
mod engine;
mod errors;
mod evaluation;
mod index;
mod inputs;
mod logging;
mod parse;
mod process;
mod reranker;
mod writer;

use std::ffi::OsString;

use pyo3::prelude::*;

/// Gives memory back to the system some seconds after it was freed, as in the program. Python has its own allocator.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Runs the command of these arguments, the first of which is the program's name, and returns the exit status.
#[pyfunction]
fn main(py: Python<'_>, args: Vec<OsString>) -> u8 {
    py.detach(|| lorank_cli::main_with(args))
}

/// The native part of the package `lorank`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::main;
    #[pymodule_export]
    use crate::call::Cancellation;
    #[pymodule_export]
    use crate::errors::{LorankError, ModelError};
    #[pymodule_export]
    use crate::evaluation::evaluate;
    #[pymodule_export]
    use crate::index::Index;
    #[pymodule_export]
    use crate::reranker::Engine;
    #[pymodule_export]
    use crate::writer::IndexWriter;

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the name in Python")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
