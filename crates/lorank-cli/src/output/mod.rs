//! Output to standard output, as text and as JSON.

pub(crate) mod compare;
pub(crate) mod facets;
pub(crate) mod hits;
pub(crate) mod progress;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod text;

use std::fmt;
use std::io::{self, BufWriter, Write};

use serde::Serialize;

/// Buffered standard output, without styles unless it is a terminal. Flush it before other output.
pub(crate) fn stdout() -> impl Write {
    BufWriter::with_capacity(1 << 16, Stdout(anstream::stdout()))
}

/// The number of columns of the terminal, or a default.
pub(crate) fn columns() -> usize {
    let size = terminal_size::terminal_size_of(io::stdout());
    size.map_or(100, |(columns, _)| usize::from(columns.0)).clamp(40, 160)
}

/// Prints one JSON document, indented if standard output is a terminal.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let is_terminal = io::IsTerminal::is_terminal(&io::stdout());
    let text = if is_terminal { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let mut out = stdout();
    writeln!(out, "{}", text?)?;
    Ok(out.flush()?)
}

/// The reader of standard output has closed it.
#[derive(Debug)]
pub(crate) struct StdoutClosed;

impl fmt::Display for StdoutClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output was closed")
    }
}

impl std::error::Error for StdoutClosed {}

/// Marks broken pipes of standard output, to distinguish them from those of connections.
struct Stdout<W>(W);

impl<W: Write> Write for Stdout<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(mark)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(mark)
    }
}

fn mark(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(io::ErrorKind::BrokenPipe, StdoutClosed),
        _ => error,
    }
}
