//! How many documents there are of a kind.

use crate::{Error, Index, Selection, query};

impl Index {
    /// The number of documents of a selection, as of the last commit.
    ///
    /// # Errors
    /// A query or a filter that cannot be, and an index that cannot be read.
    pub fn count(&self, selection: &Selection) -> Result<u64, Error> {
        let (searcher, parts) = (self.searcher()?, self.parts());
        let query = query::build_selection(selection, parts, &searcher)?;
        let n_documents = query.count(&searcher).map_err(|source| parts.error("search", source))?;
        Ok(n_documents as u64)
    }
}
