//! The choice of the first stage, in flags and configuration files.

use std::fmt;
use std::str::FromStr;

/// The engine of the first stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FirstStageKind {
    /// Indexes on disk, by tantivy.
    #[default]
    Tantivy,
    /// OpenSearch, Elasticsearch or Quickwit.
    Elastic,
}

impl FromStr for FirstStageKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "tantivy" => Ok(Self::Tantivy),
            "elastic" => Ok(Self::Elastic),
            _ => Err(format!("`{text}` is neither `tantivy` nor `elastic`")),
        }
    }
}

impl fmt::Display for FirstStageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tantivy => "tantivy",
            Self::Elastic => "elastic",
        })
    }
}
