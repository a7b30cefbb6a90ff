//! An application that has a tantivy index already, before and after: tantivy's own basic example, reranked.
//!
//!     cargo run --release --example basic_search
//!     diff examples/basic_search/before.rs examples/basic_search/after.rs
//!
//! `before.rs` is the example as tantivy 0.27 brings it (MIT, see `LICENSE`), formatted as this project's code is. What
//! changes in `after.rs` are ten lines: the body is stored, so that the reranker can read it; a model is loaded; and a
//! `RerankCollector` takes the place of `TopDocs`. The schema, the index, the query and the searcher stay as they were.
//!
//! A model of your own comes from a folder: `Files::folder("models/base")?` in place of `Files::embedded(..)`.

#![expect(clippy::unwrap_used, reason = "the code is tantivy's")]

mod after;

/// Indexes, searches, prints.
pub(crate) fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    after::main()
}
