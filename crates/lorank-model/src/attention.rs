//! Types that describe attention, independent of the backend.

use std::ops::Range;

use lorank_kernels::{Mask, Span};

/// The shape of a model's attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttentionShape {
    pub(crate) n_heads: usize,
    /// Groups of query heads share a key-value head (grouped-query attention, arXiv 2305.13245).
    pub(crate) n_kv_heads: usize,
    pub(crate) head_dim: usize,
    /// Which tokens a token attends to.
    pub(crate) mask: Mask,
}

impl AttentionShape {
    /// The multiply-adds of sequences: each query with the keys that it attends to, and as many with the values.
    pub(crate) fn n_products(&self, spans: &[Span]) -> u64 {
        let of_query = |span: &Span, n: usize| self.mask.seen(span.first_position + n, span.n_keys()).len();
        let of_span = |span: &Span| (0..span.queries.len()).map(|n| of_query(span, n) as u64).sum::<u64>();
        2 * (self.n_heads * self.head_dim) as u64 * spans.iter().map(of_span).sum::<u64>()
    }
}

/// The positions of the queries and of the keys of sequences, by row.
pub(crate) fn positions(spans: &[Span]) -> [Vec<u32>; 2] {
    let (mut queries, mut keys) = (Vec::new(), Vec::new());
    let put = |positions: &mut Vec<u32>, rows: &Range<usize>, first: usize| {
        positions.resize(positions.len().max(rows.end), 0);
        positions[rows.clone()].iter_mut().zip(first as u32..).for_each(|(position, at)| *position = at);
    };
    for span in spans {
        put(&mut queries, &span.queries, span.first_position);
        put(&mut keys, &span.prefix, 0);
        put(&mut keys, &span.own, span.prefix.len());
    }
    [queries, keys]
}

/// Sines and cosines of rotary positions (arXiv 2104.09864).
#[derive(Debug, Clone)]
pub(crate) struct Angles {
    /// head_dim / 2
    pub(crate) n_pairs: usize,
    /// [n_positions, head_dim / 2]
    pub(crate) cos: Vec<f32>,
    /// [n_positions, head_dim / 2]
    pub(crate) sin: Vec<f32>,
}

impl Angles {
    /// For the first `n_positions` positions, from one frequency per pair of dimensions.
    pub(crate) fn new(frequencies: &[f32], n_positions: usize) -> Self {
        let angles = (0..n_positions).flat_map(|at| frequencies.iter().map(move |f| at as f32 * f));
        let (cos, sin) = angles.map(|angle| (angle.cos(), angle.sin())).unzip();
        Self { n_pairs: frequencies.len(), cos, sin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_counted_for_the_keys_that_queries_attend_to() {
        // Two tokens of their own after a shared prefix of three.
        let span = Span { queries: 0..2, first_position: 3, prefix: 0..3, own: 3..5 };
        let check = |mask: Mask, n_keys_of_queries: u64| {
            let shape = AttentionShape { n_heads: 4, n_kv_heads: 2, head_dim: 8, mask };
            assert_eq!(shape.n_products(std::slice::from_ref(&span)), 2 * 4 * 8 * n_keys_of_queries, "{mask:?}");
        };
        check(Mask::CAUSAL, 4 + 5);
        check(Mask { is_causal: false, window: None }, 5 + 5);
        check(Mask { is_causal: true, window: Some(1) }, 2 + 2);
    }
}
