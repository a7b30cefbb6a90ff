//! Attention with products in bf16.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::Isa;
use crate::aligned::Aligned;
use crate::attention::{Attention, Head, QUERIES, first, masked_exponentials, transpose};
use crate::isa::{Computation, dispatch};
use crate::packed::round_to_bf16;
use crate::threads::Disjoint;
use crate::tile::{COLUMNS_MAX, DEPTH_BYTES, Entered, Kernel, ROWS_STEP, RowPointers, VECTORS_MAX, row_distance};

impl Attention<'_> {
    /// [`run`](Self::run), with both operands of the products rounded to bf16 on CPUs that multiply tiles of it (AMX). Other
    /// CPUs compute in f32, which is as fast there.
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn run_in_bf16(&self, isa: Isa) -> Vec<f32> {
        if !isa.has_tiles() {
            return self.run(isa);
        }
        // SAFETY: `OneHead` writes all of its span's rows under its heads.
        unsafe { self.each_head(|head, scratch, out| dispatch(isa, OneHead { head, scratch, out })) }
    }
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
    /// Panels of keys, `[n_keys / width, depth / 2, width]`, in pairs of adjacent dimensions.
    keys: Aligned<f32>,
    /// Panels of dimensions, `[head_dim / width, n_keys / 2, width]`, in pairs of adjacent keys.
    values: Aligned<f32>,
    /// A panel's keys as rows, in pairs of adjacent dimensions.
    rows: Vec<f32>,
    /// One row with rotary positions, or several.
    turned: Vec<f32>,
    /// `[QUERIES, depth]`
    queries: Aligned<u16>,
    /// Products of queries and panels of keys: `[n_keys / width, QUERIES, width]`.
    products: Aligned<f32>,
    /// A query's weights.
    exponentials: Vec<f32>,
    /// `[QUERIES, n_keys]`
    weights: Aligned<u16>,
    /// `[QUERIES, width]`
    mixed: Aligned<f32>,
}

const _: () = assert!(QUERIES.is_multiple_of(ROWS_STEP), "queries are whole tiles");

/// The depth of products is a multiple of this.
const STEP: usize = DEPTH_BYTES / 2;

/// Two adjacent numbers in bf16, with the bits of an f32.
#[inline(always)]
fn pair(a: f32, b: f32) -> f32 {
    f32::from_bits(u32::from(round_to_bf16(a)) | u32::from(round_to_bf16(b)) << 16)
}

impl Computation for OneHead<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        assert_eq!(K::BF16_GROUP, 2, "sets with tiles take pairs");
        // SAFETY: `dispatch` runs this where the instructions are. Nothing below enters once more.
        let _entered = unsafe { Entered::<K>::new() };
        let Self { head, scratch, out } = self;
        let Head { attention, span, kv_head } = head;
        let Attention { head_dim, n_heads, n_kv_heads, mask, .. } = *attention;
        let (n_keys, width) = (span.n_keys(), VECTORS_MAX * K::LANES);
        let (depth, n_rows) = (head_dim.next_multiple_of(STEP), n_keys.next_multiple_of(COLUMNS_MAX));
        let [query_stride, weight_stride] = [depth, n_rows].map(|n| row_distance(2 * n) / 2);
        let keys = scratch.keys.first(n_rows * depth / 2);
        pack_keys::<K>(head, depth, keys, &mut scratch.rows, &mut scratch.turned);
        let values = scratch.values.first(head_dim.next_multiple_of(width) * n_rows / 2);
        pack_values(head, width, n_rows, values);
        let queries = scratch.queries.first(QUERIES * query_stride);
        let products = scratch.products.first(QUERIES * n_rows);
        let weights = scratch.weights.first(QUERIES * weight_stride);
        let mixed = scratch.mixed.first(QUERIES * width);
        let exponentials = first(&mut scratch.exponentials, n_rows);
        let turned = first(&mut scratch.turned, QUERIES * head_dim);
        let group = n_heads / n_kv_heads;
        for query_head in kv_head * group..(kv_head + 1) * group {
            for start in span.queries.clone().step_by(QUERIES) {
                let rows = start..(start + QUERIES).min(span.queries.end);
                let n = rows.len();
                let position = span.first_position + rows.start - span.queries.start;
                // The keys that some query of these rows attends to, from the start of a panel.
                let [of_first, of_last] = [position, position + n - 1].map(|query| mask.seen(query, n_keys));
                let from = of_first.start / COLUMNS_MAX * COLUMNS_MAX;
                let n_seen = (of_last.end - from).next_multiple_of(STEP);
                head.copy_queries(rows.clone(), query_head, position, turned);
                narrow(&turned[..n * head_dim], head_dim, queries, query_stride);
                for (panel, to) in products.chunks_exact_mut(QUERIES * width).take(n_seen.div_ceil(width)).enumerate() {
                    let keys = &keys[(from + panel * width) * depth / 2..];
                    product::<K>((queries, query_stride), (n, depth), keys, to);
                }
                let mut factors = [0.0; QUERIES];
                for m in 0..n {
                    for (panel, to) in exponentials[..n_seen].chunks_exact_mut(width).enumerate() {
                        to.copy_from_slice(&products[(panel * QUERIES + m) * width..][..width]);
                    }
                    let own = mask.seen(position + m, n_keys);
                    let own = own.start - from..own.end - from;
                    factors[m] = 1.0 / masked_exponentials::<K>(exponentials, own.clone());
                    exponentials[own.end..n_seen].fill(0.0);
                    narrow(&exponentials[..n_seen], n_seen, &mut weights[m * weight_stride..], n_seen);
                }
                for (panel, first_dim) in (0..head_dim).step_by(width).enumerate() {
                    let values = &values[(panel * n_rows + from) * width / 2..];
                    product::<K>((weights, weight_stride), (n, n_seen), values, mixed);
                    let n_dims = (head_dim - first_dim).min(width);
                    for ((row, mixed), factor) in rows.clone().zip(mixed.chunks_exact(width)).zip(factors) {
                        let first = (row * n_heads + query_head) * head_dim + first_dim;
                        // SAFETY: this task alone has these heads of its span's rows, and no other span has the rows.
                        let out = unsafe { out.slice(first, n_dims) };
                        for (out, x) in out.iter_mut().zip(mixed) {
                            out.write(x * factor);
                        }
                    }
                }
            }
        }
    }
}

/// The product of `n` rows, `depth` deep, and a panel of pairs: `[n, width]`.
#[inline(always)]
fn product<K: Kernel>((rows, stride): (&[u16], usize), (n, depth): (usize, usize), panel: &[f32], out: &mut [f32]) {
    let width = VECTORS_MAX * K::LANES;
    assert!(n <= QUERIES && depth <= stride && depth.is_multiple_of(STEP), "whole steps of rows");
    let (rows, panel, out) = (&rows[..QUERIES * stride], &panel[..depth / 2 * width], &mut out[..QUERIES * width]);
    let rows = RowPointers { start: rows.as_ptr(), stride };
    // SAFETY: `dispatch` runs this where the instructions are, and the thread has entered. `QUERIES` rows, a
    // multiple of those of a tile, and a panel of this depth are there, as the slices have just shown.
    unsafe { K::bf16::<VECTORS_MAX>(rows, n, depth, panel.as_ptr().cast(), out.as_mut_ptr()) }
}

/// Rounds rows of `width` numbers to bf16, `stride` apart, with zeros after them up to a multiple of [`STEP`].
#[inline(always)]
fn narrow(rows: &[f32], width: usize, to: &mut [u16], stride: usize) {
    let padded = width.next_multiple_of(STEP);
    for (row, to) in rows.chunks_exact(width).zip(to.chunks_mut(stride)) {
        for (to, x) in to.iter_mut().zip(row) {
            *to = round_to_bf16(*x);
        }
        to[width..padded].fill(0);
    }
}

/// Packs the keys, with rotary positions applied. Those after the last one, and dimensions after the last one, are zero.
#[inline(always)]
fn pack_keys<K: Kernel>(head: Head<'_>, depth: usize, packed: &mut [f32], rows: &mut Vec<f32>, turned: &mut Vec<f32>) {
    let (width, dim, n_keys) = (VECTORS_MAX * K::LANES, head.attention.head_dim, head.span.n_keys());
    let (rows, turned) = (first(rows, width * depth / 2), first(turned, dim));
    for (start, panel) in (0..).step_by(width).zip(packed.chunks_exact_mut(width * depth / 2)) {
        rows.fill(0.0);
        let positions = start.min(n_keys)..(start + width).min(n_keys);
        for (position, to) in positions.zip(rows.chunks_exact_mut(depth / 2)) {
            let key = head.kv_row(head.attention.k, position);
            let key = match &head.attention.rotary {
                None => key,
                Some(rotary) => {
                    rotary.turn(key, position, turned);
                    &*turned
                }
            };
            let (pairs, rest) = key.as_chunks::<2>();
            for (to, [a, b]) in to.iter_mut().zip(pairs) {
                *to = pair(*a, *b);
            }
            if let [last] = rest {
                to[pairs.len()] = pair(*last, 0.0);
            }
        }
        transpose::<K>(rows, depth / 2, panel, width);
    }
}

/// Packs the values. Those after the last one, and dimensions after the last one, are zero.
#[inline(always)]
fn pack_values(head: Head<'_>, width: usize, n_rows: usize, packed: &mut [f32]) {
    let n_keys = head.span.n_keys();
    let rows = |positions: Range<usize>| positions.map(|at| head.kv_row(head.attention.v, at));
    let zeros = [0.0; COLUMNS_MAX];
    for (panel, packed) in packed.chunks_exact_mut(n_rows / 2 * width).enumerate() {
        packed[n_keys.div_ceil(2) * width..].fill(0.0);
        for (start, to) in (0..n_keys).step_by(2).zip(packed.chunks_exact_mut(width)) {
            let mut values = rows(start..(start + 2).min(n_keys)).map(|row| {
                let start = (panel * width).min(row.len());
                &row[start..(start + width).min(row.len())]
            });
            let even = values.next().expect("there is a key for each step");
            let odd = values.next().unwrap_or(&zeros[..even.len()]);
            for ((to, even), odd) in to.iter_mut().zip(even).zip(odd) {
                *to = pair(*even, *odd);
            }
            to[even.len()..].fill(0.0);
        }
    }
}
