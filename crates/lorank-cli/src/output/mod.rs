//! What goes to standard output, for people and for programs.

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

/// Standard output, buffered. Styles are dropped where it is no terminal; flush it before anything else is said.
pub(crate) fn stdout() -> impl Write {
    BufWriter::with_capacity(1 << 16, Stdout(anstream::stdout()))
}

/// How many columns to use: those of the terminal, or a common width where there is none.
pub(crate) fn columns() -> usize {
    let size = terminal_size::terminal_size_of(io::stdout());
    size.map_or(100, |(columns, _)| usize::from(columns.0)).clamp(40, 160)
}

/// Prints one JSON document, indented for people when it goes to a terminal.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let is_terminal = io::IsTerminal::is_terminal(&io::stdout());
    let text = if is_terminal { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let mut out = stdout();
    writeln!(out, "{}", text?)?;
    Ok(out.flush()?)
}

/// The reader of our standard output went away.
#[derive(Debug)]
pub(crate) struct StdoutClosed;

impl fmt::Display for StdoutClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output was closed")
    }
}

impl std::error::Error for StdoutClosed {}

/// Marks the broken pipe of our own standard output, to tell it from that of a connection.
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
