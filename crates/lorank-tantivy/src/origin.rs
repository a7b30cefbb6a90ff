//! Origins of documents in input files.

use std::fmt;
use std::sync::Arc;

/// The location of a document in the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file name as given, or `standard input`.
    pub file: Arc<str>,
    /// The 1-based line where it starts; `None` if it is a whole file.
    pub line: Option<u64>,
    /// Its 1-based number in a JSON array; `None` for other inputs.
    pub item: Option<u64>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.file)?;
        match (self.item, self.line) {
            (Some(item), Some(line)) => write!(f, ", document {item} on line {line}"),
            (Some(item), None) => write!(f, ", document {item}"),
            (None, Some(line)) => write!(f, ", line {line}"),
            (None, None) => Ok(()),
        }
    }
}
