//! Errors in words.

use std::error::Error;

/// An error of an engine, whichever it is.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// An error and its causes on one line: what failed, then each cause after a colon.
pub fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
