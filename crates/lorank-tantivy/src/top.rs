//! The best documents of a search, in an order that only the documents decide.
//!
//! tantivy's own collector breaks ties by address, which changes with every merge, and its pruning (block-max WAND)
//! sums a score in an order that depends on what was pruned: documents with equal texts may then differ in the last
//! bit, and differently at another depth. Here every match is scored in full, with the terms in a fixed order, and ties
//! are broken by id in byte order, so that a smaller depth returns a prefix of a larger one.
//!
//! Within a segment, ids are compared by their ordinals. Across segments the ids themselves must be read, together with
//! the documents: hence the collector returns all documents that tie for the last rank.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::{Column, StrColumn};
use tantivy::{DocAddress, DocId, Score, SegmentOrdinal, SegmentReader, TantivyError};

use crate::schema::ID;

/// Collects the `depth` documents with the highest scores, and those of every segment that may tie with the last of
/// them. Scores are in descending order; the caller orders ties.
pub(crate) struct TopWithTies {
    /// At least 1.
    pub depth: usize,
}

impl Collector for TopWithTies {
    type Fruit = Vec<(Score, DocAddress)>;
    type Child = SegmentTop;

    fn for_segment(&self, segment: SegmentOrdinal, reader: &SegmentReader) -> tantivy::Result<SegmentTop> {
        let ids = reader.fast_fields().str(ID)?.as_ref().map(|column: &StrColumn| column.ords().clone());
        let ids = ids.ok_or_else(|| TantivyError::InternalError(format!("segment {segment} has no column of ids")))?;
        Ok(SegmentTop { depth: self.depth, segment, ids, heap: BinaryHeap::new() })
    }

    fn requires_scoring(&self) -> bool {
        true
    }

    fn merge_fruits(&self, segments: Vec<Vec<(Score, DocAddress)>>) -> tantivy::Result<Vec<(Score, DocAddress)>> {
        let mut found = segments.concat();
        found.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        if let Some(&(lowest, _)) = found.get(self.depth - 1) {
            found.truncate(found.partition_point(|(score, _)| *score >= lowest));
        }
        Ok(found)
    }
}

/// A document with its score and its id's ordinal in the segment, where ids are in byte order.
#[derive(Debug, Clone, Copy)]
struct Match {
    score: Score,
    id: u64,
    doc: DocId,
}

impl Ord for Match {
    /// A better document is greater.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.id.cmp(&self.id))
    }
}

impl PartialOrd for Match {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Match {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Match {}

/// The best documents of one segment so far, with the worst of them on top.
pub(crate) struct SegmentTop {
    depth: usize,
    segment: SegmentOrdinal,
    ids: Column<u64>,
    heap: BinaryHeap<Reverse<Match>>,
}

impl SegmentCollector for SegmentTop {
    type Fruit = Vec<(Score, DocAddress)>;

    fn collect(&mut self, doc: DocId, score: Score) {
        let is_full = self.heap.len() >= self.depth;
        // The id is only looked up if the score alone does not exclude the document.
        if is_full && self.heap.peek().is_none_or(|Reverse(worst)| score < worst.score) {
            return;
        }
        let entry = Match { score, id: self.ids.first(doc).unwrap_or(u64::MAX), doc };
        if !is_full {
            self.heap.push(Reverse(entry));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && entry > worst.0
        {
            *worst = Reverse(entry);
        }
    }

    fn harvest(self) -> Self::Fruit {
        let address = |entry: Match| (entry.score, DocAddress::new(self.segment, entry.doc));
        self.heap.into_iter().map(|Reverse(entry)| address(entry)).collect()
    }
}
