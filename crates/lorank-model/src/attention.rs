//! Attention over the sequences of a pack.

use std::cell::OnceCell;

use candle_core::{DType, Device, Tensor};
use candle_nn::ops::softmax_last_dim;
use candle_nn::rotary_emb::rope;
use lorank_kernels::{Attention as Kernel, Isa, Rotary, Span};

use crate::engine::{ONE_ENGINE, Rows};
use crate::padded::Padded;

/// The shape of a model's attention.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    pub(crate) n_heads: usize,
    pub(crate) n_kv_heads: usize,
    pub(crate) head_dim: usize,
    /// Whether a token sees itself and those before it alone.
    pub(crate) is_causal: bool,
}

/// The angles of rotary positions.
pub(crate) struct Angles {
    /// [n, head_dim / 2]
    cos: Vec<f32>,
    /// [n, head_dim / 2]
    sin: Vec<f32>,
}

impl Angles {
    /// Of the first `n` positions, from one frequency per pair of dimensions.
    pub(crate) fn new(frequencies: &[f32], n: usize) -> Self {
        let angles = (0..n).flat_map(|at| frequencies.iter().map(move |f| at as f32 * f));
        let (cos, sin) = angles.map(|angle| (angle.cos(), angle.sin())).unzip();
        Self { cos, sin }
    }
}

/// The sequences of a pack, as every layer's attention takes them.
pub(crate) struct Spans {
    pub(crate) list: Vec<Span>,
    /// How candle takes them, found out at the first layer.
    padded: OnceCell<Padded>,
}

impl Spans {
    pub(crate) fn new(list: Vec<Span>) -> Self {
        Self { list, padded: OnceCell::new() }
    }
}

impl Attention {
    /// q: [n_queries, n_heads * head_dim], k and v: [n_tokens, n_kv_heads * head_dim]; the result has q's shape.
    pub(crate) fn forward(
        &self,
        [q, k, v]: [&Rows; 3],
        spans: &Spans,
        angles: Option<&Angles>,
    ) -> candle_core::Result<Rows> {
        match (q, k, v) {
            (
                Rows::Kernels { numbers: q, width },
                Rows::Kernels { numbers: k, .. },
                Rows::Kernels { numbers: v, .. },
            ) => {
                let rotary = angles.map(|angles| Rotary { cos: &angles.cos, sin: &angles.sin });
                let Self { n_heads, n_kv_heads, head_dim, is_causal } = *self;
                let kernel = Kernel { q, k, v, n_heads, n_kv_heads, head_dim, is_causal, rotary, spans: &spans.list };
                Ok(Rows::Kernels { numbers: kernel.run(Isa::detect()), width: *width })
            }
            (Rows::Candle(q), Rows::Candle(k), Rows::Candle(v)) => {
                self.by_candle([q, k, v], spans, angles).map(Rows::Candle)
            }
            _ => unreachable!("{ONE_ENGINE}"),
        }
    }

    /// In f32 whatever the rows' type is: scores that are rounded to bf16 before the softmax are the larger part of bf16's error.
    fn by_candle(&self, rows: [&Tensor; 3], spans: &Spans, angles: Option<&Angles>) -> candle_core::Result<Tensor> {
        let [q, k, v] = rows.map(|rows| rows.to_dtype(DType::F32));
        let (q, k, v) = (q?, k?, v?);
        let mixed = match spans.list.as_slice() {
            [span] => self.one_by_candle(&q, &k, &v, span, angles)?,
            list => {
                if spans.padded.get().is_none() {
                    drop(spans.padded.set(Padded::new(list, self, angles, q.device())?));
                }
                spans.padded.get().expect("it was set").attend(self, [&q, &k, &v])?
            }
        };
        mixed.to_dtype(rows[0].dtype())
    }

    /// One sequence: [n_queries, n_heads * head_dim].
    fn one_by_candle(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        span: &Span,
        angles: Option<&Angles>,
    ) -> candle_core::Result<Tensor> {
        let (heads, kv_heads, dim) = (self.n_heads, self.n_kv_heads, self.head_dim);
        let (n, n_keys) = (span.queries.len(), span.n_keys());
        let split = |y: Tensor, heads: usize| y.reshape((y.dim(0)?, heads, dim))?.transpose(0, 1)?.contiguous();
        let keys = |y: &Tensor| {
            let own = y.narrow(0, span.own.start, span.own.len())?;
            let all = if span.prefix.is_empty() {
                own
            } else {
                Tensor::cat(&[&y.narrow(0, span.prefix.start, span.prefix.len())?, &own], 0)?
            };
            split(all, kv_heads)
        };
        let turn = |y: Tensor, from: usize| match angles {
            Some(angles) => angles.turn_by_candle(&y, from),
            None => Ok(y),
        };
        let q = turn(split(q.narrow(0, span.queries.start, n)?, heads)?, span.first_position)?;
        let (k, v) = (turn(keys(k)?, 0)?, keys(v)?);
        // The query heads of one key-value head stand beside each other, so they are rows of one product.
        let rows = heads / kv_heads * n;
        let q = (q.reshape((kv_heads, rows, dim))? / (dim as f64).sqrt())?;
        let mut scores = q.matmul(&k.t()?)?.reshape((heads, n, n_keys))?;
        if self.is_causal {
            scores = scores.broadcast_add(&ahead(span, q.device())?)?;
        }
        let weights = softmax_last_dim(&scores)?.reshape((kv_heads, rows, n_keys))?;
        weights.matmul(&v)?.reshape((heads, n, dim))?.transpose(0, 1)?.reshape((n, heads * dim))
    }
}

/// [n_queries, n_keys]: minus infinity where a token would look ahead.
fn ahead(span: &Span, device: &Device) -> candle_core::Result<Tensor> {
    let (n, n_keys) = (span.queries.len(), span.n_keys());
    let row = |query: usize| {
        (0..n_keys).map(move |key| if key > span.first_position + query { f32::NEG_INFINITY } else { 0.0 })
    };
    Tensor::from_vec((0..n).flat_map(row).collect::<Vec<f32>>(), (n, n_keys), device)
}

impl Angles {
    /// The cosines and sines of some positions, each [n, head_dim / 2].
    pub(crate) fn at(&self, positions: &[u32], head_dim: usize, device: &Device) -> candle_core::Result<[Tensor; 2]> {
        let half = head_dim / 2;
        let pick = |all: &[f32]| {
            let picked: Vec<f32> =
                positions.iter().flat_map(|at| &all[*at as usize * half..][..half]).copied().collect();
            Tensor::from_vec(picked, (positions.len(), half), device)
        };
        Ok([pick(&self.cos)?, pick(&self.sin)?])
    }

    /// x: [heads, n, head_dim], whose first position is `from`; the result too.
    fn turn_by_candle(&self, x: &Tensor, from: usize) -> candle_core::Result<Tensor> {
        let (_, n, dim) = x.dims3()?;
        let table = |all: &[f32]| Tensor::from_slice(&all[from * dim / 2..][..n * dim / 2], (n, dim / 2), x.device());
        rope(&x.unsqueeze(0)?, &table(&self.cos)?, &table(&self.sin)?)?.squeeze(0)
    }
}
