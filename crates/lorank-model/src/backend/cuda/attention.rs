//! Attention without padding, and the rotary positions of its queries and keys.

use std::sync::Arc;

use lorank_cuda::{AttentionShape, CudaError, Format, Indices, Mask, Op, Ops, Rows, Spans};
use lorank_kernels::Span;

use super::Cuda;
use super::activations::Activations;
use crate::attention::{self, Angles, positions};

/// The widest head that the kernels accept, and the number that its width is a multiple of; others are padded.
const HEAD_DIM_MAX: usize = 256;
const HEAD_DIM_STEP: usize = 8;

/// The cosines of each position, then its sines: [n_positions, head_dim].
#[derive(Debug)]
pub(crate) struct Rotary(Rows);

/// The sequences of a pass.
#[derive(Debug)]
pub(crate) struct AttentionPlan {
    shape: AttentionShape,
    spans: Spans,
    /// With the positions of queries and of keys.
    rotary: Option<(Arc<Rotary>, [Indices; 2])>,
}

impl Rotary {
    pub(super) fn new<O: Ops>(ops: &O, angles: &Angles) -> Result<Self, CudaError> {
        let Angles { n_pairs, cos, sin } = angles;
        let rows = cos.chunks(*n_pairs).zip(sin.chunks(*n_pairs)).flat_map(|(cos, sin)| [cos, sin]);
        let table = ops.weights_apart([cos.len() / n_pairs, 2 * n_pairs], Format::F32)?;
        ops.write(&table, &rows.collect::<Vec<_>>().concat())?;
        Ok(Self(table))
    }
}

impl AttentionPlan {
    pub(super) fn new<O: Ops>(
        ops: &O,
        shape: &attention::AttentionShape,
        spans: &[Span],
        rotary: Option<&Arc<Rotary>>,
    ) -> Result<Self, CudaError> {
        let attention::AttentionShape { n_heads, n_kv_heads, head_dim, mask } = *shape;
        if head_dim > HEAD_DIM_MAX {
            let why = format!("the heads have {head_dim} dimensions; the limit is {HEAD_DIM_MAX}");
            return Err(CudaError::Failed { call: "attention", why });
        }
        let mask = Mask { is_causal: mask.is_causal, window: mask.window };
        let of_rotary = |rotary: &Arc<Rotary>| {
            let [queries, keys] = positions(spans);
            let of_queries = ops.indices(&queries)?;
            let of_keys = if queries == keys { of_queries.clone() } else { ops.indices(&keys)? };
            Ok((rotary.clone(), [of_queries, of_keys]))
        };
        let rotary = rotary.map(of_rotary).transpose()?;
        let span = |Span { queries, first_position, prefix, own }: &Span| lorank_cuda::Span {
            queries: queries.clone(),
            first_position: *first_position,
            prefix: prefix.clone(),
            own: own.clone(),
        };
        let spans = ops.spans(&spans.iter().map(span).collect::<Vec<_>>())?;
        Ok(Self { shape: AttentionShape { n_heads, n_kv_heads, head_dim, mask }, spans, rotary })
    }
}

impl<O: Ops> Cuda<O> {
    /// Turns queries and keys in place.
    pub(super) fn attend(&self, plan: &AttentionPlan, [q, k, v]: [Activations; 3]) -> Result<Activations, CudaError> {
        let AttentionPlan { shape, spans, rotary } = plan;
        if let Some((table, [of_queries, of_keys])) = rotary {
            for (x, positions) in [(&q, of_queries), (&k, of_keys)] {
                self.ops.run(Op::Rope { x: x.rows(), head_dim: shape.head_dim, table: &table.0, positions })?;
            }
        }
        let out = self.input(q.rows().n_rows(), q.rows().width())?;
        let AttentionShape { head_dim, .. } = *shape;
        let padded_dim = head_dim.next_multiple_of(HEAD_DIM_STEP);
        if padded_dim == head_dim {
            self.mix(shape, spans, [q.rows(), k.rows(), v.rows()], out.rows())?;
            return Ok(out);
        }
        let pad = |x: &Activations, factor| self.padded_heads(x, [head_dim, padded_dim], factor);
        // The scores are divided by the square root of the padded width.
        let factor = (padded_dim as f32 / head_dim as f32).sqrt();
        let [q, k, v] = [pad(&q, factor)?, pad(&k, 1.0)?, pad(&v, 1.0)?];
        let mixed = self.rows(q.n_rows(), q.width())?;
        self.mix(&AttentionShape { head_dim: padded_dim, ..*shape }, spans, [&q, &k, &v], &mixed)?;
        let heads = mixed.reshaped(padded_dim).expect("the rows have no gaps");
        let trimmed = self.rows(heads.n_rows(), head_dim)?;
        self.ops.run(Op::Copy { x: &heads.columns(0..head_dim), out: &trimmed })?;
        let trimmed = trimmed.reshaped(out.rows().width()).expect("the rows have no gaps");
        self.ops.run(Op::Copy { x: &trimmed, out: out.rows() })?;
        Ok(out)
    }

    fn mix(&self, shape: &AttentionShape, spans: &Spans, [q, k, v]: [&Rows; 3], out: &Rows) -> Result<(), CudaError> {
        self.ops.run(Op::Attention { q, k, v, shape: *shape, spans, out })
    }

    /// Multiplies by a factor, and continues each head with zeros: from [n, n_heads * head_dim] to [n, n_heads * padded_dim].
    fn padded_heads(
        &self,
        x: &Activations,
        [head_dim, padded_dim]: [usize; 2],
        factor: f32,
    ) -> Result<Rows, CudaError> {
        let (n, n_heads) = (x.rows().n_rows(), x.rows().width() / head_dim);
        let heads = x.contiguous(&self.ops)?.reshaped(head_dim).expect("the rows have no gaps");
        let padded = self.rows(n * n_heads, padded_dim)?;
        let nothing = self.ops.indices(&vec![0; 2 * n * n_heads])?;
        self.ops.run(Op::KeepColumns { x: &padded, ranges: &nothing })?;
        self.ops.run(Op::Scale { x: &heads, factor, out: &padded.columns(0..head_dim) })?;
        Ok(padded.reshaped(n_heads * padded_dim).expect("the rows have no gaps"))
    }
}
