//! Reading and changing the registry's folder, one writer at a time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use lorank_core::{AdapterId, Digest, is_plain_name};

use crate::entry::{Contents, Entry, NewFile, Provenance, StoredFile, content_digest};
use crate::finding::{Fault, Finding};
use crate::layout::{DAMAGED, DOCUMENT, LOCK, Layout, STAGING, is_leftover};
use crate::state::{AliasRankBy, AliasTarget, Existing, Outcome, State, check_is_no_word};
use crate::{RegistryError, disk, document, verify};

mod progress;
mod shared;

pub use progress::{StoreStatus, UnavailableAdapter};

/// The limits of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The maximum size of an adapter, in bytes.
    pub bytes_max: u64,
    /// The maximum number of files of an adapter.
    pub n_files_max: usize,
    /// The maximum number of adapters and aliases.
    pub n_names_max: usize,
}

impl Default for Limits {
    /// 4 GiB and 64 files per adapter; 10,000 names.
    fn default() -> Self {
        Self { bytes_max: 4 << 30, n_files_max: 64, n_names_max: 10_000 }
    }
}

/// Adapters on disk, addressed by the digest of their files, and named by ids and aliases.
///
/// Reading takes no lock. Writers, in this process or others, wait for each other.
///
/// The registry is the folder, or the folder is a copy of one in a store of objects ([`Registry::follow`],
/// [`Registry::view`]). Changes then go to the store first, as one conditional write.
#[derive(Debug)]
pub struct Registry {
    layout: Layout,
    limits: Limits,
    current: RwLock<Arc<State>>,
    /// The contents last read from disk. Only the holder of this lock sets `current`, so that it never goes back in
    /// time.
    seen: Mutex<Seen>,
    /// `None` if the folder is the registry.
    shared: Option<shared::Shared>,
}

#[derive(Debug, Default)]
struct Seen {
    document: Option<Vec<u8>>,
    /// The states that may still be in use in this process.
    states: Vec<Weak<State>>,
}

impl Registry {
    /// Opens the registry in a folder, with the default limits. A missing folder is an empty registry.
    ///
    /// # Errors
    /// The registry's file cannot be read or parsed.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, RegistryError> {
        Self::open_with(folder, Limits::default())
    }

    /// Opens the registry in a folder.
    ///
    /// # Errors
    /// The registry's file cannot be read or parsed.
    pub fn open_with(folder: impl Into<PathBuf>, limits: Limits) -> Result<Self, RegistryError> {
        let layout = Layout { folder: folder.into() };
        let registry = Self { layout, limits, current: RwLock::default(), seen: Mutex::default(), shared: None };
        registry.reload_if_changed()?;
        Ok(registry)
    }

    /// The registry's folder.
    pub fn folder(&self) -> &Path {
        &self.layout.folder
    }

    /// The current state, as last read. While it is in use, this `Registry` does not collect the files of its adapters.
    pub fn state(&self) -> Arc<State> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The folder with an adapter's files. In a registry that is only viewed, [`Registry::fetch`] downloads them first.
    pub fn folder_of(&self, entry: &Entry) -> PathBuf {
        self.layout.adapter(entry.content)
    }

    /// Reloads the registry if this or another process has changed it, and returns whether it did.
    ///
    /// The file is small and compared as a whole: time, length and inode can be equal for two states that were written
    /// within one tick of the file system's clock.
    ///
    /// # Errors
    /// The file cannot be read or parsed, or has disappeared; the current state then stays.
    pub fn reload_if_changed(&self) -> Result<bool, RegistryError> {
        let mut seen = self.seen();
        let path = self.layout.document();
        let found = disk::read(&path)?;
        if found == seen.document {
            return Ok(false);
        }
        let state =
            Arc::new(document::read(found.as_deref().ok_or(RegistryError::Gone { path: path.clone() })?, &path)?);
        seen.states.retain(|state| state.strong_count() > 0);
        seen.states.push(Arc::downgrade(&state));
        seen.document = found;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = state;
        Ok(true)
    }

    /// Copies an adapter's files into the registry under an id. Repairs damaged files of the same content.
    ///
    /// # Errors
    /// The id is an alias, a file is a pickle or has an invalid name, a limit is exceeded, or writing fails.
    pub fn add(&self, id: &AdapterId, files: &[NewFile], provenance: Provenance) -> Result<Outcome, RegistryError> {
        self.add_with(id, files, provenance, Existing::Replace)
    }

    /// As [`Registry::add`], with a choice what to do if the id has other files.
    ///
    /// # Errors
    /// As [`Registry::add`], and [`RegistryError::Exists`] if such an adapter is to be kept.
    pub fn add_with(
        &self,
        id: &AdapterId,
        files: &[NewFile],
        provenance: Provenance,
        existing: Existing,
    ) -> Result<Outcome, RegistryError> {
        check_files(id, files, &self.limits)?;
        if let Some(shared) = &self.shared {
            return self.add_shared(shared, id, files, provenance, existing);
        }
        self.change_folder(|state| {
            state.check_id(id)?;
            let staging = self.layout.adapters().join(STAGING);
            let files = disk::stage(id, files, &staging, self.limits.bytes_max)?;
            let content = content_digest(&files);
            self.settle(&staging, content, &files)?;
            state.insert(Entry { id: id.clone(), content, files, provenance }, existing, self.limits.n_names_max)
        })
    }

    /// Points an alias to an adapter, and returns the id of its previous adapter.
    ///
    /// # Errors
    /// The alias's name is an adapter id, or the target does not exist.
    pub fn set_alias(&self, name: &AdapterId, target: &AdapterId) -> Result<Option<AdapterId>, RegistryError> {
        self.set_alias_with(name, AliasTarget::Adapter(target), AliasRankBy::Keep)
    }

    /// Points an alias to an adapter or to a bare base model, and says what orders the answers that are ranked by the alias, in one
    /// change. Returns the name of its previous target. Whether there is such a base model, and whether the expression is one, is for
    /// the caller to know.
    ///
    /// # Errors
    /// As [`Registry::set_alias`], and [`RegistryError::RankByLength`].
    pub fn set_alias_with(
        &self,
        name: &AdapterId,
        target: AliasTarget<'_>,
        rank_by: AliasRankBy,
    ) -> Result<Option<AdapterId>, RegistryError> {
        check_is_no_word(name)?;
        self.change(|state| {
            let before = state.point(name, target, self.limits.n_names_max)?;
            state.order(name, rank_by.clone())?;
            Ok(before)
        })
    }

    /// Removes an alias, and returns the name of its adapter or base model.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`] if the alias does not exist.
    pub fn remove_alias(&self, name: &AdapterId) -> Result<AdapterId, RegistryError> {
        self.change(|state| state.unpoint(name))
    }

    /// Removes an adapter. With `force`, also removes one that is in use, with the aliases that point to it. Its files
    /// are collected by a later write.
    ///
    /// # Errors
    /// [`RegistryError::InUse`] if an alias points to it, or `in_use_by` is not empty, for example because of an
    /// experiment.
    pub fn remove(&self, id: &AdapterId, in_use_by: &[String], force: bool) -> Result<Entry, RegistryError> {
        self.change(|state| state.take(id, in_use_by, force))
    }

    /// Reads all files, and returns those that are missing, damaged or unexpected. Those in a store of objects are read
    /// too.
    ///
    /// # Errors
    /// The registry's file cannot be parsed, a folder cannot be listed, or a store cannot be read.
    pub fn verify(&self) -> Result<Vec<Finding>, RegistryError> {
        match &self.shared {
            Some(shared) => self.verify_shared(shared),
            None => self.verify_folder(),
        }
    }

    fn verify_folder(&self) -> Result<Vec<Finding>, RegistryError> {
        let path = self.layout.document();
        loop {
            let Some(bytes) = disk::read(&path)? else {
                let is_new = self.seen().document.is_none();
                return if is_new {
                    verify::check(&self.layout, &State::default())
                } else {
                    Err(RegistryError::Gone { path })
                };
            };
            let state = document::read(&bytes, &path)?;
            let mut findings = verify::check(&self.layout, &state)?;
            if !document::is_as_written(&bytes, &state) {
                findings.insert(0, Finding { path: path.clone(), what: Fault::Changed, ids: Vec::new() });
            }
            // Changes by a writer meanwhile are not faults.
            if findings.is_empty() || disk::read(&path)?.as_ref() == Some(&bytes) {
                return Ok(findings);
            }
        }
    }

    /// Applies a change, which may have to be made again on another writer's state.
    fn change<R>(&self, make: impl Fn(&mut State) -> Result<R, RegistryError>) -> Result<R, RegistryError> {
        match &self.shared {
            Some(shared) => self.change_shared(shared, false, make, None),
            None => self.change_folder(make),
        }
    }

    /// Applies a change to the state on disk under the lock, and writes the result if it differs.
    fn change_folder<R>(&self, make: impl FnOnce(&mut State) -> Result<R, RegistryError>) -> Result<R, RegistryError> {
        disk::make_folder(&self.layout.adapters())?;
        let _lock = disk::lock(&self.layout.folder, LOCK)?;
        self.reload_if_changed()?;
        let old = self.state();
        self.collect(&old);
        let mut new = State::clone(&old);
        let made = make(&mut new)?;
        if new != *old {
            new.generation += 1;
            disk::replace(&self.layout.folder, DOCUMENT, &document::write(&new))?;
        }
        self.reload_if_changed()?;
        Ok(made)
    }

    /// Renames a staged folder to its content digest. An existing valid folder of that name stays.
    fn settle(&self, staging: &Path, content: Digest, files: &[StoredFile]) -> Result<(), RegistryError> {
        let (target, adapters) = (self.layout.adapter(content), self.layout.adapters());
        if target.exists() {
            if verify::check_folder(&target, files, &[])?.is_empty() {
                disk::remove_folder(staging)?;
                return disk::sync_folder(&adapters);
            }
            let damaged = adapters.join(DAMAGED);
            disk::remove_folder(&damaged)?;
            std::fs::rename(&target, &damaged).map_err(disk::write_error(&target))?;
        }
        std::fs::rename(staging, &target).map_err(disk::write_error(&target))?;
        disk::sync_folder(&adapters)
    }

    /// Removes the folders that neither the state on disk nor a state in use in this process refers to. Failures are
    /// harmless, and retried later.
    fn collect(&self, on_disk: &State) {
        let mut used = on_disk.contents();
        used.extend(self.seen().states.iter().filter_map(Weak::upgrade).flat_map(|state| state.contents()));
        for name in verify::names(&self.layout.adapters()).unwrap_or_default() {
            let is_unused = name.parse().is_ok_and(|content| !used.contains(&content));
            if is_unused || is_leftover(&name) {
                let path = self.layout.adapters().join(&name);
                if let Err(error) = disk::remove_folder(&path) {
                    tracing::warn!(path = %path.display(), %error, "could not remove an unused adapter folder");
                }
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_files(id: &AdapterId, files: &[NewFile], limits: &Limits) -> Result<(), RegistryError> {
    if files.is_empty() {
        return Err(RegistryError::NoFiles { id: id.clone() });
    }
    if files.len() > limits.n_files_max {
        return Err(RegistryError::TooLarge { id: id.clone(), max: limits.n_files_max as u64, unit: "files" });
    }
    for (n, NewFile { name, contents }) in files.iter().enumerate() {
        let (id, name) = (id.clone(), name.clone());
        if !is_plain_name(&name) {
            return Err(RegistryError::FileName { id, name });
        }
        if is_pickle(Path::new(&name)) || matches!(contents, Contents::Path(path) if is_pickle(path)) {
            return Err(RegistryError::Pickle { id, name });
        }
        if files[..n].iter().any(|earlier| earlier.name.eq_ignore_ascii_case(&name)) {
            return Err(RegistryError::Twice { id, name });
        }
    }
    Ok(())
}

fn is_pickle(path: &Path) -> bool {
    let ends = ["bin", "pt", "pth", "pkl", "pickle", "ckpt"];
    path.extension().is_some_and(|end| ends.iter().any(|pickle| end.eq_ignore_ascii_case(pickle)))
}
