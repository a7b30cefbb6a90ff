//! An adapter in the registry: its files, and where they came from.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use lorank_core::{AdapterId, Digest};
use serde::{Deserialize, Serialize};

/// Where an adapter came from and what it is: the facts that its files alone do not tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Where the files were taken from, such as a folder or `hf://owner/repository`.
    pub source: String,
    /// The source's revision, such as a commit.
    pub revision: Option<String>,
    /// When it was added, in milliseconds since 1970.
    pub added_at_millis: u64,
    /// The base model that it changes.
    pub base_model: String,
    /// The rank of its updates.
    pub rank: usize,
    /// The modules that it changes, as its configuration names them.
    pub targets: Vec<String>,
    /// How many weights it has.
    pub n_parameters: usize,
    /// The digest under which the model scores with it. The registry keeps it and does not interpret it.
    #[serde(with = "as_text")]
    pub model_digest: Digest,
}

impl Provenance {
    /// Whether two say the same, whenever it was said.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        *self == Self { added_at_millis: self.added_at_millis, ..other.clone() }
    }
}

/// A file of an adapter, as it was when it was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct StoredFile {
    /// Its plain name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// The hash of its bytes.
    #[serde(with = "as_text")]
    pub digest: Digest,
}

/// An adapter of the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Entry {
    /// Its id.
    #[serde(with = "as_text")]
    pub id: AdapterId,
    /// The hash of its files' names, lengths and bytes, which names its folder.
    #[serde(with = "as_text")]
    pub content: Digest,
    /// Its files, by name.
    pub files: Vec<StoredFile>,
    /// Where it came from.
    pub provenance: Provenance,
}

impl Entry {
    /// The length of all its files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// The content digest of files in the order of their names: a hash over each one's name, length and hash.
pub(crate) fn content_digest(files: &[StoredFile]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for file in files {
        hasher.update(&(file.name.len() as u64).to_le_bytes()).update(file.name.as_bytes());
        hasher.update(&file.bytes.to_le_bytes()).update(file.digest.as_bytes());
    }
    Digest::new(*hasher.finalize().as_bytes())
}

/// A file to add.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// The plain name that it gets in the registry.
    pub name: String,
    /// What it holds.
    pub contents: Contents,
}

impl NewFile {
    /// A file to copy, links followed.
    pub fn copy(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), contents: Contents::Path(path.into()) }
    }

    /// A file to write.
    pub fn bytes(name: impl Into<String>, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { name: name.into(), contents: Contents::Bytes(bytes.into()) }
    }
}

/// What a file to add holds.
#[derive(Clone)]
pub enum Contents {
    /// What the file at this path holds.
    Path(PathBuf),
    /// These bytes.
    Bytes(Cow<'static, [u8]>),
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.debug_tuple("Path").field(path).finish(),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
        }
    }
}

/// Writes an id or a digest as its text: the types of `lorank-core` are not serialised themselves.
pub(crate) mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
