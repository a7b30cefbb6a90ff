//! A registry in a store of objects, with a copy on disk.
//!
//! A server **follows** it: the copy has the files of all adapters, and a state on disk that names only adapters whose
//! files are complete, so a server starts and goes on with it while the store cannot be reached. A command **views** it:
//! its state is the store's, and files are downloaded when they are needed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use lorank_core::{AdapterId, with_causes};

use super::progress::{Progress, StoreStatus, named};
use super::{Limits, Registry};
use crate::entry::{Entry, NewFile, Provenance, content_digest};
use crate::finding::Finding;
use crate::incoming::{Incoming, Staged, clean};
use crate::layout::{ADAPTERS, DOCUMENT, LOCK, Layout};
use crate::mirror::{Missing, missing, served};
use crate::objects::Objects;
use crate::remote::Remote;
use crate::state::{Existing, Outcome, State};
use crate::{RegistryError, disk, document};

/// The store of objects that the folder is a copy of.
#[derive(Debug)]
pub(super) struct Shared {
    remote: Remote,
    is_followed: bool,
    progress: Mutex<Progress>,
    /// Held while files are downloaded.
    fetching: Mutex<()>,
}

impl Registry {
    /// Follows a registry in a store of objects, with a copy in a folder. All adapters are downloaded first, and each is
    /// verified; those that are incomplete or damaged are left out, and the names that pointed elsewhere before still do.
    /// A store that cannot be reached is a warning if the folder has a copy.
    ///
    /// [`Registry::refresh`] and [`Registry::fetch_missing`] follow later changes.
    ///
    /// # Errors
    /// The store cannot be read and there is no copy, or the folder cannot be written.
    pub fn follow(
        folder: impl Into<PathBuf>,
        limits: Limits,
        objects: Arc<dyn Objects>,
    ) -> Result<Self, RegistryError> {
        let layout = Layout { folder: folder.into() };
        clean(&layout.incoming())?;
        let copy = readable(&layout)?;
        // Before the first change, there is no state in the store, and the copy is empty.
        let has_state = copy.as_ref().is_some_and(|state| state.generation > 0);
        let registry = Self::shared(layout, limits, Remote::new(objects, has_state), true);
        match registry.refresh() {
            Ok(_) => registry.fetch_missing(),
            Err(error) if copy.is_some() => {
                let (folder, error) = (registry.folder().display(), with_causes(&error));
                tracing::warn!("serving the adapters of the copy in `{folder}`: {error}");
                registry.reload_if_changed()?;
            }
            Err(error) => return Err(error),
        }
        Ok(registry)
    }

    /// Views a registry in a store of objects. Its state is the store's; [`Registry::fetch`] downloads an adapter's files
    /// to a folder, which may be a server's copy.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn view(folder: impl Into<PathBuf>, limits: Limits, objects: Arc<dyn Objects>) -> Result<Self, RegistryError> {
        let layout = Layout { folder: folder.into() };
        let registry = Self::shared(layout, limits, Remote::new(objects, false), false);
        registry.refresh()?;
        Ok(registry)
    }

    fn shared(layout: Layout, limits: Limits, remote: Remote, is_followed: bool) -> Self {
        let shared = Shared { remote, is_followed, progress: Mutex::default(), fetching: Mutex::default() };
        Self { layout, limits, current: RwLock::default(), seen: Mutex::default(), shared: Some(shared) }
    }

    /// Where the registry is, for messages: its folder, or its address in a store of objects.
    pub fn location(&self) -> String {
        self.shared.as_ref().map_or_else(|| self.folder().display().to_string(), |it| it.remote.location().to_owned())
    }

    /// Where the files of an adapter are, for messages.
    pub fn place_of(&self, entry: &Entry) -> String {
        match &self.shared {
            Some(shared) => format!("{}/{ADAPTERS}/{}", shared.remote.location(), entry.content),
            None => self.folder_of(entry).display().to_string(),
        }
    }

    /// What is known of the store; `None` if the registry is a folder.
    pub fn store_status(&self) -> Option<StoreStatus> {
        let shared = self.shared.as_ref()?;
        Some(shared.progress().status(shared.remote.location()))
    }

    /// Applies changes by others, and returns whether there were any. In a store of objects, adapters whose files are not
    /// here yet stay as they were until [`Registry::fetch_missing`] has downloaded them.
    ///
    /// # Errors
    /// The registry cannot be read; the current state then stays.
    pub fn refresh(&self) -> Result<bool, RegistryError> {
        let Some(shared) = &self.shared else { return self.reload_if_changed() };
        let read = shared.remote.read();
        shared.progress().count_poll(&read);
        let state = read?;
        if !shared.is_followed {
            let is_changed = *self.state() != *state;
            self.show(state);
            return Ok(is_changed);
        }
        if shared.progress().has_applied(&state) && self.has_document() {
            // Another process may use the same copy.
            return self.reload_if_changed();
        }
        self.apply(shared, None)
    }

    /// Whether [`Registry::fetch_missing`] has anything to do.
    pub fn needs_files(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.progress().next().is_some())
    }

    /// Downloads the files of adapters that are not here, one adapter after the other, and applies each as soon as it is
    /// complete. Failures are logged, shown in [`Registry::store_status`], and repeated by later calls after a pause.
    pub fn fetch_missing(&self) {
        let Some(shared) = self.shared.as_ref().filter(|shared| shared.is_followed) else { return };
        let _fetching = shared.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            // Taken before the download, so that the lock is not held meanwhile.
            let next = shared.progress().next();
            let Some(Missing { entry, ids, .. }) = next else { return };
            let fetched =
                self.download(shared, &entry, &ids).and_then(|staged| self.apply(shared, Some(staged)).map(drop));
            match fetched {
                Ok(()) => {
                    shared.progress().succeed(entry.content);
                    tracing::info!("downloaded {} from the registry at `{}`", named(&ids), shared.remote.location());
                }
                Err(error) => shared.progress().fail(&entry, &ids, with_causes(&error)),
            }
        }
    }

    /// The folder with an adapter's files, after they have been downloaded where they are not here.
    ///
    /// # Errors
    /// The files cannot be downloaded, or are not those that were added.
    pub fn fetch(&self, entry: &Entry) -> Result<PathBuf, RegistryError> {
        if let Some(shared) = self.shared.as_ref().filter(|_| !self.is_here(entry)) {
            let staged = self.download(shared, entry, std::slice::from_ref(&entry.id))?;
            self.keep(&staged)?;
        }
        Ok(self.folder_of(entry))
    }

    /// Adds an adapter: its files are uploaded first, then the state is changed.
    pub(super) fn add_shared(
        &self,
        shared: &Shared,
        id: &AdapterId,
        files: &[NewFile],
        provenance: Provenance,
        existing: Existing,
    ) -> Result<Outcome, RegistryError> {
        let incoming = Incoming::new(&self.layout.incoming())?;
        let files = disk::stage(id, files, incoming.folder(), self.limits.bytes_max)?;
        let content = content_digest(&files);
        let entry = Entry { id: id.clone(), content, files: files.clone(), provenance };
        let insert = |state: &mut State| state.insert(entry.clone(), existing, self.limits.n_names_max);
        // A refused adapter is not uploaded.
        insert(&mut State::clone(&*shared.remote.read()?))?;
        let n_uploaded = shared.remote.upload(&entry, incoming.folder())?;
        // Files that were repaired are a change that servers must see, although the state names them already.
        self.change_shared(shared, n_uploaded > 0, insert, Some(Staged { incoming, content, files }))
    }

    /// Changes the registry in the store, then the copy.
    pub(super) fn change_shared<R>(
        &self,
        shared: &Shared,
        is_forced: bool,
        make: impl Fn(&mut State) -> Result<R, RegistryError>,
        staged: Option<Staged>,
    ) -> Result<R, RegistryError> {
        let made = shared.remote.change(is_forced, make)?;
        let copied = match (shared.is_followed, staged) {
            (true, staged) => self.apply(shared, staged).map(drop),
            (false, staged) => {
                self.show(shared.remote.last());
                staged.map_or(Ok(()), |staged| self.keep(&staged))
            }
        };
        let location = || shared.remote.location().to_owned();
        copied.map_err(|source| RegistryError::NotCopied { location: location(), source: Box::new(source) })?;
        Ok(made)
    }

    pub(super) fn verify_shared(&self, shared: &Shared) -> Result<Vec<Finding>, RegistryError> {
        let mut findings = if shared.is_followed { self.verify_folder()? } else { Vec::new() };
        findings.extend(shared.remote.verify(&*shared.remote.read()?)?);
        Ok(findings)
    }

    fn download(&self, shared: &Shared, entry: &Entry, ids: &[AdapterId]) -> Result<Staged, RegistryError> {
        let incoming = Incoming::new(&self.layout.incoming())?;
        shared.remote.download(entry, ids, incoming.folder())?;
        Ok(Staged { incoming, content: entry.content, files: entry.files.clone() })
    }

    /// Moves a complete adapter into the copy.
    fn keep(&self, staged: &Staged) -> Result<(), RegistryError> {
        disk::make_folder(&self.layout.adapters())?;
        let _lock = disk::lock(&self.layout.folder, LOCK)?;
        self.settle(staged.incoming.folder(), staged.content, &staged.files)
    }

    /// Makes the copy serve what of the store's state is here, with a complete adapter that has just arrived.
    fn apply(&self, shared: &Shared, staged: Option<Staged>) -> Result<bool, RegistryError> {
        disk::make_folder(&self.layout.adapters())?;
        let _lock = disk::lock(&self.layout.folder, LOCK)?;
        if let Some(staged) = &staged {
            self.settle(staged.incoming.folder(), staged.content, &staged.files)?;
        }
        // Another process with the same copy may have applied a later state; under its lock, the store's is the last one.
        let wanted = shared.remote.read().unwrap_or_else(|_| shared.remote.last());
        let old = readable(&self.layout)?.unwrap_or_default();
        let new = served(&old, &wanted, |entry| self.is_here(entry));
        let bytes = document::write(&new);
        if disk::read(&self.layout.document())?.as_ref() != Some(&bytes) {
            disk::replace(&self.layout.folder, DOCUMENT, &bytes)?;
        }
        let is_changed = self.reload_if_changed()?;
        self.collect(&new);
        shared.progress().apply(wanted.clone(), missing(&wanted, |entry| self.is_here(entry)));
        Ok(is_changed)
    }

    /// Serves a state that is not that of the folder.
    fn show(&self, state: Arc<State>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Whether all files of an adapter are in the folder. They were verified before they came there, so lengths suffice.
    fn is_here(&self, entry: &Entry) -> bool {
        let folder = self.layout.adapter(entry.content);
        let is_file = |name: &str, bytes: u64| {
            std::fs::metadata(folder.join(name)).is_ok_and(|found| found.is_file() && found.len() == bytes)
        };
        entry.files.iter().all(|file| is_file(&file.name, file.bytes))
    }

    fn has_document(&self) -> bool {
        self.layout.document().exists()
    }
}

impl Shared {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of a copy on disk; `None` if it has none that can be read. It is a copy, so it can be made again.
fn readable(layout: &Layout) -> Result<Option<State>, RegistryError> {
    let path = layout.document();
    let Some(bytes) = disk::read(&path)? else { return Ok(None) };
    let read = document::read(&bytes, &path).inspect_err(|error| {
        let (path, error) = (path.display(), with_causes(error));
        tracing::warn!("`{path}` is a copy that cannot be read, and is made again: {error}");
    });
    Ok(read.ok())
}
