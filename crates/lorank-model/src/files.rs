//! The files of a model or adapter: a folder on disk, or bytes compiled into the program.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use lorank_core::{Misfit, syntax_problem};
use serde::de::{DeserializeOwned, Error as _};

use crate::ModelError;

/// The files of a base model or adapter, in Hugging Face's layout.
///
/// Files of a folder must be regular files. A link is followed if it stays in the folder, or leads to the blobs of the
/// same repository in a hub cache.
#[derive(Debug, Clone)]
pub struct Files {
    name: String,
    /// Whether messages use this name: an adapter's or repository's name is more helpful than a folder's path.
    is_named: bool,
    location: Location,
}

#[derive(Debug, Clone)]
enum Location {
    Folder(Folder),
    Embedded(Vec<(&'static str, &'static [u8])>),
}

#[derive(Debug, Clone)]
struct Folder {
    /// The path as given.
    path: PathBuf,
    /// Where links may lead: the folder itself, and a hub cache's blobs.
    roots: Vec<PathBuf>,
    /// A folder that links must not leave, if set.
    confines: Option<PathBuf>,
}

/// The contents of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContents {
    /// A file on disk.
    Path(PathBuf),
    /// Bytes in the program.
    Bytes(&'static [u8]),
}

/// The size limit of a file that is read as a whole, in bytes.
const BYTES_MAX: u64 = 16 << 20;
/// The size limit of `tokenizer.json`, in bytes. Large vocabularies have about 30 MB.
const TOKENIZER_BYTES_MAX: u64 = 256 << 20;
/// The size limit of a shard index, in bytes.
const INDEX_BYTES_MAX: u64 = 64 << 20;
/// The size limit of `lorank.json`, in bytes.
const PROMPT_BYTES_MAX: u64 = 64 << 10;

/// The size limit of a file, in bytes, by its name.
fn bytes_max(file: &str) -> u64 {
    match file {
        "tokenizer.json" => TOKENIZER_BYTES_MAX,
        "lorank.json" => PROMPT_BYTES_MAX,
        _ if file.ends_with(".index.json") => INDEX_BYTES_MAX,
        _ if file.ends_with(".safetensors") => u64::MAX,
        _ => BYTES_MAX,
    }
}

/// Whether a name is a plain, visible file name on every system, without a path.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && !matches!(c, '/' | '\\' | ':');
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && name.chars().all(is_plain)
}

/// Whether a file name is that of a GGUF file (llama.cpp).
pub(crate) fn is_gguf(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".gguf")
}

impl Folder {
    fn new(path: PathBuf, whole: &Path) -> Self {
        let mut roots = vec![whole.to_owned()];
        // `models--owner--name/snapshots/COMMIT`, whose files are links to `models--owner--name/blobs`.
        if let Some(snapshots) = whole.parent().filter(|parent| parent.ends_with("snapshots")) {
            roots.extend(snapshots.parent().map(|repository| repository.join("blobs")));
        }
        Self { path, roots, confines: None }
    }

    /// The path of an existing regular file within the confines; `None` if there is no such file.
    fn find(&self, file: &str) -> Result<Option<PathBuf>, ModelError> {
        let path = self.path.join(file);
        let target = match path.canonicalize() {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => {
                return Ok(None);
            }
            Err(source) => return Err(ModelError::Read { path, source }),
        };
        let is_inside = self.roots.iter().any(|root| target.starts_with(root));
        let is_confined = self.confines.as_ref().is_none_or(|confines| target.starts_with(confines));
        if !(is_inside && is_confined) {
            return Err(ModelError::LeavesFolder { path });
        }
        // Reading a pipe could block, and a device has no end.
        match target.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(Some(path)),
            Ok(_) => Err(ModelError::NotAFile { path }),
            Err(source) => Err(ModelError::Read { path, source }),
        }
    }
}

impl Files {
    /// The files of a folder, named after its last path component.
    ///
    /// # Errors
    /// [`ModelError::NoFolder`] if the folder does not exist.
    pub fn folder(path: impl Into<PathBuf>) -> Result<Self, ModelError> {
        let path = path.into();
        if !path.is_dir() {
            return Err(match (path.is_file(), path.file_name().and_then(|name| name.to_str())) {
                (true, Some(file)) if is_gguf(file) => ModelError::GgufRefused {
                    folder: path.parent().unwrap_or(&path).display().to_string(),
                    file: file.to_owned(),
                },
                _ => ModelError::NoFolder { path },
            });
        }
        let whole = path.canonicalize().unwrap_or_else(|_| path.clone());
        let name = whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { name, is_named: false, location: Location::Folder(Folder::new(path, &whole)) })
    }

    /// Rejects links that lead out of `folder`, which contains this folder.
    #[must_use]
    pub fn confined_to(mut self, folder: &Path) -> Self {
        if let Location::Folder(own) = &mut self.location {
            own.confines = Some(folder.canonicalize().unwrap_or_else(|_| folder.to_owned()));
        }
        self
    }

    /// Files compiled into the program, as names and bytes.
    pub fn embedded(name: impl Into<String>, files: impl IntoIterator<Item = (&'static str, &'static [u8])>) -> Self {
        Self { name: name.into(), is_named: true, location: Location::Embedded(files.into_iter().collect()) }
    }

    /// The folder's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder's path, for a folder on disk.
    pub fn path(&self) -> Option<&Path> {
        match &self.location {
            Location::Folder(folder) => Some(&folder.path),
            Location::Embedded(_) => None,
        }
    }

    /// Renames the files, for example to the hub repository they came from.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self.is_named = true;
        self
    }

    /// The description of a file in messages.
    pub(crate) fn describe(&self, file: &str) -> String {
        match &self.location {
            Location::Folder(folder) if !self.is_named => folder.path.join(file).display().to_string(),
            Location::Folder(_) | Location::Embedded(_) => format!("{}/{file}", self.name),
        }
    }

    /// Whether a file of this name exists. Reading it checks whether it is a regular file.
    pub(crate) fn has(&self, file: &str) -> bool {
        match &self.location {
            Location::Folder(folder) => folder.path.join(file).symlink_metadata().is_ok(),
            Location::Embedded(files) => files.iter().any(|(name, _)| *name == file),
        }
    }

    /// The first file of the folder that is a pickle of weights.
    pub(crate) fn pickle(&self) -> Option<String> {
        self.first(|name| [".bin", ".pt", ".pth", ".ckpt"].iter().any(|end| name.ends_with(end)))
    }

    /// The first GGUF file of the folder.
    pub(crate) fn gguf(&self) -> Option<String> {
        self.first(is_gguf)
    }

    /// The first name of a file in the folder for which `is_wanted` holds.
    fn first(&self, is_wanted: impl Fn(&str) -> bool) -> Option<String> {
        let Location::Folder(folder) = &self.location else { return None };
        let names = folder.path.read_dir().ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| is_wanted(name)).min()
    }

    /// Reads a whole file; `None` if it does not exist.
    pub(crate) fn read(&self, file: &str) -> Result<Option<Cow<'static, [u8]>>, ModelError> {
        match &self.location {
            Location::Embedded(files) => {
                Ok(files.iter().find(|(name, _)| *name == file).map(|(_, bytes)| Cow::Borrowed(*bytes)))
            }
            Location::Folder(folder) => {
                folder.find(file)?.map(|path| read_whole(&path, bytes_max(file)).map(Cow::Owned)).transpose()
            }
        }
    }

    /// Reads a JSON file; `None` if it does not exist.
    pub(crate) fn read_json<T: DeserializeOwned>(&self, file: &'static str) -> Result<Option<T>, ModelError> {
        self.read(file)?.map(|bytes| self.parse_json(file, &bytes)).transpose()
    }

    /// Parses the bytes of a JSON file.
    pub(crate) fn parse_json<T: DeserializeOwned>(&self, file: &'static str, bytes: &[u8]) -> Result<T, ModelError> {
        let failed = |source| ModelError::Config { folder: self.name.clone(), file, source };
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let value = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| failed(in_words(error.inner(), &error.path().to_string())))?;
        json.end().map_err(|error| failed(in_words(&error, ".")))?;
        Ok(value)
    }

    /// Reads a whole required file.
    pub(crate) fn require(&self, file: &'static str, hint: &'static str) -> Result<Cow<'static, [u8]>, ModelError> {
        self.read(file)?.ok_or_else(|| ModelError::MissingFile { folder: self.name.clone(), file, hint })
    }

    /// The contents of a file; `None` if it does not exist.
    pub(crate) fn contents(&self, file: &str) -> Result<Option<FileContents>, ModelError> {
        match &self.location {
            Location::Folder(folder) => Ok(folder.find(file)?.map(FileContents::Path)),
            Location::Embedded(files) => {
                Ok(files.iter().find(|(name, _)| *name == file).map(|(_, bytes)| FileContents::Bytes(bytes)))
            }
        }
    }

    /// Opens a file that may be too large to read as a whole.
    pub(crate) fn open(&self, file: &str) -> Result<Blob, ModelError> {
        match &self.location {
            Location::Folder(folder) => match folder.find(file)? {
                Some(path) => Blob::open(&path),
                None => Err(ModelError::Read { path: folder.path.join(file), source: io::ErrorKind::NotFound.into() }),
            },
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

/// Reads a file of at most `bytes_max` bytes.
fn read_whole(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ModelError> {
    let failed = |source| ModelError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 > bytes_max {
        true => Err(ModelError::FileTooLarge { path: path.to_owned(), bytes_max }),
        false => Ok(bytes),
    }
}

/// A file's bytes, read in ranges on demand.
///
/// Files are read and not memory-mapped: if another process truncates a mapped file, this process ends with a bus
/// error, and a concurrent change would mix two versions. A short read is an error that names the file.
#[derive(Debug)]
pub(crate) struct Blob {
    /// The path, for errors.
    path: PathBuf,
    /// The length in bytes when the file was opened.
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

    /// The length of the file in bytes when it was opened.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Reads a range of bytes.
    ///
    /// # Errors
    /// [`ModelError::Read`] if the range is invalid or exceeds [`Blob::len`], the file was truncated meanwhile, or
    /// reading fails.
    pub(crate) fn read(&mut self, range: Range<u64>) -> Result<Cow<'static, [u8]>, ModelError> {
        let mut read = || {
            // Checked before allocation: the range may come from a damaged header.
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

/// The error in the terms of JSON, without Rust's types; `path` is that of the invalid value.
fn in_words(error: &serde_json::Error, path: &str) -> serde_json::Error {
    let message = error.to_string();
    if error.is_syntax() || error.is_eof() {
        return serde_json::Error::custom(syntax_problem(&message));
    }
    let problem = message.rsplit_once(" at line ").map_or(message.as_str(), |(problem, _)| problem);
    let misfit = Misfit::of(problem);
    match misfit.path(if path == "." { "" } else { path }) {
        Some(name) => serde_json::Error::custom(format!("`{name}` {}", misfit.problem)),
        None => serde_json::Error::custom(misfit.problem),
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

    fn message(files: &Files, file: &str) -> String {
        files.read(file).unwrap_err().to_string()
    }

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("config.json")).unwrap();
        for (name, n_bytes) in [("lorank.json", PROMPT_BYTES_MAX), ("adapter_config.json", BYTES_MAX)] {
            File::create(path(name)).unwrap().set_len(n_bytes + 1).unwrap();
        }
        let files = Files::folder(folder.path()).unwrap();
        assert!(message(&files, "config.json").contains("is not a regular file"));
        assert!(message(&files, "lorank.json").contains("limit of 65536 bytes"));
        assert!(message(&files, "adapter_config.json").contains("limit of 16777216 bytes"));
        File::options().write(true).open(path("lorank.json")).unwrap().set_len(PROMPT_BYTES_MAX).unwrap();
        assert_eq!(files.read("lorank.json").unwrap().map(|bytes| bytes.len() as u64), Some(PROMPT_BYTES_MAX));
        assert_eq!(files.read("absent.json").unwrap(), None);
    }

    #[test]
    #[cfg(unix)]
    fn pipes_and_devices_are_no_files() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("tokenizer.json");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        symlink("/dev/zero", folder.path().join("config.json")).unwrap();
        let files = Files::folder(folder.path()).unwrap();
        assert!(message(&files, "tokenizer.json").contains("is not a regular file"));
        assert!(message(&files, "config.json").contains("leads out of its folder"));
        assert!(files.open("tokenizer.json").is_err() && files.contents("config.json").is_err());
    }

    #[test]
    #[cfg(unix)]
    fn links_stay_in_their_folder_or_lead_to_the_hubs_blobs() {
        use std::os::unix::fs::symlink;
        let cache = tempfile::tempdir().unwrap();
        let (repository, other) = (cache.path().join("models--a--b"), cache.path().join("models--c--d"));
        let snapshot = repository.join("snapshots/1234");
        for folder in [&snapshot, &repository.join("blobs"), &other] {
            std::fs::create_dir_all(folder).unwrap();
        }
        std::fs::write(repository.join("blobs/5678"), "blob").unwrap();
        std::fs::write(repository.join("secret"), "secret").unwrap();
        std::fs::write(other.join("secret"), "secret").unwrap();
        std::fs::write(snapshot.join("own"), "own").unwrap();
        for (link, target) in [
            ("config.json", "../../blobs/5678"),
            ("inner", "own"),
            ("chain", "inner"),
            ("out", "../../secret"),
            ("other", "../../../models--c--d/secret"),
            ("absolute", "/etc/passwd"),
            ("past-blobs", "../../blobs/../secret"),
            ("dangling", "nowhere"),
        ] {
            symlink(target, snapshot.join(link)).unwrap();
        }
        let files = Files::folder(&snapshot).unwrap();
        for (file, text) in [("config.json", "blob"), ("inner", "own"), ("chain", "own"), ("own", "own")] {
            assert_eq!(files.read(file).unwrap().as_deref(), Some(text.as_bytes()), "{file}");
        }
        for file in ["out", "other", "absolute", "past-blobs"] {
            assert!(message(&files, file).contains("leads out of its folder"), "{file}");
        }
        assert!(files.read("dangling").is_err());
        let confined = |folder: &Path| files.clone().confined_to(folder);
        assert!(confined(cache.path()).read("config.json").is_ok());
        assert!(message(&confined(&snapshot), "config.json").contains("leads out of its folder"));
        assert!(confined(&snapshot).read("chain").is_ok());
    }

    #[test]
    fn plain_names_are_no_paths() {
        for name in ["model-00001-of-00002.safetensors", "a b", "ä.json"] {
            assert!(is_plain_name(name), "{name}");
        }
        for name in
            ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\\b", "C:x", "a\0b", "a\nb", ".hidden", &"x".repeat(256)]
        {
            assert!(!is_plain_name(name), "{name:?}");
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
