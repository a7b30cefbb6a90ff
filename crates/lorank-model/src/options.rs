//! Options for loading a base model.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use lorank_core::AdapterId;
use lorank_cuda::{GpuOptions, HostFault};

use crate::DeviceChoice;
use crate::int8_ranking::Int8Rankings;
use crate::precision::PrecisionChoice;

/// Options for loading a base model.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The device of the forward pass.
    pub device: DeviceChoice,
    /// The numeric precision.
    pub precision: PrecisionChoice,
    /// The numeric precision of adapters, by id, where it is not [`precision`](Self::precision).
    pub adapter_precisions: BTreeMap<AdapterId, PrecisionChoice>,
    /// The maximum tokens of a pair, for the base model and every adapter, regardless of their own settings.
    pub max_length: Option<usize>,
    /// What to do with an adapter that was trained on another base model.
    pub other_base: OtherBase,
    /// The maximum tokens per forward pass; a longer pair gets a pass of its own. Does not affect scores. The default
    /// is 256 on a CPU, where each thread runs its own passes and more would not fit in its caches, and 8192 on a GPU (16384
    /// with candle).
    pub tokens_max: Option<NonZeroUsize>,
    /// The forward pass to use.
    pub pass: ForwardPass,
    /// Where a GPU's libraries are, besides the system's folders, and where its compiled kernels are kept.
    pub gpu: GpuOptions,
    /// With [`ForwardPass::GpuOnHost`], the faults of the hosts in the place of GPUs, for tests.
    #[doc(hidden)]
    pub host_faults: Vec<HostFault>,
    /// Measurements of how int8 ranks, by which [`PrecisionChoice::Auto`] decides; those in the model's folder count
    /// too.
    pub int8_rankings: Int8Rankings,
}

/// The forward pass to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardPass {
    /// The fast pass: many pairs at once, on a CPU with this project's kernels.
    #[default]
    Fast,
    /// The reference pass: candle's operations in f32, one pair at a time, without sharing. It is used to test the fast
    /// pass.
    Reference,
    /// The fast pass of an NVIDIA GPU over `lorank-cuda`, on a CPU, with numbers rounded as on a GPU. It is slow, and used to
    /// test that pass.
    GpuOnHost,
    /// The fast pass with gradients, for training adapters ([`ModelReranker::trainable`](crate::ModelReranker::trainable)). It runs
    /// on a CPU in f32 unless a GPU is named: [`DeviceChoice::Auto`](crate::DeviceChoice::Auto) is the CPU.
    Train,
    /// The pass with gradients of a GPU, candle's operations, on a CPU, in f32 unless bf16 is named. It is used to test both.
    TrainReference,
}

/// What to do with an adapter that names another base model than the loaded one.
///
/// Only the last parts of the names are compared, because folders rarely include the owner's name. Shapes are always
/// checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OtherBase {
    /// Load it and log a warning: the usual reason is a copied or renamed folder.
    #[default]
    Warn,
    /// Refuse it.
    Refuse,
}
