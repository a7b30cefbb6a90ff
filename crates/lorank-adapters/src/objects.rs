//! The objects behind a registry that several servers share.

use std::fmt;
use std::path::Path;

use lorank_core::BoxError;

/// Objects with keys, such as those below a prefix of a bucket. Reads see the last completed write, and an object is
/// written as a whole or not at all.
///
/// Each call has a time limit of its own; its error is the store's.
pub trait Objects: fmt::Debug + Send + Sync {
    /// The address, such as `s3://bucket/prefix`, for messages; without secrets.
    fn location(&self) -> &str;

    /// Reads an object unless it still has the `known` version.
    ///
    /// # Errors
    /// The store cannot be reached, refuses, or the object is larger than `bytes_max`.
    fn read(&self, key: &str, known: Option<&ObjectVersion>, bytes_max: u64) -> Result<ReadObject, BoxError>;

    /// Writes an object if it has the `expected` version, or if there is none and `None` is expected. Returns the new
    /// version, or `None` if another writer was first.
    ///
    /// # Errors
    /// The store cannot be reached, or refuses. The object may have been written: an answer can be lost.
    fn write_if(
        &self,
        key: &str,
        bytes: &[u8],
        expected: Option<&ObjectVersion>,
    ) -> Result<Option<ObjectVersion>, BoxError>;

    /// Reads at most `n_bytes` of an object from `start` on; `None` if there is no such object. Zero bytes find out its
    /// length alone.
    ///
    /// # Errors
    /// The store cannot be reached, or refuses.
    fn read_part(&self, key: &str, start: u64, n_bytes: u64) -> Result<Option<ObjectPart>, BoxError>;

    /// Writes the contents of a file to an object, whatever it had before.
    ///
    /// # Errors
    /// The file cannot be read, or the store cannot be reached, or refuses.
    fn upload(&self, key: &str, file: &Path) -> Result<(), BoxError>;
}

/// The version of an object, as its store names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion {
    /// The entity tag.
    pub e_tag: Option<String>,
    /// The version or generation, in stores that have one.
    pub version: Option<String>,
}

/// What reading an object found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadObject {
    /// There is no such object.
    Missing,
    /// The object has the known version.
    Unchanged,
    /// The object has another version.
    Found {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Its version.
        version: ObjectVersion,
    },
}

/// A part of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPart {
    /// The bytes of the part.
    pub bytes: Vec<u8>,
    /// The length of the whole object, in bytes.
    pub n_bytes_total: u64,
}
