//! Attention with candle over many sequences: in a few batches of sequences of similar length, padded to the longest.
//!
//! On a GPU the number of kernel launches costs more than the padding. Only attention is padded.

use std::ops::Range;

use candle_core::{Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use lorank_kernels::{Mask, Span};

use super::rotary::{Rotary, turned};
use crate::attention::{AttentionShape, positions};

/// The maximum number of attention scores in a batch: 512 MiB.
const SCORES_MAX: usize = 1 << 27;
/// The maximum ratio of the longest to the shortest sequence of a batch, in tenths.
const SPREAD_TENTHS: usize = 15;

/// Maps the rows of a pack to padded batches, and back.
#[derive(Debug)]
pub(super) struct Padded {
    pub(super) batches: Vec<Batch>,
    /// The row of each query among the rows of all batches. [n_queries]
    pub(super) back: Tensor,
    /// Cosines and sines of the positions of queries and keys, if there are rotary positions; those of queries are divided by
    /// the square root of head_dim.
    pub(super) turns: Option<[[Tensor; 2]; 2]>,
}

/// Sequences that are processed together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) n: usize,
    pub(super) n_queries: usize,
    pub(super) n_keys: usize,
    /// [n * n_queries]
    query_rows: Tensor,
    /// [n * n_keys]
    key_rows: Tensor,
    /// Minus infinity for masked keys. [n, 1, n_queries, n_keys], or with one row for all queries.
    pub(super) mask: Tensor,
}

impl Padded {
    pub(super) fn new(
        spans: &[Span],
        shape: &AttentionShape,
        rotary: Option<&Rotary>,
        device: &Device,
    ) -> Result<Self> {
        let batches = batches_of_similar_length(spans, shape.n_heads);
        let mut back = vec![0; spans.iter().map(|span| span.queries.end).max().unwrap_or(0)];
        let mut start = 0;
        for batch in &batches {
            let width = longest(batch, n_queries);
            for (n, span) in batch.iter().enumerate() {
                let rows = (start + n * width..).map(|row| row as u32);
                back[span.queries.clone()].iter_mut().zip(rows).for_each(|(back, row)| *back = row);
            }
            start += batch.len() * width;
        }
        let turns = rotary.map(|rotary| rotary.at(positions(spans))).transpose()?;
        let batches = batches.iter().map(|spans| Batch::new(spans, shape.mask, device)).collect::<Result<_>>()?;
        Ok(Self { batches, back: Tensor::new(back, device)?, turns })
    }

    /// q: [n_queries, n_heads * head_dim], k and v: [n_tokens, n_kv_heads * head_dim]; the result has q's shape.
    pub(super) fn attend(&self, shape: &AttentionShape, [q, k, v]: [&Tensor; 3]) -> Result<Tensor> {
        let (q, k) = self.turned(q, k, shape.head_dim)?;
        let mixed: Vec<Tensor> =
            self.batches.iter().map(|batch| batch.attend(shape, [&q, &k, v])).collect::<Result<_>>()?;
        Tensor::cat(&mixed, 0)?.index_select(&self.back, 0)
    }

    /// Divides queries by the square root of head_dim, and applies rotary positions, if there are any, to queries and keys.
    pub(super) fn turned(&self, q: &Tensor, k: &Tensor, head_dim: usize) -> Result<(Tensor, Tensor)> {
        match &self.turns {
            Some([queries, keys]) => Ok((turned(q, queries, head_dim)?, turned(k, keys, head_dim)?)),
            None => Ok(((q / (head_dim as f64).sqrt())?, k.clone())),
        }
    }
}

impl Batch {
    fn new(spans: &[&Span], mask: Mask, device: &Device) -> Result<Self> {
        let (n, n_queries, n_keys) = (spans.len(), longest(spans, n_queries), longest(spans, Span::n_keys));
        // Padding repeats a sequence's last row; the mask hides the padded keys, and the padded queries' results are
        // unused.
        let padded = |rows: Vec<u32>, to: usize| {
            let last = *rows.last().expect("a sequence has tokens");
            rows.into_iter().chain(std::iter::repeat(last)).take(to).collect::<Vec<_>>()
        };
        let query_rows: Vec<u32> =
            spans.iter().flat_map(|span| padded(rows(&span.queries).collect(), n_queries)).collect();
        let keys = |span: &Span| rows(&span.prefix).chain(rows(&span.own)).collect();
        let key_rows: Vec<u32> = spans.iter().flat_map(|span| padded(keys(span), n_keys)).collect();
        Ok(Self {
            n,
            n_queries,
            n_keys,
            query_rows: Tensor::new(query_rows, device)?,
            key_rows: Tensor::new(key_rows, device)?,
            mask: additive_mask(mask, spans, device)?,
        })
    }

    /// The batch's part of the queries: [n * n_queries, n_heads * head_dim].
    fn attend(&self, shape: &AttentionShape, qkv: [&Tensor; 3]) -> Result<Tensor> {
        let AttentionShape { n_heads, n_kv_heads, head_dim, .. } = *shape;
        let Self { n, n_queries, n_keys, .. } = *self;
        let [q, k, v] = self.by_head(shape, qkv)?;
        let scores = q.matmul(&k.t()?)?.reshape((n, n_heads, n_queries, n_keys))?;
        let weights = softmax_last_dim(&scores.broadcast_add(&self.mask)?)?;
        let weights = weights.reshape((n * n_kv_heads, n_heads / n_kv_heads * n_queries, n_keys))?;
        let mixed = weights.matmul(&v)?.reshape((n, n_heads, n_queries, head_dim))?.transpose(1, 2)?;
        mixed.reshape((n * n_queries, n_heads * head_dim))
    }

    /// The batch's queries, [n * n_kv_heads, n_heads / n_kv_heads * n_queries, head_dim], keys and values,
    /// [n * n_kv_heads, n_keys, head_dim].
    pub(super) fn by_head(&self, shape: &AttentionShape, [q, k, v]: [&Tensor; 3]) -> Result<[Tensor; 3]> {
        let AttentionShape { n_kv_heads, head_dim, .. } = *shape;
        let Self { n, n_keys, .. } = *self;
        let keys = |y: &Tensor| {
            let y = y.index_select(&self.key_rows, 0)?.reshape((n, n_keys, n_kv_heads, head_dim))?;
            y.transpose(1, 2)?.contiguous()?.reshape((n * n_kv_heads, n_keys, head_dim))
        };
        Ok([self.query_heads(shape, &q.index_select(&self.query_rows, 0)?)?, keys(k)?, keys(v)?])
    }

    /// Rows of the batch's queries by head: from [n * n_queries, n_heads * head_dim] to
    /// [n * n_kv_heads, n_heads / n_kv_heads * n_queries, head_dim].
    pub(super) fn query_heads(&self, shape: &AttentionShape, y: &Tensor) -> Result<Tensor> {
        let AttentionShape { n_heads, n_kv_heads, head_dim, .. } = *shape;
        let Self { n, n_queries, .. } = *self;
        let y = y.reshape((n, n_queries, n_heads, head_dim))?.transpose(1, 2)?.contiguous()?;
        // The query heads of a key-value head are adjacent, so they become rows of one product.
        y.reshape((n * n_kv_heads, n_heads / n_kv_heads * n_queries, head_dim))
    }
}

/// Minus infinity for keys that a query does not attend to: [n, 1, n_queries, n_keys], or with one row for all queries.
fn additive_mask(mask: Mask, spans: &[&Span], device: &Device) -> Result<Tensor> {
    let (n, n_keys) = (spans.len(), longest(spans, Span::n_keys));
    let n_rows = if mask == Mask::NONE { 1 } else { longest(spans, n_queries) };
    let seen = |span: &&Span| {
        let (n_keys, first) = (span.n_keys(), span.first_position);
        // A padded query may have no key at its position, but needs some key.
        (0..n_rows).map(move |query| mask.seen((first + query).min(n_keys - 1), n_keys))
    };
    let seen: Vec<Range<usize>> = spans.iter().flat_map(seen).collect();
    let bound = |of: fn(&Range<usize>) -> usize| {
        let bounds: Vec<u32> = seen.iter().map(|keys| of(keys) as u32).collect();
        Tensor::from_vec(bounds, (n, 1, n_rows, 1), device)
    };
    let keys = Tensor::arange(0, n_keys as u32, device)?.reshape((1, 1, 1, n_keys))?;
    let mut hidden = keys.broadcast_ge(&bound(|keys| keys.end)?)?;
    if mask.window.is_some() {
        hidden = (hidden + keys.broadcast_lt(&bound(|keys| keys.start)?)?)?;
    }
    let [never, always] = [f32::NEG_INFINITY, 0.0].map(|value| Tensor::full(value, hidden.shape(), device));
    hidden.where_cond(&never?, &always?)
}

/// Splits the spans into batches that respect [`SCORES_MAX`] and [`SPREAD_TENTHS`].
pub(super) fn batches_of_similar_length(spans: &[Span], n_heads: usize) -> Vec<Vec<&Span>> {
    let mut sorted: Vec<&Span> = spans.iter().collect();
    sorted.sort_by_key(|span| (span.n_keys(), span.queries.len()));
    let mut batches: Vec<Vec<&Span>> = Vec::new();
    for span in sorted {
        let fits = |batch: &Vec<&Span>| {
            let n_scores = (batch.len() + 1) * n_heads * longest(batch, n_queries).max(n_queries(span)) * span.n_keys();
            span.n_keys() * 10 <= batch[0].n_keys() * SPREAD_TENTHS && n_scores <= SCORES_MAX
        };
        match batches.last_mut().filter(|batch| fits(batch)) {
            Some(batch) => batch.push(span),
            None => batches.push(vec![span]),
        }
    }
    batches
}

fn rows(range: &Range<usize>) -> impl Iterator<Item = u32> {
    range.clone().map(|row| row as u32)
}

pub(super) fn n_queries(span: &Span) -> usize {
    span.queries.len()
}

pub(super) fn longest(spans: &[&Span], len: impl Fn(&Span) -> usize) -> usize {
    spans.iter().map(|span| len(span)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::attention::Angles;
    use crate::backend::candle::attention::AttentionPlan;

    /// Rows of numbers without any order to them.
    fn scattered_rows(n: usize, width: usize, salt: usize) -> Tensor {
        let number = |at: usize| (((at * 2_654_435_761 + salt * 40_503) >> 7) % 2001) as f32 / 1000.0 - 1.0;
        Tensor::from_vec((0..n * width).map(number).collect::<Vec<_>>(), (n, width), &Device::Cpu).unwrap()
    }

    /// A shared beginning of `prefix` tokens, then sequences of these lengths after it; every token asks, or the last alone.
    fn spans(prefix: usize, lengths: &[usize], last_alone: bool) -> Vec<Span> {
        let mut spans = Vec::new();
        if prefix > 0 && !last_alone {
            spans.push(Span { queries: 0..prefix, first_position: 0, prefix: 0..0, own: 0..prefix });
        }
        let mut start = prefix;
        for (n, len) in lengths.iter().enumerate() {
            let own = start..start + len;
            start = own.end;
            let (queries, first) = if last_alone { (n..n + 1, prefix + len - 1) } else { (own.clone(), prefix) };
            spans.push(Span { queries, first_position: first, prefix: 0..prefix, own });
        }
        spans
    }

    fn check(shape: &AttentionShape, spans: &[Span]) {
        let n_keys = spans.iter().map(|span| span.own.end).max().unwrap();
        let n_queries = spans.iter().map(|span| span.queries.end).max().unwrap();
        let dim = shape.head_dim;
        let frequencies: Vec<f32> = (0..dim / 2).map(|n| 1.0 / 10_f32.powi(n as i32)).collect();
        let rotary = Arc::new(Rotary::new(&Angles::new(&frequencies, 200), &Device::Cpu).unwrap());
        let q = scattered_rows(n_queries, shape.n_heads * dim, 1);
        let [k, v] = [2, 3].map(|salt| scattered_rows(n_keys, shape.n_kv_heads * dim, salt));
        let plan = |spans, rotary| AttentionPlan::new(*shape, spans, rotary, &Device::Cpu).unwrap();
        let flat = |rows: Tensor| rows.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for rotary in [None, Some(&rotary)] {
            let together = flat(plan(spans.to_vec(), rotary).attend([&q, &k, &v]).unwrap());
            for span in spans {
                // Alone a span takes the plain way, which the reference takes.
                let n = span.queries.len();
                let alone = plan(vec![Span { queries: 0..n, ..span.clone() }], rotary);
                let own = q.narrow(0, span.queries.start, n).unwrap();
                let expected = flat(alone.attend([&own, &k, &v]).unwrap());
                let found = &together[span.queries.start * shape.n_heads * dim..];
                for (found, expected) in found.iter().zip(&expected) {
                    assert!((found - expected).abs() < 1e-5, "{found} for {expected} at {span:?}");
                }
            }
        }
    }

    #[test]
    fn padding_changes_nothing() {
        for (n_heads, n_kv_heads, head_dim) in [(4, 4, 8), (6, 2, 4), (3, 1, 16)] {
            let windows = [None, Some(0), Some(4), Some(50)];
            for (is_causal, window) in windows.iter().flat_map(|window| [(false, *window), (true, *window)]) {
                let shape = AttentionShape { n_heads, n_kv_heads, head_dim, mask: Mask { is_causal, window } };
                check(&shape, &spans(0, &[1, 2], false));
                check(&shape, &spans(0, &[5, 40, 7, 6, 5, 90, 41], false));
                check(&shape, &spans(9, &[3, 1, 30, 4, 120], false));
                check(&shape, &spans(9, &[3, 1, 30, 4, 120], true));
                check(&shape, &spans(0, &[12, 50], true));
            }
        }
    }

    #[test]
    fn batches_are_of_similar_length_and_not_too_large() {
        let spans = spans(0, &[10, 100, 14, 15, 16, 150, 151], false);
        let lengths = |batches: Vec<Vec<&Span>>| -> Vec<Vec<usize>> {
            batches.iter().map(|batch| batch.iter().map(|span| span.own.len()).collect()).collect()
        };
        assert_eq!(
            lengths(batches_of_similar_length(&spans, 2)),
            [vec![10, 14, 15], vec![16], vec![100, 150], vec![151]]
        );
        let long = super::tests::spans(0, &[4000; 5], false);
        assert_eq!(lengths(batches_of_similar_length(&long, 4)), [vec![4000, 4000], vec![4000, 4000], vec![4000]]);
    }
}
