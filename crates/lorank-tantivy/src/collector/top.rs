//! The best documents of a search by score, with their segments.

use std::fmt;

use lorank_core::Score;
use tantivy::collector::sort_key::{NaturalComparator, SortBySimilarityScore};
use tantivy::collector::{Collector, SegmentCollector, SortKeyComputer, TopNComputer};
use tantivy::query::Weight;
use tantivy::{DocAddress, DocId, SegmentOrdinal, SegmentReader, TantivyError};

/// Collects the `n` documents with the highest scores; ties go to the lower addresses.
#[derive(Debug, Clone, Copy)]
pub(super) struct TopByScore {
    /// At least 1.
    pub n: usize,
    /// Whether to keep the documents' segments.
    pub keeps_segments: bool,
}

/// The best documents of the whole search, best first.
#[derive(Debug, Default)]
pub(super) struct Best {
    pub documents: Vec<(Score, DocAddress)>,
    /// The segments of the documents, by ordinal.
    pub segments: Vec<(SegmentOrdinal, SegmentReader)>,
}

/// The best documents of one segment, in no particular order.
pub struct SegmentBest {
    documents: Vec<(tantivy::Score, DocAddress)>,
    segment: Option<(SegmentOrdinal, SegmentReader)>,
}

impl Collector for TopByScore {
    type Fruit = Best;
    type Child = SegmentTop;

    fn for_segment(&self, ordinal: SegmentOrdinal, segment: &SegmentReader) -> tantivy::Result<SegmentTop> {
        Ok(SegmentTop {
            top: TopNComputer::new_with_comparator(self.n_in(segment), NaturalComparator),
            ordinal,
            segment: self.keeps_segments.then(|| segment.clone()),
        })
    }

    fn requires_scoring(&self) -> bool {
        true
    }

    fn merge_fruits(&self, segments: Vec<SegmentBest>) -> tantivy::Result<Best> {
        let mut documents = Vec::with_capacity(segments.iter().map(|segment| segment.documents.len()).sum());
        let mut kept = Vec::new();
        for segment in segments {
            for (score, address) in segment.documents {
                documents.push((finite(score)?, address));
            }
            kept.extend(segment.segment);
        }
        let best_first = |a: &(Score, DocAddress), b: &(Score, DocAddress)| b.0.cmp(&a.0).then(a.1.cmp(&b.1));
        if documents.len() > self.n {
            documents.select_nth_unstable_by(self.n, best_first);
            documents.truncate(self.n);
        }
        documents.sort_unstable_by(best_first);
        kept.sort_unstable_by_key(|(ordinal, _)| *ordinal);
        Ok(Best { documents, segments: kept })
    }

    /// tantivy calls this if the collector is alone; it uses the pruning implementation of `TopDocs`.
    fn collect_segment(
        &self,
        weight: &dyn Weight,
        ordinal: SegmentOrdinal,
        segment: &SegmentReader,
    ) -> tantivy::Result<SegmentBest> {
        let n = self.n_in(segment);
        let documents = SortBySimilarityScore.collect_segment_top_k(n, weight, segment, ordinal)?;
        let is_kept = self.keeps_segments && !documents.is_empty();
        Ok(SegmentBest { documents, segment: is_kept.then(|| (ordinal, segment.clone())) })
    }
}

impl TopByScore {
    /// The maximum number of best documents in a segment. Bounds the preallocated memory, so that a huge depth costs no
    /// more than the segment's size.
    fn n_in(&self, segment: &SegmentReader) -> usize {
        self.n.min(segment.max_doc() as usize)
    }
}

impl fmt::Debug for SegmentBest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentBest").field("documents", &self.documents).finish_non_exhaustive()
    }
}

impl fmt::Debug for SegmentTop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentTop").field("ordinal", &self.ordinal).finish_non_exhaustive()
    }
}

/// A segment's best documents so far, if all matches are visited: in a tuple with other collectors.
pub struct SegmentTop {
    top: TopNComputer<tantivy::Score, DocId, NaturalComparator>,
    ordinal: SegmentOrdinal,
    segment: Option<SegmentReader>,
}

impl SegmentCollector for SegmentTop {
    type Fruit = SegmentBest;

    fn collect(&mut self, doc: DocId, score: tantivy::Score) {
        self.top.push(score, doc);
    }

    fn harvest(self) -> SegmentBest {
        let best = self.top.into_vec();
        let segment = self.segment.filter(|_| !best.is_empty()).map(|segment| (self.ordinal, segment));
        let address = |doc| DocAddress::new(self.ordinal, doc);
        SegmentBest { documents: best.into_iter().map(|best| (best.sort_key, address(best.doc))).collect(), segment }
    }
}

fn finite(score: tantivy::Score) -> tantivy::Result<Score> {
    Score::new(score)
        .map_err(|error| TantivyError::InvalidArgument(format!("the query's boosts cannot be ranked by: {error}")))
}
