//! Errors of the registry.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use lorank_core::{AdapterId, BoxError, ErrorKind};

use crate::finding::Finding;

/// An error of the registry, or of loading an adapter into memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A file or folder could not be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file or folder could not be written.
    #[error("could not write `{}`; check its permissions and the free disk space", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another writer holds the lock.
    #[error(
        "the registry `{}` has been locked by another process for {seconds} s; retry when that has finished",
        folder.display()
    )]
    Busy {
        /// The registry's folder.
        folder: PathBuf,
        /// How long this writer waited, in seconds.
        seconds: u64,
    },
    /// The registry's file cannot be parsed.
    #[error(
        "could not parse `{}`; restore it from a backup, or add the adapters to a new registry",
        path.display()
    )]
    Document {
        /// The file's path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// The registry's file is inconsistent.
    #[error(
        "`{}` is inconsistent: {what}; restore it from a backup, or add the adapters to a new registry",
        path.display()
    )]
    Inconsistent {
        /// The file's path.
        path: PathBuf,
        /// The inconsistency.
        what: String,
    },
    /// The registry was written by another version of lorank.
    #[error(
        "`{}` has schema version {found}, but this version of lorank supports {known}; use the version that wrote it",
        path.display()
    )]
    Schema {
        /// The file's path.
        path: PathBuf,
        /// Its schema version.
        found: u64,
        /// The supported schema version.
        known: u64,
    },
    /// The registry's file has disappeared.
    #[error("`{}` has disappeared; the last state stays in use until it is back", path.display())]
    Gone {
        /// The file's path.
        path: PathBuf,
    },
    /// A shared registry could not be read or written.
    #[error("could not {action} at `{location}`; check its address, its credentials and the network")]
    Store {
        /// What failed.
        action: String,
        /// The registry's address.
        location: String,
        /// The cause.
        source: BoxError,
    },
    /// The store of a shared registry ignores conditions of writes.
    #[error(
        "the store at `{location}` ignores the conditions of writes (`If-Match`, `If-None-Match`), without which changes \
         would be lost; use one that heeds them"
    )]
    Unconditional {
        /// The registry's address.
        location: String,
    },
    /// Other writers of a shared registry were always first.
    #[error("the registry at `{location}` was changed by others {n_attempts} times in a row; retry later")]
    Contended {
        /// The registry's address.
        location: String,
        /// How often the change was tried.
        n_attempts: u64,
    },
    /// A file of a shared registry is not the one that was added.
    #[error("{0}")]
    Broken(Box<Finding>),
    /// The shared registry was changed, but not the copy here.
    #[error("the registry at `{location}` has been changed, but its copy here not yet")]
    NotCopied {
        /// The registry's address.
        location: String,
        /// The cause.
        source: Box<RegistryError>,
    },
    /// No adapter or alias has the name.
    #[error("the registry has no adapter and no alias `{name}`; {known}")]
    Unknown {
        /// The requested name.
        name: AdapterId,
        /// A description of the existing names.
        known: String,
    },
    /// The expression of an alias is empty or too long.
    #[error("the expression of alias `{alias}` must have 1 to {max} bytes")]
    RankByLength {
        /// The alias.
        alias: AdapterId,
        /// The most bytes.
        max: usize,
    },
    /// An alias was given in place of an adapter id.
    #[error("`{name}` is an alias of `{target}`, and {hint}")]
    IsAlias {
        /// The alias.
        name: AdapterId,
        /// Its adapter.
        target: AdapterId,
        /// What to do.
        hint: &'static str,
    },
    /// An alias of a bare base model was given in place of an adapter.
    #[error("`{name}` is an alias of the base model `{base}` and names no adapter")]
    IsBaseAlias {
        /// The alias.
        name: AdapterId,
        /// The name of its base model.
        base: AdapterId,
    },
    /// An adapter id was given in place of an alias.
    #[error("`{name}` is an adapter id and cannot also be an alias; choose another name for the alias")]
    IsAdapter {
        /// The adapter id.
        name: AdapterId,
    },
    /// The name is reserved for the default alias.
    #[error(
        "the adapter id `{name}` is reserved: it is the alias for requests that name no adapter; \
         add the adapter under another id and point `{name}` to it"
    )]
    Reserved {
        /// The reserved name.
        name: AdapterId,
    },
    /// The name is reserved for rankings without an adapter, or for experiments.
    #[error("the name `{name}` is reserved for ranking without an adapter, or for an experiment; choose another name")]
    Word {
        /// The reserved name.
        name: AdapterId,
    },
    /// An adapter with this id and other files exists.
    #[error("adapter `{id}` already exists; choose another id, or replace it (`--replace`)")]
    Exists {
        /// The adapter id.
        id: AdapterId,
    },
    /// An adapter in use cannot be removed.
    #[error("adapter `{id}` is in use by {by}; end that use first, or force the removal")]
    InUse {
        /// The adapter id.
        id: AdapterId,
        /// Its users.
        by: String,
    },
    /// An adapter in use keeps its files.
    #[error(
        "adapter `{id}` is in use by {by} and cannot be replaced; stop that first, or add the new files under another id"
    )]
    KeepsFiles {
        /// The adapter id.
        id: AdapterId,
        /// Its users.
        by: String,
    },
    /// An adapter without files.
    #[error("adapter `{id}` has no files to add")]
    NoFiles {
        /// The adapter id.
        id: AdapterId,
    },
    /// A file name is not a valid plain name.
    #[error(
        "`{name}` of adapter `{id}` is not a plain file name \
         (1 to 128 letters, digits, `.`, `_` or `-`, starting with a letter or digit)"
    )]
    FileName {
        /// The adapter id.
        id: AdapterId,
        /// The file name.
        name: String,
    },
    /// Two files have the same name.
    #[error("adapter `{id}` has two files named `{name}`; names must be unique")]
    Twice {
        /// The adapter id.
        id: AdapterId,
        /// The file name.
        name: String,
    },
    /// A file is a pickle.
    #[error(
        "`{name}` of adapter `{id}` is a pickle, which can run code when opened and is therefore not accepted; \
         convert it to safetensors"
    )]
    Pickle {
        /// The adapter id.
        id: AdapterId,
        /// The file name.
        name: String,
    },
    /// The source is not a regular file.
    #[error("`{}` is not a file", path.display())]
    NotAFile {
        /// The source's path.
        path: PathBuf,
    },
    /// An adapter exceeds the limit of files or bytes.
    #[error("adapter `{id}` exceeds the registry's limit of {max} {unit}")]
    TooLarge {
        /// The adapter id.
        id: AdapterId,
        /// The limit.
        max: u64,
        /// The unit of the limit: bytes or files.
        unit: &'static str,
    },
    /// The registry has reached its limit of names.
    #[error("the registry has reached its limit of {max} adapters and aliases; remove one first")]
    Full {
        /// The limit.
        max: usize,
    },
    /// An adapter could not be loaded into memory.
    #[error("could not load `{key}`; the next request for it retries")]
    Load {
        /// The key of the value to load.
        key: String,
        /// The cause, shared by all callers that waited.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
}

impl RegistryError {
    /// Says of an adapter that was not replaced who uses it, where somebody does.
    #[must_use]
    pub fn of_users(self, users: &[String]) -> Self {
        match self {
            Self::Exists { id } if !users.is_empty() => Self::KeepsFiles { id, by: users.join(", ") },
            other => other,
        }
    }

    /// The kind of the error. A registry that is damaged, or cannot be read or written, is [`ErrorKind::Internal`].
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. }
            | Self::Write { .. }
            | Self::Document { .. }
            | Self::Inconsistent { .. }
            | Self::Schema { .. }
            | Self::Broken(_)
            | Self::Unconditional { .. }
            | Self::NotCopied { .. }
            | Self::Gone { .. } => ErrorKind::Internal,
            Self::Busy { .. } | Self::Load { .. } | Self::Store { .. } | Self::Contended { .. } => {
                ErrorKind::Unavailable
            }
            Self::Unknown { .. } => ErrorKind::NotFound,
            Self::IsAlias { .. }
            | Self::IsBaseAlias { .. }
            | Self::IsAdapter { .. }
            | Self::Reserved { .. }
            | Self::Word { .. }
            | Self::Exists { .. }
            | Self::InUse { .. }
            | Self::KeepsFiles { .. }
            | Self::Full { .. } => ErrorKind::Conflict,
            Self::NoFiles { .. }
            | Self::RankByLength { .. }
            | Self::FileName { .. }
            | Self::Twice { .. }
            | Self::Pickle { .. }
            | Self::NotAFile { .. }
            | Self::TooLarge { .. } => ErrorKind::Invalid,
        }
    }
}
