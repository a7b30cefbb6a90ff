//! Selections of documents by words and filters.

use lorank_core::{Filter, QuerySyntax};

/// A selection of documents in an index. The default is all documents.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Selection {
    /// A query that the documents match, with its syntax; plain text matches with any of its words. `None` matches all.
    pub words: Option<(String, QuerySyntax)>,
    /// Filters that the documents must satisfy.
    pub filters: Vec<Filter>,
}
