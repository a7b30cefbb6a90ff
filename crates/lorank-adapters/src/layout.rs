//! The layout of a registry's folder.

use std::path::PathBuf;

use lorank_core::Digest;

pub(crate) const DOCUMENT: &str = "registry.json";
pub(crate) const ADAPTERS: &str = "adapters";
pub(crate) const LOCK: &str = "lock";

/// The folder for staged and damaged files. Only the holder of the lock uses it.
pub(crate) const STAGING: &str = ".adding";
pub(crate) const DAMAGED: &str = ".damaged";

/// The folder for files on their way into a copy of a shared registry.
pub(crate) const INCOMING: &str = "incoming";

/// The paths of a registry.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) folder: PathBuf,
}

impl Layout {
    pub(crate) fn document(&self) -> PathBuf {
        self.folder.join(DOCUMENT)
    }

    pub(crate) fn adapters(&self) -> PathBuf {
        self.folder.join(ADAPTERS)
    }

    pub(crate) fn incoming(&self) -> PathBuf {
        self.folder.join(INCOMING)
    }

    /// The folder of an adapter's files, named by their digest.
    pub(crate) fn adapter(&self, content: Digest) -> PathBuf {
        self.adapters().join(content.to_string())
    }
}

/// Whether a name in the folder of adapters may be left over from a crash.
pub(crate) fn is_leftover(name: &str) -> bool {
    [STAGING, DAMAGED].contains(&name)
}
