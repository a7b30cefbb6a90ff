//! What can go wrong between an adapter's files and the registry that keeps them.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use lorank_core::{AdapterId, ErrorKind};

/// An error of the registry, or of loading an adapter into memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Something could not be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something could not be written.
    #[error("could not write `{}`; see to its permissions and to the disk's free space", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another writer holds the lock.
    #[error(
        "the registry `{}` has been locked by another process for {seconds} s; try again when it is done",
        folder.display()
    )]
    Busy {
        /// The registry's folder.
        folder: PathBuf,
        /// How long this writer waited.
        seconds: u64,
    },
    /// The registry's file is not what lorank writes.
    #[error(
        "`{}` could not be understood; restore it from a copy, or add the adapters to a new registry",
        path.display()
    )]
    Document {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The registry's file contradicts itself.
    #[error(
        "`{}` contradicts itself: {what}; restore it from a copy, or add the adapters to a new registry",
        path.display()
    )]
    Inconsistent {
        /// The file.
        path: PathBuf,
        /// The contradiction.
        what: String,
    },
    /// The registry was written by another version of lorank.
    #[error(
        "`{}` has schema {found}, and this lorank knows schema {known}; use the version that wrote it",
        path.display()
    )]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u64,
        /// The schema known here.
        known: u64,
    },
    /// The registry's file was there, and is not any more.
    #[error("`{}` is gone; what was read before is kept until it is back", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// Nothing has the name.
    #[error("the registry has no adapter and no alias `{name}`; {known}")]
    Unknown {
        /// The name.
        name: AdapterId,
        /// Which names there are.
        known: String,
    },
    /// An alias's name was given where an adapter's id is needed.
    #[error("`{name}` is an alias of `{target}`, and {hint}")]
    IsAlias {
        /// The alias.
        name: AdapterId,
        /// The adapter it points to.
        target: AdapterId,
        /// What to do.
        hint: &'static str,
    },
    /// An adapter's id was given where an alias's name is needed.
    #[error("`{name}` is the id of an adapter and cannot be an alias as well; choose another name for the alias")]
    IsAdapter {
        /// The id.
        name: AdapterId,
    },
    /// An adapter cannot have the name of the default alias.
    #[error(
        "no adapter can be called `{name}`: it is the alias of requests that name none; \
         add it under another id and point `{name}` to that"
    )]
    Reserved {
        /// The name.
        name: AdapterId,
    },
    /// A name that stands for something else wherever an adapter can be named.
    #[error(
        "neither an adapter nor an alias can be called `{name}`: it stands for a ranking without an adapter; choose another name"
    )]
    Word {
        /// The name.
        name: AdapterId,
    },
    /// The id has other files already.
    #[error("there is an adapter `{id}` already; choose another id, or replace it (`--replace`)")]
    Exists {
        /// The id.
        id: AdapterId,
    },
    /// An adapter that is pointed to or used cannot be removed.
    #[error("adapter `{id}` is in use by {by}; end that first, or force the removal")]
    InUse {
        /// The adapter.
        id: AdapterId,
        /// By what.
        by: String,
    },
    /// An adapter of no files.
    #[error("adapter `{id}` has no files to add")]
    NoFiles {
        /// The adapter.
        id: AdapterId,
    },
    /// A file's name is no plain name.
    #[error(
        "`{name}` of adapter `{id}` is not a plain file name \
         (1 to 128 letters, digits, `.`, `_` or `-`, the first a letter or a digit)"
    )]
    FileName {
        /// The adapter.
        id: AdapterId,
        /// The name.
        name: String,
    },
    /// Two files of the same name.
    #[error("adapter `{id}` has two files called `{name}`; give each once")]
    Twice {
        /// The adapter.
        id: AdapterId,
        /// The name.
        name: String,
    },
    /// A pickle.
    #[error(
        "`{name}` of adapter `{id}` is a pickle, which runs code when it is opened and is never kept; \
         convert it to safetensors"
    )]
    Pickle {
        /// The adapter.
        id: AdapterId,
        /// The name.
        name: String,
    },
    /// The source is not a file.
    #[error("`{}` is not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// An adapter of more files or bytes than the limit.
    #[error("adapter `{id}` has more than {max} {unit}, the registry's limit")]
    TooLarge {
        /// The adapter.
        id: AdapterId,
        /// The limit.
        max: u64,
        /// What is counted: bytes or files.
        unit: &'static str,
    },
    /// The registry has as many names as it may.
    #[error("the registry has {max} adapters and aliases, its limit; remove one first")]
    Full {
        /// The limit.
        max: usize,
    },
    /// An adapter could not be loaded into memory.
    #[error("could not load `{key}`; the next request for it tries again")]
    Load {
        /// What was to be loaded.
        key: String,
        /// Why: shared by all that waited for it.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
}

impl RegistryError {
    /// What kind of error it is. A registry that cannot be read or written, or is damaged, is [`ErrorKind::Internal`].
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. }
            | Self::Write { .. }
            | Self::Document { .. }
            | Self::Inconsistent { .. }
            | Self::Schema { .. }
            | Self::Gone { .. } => ErrorKind::Internal,
            Self::Busy { .. } | Self::Load { .. } => ErrorKind::Unavailable,
            Self::Unknown { .. } => ErrorKind::NotFound,
            Self::IsAlias { .. }
            | Self::IsAdapter { .. }
            | Self::Reserved { .. }
            | Self::Word { .. }
            | Self::Exists { .. }
            | Self::InUse { .. }
            | Self::Full { .. } => ErrorKind::Conflict,
            Self::NoFiles { .. }
            | Self::FileName { .. }
            | Self::Twice { .. }
            | Self::Pickle { .. }
            | Self::NotAFile { .. }
            | Self::TooLarge { .. } => ErrorKind::Invalid,
        }
    }
}
