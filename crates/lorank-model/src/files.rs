//! The files of a model or an adapter: a folder on disk, or bytes compiled into the program.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use lorank_kernels::MappedFile;
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
        let Some(bytes) = self.read(file)? else { return Ok(None) };
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Some).map_err(|source| ModelError::Config { folder: self.name.clone(), file, source })
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
                let (_, bytes) = found.ok_or_else(|| ModelError::Read {
                    path: self.describe(file).into(),
                    source: io::ErrorKind::NotFound.into(),
                })?;
                Ok(Blob::Bytes(bytes))
            }
        }
    }
}

/// A file's bytes, without a copy of them.
#[derive(Debug)]
pub(crate) enum Blob {
    Bytes(&'static [u8]),
    Mapped(MappedFile),
}

impl Blob {
    fn open(path: &Path) -> Result<Self, ModelError> {
        let mapped = File::open(path).and_then(|file| MappedFile::new(&file));
        mapped.map(Self::Mapped).map_err(|source| ModelError::Read { path: path.to_owned(), source })
    }

    /// The whole file.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Mapped(file) => file,
        }
    }

    /// Says that a range has been read and is not wanted in memory any more.
    pub(crate) fn release(&self, range: Range<usize>) {
        if let Self::Mapped(file) = self {
            file.release(range);
        }
    }
}
