//! Rotary positions with candle: tables in the device's memory, from which a pass selects the rows of its positions.

use candle_core::{Device, Result, Tensor};
use candle_nn::rotary_emb::{rope, rope_thd};

use crate::attention::Angles;

/// Cosines and sines of the first positions.
#[derive(Debug)]
pub(crate) struct Rotary {
    /// Each [n_positions, head_dim / 2].
    plain: [Tensor; 2],
    /// Divided by the square root of head_dim, for queries of scaled attention.
    scaled: [Tensor; 2],
}

impl Rotary {
    pub(super) fn new(angles: &Angles, device: &Device) -> Result<Self> {
        let table =
            |numbers: &[f32]| Tensor::from_slice(numbers, (numbers.len() / angles.n_pairs, angles.n_pairs), device);
        let plain = [table(&angles.cos)?, table(&angles.sin)?];
        let root = (2.0 * angles.n_pairs as f64).sqrt();
        let scaled = [(&plain[0] / root)?, (&plain[1] / root)?];
        Ok(Self { plain, scaled })
    }

    /// The cosines and sines of queries, which are scaled, and of keys, given the positions of both: each [n, head_dim / 2].
    pub(super) fn at(&self, [queries, keys]: [Vec<u32>; 2]) -> Result<[[Tensor; 2]; 2]> {
        let device = self.plain[0].device();
        let of_queries = Tensor::new(&*queries, device)?;
        let of_keys = if queries == keys { of_queries.clone() } else { Tensor::new(keys, device)? };
        let select = |[cos, sin]: &[Tensor; 2], at: &Tensor| {
            Ok::<_, candle_core::Error>([cos.index_select(at, 0)?, sin.index_select(at, 0)?])
        };
        Ok([select(&self.scaled, &of_queries)?, select(&self.plain, &of_keys)?])
    }

    /// Applies rotary positions. x: [heads, n, head_dim], starting at position `from`; the result has the same shape.
    pub(super) fn turned_heads(&self, x: &Tensor, from: usize) -> Result<Tensor> {
        let n = x.dim(1)?;
        let [cos, sin] = &self.plain;
        rope(&x.unsqueeze(0)?, &cos.narrow(0, from, n)?, &sin.narrow(0, from, n)?)?.squeeze(0)
    }
}

/// x: [n, heads * head_dim]; rotates each row by its own cosines and sines, each [n, head_dim / 2].
pub(super) fn turned(x: &Tensor, [cos, sin]: &[Tensor; 2], head_dim: usize) -> Result<Tensor> {
    let (n, width) = x.dims2()?;
    rope_thd(&x.reshape((1, n, width / head_dim, head_dim))?, cos, sin)?.reshape((n, width))
}
