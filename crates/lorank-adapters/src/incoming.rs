//! Folders for files that are on their way into a copy of a shared registry.
//!
//! Each belongs to one transfer, which holds a lock beside it, so that what a killed process left can be told from what
//! another one still writes. A complete folder is renamed into the registry.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use lorank_core::Digest;

use crate::RegistryError;
use crate::disk::{make_folder, remove_folder, write_error};
use crate::verify::names;

/// The number of transfers of this process.
static N_TRANSFERS: AtomicU64 = AtomicU64::new(0);

const LOCK_ENDING: &str = ".lock";

/// A folder for the files of one transfer. What is left in it is removed in the end.
#[derive(Debug)]
pub(crate) struct Incoming {
    folder: PathBuf,
    lock_path: PathBuf,
    /// Holds the lock.
    _lock: File,
}

impl Incoming {
    /// A new folder below `parent`, which does not exist yet.
    pub(crate) fn new(parent: &Path) -> Result<Self, RegistryError> {
        make_folder(parent)?;
        loop {
            let n = N_TRANSFERS.fetch_add(1, Ordering::Relaxed);
            let folder = parent.join(format!("{}-{n}", std::process::id()));
            let lock_path = lock_path(&folder);
            match File::create_new(&lock_path) {
                Ok(lock) => {
                    lock.lock().map_err(write_error(&lock_path))?;
                    // `clean` may have had it first, and taken it for a leftover.
                    if !lock_path.exists() {
                        continue;
                    }
                    return Ok(Self { folder, lock_path, _lock: lock });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(write_error(&lock_path)(error)),
            }
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Failures are harmless: the next process that follows the registry removes what is left.
        let _ = remove_folder(&self.folder);
        let _ = fs::remove_file(&self.lock_path);
    }
}

fn lock_path(folder: &Path) -> PathBuf {
    let mut path = folder.as_os_str().to_owned();
    path.push(LOCK_ENDING);
    path.into()
}

/// Removes what killed processes left below `parent`.
pub(crate) fn clean(parent: &Path) -> Result<(), RegistryError> {
    for name in names(parent)? {
        let Some(transfer) = name.strip_suffix(LOCK_ENDING) else { continue };
        let lock_path = parent.join(&name);
        let is_left = File::options().write(true).open(&lock_path).is_ok_and(|lock| lock.try_lock().is_ok());
        if is_left {
            remove_folder(&parent.join(transfer))?;
            fs::remove_file(&lock_path).map_err(write_error(&lock_path))?;
        }
    }
    Ok(())
}

/// A complete adapter in a folder of its own.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) incoming: Incoming,
    pub(crate) content: Digest,
    pub(crate) files: Vec<crate::StoredFile>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_do_not_meet_and_leave_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let (one, other) = (Incoming::new(parent.path()).unwrap(), Incoming::new(parent.path()).unwrap());
        assert_ne!(one.folder(), other.folder());
        fs::create_dir(other.folder()).unwrap();
        // What a killed process left has no lock; the name of a folder alone says nothing.
        fs::create_dir(parent.path().join("1-7")).unwrap();
        File::create(parent.path().join("1-7.lock")).unwrap();
        clean(parent.path()).unwrap();
        assert!(other.folder().exists() && !parent.path().join("1-7").exists());
        drop((one, other));
        assert_eq!(names(parent.path()).unwrap().len(), 0);
    }
}
