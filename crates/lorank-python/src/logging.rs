//! Log events as records of Python's `logging`: those of `lorank_model::reranker` are the logger `lorank.model.reranker`'s.

use std::fmt::{self, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyModule;
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// The logger whose level decides which events become records.
const LOGGER: &str = "lorank";

/// The level of [`LOGGER`] at the last call from Python, so that other events cost nothing.
static LEVEL: AtomicI64 = AtomicI64::new(i64::MAX);

static INSTALLED: OnceLock<()> = OnceLock::new();

/// Sends events to `logging`, and reads the level of the logger `lorank`.
///
/// # Errors
/// An exception of `logging`.
pub(crate) fn follow(py: Python<'_>) -> PyResult<()> {
    // Only the program installs another receiver, and it has its own log.
    INSTALLED.get_or_init(|| drop(tracing_subscriber::registry().with(ToPython).try_init()));
    let level = logger(py, LOGGER)?.call_method0("getEffectiveLevel")?.extract()?;
    LEVEL.store(level, Ordering::Relaxed);
    Ok(())
}

fn logger<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    PyModule::import(py, "logging")?.call_method1("getLogger", (name,))
}

struct ToPython;

impl<S: Subscriber> Layer<S> for ToPython {
    /// The level changes while the program runs.
    fn register_callsite(&self, _metadata: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        metadata.is_event() && level_of(metadata.level()) >= LEVEL.load(Ordering::Relaxed)
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = level_of(event.metadata().level());
        let name = name_of(event.metadata().target());
        // Not while Python ends. A handler that raises has reported it by itself, as `logging` has it.
        let _ = Python::try_attach(|py| -> PyResult<()> {
            logger(py, &name)?.call_method1("log", (level, "%s", line.text()))?;
            Ok(())
        });
    }
}

/// Python's number of a level.
fn level_of(level: &Level) -> i64 {
    match *level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG => 10,
        Level::TRACE => 5,
    }
}

/// The logger of a target.
fn name_of(target: &str) -> String {
    format!("{LOGGER}.{}", target.strip_prefix("lorank_").unwrap_or(target).replace("::", "."))
}

/// An event's message, and its other fields.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn text(self) -> String {
        self.message + &self.fields
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
        written.expect("writing to a string cannot fail");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            name => write!(self.fields, " {name}={value}").expect("writing to a string cannot fail"),
        }
    }
}
