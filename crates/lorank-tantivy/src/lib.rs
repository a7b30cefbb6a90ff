//! lorank's first stage on tantivy: an index on disk, and BM25 over it.
//!
//! An [`Index`] is a folder. It is created with [`IndexSettings`] (the text fields, the id field, the language), which
//! are stored in the folder, so that queries are always analyzed in the same way as documents. Its one [`Writer`] adds,
//! replaces and deletes documents; [`index_documents`] indexes whole files, which [`input`] reads, and a
//! [`SharedWriter`] serves many threads. [`Bm25FirstStage`] searches the index: plain words that never fail, an
//! optional query syntax, filters, snippets.
//!
//! [`RerankCollector`] is for applications with their own index: any schema, any query, and in combination with other
//! collectors ([`collector`]).
//!
//! The crate is *not* a model, and its [`Index`] is not a general interface to tantivy: it supports one layout of
//! documents, for which it guarantees that equal scores are ordered by id, and that a smaller depth returns a prefix of
//! a larger one.
//!
//! ```
//! use std::num::NonZeroUsize;
//!
//! use lorank_core::{Filter, FirstStage, Query, Test, Value};
//! use lorank_tantivy::{Bm25FirstStage, Document, Index, IndexSettings, WriterOptions};
//!
//! let dir = tempfile::tempdir()?;
//! let settings = IndexSettings::default();
//! let index = Index::create(dir.path(), &settings)?;
//!
//! let mut writer = index.writer(&WriterOptions::default())?;
//! for json in [
//!     r#"{"id": 1, "title": "Cats", "text": "Cats sleep all day.", "year": 2019}"#,
//!     r#"{"id": 2, "title": "Dogs", "text": "Dogs chase cats.", "year": 2024}"#,
//! ] {
//!     writer.add(&Document::from_json(json.as_bytes(), &settings)?)?;
//! }
//! writer.commit()?;
//!
//! let stage = Bm25FirstStage::new(index);
//! let depth = NonZeroUsize::new(100).ok_or("depth is zero")?;
//! let mut query = Query::new("a sleeping \"cat");
//! let candidates = stage.retrieve(&query, depth)?;
//! assert_eq!(candidates[0].title.as_deref(), Some("Cats"));
//! let snippets = stage.snippets(&query, &[&candidates[0]])?;
//! assert_eq!(snippets[0].as_ref().map(|snippet| snippet.to_html()).as_deref(), Some("<b>Cats</b> <b>sleep</b> all day"));
//!
//! let since_2020 = Test::Range { lower: Some((Value::Integer(2020), true)), upper: None };
//! query.filters = vec![Filter { field: "year".into(), test: since_2020 }];
//! assert_eq!(stage.retrieve(&query, depth)?[0].id.as_str(), "2");
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```

mod advanced;
mod analysis;
mod bulk;
pub mod collector;
mod columns;
mod count;
mod dates;
mod document;
mod error;
mod exclusion;
mod facets;
mod field_values;
mod filter;
mod first_stage;
#[doc(hidden)]
pub mod fuzzing;
mod index;
pub mod input;
mod json;
mod known_fields;
mod language;
mod number;
mod origin;
mod plain;
mod query;
mod schema;
mod selection;
mod settings;
mod shared_writer;
mod sort;
mod spelling;
mod top;
mod words;
mod writer;

pub use bulk::{BulkOptions, BulkProgress, IndexReport, OnError, index_documents};
pub use collector::{CandidateCollector, RerankCollector, Texts};
pub use document::Document;
pub use error::Error;
pub use first_stage::Bm25FirstStage;
pub use index::{Index, IndexStats};
pub use known_fields::FilterField;
pub use language::Language;
pub use lorank_core::ErrorKind;
pub use selection::Selection;
pub use settings::{IndexSettings, SettingsRequest, TextField};
pub use shared_writer::{Change, SharedWriter};
/// tantivy itself, in the version whose types appear in this crate's signatures.
pub use tantivy;
pub use writer::{Writer, WriterOptions};
