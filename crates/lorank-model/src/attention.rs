//! Types that describe attention, independent of the backend.

use lorank_kernels::Mask;

/// The shape of a model's attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttentionShape {
    pub(crate) n_heads: usize,
    /// Groups of query heads share a key-value head (grouped-query attention, arXiv 2305.13245).
    pub(crate) n_kv_heads: usize,
    pub(crate) head_dim: usize,
    /// Which tokens a token attends to.
    pub(crate) mask: Mask,
}

/// Sines and cosines of rotary positions (arXiv 2104.09864).
#[derive(Debug, Clone)]
pub(crate) struct Angles {
    /// [n_positions, head_dim / 2]
    pub(crate) cos: Vec<f32>,
    /// [n_positions, head_dim / 2]
    pub(crate) sin: Vec<f32>,
}

impl Angles {
    /// For the first `n_positions` positions, from one frequency per pair of dimensions.
    pub(crate) fn new(frequencies: &[f32], n_positions: usize) -> Self {
        let angles = (0..n_positions).flat_map(|at| frequencies.iter().map(move |f| at as f32 * f));
        let (cos, sin) = angles.map(|angle| (angle.cos(), angle.sin())).unzip();
        Self { cos, sin }
    }
}
