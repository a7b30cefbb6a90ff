//! How the program ends when a command fails.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use crate::output::StdoutClosed;
use crate::output::text::one_line;

/// A wrong use that only shows once the arguments are read together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongUsage(pub String);

/// Prints the error with its causes, one line each, to standard error. A reader that closed our standard output (`| head`)
/// has what it wanted: that is no failure.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if error.chain().any(is_closed_stdout) {
        return ExitCode::SUCCESS;
    }
    let (bold, plain) = (crate::output::style::ERROR.render(), crate::output::style::ERROR.render_reset());
    let mut lines = error.chain().map(|cause| one_line(&cause.to_string()));
    anstream::eprintln!("{bold}error:{plain} {}", lines.next().unwrap_or_default());
    for line in lines {
        anstream::eprintln!("  because: {line}");
    }
    if error.is::<WrongUsage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// An error and its causes on one line.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    one_line(&lorank_core::with_causes(error))
}

fn is_closed_stdout(cause: &(dyn Error + 'static)) -> bool {
    let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.is_some_and(|inner| inner.is::<StdoutClosed>())
}
