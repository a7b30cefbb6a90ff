//! The identity of a model.

use std::fmt;

use crate::{AdapterId, Digest};

/// A base model with at most one adapter at an exact version: everything besides the texts that a score depends on.
///
/// Equal values give equal scores for equal texts, so the value is part of the score cache's key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelVersion {
    /// The base model's display name.
    pub base_model: String,
    /// The hash of the base model's configuration, tokenizer and weights.
    pub base_digest: Digest,
    /// The adapter; `None` for the bare base model.
    pub adapter: Option<AdapterVersion>,
    /// The hash of the templates and lengths that turn a query and a document into tokens.
    pub prompt_version: Digest,
    /// The numeric precision.
    pub precision: Precision,
    /// Whether the adapter was merged into the weights before they were rounded to the precision. The scores differ
    /// from those of the unmerged adapter only by that rounding.
    pub merged: bool,
}

/// An adapter at an exact version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AdapterVersion {
    /// The adapter's display name.
    pub id: AdapterId,
    /// The hash of the adapter's files.
    pub digest: Digest,
}

/// The numeric precision of a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floating point throughout.
    #[default]
    F32,
    /// Weights of linear layers in bfloat16, sums in 32 bits.
    Bf16,
    /// Weights and inputs of linear layers as 8-bit integers: with a scale per output and per token, or (in decoders) rotated,
    /// with a scale per group of 64.
    Int8,
    /// Weights and inputs of linear layers as 8-bit floating-point numbers (e4m3, arXiv 2209.05433), with a scale per output and
    /// per token; everything else in bfloat16. Only on an NVIDIA GPU.
    Fp8,
}

impl Precision {
    /// All precisions.
    pub const ALL: [Self; 4] = [Self::F32, Self::Bf16, Self::Int8, Self::Fp8];

    /// The name: `f32`, `bf16`, `int8` or `fp8`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Fp8 => "fp8",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
