//! Which model made a score.

use std::fmt;

use crate::{AdapterId, Digest};

/// A base model with at most one adapter on it, at one exact version: all that a score depends on beside the texts.
///
/// Two equal values give the same score to the same texts, so the value is part of the score cache's key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelVersion {
    /// The base model's name, for people.
    pub base_model: String,
    /// The hash of the base model's configuration, tokenizer and weights.
    pub base_digest: Digest,
    /// The adapter; `None` for the bare base model.
    pub adapter: Option<AdapterVersion>,
    /// The hash of the templates and lengths that turn a query and a document into tokens.
    pub prompt_version: Digest,
    /// The arithmetic.
    pub precision: Precision,
    /// Whether the adapter's update was added to the weights before they were rounded to the precision. The scores are
    /// those of the unmerged adapter but for that rounding.
    pub merged: bool,
}

/// An adapter at one exact version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AdapterVersion {
    /// The adapter's name, for people.
    pub id: AdapterId,
    /// The hash of the adapter's files.
    pub digest: Digest,
}

/// The arithmetic of a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floating point throughout.
    #[default]
    F32,
    /// The weights of linear layers in the upper half of 32 bits; sums in 32.
    Bf16,
    /// The weights of linear layers in 8-bit integers with a scale for each output, their inputs in 8 bits with a scale for
    /// each token.
    Int8,
}

impl Precision {
    /// All of them, the most exact first.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];

    /// Its name: `f32`, `bf16` or `int8`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
