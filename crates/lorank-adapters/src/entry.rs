//! Adapters in the registry, with their files and provenance.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use lorank_core::{AdapterId, Digest};
use serde::{Deserialize, Serialize};

/// Where an adapter came from, and facts about it that its files alone do not show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The source of the files, such as a folder or `hf://owner/repository`.
    pub source: String,
    /// The source's revision, such as a commit.
    pub revision: Option<String>,
    /// When it was added, in milliseconds since 1970.
    pub added_at_millis: u64,
    /// The base model that it was trained on.
    pub base_model: String,
    /// The rank of its updates.
    pub rank: usize,
    /// The modules that it changes, as in its configuration.
    pub targets: Vec<String>,
    /// The number of its parameters.
    pub n_parameters: usize,
    /// The digest that identifies the adapter to the model. The registry stores it without interpreting it.
    #[serde(with = "as_text")]
    pub model_digest: Digest,
    /// The digest of the base model that it is for, where it was added for one of several.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "as_optional_text")]
    pub base_digest: Option<Digest>,
}

impl Provenance {
    /// Whether another one says the same, except for the time. Without a base model it says the same as with one.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let base_digest = other.base_digest.or(self.base_digest);
        *self == Self { added_at_millis: self.added_at_millis, base_digest, ..other.clone() }
    }
}

/// A file of an adapter, as it was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct StoredFile {
    /// The file name.
    pub name: String,
    /// Its length, in bytes.
    pub bytes: u64,
    /// The hash of its bytes.
    #[serde(with = "as_text")]
    pub digest: Digest,
}

/// An adapter in the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Entry {
    /// The adapter id.
    #[serde(with = "as_text")]
    pub id: AdapterId,
    /// The hash of its files' names, lengths and contents, which is also the name of its folder.
    #[serde(with = "as_text")]
    pub content: Digest,
    /// Its files, ordered by name.
    pub files: Vec<StoredFile>,
    /// Its provenance.
    pub provenance: Provenance,
}

impl Entry {
    /// The total length of its files, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// The content digest of files that are ordered by name: a hash of each one's name, length and hash.
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
    /// Its file name in the registry.
    pub name: String,
    /// Its contents.
    pub contents: Contents,
}

impl NewFile {
    /// A file to copy; links are followed.
    pub fn copy(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), contents: Contents::Path(path.into()) }
    }

    /// A file with the given contents.
    pub fn bytes(name: impl Into<String>, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { name: name.into(), contents: Contents::Bytes(bytes.into()) }
    }
}

/// The contents of a file to add.
#[derive(Clone)]
pub enum Contents {
    /// The contents of the file at this path.
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

/// Serializes an optional id or digest as text.
pub(crate) mod as_optional_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<T: Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        Option::<String>::deserialize(deserializer)?.map(|text| text.parse().map_err(de::Error::custom)).transpose()
    }
}

/// Serializes an id or digest as text, because the types of `lorank-core` do not implement serde's traits.
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
