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
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32 => f.pad("f32"),
        }
    }
}
