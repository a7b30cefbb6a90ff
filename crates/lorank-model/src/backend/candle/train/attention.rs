//! Attention with its gradient. Attention weights are not kept: the backward pass computes them again.

use std::sync::OnceLock;

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use lorank_kernels::Span;

use super::scatter::Scatter;
use crate::attention::AttentionShape;
use crate::backend::candle::padded::{Batch, Padded, batches_of_similar_length, longest, n_queries};
use crate::backend::candle::rotary::{Rotary, turned};

/// The sequences of a pass under one shape of attention.
#[derive(Debug)]
pub(crate) struct Plan {
    shape: AttentionShape,
    spans: Vec<Span>,
    padded: Padded,
    /// What the backward pass needs beside; computed when it is first needed.
    places: OnceLock<Places>,
}

/// Where the rows of padded batches come from.
#[derive(Debug)]
struct Places {
    /// From queries to the rows of all batches; none for padding.
    queries: Scatter,
    /// From the keys of all batches to tokens. A shared prefix is part of several sequences.
    keys: Scatter,
}

impl Plan {
    pub(super) fn new(
        shape: &AttentionShape,
        spans: Vec<Span>,
        rotary: Option<&Rotary>,
        device: &Device,
    ) -> Result<Self> {
        let padded = Padded::new(&spans, shape, rotary, device)?;
        Ok(Self { shape: *shape, spans, padded, places: OnceLock::new() })
    }

    /// q: [n_queries, n_heads * head_dim], k and v: [n_tokens, n_kv_heads * head_dim]; the result has q's shape.
    pub(super) fn attend(&self, [q, k, v]: [&Tensor; 3]) -> Result<Tensor> {
        let [q_32, k, v] = [q, k, v].map(|rows| rows.to_dtype(DType::F32));
        self.padded.attend(&self.shape, [&q_32?, &k?, &v?])?.to_dtype(q.dtype())
    }

    /// The gradients of queries, keys and values, given that of the result. All in f32.
    pub(super) fn gradients(&self, rows: [&Tensor; 3], gradient: &Tensor) -> Result<[Tensor; 3]> {
        let [q, k, v] = rows.map(|rows| rows.to_dtype(DType::F32));
        let (q, k, v, gradient) = (q?, k?, v?, gradient.to_dtype(DType::F32)?);
        let (dim, scale) = (self.shape.head_dim, 1.0 / (self.shape.head_dim as f64).sqrt());
        let places = self.places(gradient.dim(0)?, k.dim(0)?, gradient.device())?;
        let (q, k) = self.padded.turned(&q, &k, dim)?;
        let gradient = places.queries.sum(&gradient)?;
        let (mut parts, mut start) = ([Vec::new(), Vec::new(), Vec::new()], 0);
        for batch in &self.padded.batches {
            let n = batch.n * batch.n_queries;
            let own = batch_gradients(batch, &self.shape, [&q, &k, &v], &gradient.narrow(0, start, n)?)?;
            parts.iter_mut().zip(own).for_each(|(parts, own)| parts.push(own));
            start += n;
        }
        let [dq, dk, dv] = parts.map(|parts| Tensor::cat(&parts, 0));
        let dq = dq?.index_select(&self.padded.back, 0)?;
        let (dk, dv) = (places.keys.sum(&dk?)?, places.keys.sum(&dv?)?);
        let Some([queries, keys]) = &self.padded.turns else { return Ok([(dq * scale)?, dk, dv]) };
        // The transpose of a rotation is the rotation by the negative angle; that of queries has their scale.
        let back = |[cos, sin]: &[Tensor; 2]| Ok::<_, candle_core::Error>([cos.clone(), sin.neg()?]);
        Ok([turned(&dq, &back(queries)?, dim)?, turned(&dk, &back(keys)?, dim)?, dv])
    }

    fn places(&self, n_queries: usize, n_tokens: usize, device: &Device) -> Result<&Places> {
        if let Some(places) = self.places.get() {
            return Ok(places);
        }
        let places = Places::new(&self.spans, self.shape.n_heads, [n_queries, n_tokens], device)?;
        Ok(self.places.get_or_init(|| places))
    }
}

impl Places {
    fn new(spans: &[Span], n_heads: usize, [n_all_queries, n_tokens]: [usize; 2], device: &Device) -> Result<Self> {
        let (mut queries, mut keys) = (Vec::new(), Vec::new());
        let (mut n_query_rows, mut n_key_rows) = (0, 0);
        for batch in batches_of_similar_length(spans, n_heads) {
            let widths = [longest(&batch, n_queries), longest(&batch, Span::n_keys)];
            for span in batch {
                queries.extend(span.queries.clone().zip(n_query_rows..));
                keys.extend((n_key_rows..).zip(span.prefix.clone().chain(span.own.clone())));
                n_query_rows += widths[0];
                n_key_rows += widths[1];
            }
        }
        Ok(Self {
            queries: Scatter::new(queries.into_iter(), n_all_queries, n_query_rows, device)?,
            keys: Scatter::new(keys.into_iter(), n_key_rows, n_tokens, device)?,
        })
    }
}

/// The gradients of a batch's queries, [n * n_queries, n_heads * head_dim], and of its keys and values,
/// [n * n_keys, n_kv_heads * head_dim]. gradient: [n * n_queries, n_heads * head_dim], zero for padding.
fn batch_gradients(batch: &Batch, shape: &AttentionShape, qkv: [&Tensor; 3], gradient: &Tensor) -> Result<[Tensor; 3]> {
    let AttentionShape { n_heads, n_kv_heads, head_dim, .. } = *shape;
    let Batch { n, n_queries, n_keys, .. } = *batch;
    let [q, k, v] = batch.by_head(shape, qkv)?;
    let scores = q.matmul(&k.t()?)?.reshape((n, n_heads, n_queries, n_keys))?;
    let weights = softmax_last_dim(&scores.broadcast_add(&batch.mask)?)?;
    let weights = weights.reshape((n * n_kv_heads, n_heads / n_kv_heads * n_queries, n_keys))?;
    let gradient = batch.query_heads(shape, gradient)?;
    let d_values = weights.t()?.matmul(&gradient)?;
    let d_weights = gradient.matmul(&v.t()?)?;
    // The gradient of the softmax.
    let along = (&weights * &d_weights)?.sum_keepdim(D::Minus1)?;
    let d_scores = (weights * d_weights.broadcast_sub(&along)?)?;
    let (dq, dk) = (d_scores.matmul(&k)?, d_scores.t()?.matmul(&q)?);
    let rows = |by_head: &Tensor, heads: usize, len: usize| {
        by_head.reshape((n, heads, len, head_dim))?.transpose(1, 2)?.reshape((n * len, heads * head_dim))
    };
    Ok([rows(&dq, n_heads, n_queries)?, rows(&dk, n_kv_heads, n_keys)?, rows(&d_values, n_kv_heads, n_keys)?])
}
