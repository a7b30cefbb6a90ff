//! The copies of base models' weights that the queue tells apart.

use lorank_core::{Digest, ModelVersion, Precision};

/// A base model in a precision: what has a speed of its own, so batches do not mix two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BaseCopy {
    /// The digest of the base model.
    pub digest: Digest,
    /// The precision of its weights.
    pub precision: Precision,
}

impl From<&ModelVersion> for BaseCopy {
    /// The copy that scores with a version.
    fn from(model: &ModelVersion) -> Self {
        Self { digest: model.base_digest, precision: model.precision }
    }
}

#[cfg(test)]
impl BaseCopy {
    /// The copies of different base models.
    pub(crate) const fn numbered(n: u8) -> Self {
        Self { digest: Digest::new([n; 32]), precision: Precision::F32 }
    }
}
