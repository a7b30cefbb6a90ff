//! Documents chosen by words and filters.

use lorank_core::{Filter, QuerySyntax};

/// Some of an index's documents. By default all of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Selection {
    /// Those that a text matches, read as a query's is: any of its words, where it is plain. `None` leaves the words open.
    pub words: Option<(String, QuerySyntax)>,
    /// Those of them for which all of this holds.
    pub filters: Vec<Filter>,
}
