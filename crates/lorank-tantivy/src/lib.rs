//! lorank's first stage on tantivy: an index on disk, and BM25 over it.

mod bulk;
mod dates;
mod document;
mod error;
mod filter;
mod first_stage;
mod index;
pub mod input;
mod json;
mod language;
mod query;
mod schema;
mod settings;
mod top;
mod writer;

pub use bulk::{BulkOptions, BulkProgress, IndexReport, OnError, index_documents};
pub use document::Document;
pub use error::{Error, ErrorKind};
pub use first_stage::Bm25FirstStage;
pub use index::{Index, IndexStats};
pub use language::Language;
pub use settings::{IndexSettings, SettingsRequest, TextField};
pub use writer::{Writer, WriterOptions};
