//! Collects candidates for reranking elsewhere.

use std::num::NonZeroUsize;

use lorank_core::{Candidate, DocumentId};
use tantivy::collector::Collector;
use tantivy::query::Weight;
use tantivy::schema::Schema;
use tantivy::{DocAddress, SegmentOrdinal, SegmentReader, TantivyError};

use super::fields;
use super::texts::{Texts, TextsError, in_address_order};
use super::top::{Best, SegmentBest, SegmentTop, TopByScore};

/// Collects the best documents of a search with their texts, to be reranked elsewhere: by a pipeline, whose queue and
/// score cache are shared by all searches, or by another machine. See the [module's page](super) for its guarantees.
///
/// A hit's `first_stage_rank` identifies its document: `searcher.doc(found.addresses[hit.first_stage_rank - 1])`. The
/// example `threads` of the crate `lorank` is a complete program.
#[derive(Debug, Clone)]
pub struct CandidateCollector {
    texts: Texts,
    depth: NonZeroUsize,
    id_field: Option<String>,
}

/// The result of a [`CandidateCollector`], best first.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Candidates {
    /// The candidates, without stored fields.
    pub candidates: Vec<Candidate>,
    /// The address of each candidate: the first one is that of `first_stage_rank` 1.
    pub addresses: Vec<DocAddress>,
}

impl CandidateCollector {
    /// A collector of the `depth` best documents.
    pub fn new(texts: Texts, depth: NonZeroUsize) -> Self {
        Self { texts, depth, id_field: None }
    }

    /// Takes the candidates' ids from this field: a fast field with texts or whole numbers.
    ///
    /// Without it, and for documents without a value, the id is the address as text (`0:17`). That is sufficient within
    /// one search; logs, experiments and judgments need an id that does not change with the next commit.
    #[must_use]
    pub fn id_field(self, name: impl Into<String>) -> Self {
        Self { id_field: Some(name.into()), ..self }
    }

    fn top(&self) -> TopByScore {
        TopByScore { n: self.depth.get(), keeps_segments: true }
    }
}

impl Collector for CandidateCollector {
    type Fruit = Candidates;
    type Child = SegmentTop;

    fn check_schema(&self, schema: &Schema) -> tantivy::Result<()> {
        self.texts.check(schema)?;
        self.id_field.as_ref().map_or(Ok(()), |name| fields::check_ids(schema, name))
    }

    fn for_segment(&self, ordinal: SegmentOrdinal, segment: &SegmentReader) -> tantivy::Result<SegmentTop> {
        self.top().for_segment(ordinal, segment)
    }

    fn requires_scoring(&self) -> bool {
        true
    }

    /// # Errors
    /// The index cannot be read, a score is not finite, or the function for texts fails.
    fn merge_fruits(&self, segments: Vec<SegmentBest>) -> tantivy::Result<Candidates> {
        let best = self.top().merge_fruits(segments)?;
        let mut candidates = candidates(&best, best.documents.len(), &self.texts).map_err(|error| match error {
            TextsError::Index(error) => error,
            TextsError::Function(error) => TantivyError::from(std::io::Error::other(error)),
        })?;
        let addresses: Vec<DocAddress> = best.documents.iter().map(|(_, address)| *address).collect();
        if let Some(name) = &self.id_field {
            let ids = in_address_order(&addresses, &best.segments, |documents| fields::ids(documents, name))?;
            for (candidate, id) in candidates.iter_mut().zip(ids) {
                candidate.id = id.map_or_else(|| candidate.id.clone(), DocumentId::new);
            }
        }
        Ok(Candidates { candidates, addresses })
    }

    fn collect_segment(
        &self,
        weight: &dyn Weight,
        ordinal: SegmentOrdinal,
        segment: &SegmentReader,
    ) -> tantivy::Result<SegmentBest> {
        self.top().collect_segment(weight, ordinal, segment)
    }
}

/// The first `n` documents with their texts.
pub(super) fn candidates(best: &Best, n: usize, texts: &Texts) -> Result<Vec<Candidate>, TextsError> {
    let documents = &best.documents[..n];
    let addresses: Vec<DocAddress> = documents.iter().map(|(_, address)| *address).collect();
    let passages = texts.read(&addresses, &best.segments)?;
    let candidate = |(&(first_stage_score, address), passage): (&(_, DocAddress), super::Passage)| Candidate {
        title: passage.title,
        ..Candidate::new(format!("{}:{}", address.segment_ord, address.doc_id), passage.text, first_stage_score)
    };
    Ok(documents.iter().zip(passages).map(candidate).collect())
}
