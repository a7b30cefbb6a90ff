//! Attention over the sequences of a pack.

use candle_core::{Device, Tensor};
use candle_nn::ops::softmax_last_dim;
use candle_nn::rotary_emb::rope;
use lorank_kernels::{Attention as Kernel, Isa, Rotary, Span};

use crate::engine::{ONE_ENGINE, Rows};

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

impl Attention {
    /// q: [n_queries, n_heads * head_dim], k and v: [n_tokens, n_kv_heads * head_dim]; the result has q's shape.
    pub(crate) fn forward(
        &self,
        [q, k, v]: [&Rows; 3],
        spans: &[Span],
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
                let kernel = Kernel { q, k, v, n_heads, n_kv_heads, head_dim, is_causal, rotary, spans };
                Ok(Rows::Kernels { numbers: kernel.run(Isa::detect()), width: *width })
            }
            (Rows::Candle(q), Rows::Candle(k), Rows::Candle(v)) => {
                let one = |span: &Span| self.one_by_candle(q, k, v, span, angles);
                let mixed = spans.iter().map(one).collect::<Result<Vec<_>, _>>()?;
                Tensor::cat(&mixed, 0).map(Rows::Candle)
            }
            _ => unreachable!("{ONE_ENGINE}"),
        }
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
    /// x: [heads, n, head_dim], whose first position is `from`; the result too.
    fn turn_by_candle(&self, x: &Tensor, from: usize) -> candle_core::Result<Tensor> {
        let (_, n, dim) = x.dims3()?;
        let table = |all: &[f32]| Tensor::from_slice(&all[from * dim / 2..][..n * dim / 2], (n, dim / 2), x.device());
        rope(&x.unsqueeze(0)?, &table(&self.cos)?, &table(&self.sin)?)?.squeeze(0)
    }
}
