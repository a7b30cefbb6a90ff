//! Where a document was read from.

use std::fmt;
use std::sync::Arc;

/// Where a document stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file, as it was named, or `standard input`.
    pub file: Arc<str>,
    /// The line it begins on, from 1; `None` where it is a whole file.
    pub line: Option<u64>,
    /// Its number among the documents of a JSON array, from 1; `None` elsewhere.
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
