//! Error messages with their causes.

use std::error::Error;

/// An error of any engine.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// An error and its causes on one line, separated by colons. Each message is [shortened].
pub fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(|error| shortened(&error.to_string())).collect::<Vec<_>>().join(": ")
}

/// The maximum length of a message in characters. Messages contain names from files, which can have any length.
const CHARS_MAX: usize = 1_000;

/// A message, with its middle replaced by `[...]` if it is too long.
pub fn shortened(message: &str) -> String {
    let n_chars = message.chars().count();
    if n_chars <= CHARS_MAX {
        return message.to_owned();
    }
    let half = CHARS_MAX / 2;
    let start: String = message.chars().take(half).collect();
    let end: String = message.chars().skip(n_chars - half).collect();
    format!("{start} [...] {end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_keep_their_beginning_and_their_end() {
        let long = format!("tensor `{}` is missing", "\u{e9}".repeat(100_000));
        let short = shortened(&long);
        assert!(short.starts_with("tensor `\u{e9}") && short.ends_with(" is missing"), "{short}");
        assert!(short.chars().count() < 1_020);
        assert_eq!(shortened("short"), "short");
    }
}
