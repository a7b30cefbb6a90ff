//! A registry as objects: one with the state, which is written conditionally, and one for each file, which never changes.
//!
//! ```text
//! registry.json                      the same document as in a folder; every change is one conditional write
//! adapters/<content digest>/<files>  written before the first state that names them
//! conditional-write                  shows that the store refuses a write whose condition is not met
//! ```
//!
//! Objects of removed adapters stay, because another writer may be about to name them again.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use lorank_core::{AdapterId, BoxError, Digest};

use crate::entry::{Entry, StoredFile};
use crate::finding::{Fault, Finding};
use crate::layout::{ADAPTERS, DOCUMENT};
use crate::objects::{ObjectPart, ObjectVersion, Objects, ReadObject};
use crate::state::State;
use crate::{RegistryError, disk, document};

/// The maximum length of the state. The default limit of names needs a quarter of it.
const DOCUMENT_BYTES_MAX: u64 = 64 << 20;

/// The object that shows whether the store heeds conditions.
const PROBE: &str = "conditional-write";

/// How often a change is made again after another writer was first.
const ATTEMPTS_MAX: u64 = 12;

/// The pause before the second attempt, which grows with each further one.
const PAUSE: Duration = Duration::from_millis(20);

/// How much of a file is read at once.
const PART_BYTES: u64 = 8 << 20;

/// A registry in a store of objects.
#[derive(Debug)]
pub(crate) struct Remote {
    objects: Arc<dyn Objects>,
    seen: Mutex<Seen>,
}

/// The state last read or written.
#[derive(Debug, Default)]
struct Seen {
    state: Arc<State>,
    /// `None` while there is no state.
    version: Option<ObjectVersion>,
    /// Whether there was a state before this process, of which a copy is left.
    has_copy: bool,
}

impl Remote {
    /// The registry below the store's prefix. With a copy on disk, its disappearance is an error and not a new registry.
    pub(crate) fn new(objects: Arc<dyn Objects>, has_copy: bool) -> Self {
        Self { objects, seen: Mutex::new(Seen { has_copy, ..Seen::default() }) }
    }

    pub(crate) fn location(&self) -> &str {
        self.objects.location()
    }

    /// Reads the state if it has changed.
    pub(crate) fn read(&self) -> Result<Arc<State>, RegistryError> {
        let mut seen = self.seen();
        self.read_into(&mut seen)?;
        Ok(seen.state.clone())
    }

    /// The state last read or written.
    pub(crate) fn last(&self) -> Arc<State> {
        self.seen().state.clone()
    }

    /// Changes the state by one conditional write, and returns the new one. Where another writer is first, the change is
    /// made again on that writer's state. `is_forced` also writes a state that is equal.
    pub(crate) fn change<R>(
        &self,
        is_forced: bool,
        make: impl Fn(&mut State) -> Result<R, RegistryError>,
    ) -> Result<R, RegistryError> {
        let mut seen = self.seen();
        for attempt in 0..ATTEMPTS_MAX {
            pause(attempt);
            self.read_into(&mut seen)?;
            let mut new = State::clone(&seen.state);
            let made = make(&mut new)?;
            if new == *seen.state && !is_forced {
                return Ok(made);
            }
            new.generation += 1;
            if seen.version.is_none() {
                self.check_conditions()?;
            }
            if let Some(version) = self.write(&document::write(&new), seen.version.as_ref())? {
                *seen = Seen { state: Arc::new(new), version: Some(version), has_copy: true };
                return Ok(made);
            }
        }
        Err(RegistryError::Contended { location: self.location().to_owned(), n_attempts: ATTEMPTS_MAX })
    }

    fn read_into(&self, seen: &mut Seen) -> Result<(), RegistryError> {
        let read = self.objects.read(DOCUMENT, seen.version.as_ref(), DOCUMENT_BYTES_MAX);
        match read.map_err(|source| self.error("read the registry", source))? {
            ReadObject::Unchanged => {}
            ReadObject::Missing if seen.version.is_some() || seen.has_copy => {
                return Err(RegistryError::Gone { path: self.path(DOCUMENT) });
            }
            ReadObject::Missing => {}
            ReadObject::Found { bytes, version } => {
                let state = Arc::new(document::read(&bytes, &self.path(DOCUMENT))?);
                *seen = Seen { state, version: Some(version), has_copy: true };
            }
        }
        Ok(())
    }

    /// Checks, before there is a registry, that the store refuses writes whose conditions are not met. One that ignores
    /// conditions would lose changes.
    fn check_conditions(&self) -> Result<(), RegistryError> {
        let other = ObjectVersion { e_tag: Some("\"0x0\"".to_owned()), version: Some("1".to_owned()) };
        let write = |expected| self.objects.write_if(PROBE, b"lorank", expected);
        write(None).map_err(|source| self.error("change the registry", source))?;
        for expected in [None, Some(&other)] {
            // A store may also refuse the form of a version that is not its own.
            if let Ok(Some(_)) = write(expected) {
                return Err(RegistryError::Unconditional { location: self.location().to_owned() });
            }
        }
        Ok(())
    }

    /// Writes the state, and returns its version; `None` if another writer was first.
    fn write(&self, bytes: &[u8], expected: Option<&ObjectVersion>) -> Result<Option<ObjectVersion>, RegistryError> {
        let written = self.objects.write_if(DOCUMENT, bytes, expected);
        if let Ok(Some(version)) = written {
            return Ok(Some(version));
        }
        // The answer to the write may have been lost, and a repetition then meets the object that it has written.
        match self.objects.read(DOCUMENT, None, DOCUMENT_BYTES_MAX) {
            Ok(ReadObject::Found { bytes: found, version }) if found == bytes => Ok(Some(version)),
            _ => written.map_err(|source| self.error("change the registry", source)),
        }
    }

    /// Uploads those files of an adapter that are not there with their digests, and returns their number.
    pub(crate) fn upload(&self, entry: &Entry, folder: &Path) -> Result<usize, RegistryError> {
        let mut n_uploaded = 0;
        for file in &entry.files {
            if self.find_fault(entry.content, file)?.is_none() {
                continue;
            }
            let uploaded = self.objects.upload(&key(entry.content, file), &folder.join(&file.name));
            uploaded.map_err(|source| self.error(format!("upload `{}` to the registry", file.name), source))?;
            n_uploaded += 1;
        }
        Ok(n_uploaded)
    }

    /// Downloads an adapter into a folder that does not exist yet. Files that differ from what was added are errors.
    pub(crate) fn download(&self, entry: &Entry, ids: &[AdapterId], folder: &Path) -> Result<(), RegistryError> {
        std::fs::create_dir(folder).map_err(disk::write_error(folder))?;
        for file in &entry.files {
            let path = folder.join(&file.name);
            let mut out = File::create(&path).map_err(disk::write_error(&path))?;
            let write = |part: &[u8]| out.write_all(part).map_err(disk::write_error(&path));
            if let Some(what) = self.read_file(entry.content, file, write)? {
                let path = self.path(&key(entry.content, file));
                return Err(RegistryError::Broken(Box::new(Finding { path, what, ids: ids.to_vec() })));
            }
            out.sync_all().map_err(disk::write_error(&path))?;
        }
        disk::sync_folder(folder)
    }

    /// Reads all files of the last state, and returns those that are missing or differ.
    pub(crate) fn verify(&self, state: &State) -> Result<Vec<Finding>, RegistryError> {
        let mut findings = Vec::new();
        for content in state.contents() {
            let ids: Vec<AdapterId> =
                state.adapters().filter(|entry| entry.content == content).map(|entry| entry.id.clone()).collect();
            let files = state.adapters().find(|entry| entry.content == content).map(|entry| &entry.files);
            for file in files.into_iter().flatten() {
                if let Some(what) = self.find_fault(content, file)? {
                    findings.push(Finding { path: self.path(&key(content, file)), what, ids: ids.clone() });
                }
            }
        }
        Ok(findings)
    }

    fn find_fault(&self, content: Digest, file: &StoredFile) -> Result<Option<Fault>, RegistryError> {
        self.read_file(content, file, |_| Ok(()))
    }

    /// Reads a file part by part, and returns how it differs from what was added.
    fn read_file(
        &self,
        content: Digest,
        file: &StoredFile,
        mut each: impl FnMut(&[u8]) -> Result<(), RegistryError>,
    ) -> Result<Option<Fault>, RegistryError> {
        let key = key(content, file);
        let (mut hasher, mut n_read) = (blake3::Hasher::new(), 0);
        loop {
            let part = self.objects.read_part(&key, n_read, PART_BYTES.min(file.bytes - n_read));
            let part = part.map_err(|source| self.error(format!("download `{key}` of the registry"), source))?;
            let Some(ObjectPart { bytes, n_bytes_total }) = part else { return Ok(Some(Fault::Missing)) };
            if n_bytes_total != file.bytes || n_read + bytes.len() as u64 > file.bytes {
                return Ok(Some(Fault::Changed));
            }
            hasher.update(&bytes);
            each(&bytes)?;
            n_read += bytes.len() as u64;
            if n_read == file.bytes {
                let is_same = Digest::new(*hasher.finalize().as_bytes()) == file.digest;
                return Ok((!is_same).then_some(Fault::Changed));
            }
            if bytes.is_empty() {
                return Ok(Some(Fault::Unreadable));
            }
        }
    }

    /// An object for messages.
    fn path(&self, key: &str) -> PathBuf {
        PathBuf::from(format!("{}/{key}", self.location()))
    }

    fn error(&self, action: impl Into<String>, source: BoxError) -> RegistryError {
        RegistryError::Store { action: action.into(), location: self.location().to_owned(), source }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(content: Digest, file: &StoredFile) -> String {
    format!("{ADAPTERS}/{content}/{}", file.name)
}

/// Waits before another attempt for a random time, so that writers that met do not meet again.
fn pause(attempt: u64) {
    if attempt > 0 {
        // Each state has its own random key.
        let random = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
        thread::sleep(PAUSE.mul_f64(attempt as f64 * (0.5 + random)));
    }
}
