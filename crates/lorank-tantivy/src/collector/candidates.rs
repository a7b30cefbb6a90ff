//! The first half of a search that is reranked elsewhere.

use std::num::NonZeroUsize;

use lorank_core::{Candidate, DocumentId};
use tantivy::collector::Collector;
use tantivy::query::Weight;
use tantivy::schema::Schema;
use tantivy::{DocAddress, SegmentOrdinal, SegmentReader, TantivyError};

use super::texts::{Texts, TextsError};
use super::top::{Best, SegmentBest, SegmentTop, TopByScore};

/// Collects the best documents of a search with their texts, to be reranked elsewhere: by a pipeline, whose queue and score
/// cache all searches share, or by another machine. See the [module's page](super) for what is promised.
///
/// ```ignore
/// let found = searcher.search(&query, &CandidateCollector::new(texts.clone(), depth))?;
/// let answer = pipeline.rerank(&SearchRequest::new("sea whale"), found.candidates)?;
/// for hit in &answer.hits {
///     let document: TantivyDocument = searcher.doc(found.addresses[hit.first_stage_rank - 1])?;
/// }
/// ```
#[derive(Debug, Clone)]
pub struct CandidateCollector {
    texts: Texts,
    depth: NonZeroUsize,
}

/// What a [`CandidateCollector`] found, best first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Candidates {
    /// The candidates. Their ids are their addresses in text (`0:17`), and they have no stored fields.
    pub candidates: Vec<Candidate>,
    /// Where each of them lies: that of a hit with `first_stage_rank` 1 is the first.
    pub addresses: Vec<DocAddress>,
}

impl CandidateCollector {
    /// A collector of the `depth` best documents.
    pub fn new(texts: Texts, depth: NonZeroUsize) -> Self {
        Self { texts, depth }
    }

    fn top(&self) -> TopByScore {
        TopByScore { n: self.depth.get(), keeps_segments: true }
    }
}

impl Collector for CandidateCollector {
    type Fruit = Candidates;
    type Child = SegmentTop;

    fn check_schema(&self, schema: &Schema) -> tantivy::Result<()> {
        self.texts.check(schema)
    }

    fn for_segment(&self, ordinal: SegmentOrdinal, segment: &SegmentReader) -> tantivy::Result<SegmentTop> {
        self.top().for_segment(ordinal, segment)
    }

    fn requires_scoring(&self) -> bool {
        true
    }

    /// # Errors
    /// An index that cannot be read, a score that is not finite, or a function for texts that fails.
    fn merge_fruits(&self, segments: Vec<SegmentBest>) -> tantivy::Result<Candidates> {
        let best = self.top().merge_fruits(segments)?;
        let candidates = candidates(&best, best.documents.len(), &self.texts).map_err(|error| match error {
            TextsError::Index(error) => error,
            TextsError::Function(error) => TantivyError::from(std::io::Error::other(error)),
        })?;
        Ok(Candidates { candidates, addresses: best.documents.iter().map(|(_, address)| *address).collect() })
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
        id: DocumentId::new(format!("{}:{}", address.segment_ord, address.doc_id)),
        title: passage.title,
        text: passage.text,
        first_stage_score,
        fields: Vec::new(),
    };
    Ok(documents.iter().zip(passages).map(candidate).collect())
}
