//! Crash-safe writes: write to a temporary name, fsync, rename, fsync the folder.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use lorank_core::{AdapterId, Digest};

use crate::RegistryError;
use crate::entry::{Contents, NewFile, StoredFile};

/// How long a writer waits for the lock.
const LOCK_WAIT: Duration = Duration::from_secs(60);
const LOCK_POLL: Duration = Duration::from_millis(5);

pub(crate) fn read_error(path: &Path) -> impl FnOnce(io::Error) -> RegistryError {
    move |source| RegistryError::Read { path: path.into(), source }
}

pub(crate) fn write_error(path: &Path) -> impl FnOnce(io::Error) -> RegistryError {
    move |source| RegistryError::Write { path: path.into(), source }
}

/// Reads a whole file; `None` if it does not exist.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, RegistryError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(read_error(path)(error)),
    }
}

/// Creates a folder and its parents durably.
pub(crate) fn make_folder(path: &Path) -> Result<(), RegistryError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_folder(parent)?;
        fs::create_dir(path).or_else(there_already).map_err(write_error(path))?;
        return sync_folder(parent);
    }
    fs::create_dir(path).or_else(there_already).map_err(write_error(path))
}

fn there_already(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}

/// Syncs the names in a folder to disk.
pub(crate) fn sync_folder(path: &Path) -> Result<(), RegistryError> {
    // On other systems a folder cannot be opened as a file, and the file system syncs names itself.
    if cfg!(unix) {
        File::open(path).and_then(|folder| folder.sync_all()).map_err(write_error(path))?;
    }
    Ok(())
}

/// Removes a folder with its contents, if it exists.
pub(crate) fn remove_folder(path: &Path) -> Result<(), RegistryError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(write_error(path)(error)),
        _ => Ok(()),
    }
}

/// Replaces a file's contents atomically: after a crash or power loss it has the old bytes or the new ones.
pub(crate) fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), RegistryError> {
    let (beside, path) = (folder.join(format!("{name}.new")), folder.join(name));
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(write_error(&beside))?;
    fs::rename(&beside, &path).map_err(write_error(&path))?;
    sync_folder(folder)
}

/// Waits for the registry's lock, which is held until the file is closed. The system releases it if the process is
/// killed.
pub(crate) fn lock(folder: &Path, name: &str) -> Result<File, RegistryError> {
    let path = folder.join(name);
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(write_error(&path))?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(write_error(&path)(error)),
            Err(TryLockError::WouldBlock) if started.elapsed() > LOCK_WAIT => {
                return Err(RegistryError::Busy { folder: folder.into(), seconds: LOCK_WAIT.as_secs() });
            }
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_POLL),
        }
    }
}

/// Copies an adapter's files into a new folder, and returns their descriptions ordered by name.
pub(crate) fn stage(
    id: &AdapterId,
    files: &[NewFile],
    folder: &Path,
    bytes_max: u64,
) -> Result<Vec<StoredFile>, RegistryError> {
    remove_folder(folder)?;
    fs::create_dir(folder).map_err(write_error(folder))?;
    let mut stored = Vec::with_capacity(files.len());
    let mut bytes_left = bytes_max;
    for new in files {
        let path = folder.join(&new.name);
        let (digest, bytes) = copy(&new.contents, &path, bytes_left)?;
        let too_large = || RegistryError::TooLarge { id: id.clone(), max: bytes_max, unit: "bytes" };
        bytes_left = bytes_left.checked_sub(bytes).ok_or_else(too_large)?;
        stored.push(StoredFile { name: new.name.clone(), bytes, digest });
    }
    sync_folder(folder)?;
    stored.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(stored)
}

/// Copies at most one byte more than the limit, to detect larger files.
fn copy(contents: &Contents, to: &Path, bytes_max: u64) -> Result<(Digest, u64), RegistryError> {
    let mut out = File::create(to).map_err(write_error(to))?;
    let write = |part: &[u8]| out.write_all(part).map_err(write_error(to));
    let copied = match contents {
        Contents::Path(path) => {
            // Opening a pipe would block.
            if !fs::metadata(path).map_err(read_error(path))?.is_file() {
                return Err(RegistryError::NotAFile { path: path.clone() });
            }
            let from = File::open(path).map_err(read_error(path))?;
            hash(from.take(bytes_max.saturating_add(1)), path, write)?
        }
        Contents::Bytes(bytes) => hash(bytes.take(bytes_max.saturating_add(1)), to, write)?,
    };
    out.sync_all().map_err(write_error(to))?;
    Ok(copied)
}

/// The hash and length of a file.
pub(crate) fn hash_file(path: &Path) -> Result<(Digest, u64), RegistryError> {
    hash(File::open(path).map_err(read_error(path))?, path, |_| Ok(()))
}

fn hash(
    mut from: impl Read,
    path: &Path,
    mut each: impl FnMut(&[u8]) -> Result<(), RegistryError>,
) -> Result<(Digest, u64), RegistryError> {
    let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0);
    let mut part = vec![0; 1 << 17];
    loop {
        match from.read(&mut part) {
            Ok(0) => return Ok((Digest::new(*hasher.finalize().as_bytes()), bytes)),
            Ok(n) => {
                hasher.update(&part[..n]);
                each(&part[..n])?;
                bytes += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(read_error(path)(error)),
        }
    }
}
