//! Folders whose files are documents: which files they have, and which are left out.

use std::collections::HashSet;
use std::fs;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lorank_core::DocumentId;

use crate::Error;
use crate::input::Format;
use crate::input::names::{format_of, slashed};

/// A folder whose text files and HTML pages are documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Its absolute path without links. Documents are kept with it, so that it is known which came from here.
    pub(crate) path: Arc<str>,
    /// The ids of the documents that it has now, those among them that cannot be read.
    pub(crate) ids: HashSet<DocumentId>,
}

impl Folder {
    pub(super) fn new(dir: &Path, files: &[FolderFile]) -> Result<Self, Error> {
        let failed = |source| Error::Io { action: "read the folder", path: dir.to_owned(), source };
        let path = slashed(&fs::canonicalize(dir).map_err(failed)?).into();
        Ok(Self { path, ids: files.iter().map(|file| DocumentId::new(file.id.as_str())).collect() })
    }
}

/// How many files of folders are left out, by the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOut {
    /// Neither a text file nor an HTML page, by its name.
    pub other_formats: u64,
    /// Hidden: its name begins with a dot. A hidden folder counts once.
    pub hidden: u64,
    /// A link to a folder, which may lead in a circle.
    pub folder_links: u64,
    /// Neither a file nor a folder, or a link that leads nowhere.
    pub special: u64,
}

impl LeftOut {
    /// All of them together.
    pub fn n_files(&self) -> u64 {
        self.other_formats + self.hidden + self.folder_links + self.special
    }
}

impl AddAssign for LeftOut {
    fn add_assign(&mut self, other: Self) {
        self.other_formats += other.other_formats;
        self.hidden += other.hidden;
        self.folder_links += other.folder_links;
        self.special += other.special;
    }
}

/// What a folder has.
#[derive(Default)]
pub(super) struct FolderFiles {
    /// Those that are documents, in the order of their ids.
    pub files: Vec<FolderFile>,
    pub left_out: LeftOut,
}

/// A file that is a document.
pub(super) struct FolderFile {
    /// Its path below the folder.
    pub id: String,
    pub path: PathBuf,
    pub format: Format,
    pub bytes: u64,
}

/// The files below a folder.
pub(super) fn list(dir: &Path) -> Result<FolderFiles, Error> {
    let mut found = FolderFiles::default();
    found.add(dir, dir)?;
    found.files.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

impl FolderFiles {
    fn add(&mut self, root: &Path, dir: &Path) -> Result<(), Error> {
        let failed = |source| Error::Io { action: "read the folder", path: dir.to_owned(), source };
        for entry in fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                self.left_out.hidden += 1;
            } else if entry.file_type().map_err(failed)?.is_dir() {
                self.add(root, &path)?;
            } else {
                self.add_file(root, path)?;
            }
        }
        Ok(())
    }

    /// Adds what is no folder: a file, a link, or something that cannot be read to an end.
    fn add_file(&mut self, root: &Path, path: PathBuf) -> Result<(), Error> {
        let format = format_of(&path).filter(|format| matches!(format, Format::Text | Format::Html));
        match (fs::metadata(&path), format) {
            (Ok(metadata), _) if metadata.is_dir() => self.left_out.folder_links += 1,
            (Ok(metadata), Some(format)) if metadata.is_file() => {
                let id = slashed(path.strip_prefix(root).unwrap_or(&path));
                self.files.push(FolderFile { id, path, format, bytes: metadata.len() });
            }
            (Ok(metadata), None) if metadata.is_file() => self.left_out.other_formats += 1,
            (Ok(_), _) | (Err(_), None) => self.left_out.special += 1,
            (Err(source), Some(_)) => return Err(Error::Io { action: "read", path, source }),
        }
        Ok(())
    }
}
