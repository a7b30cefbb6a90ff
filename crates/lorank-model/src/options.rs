//! How a base model is loaded.

use std::num::NonZeroUsize;

use crate::DeviceChoice;
use crate::precision::PrecisionChoice;

/// How a base model is loaded.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Where the forward pass runs.
    pub device: DeviceChoice,
    /// The arithmetic.
    pub precision: PrecisionChoice,
    /// The most tokens of a pair, for the base and every adapter, whatever their own settings say.
    pub max_length: Option<usize>,
    /// What to do with an adapter that was trained on another base model than the one loaded.
    pub other_base: OtherBase,
    /// The most tokens that go through the model together. A longer pair goes alone. No score depends on it. The default is
    /// 256 on a CPU, where each thread has its own and more do not fit its caches, and 16384 on a GPU.
    pub tokens_max: Option<NonZeroUsize>,
    /// Which forward pass.
    pub pass: ForwardPass,
}

/// Which of the forward passes computes the scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardPass {
    /// The fast one: many pairs at once, on a CPU by this project's own kernels.
    #[default]
    Fast,
    /// The reference: candle's operations in f32, one pair at a time, nothing shared. What the fast one is judged by.
    Reference,
}

/// What to do with an adapter that names another base model than the one loaded.
///
/// Names are compared by their last part, since a folder rarely keeps its owner's name. Shapes are always checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OtherBase {
    /// Load it and log a warning: a copied or renamed folder is the usual reason.
    #[default]
    Warn,
    /// Refuse it.
    Refuse,
}
