//! How the program ends when a command fails.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use lorank_core::ErrorKind;

use crate::output::StdoutClosed;
use crate::output::text::one_line;

/// A wrong use that only shows once the arguments are read together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongUsage(pub String);

/// The exit status of a failure.
const FAILURE: u8 = 1;

/// The exit status of a wrong use.
pub(crate) const WRONG_USAGE: u8 = 2;

/// The exit status of a kind of error: the one place that maps them.
fn status_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Invalid => WRONG_USAGE,
        _ => FAILURE,
    }
}

/// The kind of an error of the command line's own or of the server that it starts. Arguments reach the other crates by those
/// two, so their errors are about files and states, and are failures.
fn kind_of(error: &anyhow::Error) -> Option<ErrorKind> {
    let wrong_usage = error.is::<WrongUsage>().then_some(ErrorKind::Invalid);
    wrong_usage.or_else(|| error.downcast_ref().map(lorank_server::Error::kind))
}

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
    ExitCode::from(kind_of(error).map_or(FAILURE, status_of))
}

/// An error and its causes on one line.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    one_line(&lorank_core::with_causes(error))
}

fn is_closed_stdout(cause: &(dyn Error + 'static)) -> bool {
    let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.is_some_and(|inner| inner.is::<StdoutClosed>())
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_kind_of_an_error_decides_on_the_status() {
        let io_error = || anyhow::Error::from(io::Error::other("broken"));
        for (error, status) in [
            (WrongUsage("no index".into()).into(), Some(WRONG_USAGE)),
            (lorank_server::Error::NoBaseModel.into(), Some(WRONG_USAGE)),
            (Err::<(), _>(lorank_server::Error::NoIndex).context("could not start").unwrap_err(), Some(WRONG_USAGE)),
            (lorank_server::Error::Index(lorank_tantivy::Error::NoIndex { dir: "i".into() }).into(), Some(FAILURE)),
            (io_error(), None),
        ] {
            assert_eq!(kind_of(&error).map(status_of), status, "{error}");
        }
    }
}
