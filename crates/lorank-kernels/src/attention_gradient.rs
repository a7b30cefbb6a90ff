//! The gradients of attention, with the weights computed again from queries and keys.

use rayon::prelude::*;

use crate::Isa;
use crate::attention::{Attention, Panels, Rotary, Span, first, masked_exponentials, product, transpose};
use crate::gradient::add_scaled;
use crate::isa::{Computation, dispatch};
use crate::recycled::zeros;
use crate::threads::Disjoint;
use crate::tile::{COLUMNS_MAX, Kernel, VECTORS_MAX};

impl Attention<'_> {
    /// The gradients of queries, keys and values, from that of the result. Each has the shape of its rows.
    ///
    /// With `P = softmax(s Q Kᵀ)`, `O = P V` and `dP = dO Vᵀ`: `dV = Pᵀ dO`, `dS = P ∘ (dP - rowsum(P ∘ dP))`,
    /// `dQ = s dS K`, `dK = s dSᵀ Q` (as in arXiv 2205.14135, section B.2).
    ///
    /// # Panics
    /// As [`run`](Self::run), and if there are gaps between rows or the gradient does not have the result's shape.
    pub fn gradients(&self, d_out: &[f32], isa: Isa) -> [Vec<f32>; 3] {
        self.check();
        assert!(self.q_gap == 0 && self.kv_gap == 0, "gradients have no gaps between rows");
        assert_eq!(d_out.len(), self.q.len(), "the gradient has the result's shape");
        let mut gradients = [self.q, self.k, self.v].map(|rows| zeros(rows.len()));
        let [dq, dk, dv] = &mut gradients;
        let to = Gradients { q: Disjoint::new(dq), k: Disjoint::new(dk), v: Disjoint::new(dv) };
        // Spans can share the keys of a prefix, so a task takes all spans of its head.
        (0..self.n_kv_heads).into_par_iter().for_each_init(Scratch::default, |scratch, kv_head| {
            for span in self.spans.iter().filter(|span| !span.queries.is_empty()) {
                dispatch(isa, HeadGradient { attention: self, d_out, span, kv_head, scratch, to: &to });
            }
        });
        gradients
    }
}

/// The gradients that the tasks write.
struct Gradients<'a> {
    q: Disjoint<'a, f32>,
    k: Disjoint<'a, f32>,
    v: Disjoint<'a, f32>,
}

/// Buffers that are reused from span to span. They contain data of previous spans, or zeros.
#[derive(Default)]
struct Scratch {
    /// Keys with rotary positions, and values: `[n_keys, head_dim]`.
    keys: Vec<f32>,
    values: Vec<f32>,
    /// The same in panels of keys, `[n_keys / width, head_dim, width]`, and keys in panels of dimensions,
    /// `[head_dim / width, n_keys, width]`.
    keys_by_key: Vec<f32>,
    values_by_key: Vec<f32>,
    keys_by_dim: Vec<f32>,
    /// Their gradients: `[n_keys, head_dim]`.
    d_keys: Vec<f32>,
    d_values: Vec<f32>,
    /// Queries with rotary positions, scaled, and gradients of the result: `[QUERIES, head_dim]`, and in panels of dimensions.
    queries: Vec<f32>,
    d_out: Vec<f32>,
    queries_by_dim: Vec<f32>,
    d_out_by_dim: Vec<f32>,
    /// Attention weights and their gradients: `[QUERIES, n_keys]`, and transposed.
    weights: Vec<f32>,
    d_weights: Vec<f32>,
    transposed: Vec<f32>,
    /// A product.
    result: Vec<f32>,
    /// Rows of one panel.
    rows: Vec<f32>,
}

/// The number of queries processed at a time: their attention weights stay in a core's cache.
const QUERIES: usize = 96;

/// All query heads of one key-value head, in one span.
struct HeadGradient<'a> {
    attention: &'a Attention<'a>,
    d_out: &'a [f32],
    span: &'a Span,
    kv_head: usize,
    scratch: &'a mut Scratch,
    to: &'a Gradients<'a>,
}

impl Computation for HeadGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        let Self { attention, d_out, span, kv_head, scratch, to } = self;
        let Attention { n_heads, n_kv_heads, head_dim: dim, mask, rotary, .. } = *attention;
        let (n_keys, width) = (span.n_keys(), VECTORS_MAX * K::LANES);
        let (stride, dim_stride) = (n_keys.next_multiple_of(COLUMNS_MAX), dim.next_multiple_of(width));
        let scale = 1.0 / (dim as f32).sqrt();
        let keys = first(&mut scratch.keys, n_keys * dim);
        let values = first(&mut scratch.values, n_keys * dim);
        for position in 0..n_keys {
            let from = (span.key_row(position) * n_kv_heads + kv_head) * dim;
            let to = position * dim..(position + 1) * dim;
            turned(&attention.k[from..][..dim], rotary.as_ref(), position, &mut keys[to.clone()]);
            values[to].copy_from_slice(&attention.v[from..][..dim]);
        }
        let rows = first(&mut scratch.rows, width * dim);
        let keys_by_key = by_row::<K>(keys, dim, rows, first(&mut scratch.keys_by_key, stride * dim));
        let values_by_key = by_row::<K>(values, dim, rows, first(&mut scratch.values_by_key, stride * dim));
        let keys_by_dim = by_dim(keys, dim, width, first(&mut scratch.keys_by_dim, dim_stride * n_keys));
        let d_keys = first(&mut scratch.d_keys, n_keys * dim);
        let d_values = first(&mut scratch.d_values, n_keys * dim);
        d_keys.fill(0.0);
        d_values.fill(0.0);
        let weights = first(&mut scratch.weights, QUERIES * stride);
        let d_weights = first(&mut scratch.d_weights, QUERIES * stride);
        let transposed = first(&mut scratch.transposed, QUERIES * stride);
        let result = first(&mut scratch.result, QUERIES.max(n_keys) * dim_stride);
        let group = n_heads / n_kv_heads;
        for head in kv_head * group..(kv_head + 1) * group {
            for start in span.queries.clone().step_by(QUERIES) {
                let n = QUERIES.min(span.queries.end - start);
                let first_position = span.first_position + start - span.queries.start;
                let n_padded = n.next_multiple_of(8);
                let queries = first(&mut scratch.queries, QUERIES * dim);
                let d_mixed = first(&mut scratch.d_out, QUERIES * dim);
                for m in 0..n {
                    let from = ((start + m) * n_heads + head) * dim;
                    let own = m * dim..(m + 1) * dim;
                    turned(&attention.q[from..][..dim], rotary.as_ref(), first_position + m, &mut queries[own.clone()]);
                    queries[own.clone()].iter_mut().for_each(|x| *x *= scale);
                    d_mixed[own].copy_from_slice(&d_out[from..][..dim]);
                }
                let (queries, d_mixed) = (&queries[..n * dim], &d_mixed[..n * dim]);
                product::<K>((queries, dim), (n, dim, n_keys), keys_by_key, (weights, stride));
                product::<K>((d_mixed, dim), (n, dim, n_keys), values_by_key, (d_weights, stride));
                let rows = weights.chunks_exact_mut(stride).zip(d_weights.chunks_exact_mut(stride)).take(n);
                for (m, (weights, d_weights)) in rows.enumerate() {
                    let own = mask.seen(first_position + m, n_keys);
                    let factor = 1.0 / masked_exponentials::<K>(weights, own.clone());
                    weights[own.end..].fill(0.0);
                    d_weights[own.end..].fill(0.0);
                    softmax_gradient(weights, d_weights, factor);
                }
                weights[n * stride..n_padded * stride].fill(0.0);
                d_weights[n * stride..n_padded * stride].fill(0.0);

                let queries = by_dim(queries, dim, width, first(&mut scratch.queries_by_dim, dim_stride * n));
                let d_mixed = by_dim(d_mixed, dim, width, first(&mut scratch.d_out_by_dim, dim_stride * n));
                transpose::<K>(weights, stride, transposed, n_padded);
                product::<K>((transposed, n_padded), (n_keys, n, dim), d_mixed, (result, dim_stride));
                add_rows(d_values, result, dim, dim_stride);
                transpose::<K>(d_weights, stride, transposed, n_padded);
                product::<K>((transposed, n_padded), (n_keys, n, dim), queries, (result, dim_stride));
                add_rows(d_keys, result, dim, dim_stride);

                product::<K>((d_weights, stride), (n, n_keys, dim), keys_by_dim, (result, dim_stride));
                for m in 0..n {
                    // SAFETY: this task alone has this head, and no other span has the row.
                    let to = unsafe { to.q.slice(((start + m) * n_heads + head) * dim, dim) };
                    turned_back(&result[m * dim_stride..][..dim], rotary.as_ref(), first_position + m, scale, to);
                }
            }
        }
        for position in 0..n_keys {
            let (own, at) =
                (position * dim..(position + 1) * dim, (span.key_row(position) * n_kv_heads + kv_head) * dim);
            // SAFETY: this task alone has this head.
            let (to_k, to_v) = unsafe { (to.k.slice(at, dim), to.v.slice(at, dim)) };
            turned_back(&d_keys[own.clone()], rotary.as_ref(), position, 1.0, to_k);
            add_scaled(to_v, &d_values[own], 1.0);
        }
    }
}

/// Normalizes exponentials to weights, and replaces the weights' gradients by those of the softmax's input.
#[inline(always)]
fn softmax_gradient(weights: &mut [f32], d_weights: &mut [f32], factor: f32) {
    const LANES: usize = 16;
    let (weights, d_weights) = (weights.as_chunks_mut::<LANES>().0, d_weights.as_chunks_mut::<LANES>().0);
    let mut sums = [0.0; LANES];
    for (weights, d_weights) in weights.iter_mut().zip(d_weights.iter()) {
        for lane in 0..LANES {
            weights[lane] *= factor;
            sums[lane] += weights[lane] * d_weights[lane];
        }
    }
    let sum: f32 = sums.into_iter().sum();
    for (weights, d_weights) in weights.iter().zip(d_weights) {
        for lane in 0..LANES {
            d_weights[lane] = weights[lane] * (d_weights[lane] - sum);
        }
    }
}

/// Packs rows in panels of `width` rows: `[n / width, dim, width]`. Missing rows are zeros.
#[inline(always)]
fn by_row<'a, K: Kernel>(from: &[f32], dim: usize, rows: &mut [f32], to: &'a mut [f32]) -> Panels<'a> {
    let width = VECTORS_MAX * K::LANES;
    for (from, panel) in from.chunks(width * dim).zip(to.chunks_exact_mut(width * dim)) {
        if from.len() == width * dim {
            transpose::<K>(from, dim, panel, width);
        } else {
            rows[..from.len()].copy_from_slice(from);
            rows[from.len()..].fill(0.0);
            transpose::<K>(rows, dim, panel, width);
        }
    }
    Panels { numbers: to, len: dim * width }
}

/// Packs rows in panels of `width` dimensions: `[dim / width, n, width]`.
#[inline(always)]
fn by_dim<'a>(from: &[f32], dim: usize, width: usize, to: &'a mut [f32]) -> Panels<'a> {
    let n = from.len() / dim;
    for (at, row) in from.chunks_exact(dim).enumerate() {
        for (panel, part) in row.chunks(width).enumerate() {
            to[(panel * n + at) * width..][..part.len()].copy_from_slice(part);
        }
    }
    Panels { numbers: to, len: n * width }
}

/// Adds the rows of a product to rows of `dim`.
#[inline(always)]
fn add_rows(to: &mut [f32], product: &[f32], dim: usize, stride: usize) {
    for (to, row) in to.chunks_exact_mut(dim).zip(product.chunks_exact(stride)) {
        add_scaled(to, row, 1.0);
    }
}

/// A row of a head with its rotary position.
#[inline(always)]
fn turned(x: &[f32], rotary: Option<&Rotary<'_>>, position: usize, to: &mut [f32]) {
    match rotary {
        Some(rotary) => rotary.turn(x, position, to),
        None => to.copy_from_slice(x),
    }
}

/// Adds the gradient of a row before its rotary position, `scale` times: a rotation by the opposite angle.
#[inline(always)]
fn turned_back(d: &[f32], rotary: Option<&Rotary<'_>>, position: usize, scale: f32, to: &mut [f32]) {
    let Some(rotary) = rotary else { return add_scaled(to, d, scale) };
    let half = d.len() / 2;
    let (cos, sin) = (&rotary.cos[position * half..][..half], &rotary.sin[position * half..][..half]);
    let (low, high) = d.split_at(half);
    let (to_low, to_high) = to.split_at_mut(half);
    for at in 0..half {
        to_low[at] += scale * (low[at] * cos[at] + high[at] * sin[at]);
        to_high[at] += scale * (high[at] * cos[at] - low[at] * sin[at]);
    }
}
