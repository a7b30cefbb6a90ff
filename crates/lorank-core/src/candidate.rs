//! Documents handed to the reranker.

use std::sync::Arc;

use crate::{DocumentId, Fields, ListRank, Score, Snippet};

/// A document that the first stage found. Its position in the first stage's list is its first-stage rank.
///
/// Clones share the texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The document's own id.
    pub id: DocumentId,
    /// The title that the reranker reads. `None` (no title field) and `Some("")` (an empty one) encode differently.
    pub title: Option<Arc<str>>,
    /// The text that the reranker reads.
    pub text: Arc<str>,
    /// The first stage's score.
    pub first_stage_score: Score,
    /// The stored fields, returned with the hit.
    pub fields: Fields,
    /// A passage with the query's terms marked, from a first stage that marks them while it searches
    /// ([`Retrieval::snippets`](crate::Retrieval::snippets)). Other first stages leave it empty.
    pub snippet: Option<Snippet>,
    /// The lists that were [fused](crate::fuse) into the candidate's list, and its rank in each. Empty for a candidate of
    /// a single list.
    pub fused_from: Arc<[ListRank]>,
}

impl Candidate {
    /// A candidate without title or stored fields.
    pub fn new(id: impl Into<String>, text: impl Into<Arc<str>>, first_stage_score: Score) -> Self {
        let id = DocumentId::new(id.into());
        Self {
            id,
            title: None,
            text: text.into(),
            first_stage_score,
            fields: Fields::new(),
            snippet: None,
            fused_from: Arc::default(),
        }
    }
}
