//! The first documents of a search, sorted by stored fields.
//!
//! Documents without the field come last in both orders. Ties are ordered by score, best first, and then by id in byte
//! order: only the documents decide, and a smaller depth returns a prefix of a larger one.
//!
//! Within a segment, texts and ids are compared by their ordinals in the dictionary. A segment's result contains the
//! texts themselves, so that segments can be merged.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use lorank_core::SortOrder;
use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::StrColumn;
use tantivy::{DocAddress, DocId, Score, SegmentOrdinal, SegmentReader, TantivyError};

use crate::field_values::{FieldValue, SegmentValue, ValueColumns};
use crate::schema::ID;

/// Collects the first `depth` documents by the sort keys.
pub(crate) struct SortedTop {
    /// At least 1.
    pub depth: usize,
    /// The column names, each with its order.
    pub keys: Vec<(String, SortOrder)>,
}

/// A found document with its score.
pub(crate) type Found = (Score, DocAddress);

/// A document's value for a sort key. The first document has the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place<V> {
    Ascending(V),
    Descending(Reverse<V>),
    Missing,
}

impl<V: Ord + Copy> Place<V> {
    /// The value after taking another value of the document into account.
    fn take(&mut self, value: V, order: SortOrder) {
        let place = match order {
            SortOrder::Ascending => Self::Ascending(value),
            SortOrder::Descending => Self::Descending(Reverse(value)),
        };
        *self = (*self).min(place);
    }
}

/// A document with everything that decides its order: keys, then score, then id.
#[derive(Debug, Clone)]
pub(crate) struct Entry<V, I> {
    places: Vec<Place<V>>,
    score: Score,
    id: I,
    address: DocAddress,
}

impl<V: Ord, I: Ord> Ord for Entry<V, I> {
    /// A document that comes earlier is less.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_keys = self.places.cmp(&other.places);
        by_keys.then_with(|| other.score.total_cmp(&self.score)).then_with(|| self.id.cmp(&other.id))
    }
}

impl<V: Ord, I: Ord> PartialOrd for Entry<V, I> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<V: Ord, I: Ord> PartialEq for Entry<V, I> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<V: Ord, I: Ord> Eq for Entry<V, I> {}

/// A document in a form that is comparable across segments.
type Resolved = Entry<FieldValue, String>;

impl Collector for SortedTop {
    type Fruit = Vec<Found>;
    type Child = SegmentSort;

    fn for_segment(&self, segment: SegmentOrdinal, reader: &SegmentReader) -> tantivy::Result<SegmentSort> {
        let ids = reader.fast_fields().str(ID)?;
        let ids = ids.ok_or_else(|| TantivyError::InternalError(format!("segment {segment} has no column of ids")))?;
        let columns = self.keys.iter().map(|(column, order)| Ok((ValueColumns::open(column, reader)?, *order)));
        let columns = columns.collect::<tantivy::Result<_>>()?;
        Ok(SegmentSort { depth: self.depth, segment, ids, columns, heap: BinaryHeap::new(), places: Vec::new() })
    }

    fn requires_scoring(&self) -> bool {
        true
    }

    fn merge_fruits(&self, segments: Vec<tantivy::Result<Vec<Resolved>>>) -> tantivy::Result<Vec<Found>> {
        let mut found: Vec<Resolved> = segments.into_iter().collect::<tantivy::Result<Vec<_>>>()?.concat();
        found.sort_unstable();
        found.truncate(self.depth);
        Ok(found.into_iter().map(|entry| (entry.score, entry.address)).collect())
    }
}

/// The first documents of one segment so far, with the last of them on top.
pub(crate) struct SegmentSort {
    depth: usize,
    segment: SegmentOrdinal,
    ids: StrColumn,
    columns: Vec<(ValueColumns, SortOrder)>,
    heap: BinaryHeap<Entry<SegmentValue, u64>>,
    /// The keys of the current document.
    places: Vec<Place<SegmentValue>>,
}

impl SegmentCollector for SegmentSort {
    type Fruit = tantivy::Result<Vec<Resolved>>;

    fn collect(&mut self, doc: DocId, score: Score) {
        self.places.clear();
        for (column, order) in &self.columns {
            let mut place = Place::Missing;
            column.for_each_value(doc, |value| place.take(value, *order));
            self.places.push(place);
        }
        let is_full = self.heap.len() >= self.depth;
        // Most documents of a long list are excluded by their keys alone.
        if is_full && self.heap.peek().is_none_or(|last| self.places > last.places) {
            return;
        }
        let id = self.ids.ords().first(doc).unwrap_or(u64::MAX);
        let address = DocAddress::new(self.segment, doc);
        let entry = Entry { places: self.places.clone(), score, id, address };
        if !is_full {
            self.heap.push(entry);
        } else if let Some(mut last) = self.heap.peek_mut()
            && entry < *last
        {
            *last = entry;
        }
    }

    fn harvest(self) -> Self::Fruit {
        let Self { ids, columns, heap, .. } = self;
        let resolve = |place: Place<SegmentValue>, column: &ValueColumns| {
            Ok(match place {
                Place::Ascending(value) => Place::Ascending(column.resolve(value)?),
                Place::Descending(Reverse(value)) => Place::Descending(Reverse(column.resolve(value)?)),
                Place::Missing => Place::Missing,
            })
        };
        let entry = |entry: Entry<SegmentValue, u64>| {
            let places = entry.places.into_iter().zip(&columns).map(|(place, (column, _))| resolve(place, column));
            let places = places.collect::<tantivy::Result<_>>()?;
            let mut id = String::new();
            ids.ord_to_str(entry.id, &mut id)?;
            Ok(Entry { places, score: entry.score, id, address: entry.address })
        };
        heap.into_iter().map(entry).collect()
    }
}
