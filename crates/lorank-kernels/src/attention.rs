//! Attention over concatenated sequences, without padding.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use crate::Isa;
use crate::elementwise::copy;
use crate::isa::{Computation, dispatch};
use crate::math::{exp_low, fold};
use crate::threads::{self, Disjoint};
use crate::tile::{COLUMNS_MAX, Kernel, ROWS_MAX, RowPointers, VECTORS_MAX};

/// Scaled dot-product attention (arXiv 1706.03762), with grouped key-value heads (arXiv 2305.13245) and rotary positions.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// `[n_queries, n_heads * head_dim]`
    pub q: &'a [f32],
    /// `[n_tokens, n_kv_heads * head_dim]`
    pub k: &'a [f32],
    /// `[n_tokens, n_kv_heads * head_dim]`
    pub v: &'a [f32],
    /// The number of query heads; a multiple of `n_kv_heads`.
    pub n_heads: usize,
    /// The number of key-value heads.
    pub n_kv_heads: usize,
    /// The width of a head.
    pub head_dim: usize,
    /// Which keys a query attends to.
    pub mask: Mask,
    /// Rotary positions to apply to queries and keys.
    pub rotary: Option<Rotary<'a>>,
    /// The numbers between two rows of queries. With gaps, queries, keys and values may be parts of the same rows.
    pub q_gap: usize,
    /// The numbers between two rows of keys, and between two of values.
    pub kv_gap: usize,
    /// The sequences.
    pub spans: &'a [Span],
}

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
    pub(crate) fn key_row(&self, position: usize) -> usize {
        if position < self.prefix.len() {
            self.prefix.start + position
        } else {
            self.own.start + position - self.prefix.len()
        }
    }
}

/// Sines and cosines of rotary positions, on halves as in Hugging Face's Llama (arXiv 2104.09864).
#[derive(Debug, Clone, Copy)]
pub struct Rotary<'a> {
    /// `[n_positions, head_dim / 2]`
    pub cos: &'a [f32],
    /// `[n_positions, head_dim / 2]`
    pub sin: &'a [f32],
}

impl Attention<'_> {
    /// Computes attention. Returns `[n_queries, n_heads * head_dim]`.
    ///
    /// # Panics
    /// If the shapes disagree, a span's range is reversed or exceeds the rows, or the spans' queries do not cover those
    /// of `q` exactly once and in order.
    pub fn run(&self, isa: Isa) -> Vec<f32> {
        // SAFETY: `OneHead` writes all of its span's rows under its heads.
        unsafe { self.each_head(|head, scratch, out| dispatch(isa, OneHead { head, scratch, out })) }
    }

    /// The result, computed in a task for each sequence and key-value head, which has buffers for its own use.
    ///
    /// # Safety
    /// `run` writes all of its span's rows under its heads.
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub(crate) unsafe fn each_head<S: Default>(
        &self,
        run: impl Fn(Head<'_>, &mut S, &Disjoint<'_, MaybeUninit<f32>>) + Sync + Send,
    ) -> Vec<f32> {
        self.check();
        let spans = self.spans.iter().filter(|span| !span.queries.is_empty());
        let tasks: Vec<(&Span, usize)> =
            spans.flat_map(|span| (0..self.n_kv_heads).map(move |head| (span, head))).collect();
        let fill = |out: &Disjoint<'_, MaybeUninit<f32>>| {
            tasks.into_par_iter().for_each_init(S::default, |scratch, (span, kv_head)| {
                run(Head { attention: self, span, kv_head }, scratch, out);
            });
        };
        // SAFETY: the spans cover the queries, as `check` has made sure, and the key-value heads cover the heads; a task writes
        // all of its span's rows under its heads, as the caller guarantees.
        unsafe { threads::filled(self.n_queries() * self.n_heads * self.head_dim, fill) }
    }

    /// Checks the shapes and spans.
    pub(crate) fn check(&self) {
        let width = |n_heads: usize| n_heads.checked_mul(self.head_dim).expect("a row fits into memory");
        let (q_width, kv_width) = (width(self.n_heads), width(self.n_kv_heads));
        assert!(q_width > 0 && kv_width > 0, "there are heads, and they have a width");
        assert!(self.n_heads.is_multiple_of(self.n_kv_heads), "the heads divide evenly");
        let are_whole = |numbers: &[f32], width: usize, gap: usize| {
            let len = numbers.len().checked_add(gap).zip(width.checked_add(gap));
            let (len, stride) = len.expect("a row fits into memory");
            numbers.is_empty() || len.is_multiple_of(stride)
        };
        assert!(
            are_whole(self.q, q_width, self.q_gap) && are_whole(self.k, kv_width, self.kv_gap),
            "rows of whole heads"
        );
        assert_eq!(self.k.len(), self.v.len(), "a value for each key");
        let n_queries = self.n_queries();
        let n_tokens = n_rows(self.k, kv_width, self.kv_gap);
        let mut next = 0;
        for span in self.spans {
            // With reversed queries, two spans could write the same rows.
            assert!(lies_within(&span.queries, n_queries), "the queries {:?} are no rows of {n_queries}", span.queries);
            assert_eq!(span.queries.start, next, "the spans cover the queries in order");
            next = span.queries.end;
            self.check_keys(span, n_tokens);
        }
        assert_eq!(next, n_queries, "the spans cover the queries");
    }

    /// The number of rows of queries.
    fn n_queries(&self) -> usize {
        n_rows(self.q, self.n_heads * self.head_dim, self.q_gap)
    }

    /// The distance between two rows of keys, and between two of values.
    pub(crate) fn kv_stride(&self) -> usize {
        self.n_kv_heads * self.head_dim + self.kv_gap
    }

    fn check_keys(&self, span: &Span, n_tokens: usize) {
        for keys in [&span.prefix, &span.own] {
            assert!(lies_within(keys, n_tokens), "the keys {keys:?} are no rows of {n_tokens}");
        }
        let n_positions = span.first_position.checked_add(span.queries.len());
        assert!(n_positions.is_some_and(|n| n <= span.n_keys()), "a query has a key at its position");
        if let Some(rotary) = &self.rotary {
            let n_angles = span.n_keys() * (self.head_dim / 2);
            assert!(self.head_dim.is_multiple_of(2), "rotary positions turn pairs");
            assert!(rotary.cos.len() >= n_angles && rotary.sin.len() >= n_angles, "angles for each position");
        }
    }
}

/// A sequence under one key-value head.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) attention: &'a Attention<'a>,
    pub(crate) span: &'a Span,
    pub(crate) kv_head: usize,
}

/// The number of rows of this width, with gaps between them.
fn n_rows(numbers: &[f32], width: usize, gap: usize) -> usize {
    if numbers.is_empty() { 0 } else { (numbers.len() + gap) / (width + gap) }
}

/// Whether a range is not reversed and ends at `n` or before.
fn lies_within(range: &Range<usize>, n: usize) -> bool {
    range.start <= range.end && range.end <= n
}

/// Attention under one key-value head, for all query heads that share it.
struct OneHead<'a> {
    head: Head<'a>,
    scratch: &'a mut Scratch,
    out: &'a Disjoint<'a, MaybeUninit<f32>>,
}

/// Buffers that are reused from head to head. They contain data of previous heads, or zeros.
#[derive(Default)]
struct Scratch {
    keys: Vec<f32>,
    values: Vec<f32>,
    queries: Vec<f32>,
    weights: Vec<f32>,
    mixed: Vec<f32>,
    /// A panel's keys as rows.
    rows: Vec<f32>,
}

/// The first `n` numbers of a buffer, which grows if necessary.
pub(crate) fn first(buffer: &mut Vec<f32>, n: usize) -> &mut [f32] {
    if buffer.len() < n {
        buffer.resize(n, 0.0);
    }
    &mut buffer[..n]
}

/// The number of queries processed at a time: their attention weights stay in a core's cache.
pub(crate) const QUERIES: usize = 48;

impl Computation for OneHead<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        let Self { head, scratch, out } = self;
        let Head { attention, span, kv_head } = head;
        let Attention { head_dim, n_heads, n_kv_heads, mask, .. } = *attention;
        let n_keys = span.n_keys();
        let width = VECTORS_MAX * K::LANES;
        let stride = n_keys.next_multiple_of(COLUMNS_MAX);
        let mixed_stride = head_dim.next_multiple_of(width);
        let queries = first(&mut scratch.queries, QUERIES * head_dim);
        let weights = first(&mut scratch.weights, QUERIES * stride);
        let mixed = first(&mut scratch.mixed, QUERIES * mixed_stride);
        let keys = first(&mut scratch.keys, n_keys.next_multiple_of(width) * head_dim);
        let values = first(&mut scratch.values, mixed_stride * n_keys);
        head.pack_keys::<K>(width, keys, first(&mut scratch.rows, width * head_dim));
        head.pack_values(width, values);
        let keys = Panels { numbers: keys, len: head_dim * width };
        let values = Panels { numbers: values, len: n_keys * width };
        let group = n_heads / n_kv_heads;
        for query_head in kv_head * group..(kv_head + 1) * group {
            for start in span.queries.clone().step_by(QUERIES) {
                let rows = start..(start + QUERIES).min(span.queries.end);
                let n = rows.len();
                let position = span.first_position + rows.start - span.queries.start;
                // The keys that some query of these rows attends to, from the start of a panel.
                let [of_first, of_last] = [position, position + n - 1].map(|query| mask.seen(query, n_keys));
                let from = of_first.start / COLUMNS_MAX * COLUMNS_MAX;
                let n_seen = of_last.end - from;
                head.copy_queries(rows.clone(), query_head, position, queries);
                let seen_keys = Panels { numbers: &keys.numbers[from * head_dim..], ..keys };
                product::<K>((queries, head_dim), (n, head_dim, n_seen), seen_keys, (weights, stride));
                let mut factors = [0.0; QUERIES];
                for (m, weights) in weights.chunks_exact_mut(stride).take(n).enumerate() {
                    let own = mask.seen(position + m, n_keys);
                    factors[m] = 1.0 / masked_exponentials::<K>(weights, own.start - from..own.end - from);
                    weights[own.end - from..n_seen].fill(0.0);
                }
                let seen_values = Panels { numbers: &values.numbers[from * width..], ..values };
                product::<K>((weights, stride), (n, n_seen, head_dim), seen_values, (mixed, mixed_stride));
                for ((row, mixed), factor) in rows.zip(mixed.chunks_exact(mixed_stride)).zip(factors) {
                    // SAFETY: this task alone has these heads of its span's rows, and no other span has the rows.
                    let out = unsafe { out.slice((row * n_heads + query_head) * head_dim, head_dim) };
                    for (out, x) in out.iter_mut().zip(mixed) {
                        out.write(x * factor);
                    }
                }
            }
        }
    }
}

impl Head<'_> {
    #[inline(always)]
    pub(crate) fn kv_row(self, of: &[f32], position: usize) -> &[f32] {
        let head_dim = self.attention.head_dim;
        let row = self.span.key_row(position) * self.attention.kv_stride();
        &of[row + self.kv_head * head_dim..][..head_dim]
    }

    /// Packs the keys, with rotary positions applied, as panels of `width` keys: `[n_keys / width, head_dim, width]`.
    #[inline(always)]
    fn pack_keys<K: Kernel>(self, width: usize, packed: &mut [f32], rows: &mut [f32]) {
        let dim = self.attention.head_dim;
        let n_keys = self.span.n_keys();
        for (first, panel) in (0..n_keys).step_by(width).zip(packed.chunks_exact_mut(width * dim)) {
            let positions = first..(first + width).min(n_keys);
            for (position, to) in positions.clone().zip(rows.chunks_exact_mut(dim)) {
                let key = self.kv_row(self.attention.k, position);
                match &self.attention.rotary {
                    None => copy(key, to),
                    Some(rotary) => rotary.turn(key, position, to),
                }
            }
            transpose::<K>(rows, dim, panel, width);
        }
    }

    /// Packs the values as panels of `width` dimensions: `[head_dim / width, n_keys, width]`.
    #[inline(always)]
    fn pack_values(self, width: usize, packed: &mut [f32]) {
        let n_keys = self.span.n_keys();
        for position in 0..n_keys {
            let value = self.kv_row(self.attention.v, position);
            for (panel, part) in value.chunks(width).enumerate() {
                copy(part, &mut packed[(panel * n_keys + position) * width..][..part.len()]);
            }
        }
    }

    /// Copies queries with rotary positions applied, scaled by `1 / sqrt(head_dim)`.
    #[inline(always)]
    pub(crate) fn copy_queries(self, rows: Range<usize>, head: usize, first_position: usize, to: &mut [f32]) {
        let Attention { q, head_dim, n_heads, rotary, q_gap, .. } = *self.attention;
        let stride = n_heads * head_dim + q_gap;
        let scale = 1.0 / (head_dim as f32).sqrt();
        for (n, (row, to)) in rows.zip(to.chunks_exact_mut(head_dim)).enumerate() {
            let query = &q[row * stride + head * head_dim..][..head_dim];
            match &rotary {
                None => {
                    for (to, x) in to.iter_mut().zip(query) {
                        *to = x * scale;
                    }
                }
                Some(rotary) => {
                    rotary.turn(query, first_position + n, to);
                    for x in to.iter_mut() {
                        *x *= scale;
                    }
                }
            }
        }
    }
}

impl Rotary<'_> {
    #[inline(always)]
    pub(crate) fn turn(&self, x: &[f32], position: usize, to: &mut [f32]) {
        let half = x.len() / 2;
        let (cos, sin) = (&self.cos[position * half..][..half], &self.sin[position * half..][..half]);
        let (low, high) = (&x[..half], &x[half..][..half]);
        let (to_low, to_high) = to.split_at_mut(half);
        let (to_low, to_high) = (&mut to_low[..half], &mut to_high[..half]);
        for d in 0..half {
            to_low[d] = low[d] * cos[d] - high[d] * sin[d];
            to_high[d] = high[d] * cos[d] + low[d] * sin[d];
        }
    }
}

/// A packed right-hand side: panels with a tile's number of columns.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    pub(crate) numbers: &'a [f32],
    /// The distance between panels.
    pub(crate) len: usize,
}

/// `out = a b`, with a stride per operand: `n_rows` rows of `a`, `depth` deep, by the panels of `b` that contain
/// `n_columns`.
#[inline(always)]
pub(crate) fn product<K: Kernel>(
    (a, a_stride): (&[f32], usize),
    (n_rows, depth, n_columns): (usize, usize, usize),
    b: Panels<'_>,
    (out, out_stride): (&mut [f32], usize),
) {
    let width = VECTORS_MAX * K::LANES;
    for panel in 0..n_columns.div_ceil(width) {
        let numbers = &b.numbers[panel * b.len..][..depth * width];
        let mut row = 0;
        while row < n_rows {
            let a = &a[row * a_stride..];
            let out = &mut out[row * out_stride + panel * width..];
            row += match (n_rows - row).min(K::ROWS) {
                8.. if K::ROWS >= 8 => strip::<K, 8>(a, a_stride, depth, numbers, out, out_stride),
                6.. => strip::<K, 6>(a, a_stride, depth, numbers, out, out_stride),
                4.. => strip::<K, 4>(a, a_stride, depth, numbers, out, out_stride),
                2.. => strip::<K, 2>(a, a_stride, depth, numbers, out, out_stride),
                _ => strip::<K, 1>(a, a_stride, depth, numbers, out, out_stride),
            };
        }
    }
}

/// Multiplies `M` rows by one panel; returns `M`.
#[inline(always)]
fn strip<K: Kernel, const M: usize>(
    a: &[f32],
    a_stride: usize,
    depth: usize,
    panel: &[f32],
    out: &mut [f32],
    out_stride: usize,
) -> usize {
    let width = VECTORS_MAX * K::LANES;
    assert!(a.len() >= (M - 1) * a_stride + depth && panel.len() == depth * width, "the operands are there");
    const { assert!(M <= ROWS_MAX && VECTORS_MAX * K::LANES <= COLUMNS_MAX, "a tile has room for the product") };
    let mut tile = [MaybeUninit::<f32>::uninit(); ROWS_MAX * COLUMNS_MAX];
    // SAFETY: `dispatch` runs this where the instructions are; the lengths were just checked; a tile has room for the
    // largest `M` by `V * LANES`, and the kernel writes `M * width` numbers of it, which are all that is read.
    let tile = unsafe {
        let rows = RowPointers { start: a.as_ptr(), stride: a_stride };
        K::f32::<M, VECTORS_MAX>(rows, depth, panel.as_ptr(), false, tile.as_mut_ptr().cast());
        std::slice::from_raw_parts(tile.as_ptr().cast::<f32>(), M * width)
    };
    for (m, tile) in tile.chunks_exact(width).enumerate() {
        out[m * out_stride..][..width].copy_from_slice(tile);
    }
    M
}

/// Rows of attention weights are padded to a multiple of this, so that the compiler's vector loops have no remainder.
const SOFTMAX: usize = 16;

/// [`exponentials`] of a range of numbers; those before it become 0.
///
/// The range's sum starts at a multiple of [`SOFTMAX`] before it, so that the order of additions depends only on the
/// positions in the sequence.
#[inline(always)]
pub(crate) fn masked_exponentials<K: Kernel>(row: &mut [f32], own: Range<usize>) -> f32 {
    let start = own.start / SOFTMAX * SOFTMAX;
    row[start..own.start].fill(f32::MIN);
    let sum = exponentials::<K>(&mut row[start..], own.end - start);
    row[..own.start].fill(0.0);
    sum
}

/// Replaces the first `n` numbers by `e^x` relative to the largest, and returns their sum: a softmax without the
/// division. The padding after them is overwritten.
#[inline(always)]
fn exponentials<K: Kernel>(row: &mut [f32], n: usize) -> f32 {
    let row = &mut row[..n.next_multiple_of(SOFTMAX)];
    // `e^x` of the padding is 0, so it does not affect the sum.
    row[n..].fill(f32::MIN);
    let chunks = row.as_chunks_mut::<SOFTMAX>().0;
    let mut largest = [f32::MIN; SOFTMAX];
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    for chunk in chunks.iter() {
        for lane in 0..SOFTMAX {
            largest[lane] = larger(largest[lane], chunk[lane]);
        }
    }
    let largest = fold(largest, larger);
    for chunk in &mut *chunks {
        for x in chunk {
            *x = exp_low::<K>(*x - largest);
        }
    }
    let sums = lane_sums::<K>(chunks);
    fold(sums, |a, b| a + b)
}

/// The sums of chunks, lane by lane, in their order. In vectors by hand: the compiler would keep the sums in memory.
#[inline(always)]
fn lane_sums<K: Kernel>(chunks: &[[f32; SOFTMAX]]) -> [f32; SOFTMAX] {
    const { assert!(SOFTMAX.is_multiple_of(K::LANES) && SOFTMAX / K::LANES <= VECTORS_MAX, "a chunk is whole vectors") };
    let mut sums = [0.0; SOFTMAX];
    // SAFETY: `dispatch` runs this where the instructions are; each vector lies within a chunk.
    unsafe {
        let mut vectors = [K::load(sums.as_ptr()); VECTORS_MAX];
        for chunk in chunks {
            for (n, vector) in vectors.iter_mut().enumerate().take(SOFTMAX / K::LANES) {
                *vector = K::add(*vector, K::load(chunk.as_ptr().add(n * K::LANES)));
            }
        }
        for (n, vector) in vectors.into_iter().enumerate().take(SOFTMAX / K::LANES) {
            K::store(vector, sums.as_mut_ptr().add(n * K::LANES));
        }
    }
    sums
}

/// Transposes rows of `dim` to columns of rows of `width`: the kernel does blocks of 8 by 8, a loop the rest.
#[inline(always)]
pub(crate) fn transpose<K: Kernel>(rows: &[f32], dim: usize, to: &mut [f32], width: usize) {
    const BLOCK: usize = 8;
    assert!(rows.len() >= width * dim && to.len() >= width * dim && width.is_multiple_of(BLOCK), "they have one size");
    let n_whole = dim / BLOCK * BLOCK;
    for first in (0..width).step_by(BLOCK) {
        for d in (0..n_whole).step_by(BLOCK) {
            // SAFETY: `dispatch` runs this where the instructions are; the block lies within both, as was just checked.
            unsafe {
                let from = RowPointers { start: rows.as_ptr().add(first * dim + d), stride: dim };
                K::transpose(from, to.as_mut_ptr().add(d * width + first), width);
            }
        }
    }
    for d in n_whole..dim {
        for column in 0..width {
            to[d * width + column] = rows[column * dim + d];
        }
    }
}
