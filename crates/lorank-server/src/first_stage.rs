//! The first stage of a server: an index on disk, or a search engine of its own.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lorank_core::{BoxError, Candidate, DocumentId, FirstStage, Query, Retrieval, Retrieved, Score, Snippet};
use lorank_elastic::ElasticFirstStage;
use lorank_tantivy::Bm25FirstStage;

/// The first stage of a server.
#[derive(Debug, Clone)]
pub enum ServedFirstStage {
    /// An index on disk.
    Tantivy(Bm25FirstStage),
    /// OpenSearch, Elasticsearch or Quickwit.
    Elastic(Arc<ElasticFirstStage>),
}

impl ServedFirstStage {
    /// The document with this id as a candidate with a score from elsewhere; `None` if there is no such document.
    ///
    /// # Errors
    /// The engine fails.
    pub fn candidate(&self, id: &DocumentId, first_stage_score: Score) -> Result<Option<Candidate>, BoxError> {
        match self {
            Self::Tantivy(first_stage) => Ok(first_stage.candidate(id, first_stage_score)?),
            Self::Elastic(first_stage) => Ok(first_stage.candidate(id, first_stage_score)?),
        }
    }

    fn engine(&self) -> &dyn FirstStage {
        match self {
            Self::Tantivy(first_stage) => first_stage,
            Self::Elastic(first_stage) => first_stage,
        }
    }
}

impl FirstStage for ServedFirstStage {
    fn retrieve(&self, query: &Query, depth: NonZeroUsize) -> Result<Vec<Candidate>, BoxError> {
        self.engine().retrieve(query, depth)
    }

    fn search(&self, retrieval: &Retrieval<'_>) -> Result<Retrieved, BoxError> {
        self.engine().search(retrieval)
    }

    fn snippets(&self, query: &Query, candidates: &[&Candidate]) -> Result<Vec<Option<Snippet>>, BoxError> {
        self.engine().snippets(query, candidates)
    }
}
