//! Differences between files and what was added.

use std::fmt;
use std::path::PathBuf;

use lorank_core::AdapterId;

/// A difference between the files on disk and those that were added.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Finding {
    /// The file or folder.
    pub path: PathBuf,
    /// The difference.
    pub what: Fault,
    /// The affected adapters.
    pub ids: Vec<AdapterId>,
}

/// A kind of difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// The contents differ.
    Changed,
    /// The file or folder is missing.
    Missing,
    /// The file or folder is unexpected.
    Extra,
    /// Reading fails.
    Unreadable,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Fault::Changed => "was changed",
            Fault::Missing => "is missing",
            Fault::Extra => "is unexpected; remove it",
            Fault::Unreadable => "cannot be read",
        };
        write!(f, "`{}` {what}", self.path.display())?;
        let ids: Vec<String> = self.ids.iter().map(|id| format!("`{id}`")).collect();
        match (ids.is_empty(), self.what) {
            (true, _) => Ok(()),
            (false, Fault::Extra) => write!(f, " (adapter {})", ids.join(", ")),
            (false, _) => write!(f, "; add adapter {} again", ids.join(", ")),
        }
    }
}
