//! The index on disk: a folder with tantivy's files and a settings file.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use lorank_core::{DocumentId, Fields};
use tantivy::directory::{Directory, INDEX_WRITER_LOCK, MmapDirectory};
use tantivy::schema::{IndexRecordOption, Term};
use tantivy::{DocAddress, DocSet, IndexReader, ReloadPolicy, Searcher, TERMINATED, TantivyError};

use crate::analysis::Analyzer;
use crate::schema::{ID, Layout, StoredDocument};
use crate::settings::{FORMAT, FileProblem};
use crate::{Document, Error, IndexSettings, SettingsRequest};

/// The settings file.
const SETTINGS_FILE: &str = "lorank-index.json";
/// The marker file of an index before its first commit.
const UNFINISHED_FILE: &str = "lorank-index.unfinished";
/// The file that tantivy replaces with every commit.
const META_FILE: &str = "meta.json";
/// The block size of stored documents. Fetching 100 candidates decompresses about 100 blocks, which takes twice as long with tantivy's
/// default of 16 KiB; smaller blocks make an index 8 % larger.
const STORED_BLOCK_BYTES: usize = 4096;

/// An index in a folder. Clones share the index.
#[derive(Clone)]
pub struct Index {
    parts: Arc<Parts>,
}

/// Statistics of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexStats {
    /// The number of documents.
    pub n_documents: u64,
    /// The number of segments.
    pub n_segments: usize,
    /// The total size of the files in bytes.
    pub bytes_on_disk: u64,
}

/// The parts of an index, shared by its clones.
pub(crate) struct Parts {
    pub dir: PathBuf,
    pub settings: IndexSettings,
    pub layout: Layout,
    pub analyzer: Analyzer,
    pub engine: tantivy::Index,
    reader: IndexReader,
    /// Whether the index has no commit yet.
    is_unfinished: AtomicBool,
    /// The commit loaded by the reader.
    loaded: Mutex<Option<CommitStamp>>,
}

/// The identity of a commit's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CommitStamp {
    modified: Option<SystemTime>,
    len: u64,
    inode: u64,
}

impl Index {
    /// Creates a new, empty index. A missing folder is created; an existing one must be empty.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], [`Error::NotAnIndex`] if the folder has other files, invalid settings, or a folder that cannot be
    /// written.
    pub fn create(dir: impl AsRef<Path>, settings: &IndexSettings) -> Result<Self, Error> {
        let dir = dir.as_ref();
        settings.check()?;
        expect_no_index(dir)?;
        create_files(dir, settings, Begun::Whole)?;
        Self::open(dir)
    }

    /// Creates a new index that is valid after its first commit. Before it, and if the process is killed before it, opening the index
    /// fails with [`Error::Unfinished`]. An unfinished index of an earlier call is replaced.
    ///
    /// # Errors
    /// Those of [`create`](Self::create), and [`Error::WriterBusy`] while another process makes its first commit.
    pub fn begin(dir: impl AsRef<Path>, settings: &IndexSettings) -> Result<Self, Error> {
        let dir = dir.as_ref();
        settings.check()?;
        expect_no_index(dir)?;
        create_files(dir, settings, Begun::Unfinished)?;
        Self::open_files(dir, Begun::Unfinished)
    }

    /// Opens an index.
    ///
    /// # Errors
    /// [`Error::NoIndex`], [`Error::Unfinished`], [`Error::NotAnIndex`], [`Error::OlderFormat`], [`Error::NewerFormat`],
    /// [`Error::Corrupt`], a folder that cannot be read.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let dir = dir.as_ref();
        match look_into(dir)? {
            Found::Index => Self::open_files(dir, Begun::Whole),
            // The process may have been killed after the commit but before it removed the marker.
            Found::Begun => match Self::open_files(dir, Begun::Whole)? {
                index if index.n_documents()? > 0 => Ok(index),
                _ => Err(Error::Unfinished { dir: dir.to_owned() }),
            },
            Found::Nothing | Found::Unfinished => Err(Error::NoIndex { dir: dir.to_owned() }),
        }
    }

    fn open_files(dir: &Path, begun: Begun) -> Result<Self, Error> {
        let path = dir.join(SETTINGS_FILE);
        let bytes = fs::read(&path).map_err(|source| Error::Io { action: "read", path, source })?;
        let settings = IndexSettings::from_file(&bytes).map_err(|problem| match problem {
            FileProblem::Older(found) => Error::OlderFormat { dir: dir.to_owned(), found, known: FORMAT },
            FileProblem::Newer(found) => Error::NewerFormat { dir: dir.to_owned(), found, known: FORMAT },
            FileProblem::Damaged(problem) => {
                Error::Corrupt { dir: dir.to_owned(), problem: format!("`{SETTINGS_FILE}` is not readable: {problem}") }
            }
        })?;
        Parts::open(dir, settings, begun).map(|parts| Self { parts: Arc::new(parts) })
    }

    /// Opens the index in the folder, whose settings must match the request, or creates one.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create), and [`Error::SettingsDiffer`].
    pub fn open_or_create(dir: impl AsRef<Path>, request: &SettingsRequest) -> Result<Self, Error> {
        let dir = dir.as_ref();
        match Self::open(dir) {
            Err(Error::NoIndex { .. }) => Self::create(dir, &request.clone().into_settings()),
            opened => Self::agreeing(opened?, request),
        }
    }

    /// Opens the index in the folder, whose settings must match the request, or begins one. Also returns whether it was begun.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`begin`](Self::begin), and [`Error::SettingsDiffer`].
    pub fn open_or_begin(dir: impl AsRef<Path>, request: &SettingsRequest) -> Result<(Self, bool), Error> {
        let dir = dir.as_ref();
        match Self::open(dir) {
            Err(Error::NoIndex { .. } | Error::Unfinished { .. }) => {
                Self::begin(dir, &request.clone().into_settings()).map(|index| (index, true))
            }
            opened => Self::agreeing(opened?, request).map(|index| (index, false)),
        }
    }

    /// The index, if its settings match the request.
    fn agreeing(index: Self, request: &SettingsRequest) -> Result<Self, Error> {
        let dir = index.dir();
        match request.first_difference(index.settings()) {
            None => Ok(index),
            Some((setting, found, requested)) => {
                Err(Error::SettingsDiffer { dir: dir.to_owned(), setting, found, requested })
            }
        }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.parts.dir
    }

    /// The settings of the index.
    pub fn settings(&self) -> &IndexSettings {
        &self.parts.settings
    }

    /// The document with this id, as of the last commit.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn get(&self, id: &DocumentId) -> Result<Option<Document>, Error> {
        let searcher = self.searcher()?;
        let found = find(id, &searcher, &self.parts.layout).map_err(|source| self.parts.error("read from", source))?;
        let Some(address) = found else { return Ok(None) };
        let stored = self.parts.read(address, &searcher)?;
        Ok(Some(Document::new(id.clone(), self.parts.fields(&stored)?)))
    }

    /// The ids of the documents from files of this folder, as of the last commit.
    pub(crate) fn ids_from_folder(&self, folder: &str) -> Result<Vec<DocumentId>, Error> {
        let (parts, searcher) = (self.parts(), self.searcher()?);
        let failed = |source| parts.error("read from", source);
        let term = Term::from_field_text(parts.layout.folder, folder);
        let mut ids = Vec::new();
        for segment in searcher.segment_readers() {
            let inverted = segment.inverted_index(parts.layout.folder).map_err(failed)?;
            let postings = inverted.read_postings(&term, IndexRecordOption::Basic);
            let Some(mut postings) = postings.map_err(|source| failed(source.into()))? else { continue };
            let Some(column) = segment.fast_fields().str(ID).map_err(failed)? else { continue };
            let mut doc = postings.doc();
            while doc != TERMINATED {
                if !segment.is_deleted(doc) {
                    let mut id = String::new();
                    for place in column.term_ords(doc) {
                        column.ord_to_str(place, &mut id).map_err(|source| failed(source.into()))?;
                    }
                    ids.push(DocumentId::new(id));
                }
                doc = postings.advance();
            }
        }
        Ok(ids)
    }

    /// Whether a document with this id exists, as of the last commit.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn contains(&self, id: &DocumentId) -> Result<bool, Error> {
        let found = find(id, &self.searcher()?, &self.parts.layout);
        found.map(|address| address.is_some()).map_err(|source| self.parts.error("read from", source))
    }

    /// Removes the index's files from its folder, unless it has documents. Returns whether they were removed. Other files are kept.
    ///
    /// # Errors
    /// [`Error::WriterBusy`] while there is a writer, or files that cannot be removed.
    pub fn remove_if_empty(self) -> Result<bool, Error> {
        let dir = self.parts.dir.as_path();
        let failed = |source| Error::engine("remove", dir, source);
        let directory = MmapDirectory::open(dir).map_err(|error| failed(error.into()))?;
        // Excludes other writers.
        let lock = directory.acquire_lock(&INDEX_WRITER_LOCK).map_err(|error| failed(error.into()))?;
        if self.n_documents()? > 0 {
            return Ok(false);
        }
        let files = self.parts.engine.directory().list_managed_files();
        // Removing the first file invalidates the index even if removing the others fails. The settings file marks it until then.
        let own = [META_FILE, ".managed.json", ".tantivy-meta.lock", SETTINGS_FILE, UNFINISHED_FILE].map(PathBuf::from);
        let (first, last) = own.split_first().expect("the list has five names");
        for name in std::iter::once(first).chain(&files).chain(last) {
            remove_file(&dir.join(name))?;
        }
        drop(lock);
        remove_file(&dir.join(&INDEX_WRITER_LOCK.filepath))?;
        Ok(true)
    }

    /// The number of documents, as of the last commit.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn n_documents(&self) -> Result<u64, Error> {
        Ok(self.searcher()?.num_docs())
    }

    /// The statistics of the index, as of the last commit.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn stats(&self) -> Result<IndexStats, Error> {
        let searcher = self.searcher()?;
        let failed = |source| Error::Io { action: "read the folder", path: self.parts.dir.clone(), source };
        let mut bytes_on_disk = 0;
        for entry in fs::read_dir(&self.parts.dir).map_err(failed)? {
            // A merge may have deleted the file.
            bytes_on_disk += entry.map_err(failed)?.metadata().map_or(0, |metadata| metadata.len());
        }
        Ok(IndexStats { n_documents: searcher.num_docs(), n_segments: searcher.segment_readers().len(), bytes_on_disk })
    }

    /// Loads the last commit. Searches and lookups do so automatically.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn refresh(&self) -> Result<(), Error> {
        self.searcher().map(drop)
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// A searcher of the last commit. Checking the file system for a newer commit takes a few microseconds, needs no thread, and sees the
    /// commits of all processes immediately.
    pub(crate) fn searcher(&self) -> Result<Searcher, Error> {
        let parts = self.parts();
        let stamp = parts.commit_stamp()?;
        let mut loaded = parts.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if *loaded != Some(stamp) {
            parts.reader.reload().map_err(|source| parts.error("read", source))?;
            *loaded = Some(stamp);
        }
        Ok(parts.reader.searcher())
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("dir", &self.parts.dir).field("settings", &self.parts.settings).finish()
    }
}

impl Parts {
    fn open(dir: &Path, settings: IndexSettings, begun: Begun) -> Result<Self, Error> {
        let failed = |source| Error::engine("open", dir, source);
        let directory = MmapDirectory::open(dir).map_err(|error| failed(error.into()))?;
        let engine = tantivy::Index::open(directory).map_err(failed)?;
        let layout = Layout::new(&settings);
        if engine.schema() != layout.schema {
            let problem = format!("`{SETTINGS_FILE}` does not fit the index beside it");
            return Err(Error::Corrupt { dir: dir.to_owned(), problem });
        }
        let (language, analyzer) = (settings.language, Analyzer::new(settings.language));
        engine.tokenizers().register(&language.terms_name(), analyzer.terms());
        engine.tokenizers().register(&language.phrases_name(), analyzer.phrases());
        engine.tokenizers().register(&language.whole_words_name(), analyzer.whole_words());
        let reader = engine.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(failed)?;
        let is_unfinished = AtomicBool::new(begun == Begun::Unfinished);
        let (dir, loaded) = (dir.to_owned(), Mutex::new(None));
        Ok(Self { dir, settings, layout, analyzer, engine, reader, is_unfinished, loaded })
    }

    /// Marks that there is a commit, so that a begun index is valid.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        if self.is_unfinished.load(Ordering::Acquire) {
            remove_file(&self.dir.join(UNFINISHED_FILE))?;
            self.is_unfinished.store(false, Ordering::Release);
        }
        Ok(())
    }

    pub(crate) fn error(&self, action: &'static str, source: TantivyError) -> Error {
        Error::engine(action, &self.dir, source)
    }

    /// Reads a document.
    pub(crate) fn read(&self, address: DocAddress, searcher: &Searcher) -> Result<StoredDocument, Error> {
        let document = searcher.doc(address).map_err(|source| self.error("read from", source))?;
        self.layout.stored(&document).ok_or_else(|| self.damaged("a document without its source".to_owned()))
    }

    /// The fields of a stored document.
    pub(crate) fn fields(&self, stored: &StoredDocument) -> Result<Fields, Error> {
        stored.fields().map_err(|error| {
            self.damaged(format!("the source of the document `{}` is not readable: {error}", stored.id()))
        })
    }

    fn damaged(&self, problem: String) -> Error {
        Error::Corrupt { dir: self.dir.clone(), problem }
    }

    fn commit_stamp(&self) -> Result<CommitStamp, Error> {
        let path = self.dir.join(META_FILE);
        let metadata = fs::metadata(&path).map_err(|source| Error::Io { action: "read", path, source })?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Ok(CommitStamp { modified: metadata.modified().ok(), len: metadata.len(), inode })
    }
}

/// The address of the document with this id that is not deleted.
fn find(id: &DocumentId, searcher: &Searcher, layout: &Layout) -> tantivy::Result<Option<DocAddress>> {
    let term = Term::from_field_text(layout.id, id.as_str());
    for (segment, reader) in (0..).zip(searcher.segment_readers()) {
        let Some(mut postings) = reader.inverted_index(layout.id)?.read_postings(&term, IndexRecordOption::Basic)?
        else {
            continue;
        };
        let mut doc = postings.doc();
        while doc != TERMINATED {
            if !reader.is_deleted(doc) {
                return Ok(Some(DocAddress::new(segment, doc)));
            }
            doc = postings.advance();
        }
    }
    Ok(None)
}

/// Removes a file, which may not exist.
fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::Io { action: "remove", path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

/// The contents of a folder for an index.
enum Found {
    /// The folder is missing or empty.
    Nothing,
    /// The creation of an index was interrupted.
    Unfinished,
    /// An index before its first commit, possibly of a killed process.
    Begun,
    Index,
}

/// Whether an index is valid immediately, or after its first commit.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Begun {
    Whole,
    Unfinished,
}

fn expect_no_index(dir: &Path) -> Result<(), Error> {
    match look_into(dir)? {
        Found::Nothing | Found::Unfinished | Found::Begun => Ok(()),
        Found::Index => Err(Error::AlreadyExists { dir: dir.to_owned() }),
    }
}

fn look_into(dir: &Path) -> Result<Found, Error> {
    let failed = |source| Error::Io { action: "read the folder", path: dir.to_owned(), source };
    let something_else = |found: String| Err(Error::NotAnIndex { dir: dir.to_owned(), found });
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return something_else("it is a file".to_owned()),
        Err(error) => return Err(failed(error)),
    };
    let (mut has_settings, mut has_meta, mut is_begun, mut other) = (false, false, false, None);
    for entry in entries {
        match entry.map_err(failed)?.file_name().to_string_lossy().as_ref() {
            SETTINGS_FILE => has_settings = true,
            META_FILE => has_meta = true,
            UNFINISHED_FILE => is_begun = true,
            // New volumes have the first; locks and desktops leave the others.
            "lost+found" => {}
            name if name.starts_with('.') => {}
            name => other = Some(name.to_owned()),
        }
    }
    match (has_settings, has_meta, other) {
        (true, true, _) if is_begun => Ok(Found::Begun),
        (true, true, _) => Ok(Found::Index),
        (true, false, _) => Ok(Found::Unfinished),
        (false, true, _) => something_else(format!("it has a `{META_FILE}`, but no `{SETTINGS_FILE}`")),
        (false, false, Some(name)) => something_else(format!("it holds other files, such as `{name}`")),
        (false, false, None) => Ok(Found::Nothing),
    }
}

/// Writes the files of an empty index, the settings first, so that every index of lorank has them.
fn create_files(dir: &Path, settings: &IndexSettings, begun: Begun) -> Result<(), Error> {
    let failed = |source| Error::Io { action: "write to the folder", path: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(|source| Error::Io {
        action: "create the folder",
        path: dir.to_owned(),
        source,
    })?;
    let directory = MmapDirectory::open(dir).map_err(|error| Error::engine("create", dir, error.into()))?;
    // Excludes writers to an index that another process may have created in the meantime.
    let _lock =
        directory.acquire_lock(&INDEX_WRITER_LOCK).map_err(|error| Error::engine("create", dir, error.into()))?;
    let (is_marked, has_meta) = (dir.join(UNFINISHED_FILE).exists(), dir.join(META_FILE).exists());
    if has_meta && !is_marked {
        return Err(Error::AlreadyExists { dir: dir.to_owned() });
    }
    if begun == Begun::Unfinished {
        directory.atomic_write(Path::new(UNFINISHED_FILE), b"").map_err(failed)?;
    }
    directory.atomic_write(Path::new(SETTINGS_FILE), &settings.to_file()).map_err(failed)?;
    directory.sync_directory().map_err(failed)?;
    let engine_settings = tantivy::IndexSettings { docstore_blocksize: STORED_BLOCK_BYTES, ..Default::default() };
    tantivy::Index::create(directory, Layout::new(settings).schema, engine_settings)
        .map(drop)
        .map_err(|source| Error::engine("create", dir, source))?;
    if begun == Begun::Whole && is_marked { remove_file(&dir.join(UNFINISHED_FILE)) } else { Ok(()) }
}
