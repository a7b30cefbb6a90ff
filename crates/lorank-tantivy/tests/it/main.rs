//! The index, its inputs and its first stage, as a user of the crate meets them.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod analysis;
mod boolean;
mod bulk;
mod collector;
mod corpora;
mod filters;
mod index;
mod inputs;
mod queries;
mod ranking;
mod retrieval;
mod shared;
mod snippets;
mod typos;

use std::num::NonZeroUsize;

use lorank_core::{Candidate, FirstStage, InvalidQuery, Query};
use lorank_tantivy::{Bm25FirstStage, Document, Index, IndexSettings, Writer, WriterOptions};
use tempfile::TempDir;

/// An index in a folder of its own.
struct Corpus {
    index: Index,
    dir: TempDir,
}

impl Corpus {
    fn empty(settings: &IndexSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { index: Index::create(dir.path(), settings).unwrap(), dir }
    }

    /// An index of documents in JSON, in one segment.
    fn of(documents: &[&str]) -> Self {
        Self::with_settings(&IndexSettings::default(), documents)
    }

    fn with_settings(settings: &IndexSettings, documents: &[&str]) -> Self {
        let corpus = Self::empty(settings);
        corpus.add(documents);
        corpus
    }

    fn add(&self, documents: &[&str]) {
        let mut writer = writer(&self.index);
        for document in documents {
            writer.add(&document_of(document, self.index.settings())).unwrap();
        }
        writer.commit().unwrap();
    }

    fn stage(&self) -> Bm25FirstStage {
        Bm25FirstStage::new(self.index.clone())
    }

    fn retrieve(&self, query: &Query, depth: usize) -> Vec<Candidate> {
        self.stage().retrieve(query, NonZeroUsize::new(depth).unwrap()).unwrap()
    }

    /// The ids of the best ten, in their order.
    fn search(&self, text: &str) -> Vec<String> {
        ids(&self.retrieve(&Query::new(text), 10))
    }
}

/// Why a query is refused: the part at fault and the message.
fn refusal(corpus: &Corpus, query: &Query) -> (&'static str, String) {
    let error = corpus.stage().retrieve(query, NonZeroUsize::MIN).unwrap_err();
    let InvalidQuery { field, message } = *error.downcast().unwrap();
    (field, message)
}

/// A writer of one thread, so that every commit makes one segment.
fn writer(index: &Index) -> Writer {
    index.writer(&WriterOptions { n_threads: NonZeroUsize::new(1), memory_bytes: 15_000_000 }).unwrap()
}

fn document_of(json: &str, settings: &IndexSettings) -> Document {
    Document::from_json(json.as_bytes(), settings).unwrap()
}

fn ids(candidates: &[Candidate]) -> Vec<String> {
    candidates.iter().map(|candidate| candidate.id.to_string()).collect()
}

/// The texts of an error and of its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
