//! The files of a model or an adapter: a folder on disk, or bytes compiled into the program.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::ModelError;

/// The files of a base model or of an adapter, as Hugging Face lays them out.
#[derive(Debug, Clone)]
pub struct Files {
    name: String,
    location: Location,
}

#[derive(Debug, Clone)]
enum Location {
    Folder(PathBuf),
    Embedded(Vec<(&'static str, &'static [u8])>),
}

/// Where the bytes of one file are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContents {
    /// In a file on disk.
    Path(PathBuf),
    /// In the program.
    Bytes(&'static [u8]),
}

impl Files {
    /// The files of a folder. Its last path component is its name.
    ///
    /// # Errors
    /// [`ModelError::NoFolder`] where there is no such folder.
    pub fn folder(path: impl Into<PathBuf>) -> Result<Self, ModelError> {
        let path = path.into();
        if !path.is_dir() {
            return Err(ModelError::NoFolder { path });
        }
        let whole = path.canonicalize().unwrap_or_else(|_| path.clone());
        let name = whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { name, location: Location::Folder(path) })
    }

    /// Files compiled into the program, each a name and its bytes.
    pub fn embedded(name: impl Into<String>, files: impl IntoIterator<Item = (&'static str, &'static [u8])>) -> Self {
        Self { name: name.into(), location: Location::Embedded(files.into_iter().collect()) }
    }

    /// The folder's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder, where it is one on disk.
    pub fn path(&self) -> Option<&Path> {
        match &self.location {
            Location::Folder(path) => Some(path),
            Location::Embedded(_) => None,
        }
    }

    /// Gives the files another name, such as that of the hub repository they came from.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How messages name one of the files.
    pub(crate) fn describe(&self, file: &str) -> String {
        match &self.location {
            Location::Folder(path) => path.join(file).display().to_string(),
            Location::Embedded(_) => format!("{}/{file}", self.name),
        }
    }

    /// Whether the file is there.
    pub(crate) fn has(&self, file: &str) -> bool {
        match &self.location {
            Location::Folder(path) => path.join(file).is_file(),
            Location::Embedded(files) => files.iter().any(|(name, _)| *name == file),
        }
    }

    /// The first of the folder's files that are pickles of weights.
    pub(crate) fn pickle(&self) -> Option<String> {
        let Location::Folder(path) = &self.location else { return None };
        let names = path.read_dir().ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let is_pickle = |name: &String| [".bin", ".pt", ".pth", ".ckpt"].iter().any(|end| name.ends_with(end));
        names.filter(is_pickle).min()
    }

    /// Reads a whole file; `None` where it is not there.
    pub(crate) fn read(&self, file: &str) -> Result<Option<Cow<'static, [u8]>>, ModelError> {
        match &self.location {
            Location::Embedded(files) => {
                Ok(files.iter().find(|(name, _)| *name == file).map(|(_, bytes)| Cow::Borrowed(*bytes)))
            }
            Location::Folder(path) => match std::fs::read(path.join(file)) {
                Ok(bytes) => Ok(Some(Cow::Owned(bytes))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(ModelError::Read { path: path.join(file), source }),
            },
        }
    }

    /// Reads a JSON file; `None` where it is not there.
    pub(crate) fn read_json<T: DeserializeOwned>(&self, file: &'static str) -> Result<Option<T>, ModelError> {
        self.read(file)?.map(|bytes| self.parse_json(file, &bytes)).transpose()
    }

    /// Parses the bytes of a JSON file.
    pub(crate) fn parse_json<T: DeserializeOwned>(&self, file: &'static str, bytes: &[u8]) -> Result<T, ModelError> {
        let folder = || self.name.clone();
        serde_json::from_slice(bytes).map_err(|source| ModelError::Config { folder: folder(), file, source })
    }

    /// Reads a whole file that must be there.
    pub(crate) fn require(&self, file: &'static str, hint: &'static str) -> Result<Cow<'static, [u8]>, ModelError> {
        self.read(file)?.ok_or_else(|| ModelError::MissingFile { folder: self.name.clone(), file, hint })
    }

    /// Where a file's bytes are to be had; `None` where it is not there.
    pub(crate) fn contents(&self, file: &str) -> Option<FileContents> {
        match &self.location {
            Location::Folder(path) => Some(path.join(file)).filter(|path| path.is_file()).map(FileContents::Path),
            Location::Embedded(files) => {
                files.iter().find(|(name, _)| *name == file).map(|(_, bytes)| FileContents::Bytes(bytes))
            }
        }
    }

    /// Opens a file that may be too large to read at once.
    pub(crate) fn open(&self, file: &str) -> Result<Blob, ModelError> {
        match &self.location {
            Location::Folder(path) => Blob::open(&path.join(file)),
            Location::Embedded(files) => {
                let found = files.iter().find(|(name, _)| *name == file);
                let path = PathBuf::from(self.describe(file));
                match found {
                    Some((_, bytes)) => Ok(Blob::embedded(path, bytes)),
                    None => Err(ModelError::Read { path, source: io::ErrorKind::NotFound.into() }),
                }
            }
        }
    }
}

/// A file's bytes, of which ranges are read as they are wanted.
///
/// Files are read and not mapped into memory: a mapped file that another process cuts short ends this one with a bus error, and
/// one that changes meanwhile would be read as two different contents. A short read is an error that names the file.
#[derive(Debug)]
pub(crate) struct Blob {
    /// What errors name.
    path: PathBuf,
    /// In bytes, when the file was opened.
    len: u64,
    content: BlobContent,
}

#[derive(Debug)]
enum BlobContent {
    Bytes(&'static [u8]),
    File(File),
}

impl Blob {
    fn open(path: &Path) -> Result<Self, ModelError> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (len, file) = opened.map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), len, content: BlobContent::File(file) })
    }

    fn embedded(path: PathBuf, bytes: &'static [u8]) -> Self {
        Self { path, len: bytes.len() as u64, content: BlobContent::Bytes(bytes) }
    }

    /// The length of the whole file in bytes, when it was opened.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes of a range.
    ///
    /// # Errors
    /// [`ModelError::Read`] where the range is reversed or goes past [`Blob::len`], the file has become shorter since, or it
    /// cannot be read.
    pub(crate) fn read(&mut self, range: Range<u64>) -> Result<Cow<'static, [u8]>, ModelError> {
        let mut read = || {
            // Checked before memory is asked for: the range may come from a header that promises more than there is.
            let len = range.end.checked_sub(range.start).filter(|_| range.end <= self.len);
            let len = len.and_then(|len| usize::try_from(len).ok()).ok_or(io::ErrorKind::UnexpectedEof)?;
            match &mut self.content {
                BlobContent::Bytes(all) => {
                    let start = usize::try_from(range.start).map_err(|_| io::ErrorKind::UnexpectedEof)?;
                    Ok(Cow::Borrowed(&all[start..][..len]))
                }
                BlobContent::File(file) => {
                    let mut bytes = vec![0; len];
                    file.seek(SeekFrom::Start(range.start))?;
                    file.read_exact(&mut bytes)?;
                    Ok(Cow::Owned(bytes))
                }
            }
        };
        let result = read();
        result.map_err(|source| ModelError::Read { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_while_the_file_lasts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, b"0123456789").unwrap();
        for mut blob in [Blob::open(&path).unwrap(), Blob::embedded("weights".into(), b"0123456789")] {
            assert_eq!(blob.len(), 10);
            for (range, expected) in [(0..10, "0123456789"), (3..5, "34"), (9..10, "9"), (10..10, ""), (0..0, "")] {
                assert_eq!(*blob.read(range).unwrap(), *expected.as_bytes());
            }
            for (start, end) in [(0, 11), (10, 12), (11, 11), (5, 3), (0, u64::MAX), (u64::MAX, 0)] {
                let error = blob.read(start..end).unwrap_err();
                assert!(
                    matches!(error, ModelError::Read { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof)
                );
            }
        }
    }

    #[test]
    fn a_file_that_is_cut_short_after_it_was_opened_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, b"0123456789").unwrap();
        let mut blob = Blob::open(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(4).unwrap();
        assert_eq!(*blob.read(0..4).unwrap(), *b"0123");
        let error = blob.read(2..6).unwrap_err();
        assert!(error.to_string().contains("weights"), "{error}");
    }
}
