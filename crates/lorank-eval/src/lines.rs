//! The lines of a text file with their numbers, which errors name.

use std::fs;
use std::path::{Path, PathBuf};

use lorank_core::unreadable_as_text;

use crate::EvalError;

/// A text file in memory.
pub(crate) struct TextFile {
    path: PathBuf,
    text: String,
}

impl TextFile {
    /// Reads the file.
    ///
    /// # Errors
    /// If the file cannot be read, is compressed or binary, or is not UTF-8.
    pub(crate) fn read(path: &Path) -> Result<Self, EvalError> {
        let bytes =
            fs::read(path).map_err(|source| EvalError::File { action: "read", file: path.to_owned(), source })?;
        if let Some(problem) = unreadable_as_text(&bytes) {
            return Err(EvalError::unusable(path, format!("cannot be read: {problem}")));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let n_lines = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
            EvalError::line(path, n_lines + 1, "it is not UTF-8")
        })?;
        Ok(Self { path: path.to_owned(), text })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The whole text, without a byte order mark.
    pub(crate) fn text(&self) -> &str {
        self.text.strip_prefix('\u{feff}').unwrap_or(&self.text)
    }

    /// The lines that are not blank, with their numbers from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text().lines()).filter(|(_, line)| !line.trim().is_empty())
    }

    /// An error about a line.
    pub(crate) fn error(&self, line: usize, problem: impl std::fmt::Display) -> EvalError {
        EvalError::line(&self.path, line, problem)
    }
}

/// The cells of a line: separated by tabs if there is one, else by white space.
pub(crate) fn cells(line: &str) -> Vec<&str> {
    if line.contains('\t') { line.split('\t').map(str::trim).collect() } else { line.split_whitespace().collect() }
}
