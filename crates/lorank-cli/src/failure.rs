//! Error messages and exit statuses.

use std::error::Error;
use std::io;

use lorank_core::{ErrorKind, Misfit};

use crate::output::StdoutClosed;
use crate::output::text::one_line;

/// A usage error that depends on several arguments.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongUsage(pub String);

/// The exit status of a success.
pub(crate) const SUCCESS: u8 = 0;

/// The exit status of a failure.
const FAILURE: u8 = 1;

/// The exit status of a usage error.
pub(crate) const WRONG_USAGE: u8 = 2;

/// The exit status of a kind of error.
fn status_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Invalid => WRONG_USAGE,
        _ => FAILURE,
    }
}

/// The kind of an error of the command line or of the server configuration, which check the arguments. Errors of other crates are
/// about files and states, and count as failures.
fn kind_of(error: &anyhow::Error) -> Option<ErrorKind> {
    let wrong_usage = error.is::<WrongUsage>().then_some(ErrorKind::Invalid);
    wrong_usage.or_else(|| error.downcast_ref().map(lorank_server::Error::kind))
}

/// Prints the error and its causes to standard error, one per line, and returns the exit status. A closed standard output (`| head`)
/// is not a failure.
pub(crate) fn report(error: &anyhow::Error) -> u8 {
    if error.chain().any(is_closed_stdout) {
        return SUCCESS;
    }
    let (bold, plain) = (crate::output::style::ERROR.render(), crate::output::style::ERROR.render_reset());
    let mut causes = error.chain().map(|cause| lines(cause).join("\n    "));
    anstream::eprintln!("{bold}error:{plain} {}", causes.next().unwrap_or_default());
    for cause in causes {
        anstream::eprintln!("  because: {cause}");
    }
    kind_of(error).map_or(FAILURE, status_of)
}

/// Messages of the number parser, with clearer replacements.
const NUMBERS: [(&str, &str); 7] = [
    ("number would be zero for non-zero type", "it must be at least 1"),
    ("invalid digit found in string", "it must be a whole number"),
    ("cannot parse integer from empty string", "it must be a whole number"),
    ("number too large to fit in target type", "it is too large"),
    ("number too small to fit in target type", "it is too small"),
    ("invalid float literal", "it must be a number"),
    ("cannot parse float from empty string", "it must be a number"),
];

/// Prints a usage error, or the requested help.
pub(crate) fn print_usage(error: &clap::Error) {
    if error.kind() != clap::error::ErrorKind::ValueValidation {
        // If printing fails, there is still the exit status.
        let _ = error.print();
        return;
    }
    let text = error.render().ansi().to_string();
    anstream::eprint!("{}", NUMBERS.iter().fold(text, |text, (parser, plain)| text.replace(parser, plain)));
}

/// An error and its causes on one line.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    one_line(&causes.map(|cause| lines(cause).join(" ")).collect::<Vec<_>>().join(": "))
}

/// The lines of a cause: one line, except for errors of the TOML parser, which show the line of the file with a marker.
fn lines(cause: &(dyn Error + 'static)) -> Vec<String> {
    let Some(error) = cause.downcast_ref::<toml::de::Error>() else {
        return vec![one_line(&lorank_core::shortened(&cause.to_string()))];
    };
    let text = error.to_string();
    let place = text.trim_end().strip_suffix(error.message()).unwrap_or_default();
    let misfit = Misfit::of(error.message()).to_string();
    // Errors that are not about a value keep the TOML parser's message.
    let problem = if misfit.starts_with("is refused: ") { error.message().to_owned() } else { misfit };
    let without_control = |line: &str| line.replace(char::is_control, " ");
    place.trim_end().lines().map(without_control).chain([one_line(&problem)]).collect()
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
            (
                Err::<(), _>(lorank_server::Error::NoDataFolder).context("could not start").unwrap_err(),
                Some(WRONG_USAGE),
            ),
            (lorank_server::Error::Index(lorank_tantivy::Error::NoIndex { dir: "i".into() }).into(), Some(FAILURE)),
            (io_error(), None),
        ] {
            assert_eq!(kind_of(&error).map(status_of), status, "{error}");
        }
    }
}
