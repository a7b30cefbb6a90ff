//! Attention with candle: a single sequence directly, several in padded batches.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use lorank_kernels::{Mask, Span};

use super::padded::Padded;
use super::rotary::Rotary;
use crate::attention::AttentionShape;

/// The sequences of a pass.
pub(crate) struct AttentionPlan {
    shape: AttentionShape,
    layout: Layout,
}

enum Layout {
    Single { span: Span, rotary: Option<Arc<Rotary>> },
    Padded(Padded),
}

impl AttentionPlan {
    pub(super) fn new(
        shape: AttentionShape,
        spans: Vec<Span>,
        rotary: Option<&Arc<Rotary>>,
        device: &Device,
    ) -> Result<Self> {
        let layout = match <[Span; 1]>::try_from(spans) {
            Ok([span]) => Layout::Single { span, rotary: rotary.cloned() },
            Err(spans) => Layout::Padded(Padded::new(&spans, &shape, rotary.map(|rotary| &**rotary), device)?),
        };
        Ok(Self { shape, layout })
    }

    /// q: [n_queries, n_heads * head_dim], k and v: [n_tokens, n_kv_heads * head_dim]; the result has q's shape.
    ///
    /// Computes in f32 for every row type: rounding the scores to bf16 before the softmax would cause most of bf16's
    /// error.
    pub(super) fn attend(&self, rows: [&Tensor; 3]) -> Result<Tensor> {
        let [q, k, v] = rows.map(|rows| rows.to_dtype(DType::F32));
        let (q, k, v) = (q?, k?, v?);
        let mixed = match &self.layout {
            Layout::Single { span, rotary } => attend_one(&self.shape, [&q, &k, &v], span, rotary.as_deref())?,
            Layout::Padded(padded) => padded.attend(&self.shape, [&q, &k, &v])?,
        };
        mixed.to_dtype(rows[0].dtype())
    }
}

/// One sequence: [n_queries, n_heads * head_dim].
fn attend_one(shape: &AttentionShape, [q, k, v]: [&Tensor; 3], span: &Span, rotary: Option<&Rotary>) -> Result<Tensor> {
    let AttentionShape { n_heads, n_kv_heads, head_dim, mask } = *shape;
    let (n, n_keys) = (span.queries.len(), span.n_keys());
    let split = |y: Tensor, heads: usize| y.reshape((y.dim(0)?, heads, head_dim))?.transpose(0, 1)?.contiguous();
    let keys = |y: &Tensor| {
        let own = y.narrow(0, span.own.start, span.own.len())?;
        let all = if span.prefix.is_empty() {
            own
        } else {
            Tensor::cat(&[&y.narrow(0, span.prefix.start, span.prefix.len())?, &own], 0)?
        };
        split(all, n_kv_heads)
    };
    let turn = |y: Tensor, from: usize| match rotary {
        Some(rotary) => rotary.turned_heads(&y, from),
        None => Ok(y),
    };
    let q = turn(split(q.narrow(0, span.queries.start, n)?, n_heads)?, span.first_position)?;
    let (k, v) = (turn(keys(k)?, 0)?, keys(v)?);
    // The query heads of a key-value head are adjacent, so they become rows of one product.
    let rows = n_heads / n_kv_heads * n;
    let q = (q.reshape((n_kv_heads, rows, head_dim))? / (head_dim as f64).sqrt())?;
    let mut scores = q.matmul(&k.t()?)?.reshape((n_heads, n, n_keys))?;
    if mask != Mask::NONE {
        scores = scores.broadcast_add(&additive_mask(mask, span, q.device())?)?;
    }
    let weights = softmax_last_dim(&scores)?.reshape((n_kv_heads, rows, n_keys))?;
    weights.matmul(&v)?.reshape((n_heads, n, head_dim))?.transpose(0, 1)?.reshape((n, n_heads * head_dim))
}

/// [n_queries, n_keys]: minus infinity for keys that the query does not attend to.
fn additive_mask(mask: Mask, span: &Span, device: &Device) -> Result<Tensor> {
    let (n, n_keys) = (span.queries.len(), span.n_keys());
    let row = |query: usize| {
        let seen = mask.seen(span.first_position + query, n_keys);
        (0..n_keys).map(move |key| if seen.contains(&key) { 0.0 } else { f32::NEG_INFINITY })
    };
    Tensor::from_vec((0..n).flat_map(row).collect::<Vec<f32>>(), (n, n_keys), device)
}
