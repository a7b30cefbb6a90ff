//! Which tokens attend to which: sequences without padding.

use std::ops::Range;
use std::sync::Arc;

use crate::Indices;

/// The shape of a model's attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// The number of query heads; a multiple of `n_kv_heads`.
    pub n_heads: usize,
    /// The number of key-value heads (grouped-query attention, arXiv 2305.13245).
    pub n_kv_heads: usize,
    /// The width of a head: a multiple of 8, up to 256. 32, 64 and 128 are fast.
    pub head_dim: usize,
    /// Which keys a query attends to.
    pub mask: Mask,
}

/// The widest head.
pub(crate) const HEAD_DIM_MAX: usize = 256;

/// Which keys of its sequence a query attends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask {
    /// Whether a token attends only to itself and the tokens before it.
    pub is_causal: bool,
    /// The largest distance, in tokens, to a token that is attended to; `None` for any distance.
    pub window: Option<usize>,
}

impl Mask {
    /// Every key.
    pub const NONE: Self = Self { is_causal: false, window: None };

    /// The keys up to the query's own.
    pub const CAUSAL: Self = Self { is_causal: true, window: None };

    /// The positions of the keys that the query at a position attends to, among the first `n_keys`.
    pub fn seen(self, position: usize, n_keys: usize) -> Range<usize> {
        let window = self.window.unwrap_or(usize::MAX);
        let last = if self.is_causal { position } else { position.saturating_add(window) };
        position.saturating_sub(window)..last.saturating_add(1).min(n_keys)
    }
}

/// One sequence: its rows of queries, and its rows of keys and values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The rows of the queries, which are also those of the result.
    pub queries: Range<usize>,
    /// The position of the first query within the sequence; the others follow.
    pub first_position: usize,
    /// The key rows of a prefix that the sequence shares with others; often empty.
    pub prefix: Range<usize>,
    /// The key rows of the rest of the sequence.
    pub own: Range<usize>,
}

impl Span {
    /// The length of the sequence in tokens, including the shared prefix.
    pub fn n_keys(&self) -> usize {
        self.prefix.len() + self.own.len()
    }

    /// The row of the key at a position.
    pub fn key_row(&self, position: usize) -> usize {
        if position < self.prefix.len() {
            self.prefix.start + position
        } else {
            self.own.start + position - self.prefix.len()
        }
    }
}

/// The rows of queries that a block of threads works on.
pub(crate) const TILE_ROWS: usize = 64;

/// Sums of two positions or windows below it do not overflow 32 bits.
pub(crate) const SPAN_TOKENS_MAX: usize = 1 << 30;

/// The words of a tile on the device.
pub(crate) const TILE_WORDS: usize = 8;

/// The sequences of a pass, laid out on the device once for every layer.
#[derive(Debug, Clone)]
pub struct Spans {
    pub(crate) list: Arc<[Span]>,
    pub(crate) n_queries: usize,
    /// One after the last row of keys.
    pub(crate) keys_end: usize,
    /// [`TILE_WORDS`] words a tile: the first row of queries, their number, the position of the first, the first row of
    /// the prefix and its length, the first own row and the number of own rows, and 0.
    pub(crate) tiles: Indices,
}

impl Spans {
    /// The sequences.
    pub fn list(&self) -> &[Span] {
        &self.list
    }

    /// The rows of queries.
    pub fn n_queries(&self) -> usize {
        self.n_queries
    }
}

/// Checks the spans, and cuts them into tiles; those with most keys first, so that the last ones to run are short.
///
/// # Panics
/// If the spans' queries do not follow each other from 0, a range is reversed, or a query has no key at its position.
pub(crate) fn tiles(spans: &[Span]) -> Vec<u32> {
    let mut next = 0;
    let mut tiles: Vec<[usize; TILE_WORDS]> = Vec::new();
    for span in spans {
        let Span { queries, first_position, prefix, own } = span;
        assert_eq!(queries.start, next, "the spans cover the queries in order");
        assert!([queries, prefix, own].iter().all(|range| range.start <= range.end), "no range is reversed");
        assert!(first_position + queries.len() <= span.n_keys(), "a query has a key at its position");
        assert!(span.n_keys() < SPAN_TOKENS_MAX, "a sequence has less than {SPAN_TOKENS_MAX} tokens");
        next = queries.end;
        for start in queries.clone().step_by(TILE_ROWS) {
            let n = TILE_ROWS.min(queries.end - start);
            let position = first_position + start - queries.start;
            tiles.push([start, n, position, prefix.start, prefix.len(), own.start, own.len(), 0]);
        }
    }
    tiles.sort_by_key(|tile| std::cmp::Reverse(tile[4] + tile[6]));
    tiles.into_iter().flatten().map(|word| u32::try_from(word).expect("rows are counted in 32 bits")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_cut_into_tiles() {
        let short = Span { queries: 0..2, first_position: 3, prefix: 0..3, own: 7..9 };
        let long = Span { queries: 2..72, first_position: 0, prefix: 0..0, own: 10..80 };
        let expected = [[2, 64, 0, 0, 0, 10, 70, 0], [66, 6, 64, 0, 0, 10, 70, 0], [0, 2, 3, 0, 3, 7, 2, 0]];
        assert_eq!(tiles(&[short, long]), expected.concat());
    }
}
