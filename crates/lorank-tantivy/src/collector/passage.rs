//! The texts of a document for the reranker.

use std::fmt;
use std::sync::Arc;

use tantivy::{DocAddress, SegmentReader};

/// The texts of one document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Passage {
    /// The title. `None` (no title) and `Some("")` (an empty one) encode differently.
    pub title: Option<Arc<str>>,
    /// The text.
    pub text: Arc<str>,
}

/// A document whose texts are requested, with its segment, whose fast fields can be read.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct DocRef<'a> {
    /// The document's address in the searcher.
    pub address: DocAddress,
    /// The document's segment.
    pub segment: &'a SegmentReader,
}

impl From<String> for Passage {
    fn from(text: String) -> Self {
        Self { title: None, text: text.into() }
    }
}

impl From<&str> for Passage {
    fn from(text: &str) -> Self {
        Self { title: None, text: text.into() }
    }
}

impl fmt::Debug for DocRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DocRef").field("address", &self.address).finish_non_exhaustive()
    }
}
