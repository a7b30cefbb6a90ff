//! Documents from files: JSON Lines and JSON arrays, CSV and TSV tables, BEIR folders, folders of text files and HTML pages, and standard
//! input, optionally compressed with gzip or zstd.
//!
//! Inputs are streamed: at most one line is in memory. An invalid line is an error value with its file, number and cause, and reading
//! continues with the next line; an incomplete input (a truncated archive) ends the reading.
//!
//! ```
//! use lorank_tantivy::IndexSettings;
//! use lorank_tantivy::input::{self, Input, InputOptions};
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("corpus.jsonl");
//! std::fs::write(&path, "{\"id\": 1, \"text\": \"a cat\"}\n{\"id\": 2, \"text\"\n")?;
//! let documents = input::open(&[Input::from(path)], &IndexSettings::default(), &InputOptions::default())?;
//! for document in documents {
//!     match document {
//!         Ok(sourced) => println!("{}: {}", sourced.origin, sourced.document.id()),
//!         Err(bad_line) => println!("{}: {}", bad_line.origin, bad_line.cause),
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod array;
mod charset;
mod delimiter;
mod empty;
mod folder;
mod html;
mod lines;
mod markup;
mod names;
mod plan;
mod rows;
mod source;
mod table;
mod text;

use std::collections::VecDeque;
use std::fmt;
use std::io::{BufReader, Cursor, Read};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::{Document, Error, IndexSettings};

pub use crate::error::BadLine;
pub use crate::origin::Origin;
pub use delimiter::Delimiter;
pub use empty::EmptyFiles;
pub use folder::{Folder, LeftOut};
pub use source::Progress;

use delimiter::CellStyle;
use plan::{Plan, Plans, Shape};
use source::Source;

/// A source of documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Standard input, written `-`.
    Stdin,
    /// A file or a folder. A folder has BEIR's layout (with a `corpus.jsonl`), or `.txt`, `.md` and `.html` files at any depth.
    Path(PathBuf),
}

impl From<PathBuf> for Input {
    fn from(path: PathBuf) -> Self {
        if path.as_os_str() == "-" { Self::Stdin } else { Self::Path(path) }
    }
}

impl From<&str> for Input {
    fn from(path: &str) -> Self {
        PathBuf::from(path).into()
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.pad("standard input"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

/// The format of a file. Compression is detected by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// `jsonl`: one JSON object per line, or one JSON array of objects (`.jsonl`, `.ndjson`, `.json`).
    JsonLines,
    /// `csv`: comma-separated cells, quoted if necessary, with a header (`.csv`).
    Csv,
    /// `tsv`: tab-separated cells without quotes, with a header (`.tsv`, `.tab`).
    Tsv,
    /// `text`: the file is one document with a `title` (its first Markdown heading, or else its name) and a `text`
    /// (`.txt`, `.md`). The id is the file's path, with `/` on every system.
    Text,
    /// `html`: the page is one document with a `title` (its `<title>`, its first heading, or else its name) and its visible `text`
    /// (`.html`, `.htm`). The encoding is that of its byte order mark or declaration, or else UTF-8. The id is the same as for text
    /// files.
    Html,
}

const FORMATS: [(&str, Format); 6] = [
    ("jsonl", Format::JsonLines),
    ("ndjson", Format::JsonLines),
    ("csv", Format::Csv),
    ("tsv", Format::Tsv),
    ("text", Format::Text),
    ("html", Format::Html),
];

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let known = FORMATS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map(|(_, format)| *format).ok_or_else(|| Error::InvalidSettings {
            problem: format!("unknown format `{name}`; it is one of jsonl, csv, tsv, text, html"),
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(FORMATS.iter().find(|(_, format)| format == self).expect("the table has every format").0)
    }
}

/// Options for reading inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputOptions {
    /// The format of files; `None` to detect it by name; standard input is then JSON Lines.
    pub format: Option<Format>,
    /// The separator of the cells of tables; `None` for the format's default: a comma in CSV, a tab in TSV. With a separator, an input of
    /// unknown format is read as CSV, and one of another format is an error.
    pub delimiter: Option<Delimiter>,
    /// The maximum length of a document in bytes of input: of a line, a row, an array element, a text file or an HTML page.
    pub document_bytes_max: usize,
}

impl Default for InputOptions {
    fn default() -> Self {
        Self { format: None, delimiter: None, document_bytes_max: 64 * 1024 * 1024 }
    }
}

/// A document with its origin.
#[derive(Debug, Clone, PartialEq)]
pub struct SourcedDocument {
    /// The origin.
    pub origin: Origin,
    /// The document.
    pub document: Document,
    /// The absolute path of the folder that it was found in, if the files of the folder are documents.
    pub folder: Option<Arc<str>>,
}

type BoxedDocuments = Box<dyn Iterator<Item = Result<SourcedDocument, BadLine>> + Send>;

/// The documents of several files in sequence.
pub struct Documents {
    plans: VecDeque<Plan>,
    current: Option<Current>,
    folders: Vec<Folder>,
    left_out: LeftOut,
    empty_files: EmptyFiles,
    settings: Arc<IndexSettings>,
    options: InputOptions,
    progress: Progress,
}

/// The file that is being read.
struct Current {
    name: Arc<str>,
    documents: BoxedDocuments,
    /// Whether it has had no document and no bad line so far.
    is_empty: bool,
}

/// Opens inputs for reading in sequence. Every input must exist and have a known format; its contents are checked while reading.
///
/// # Errors
/// An input that is missing or cannot be read, or whose format is unknown.
pub fn open(inputs: &[Input], settings: &IndexSettings, options: &InputOptions) -> Result<Documents, Error> {
    let mut plans = Plans::default();
    for input in inputs {
        plan::plan(input, settings, options, &mut plans)?;
    }
    let Plans { files, folders, left_out } = plans;
    let progress = Progress::new(files.iter().map(|plan| plan.bytes).sum());
    let (settings, options) = (Arc::new(settings.clone()), options.clone());
    let empty_files = EmptyFiles::default();
    Ok(Documents { plans: files, current: None, folders, left_out, empty_files, settings, options, progress })
}

/// The format of JSON documents that do not come from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonForm {
    /// One object per line, or an array of objects.
    Lines,
    /// An array of objects, or one object; each may span several lines.
    Array,
}

/// The documents of JSON that does not come from a file, with a name for messages. An error of the reader is an
/// [`Error::BrokenInput`] and the last item.
pub fn json(
    reader: Box<dyn Read + Send>,
    form: JsonForm,
    name: &str,
    settings: &IndexSettings,
    document_bytes_max: usize,
) -> impl Iterator<Item = Result<SourcedDocument, BadLine>> + Send {
    let settings = Arc::new(settings.clone());
    let context = Context { file: name.into(), folder: None, settings, bytes_max: document_bytes_max };
    // Reading starts with the first document.
    let documents = move || {
        let documents = match form {
            JsonForm::Lines => json_documents(reader, false, context),
            JsonForm::Array => json_array_documents(reader, context),
        };
        documents.unwrap_or_else(|bad_file| Box::new(std::iter::once(Err(bad_file))))
    };
    let mut documents = std::iter::once_with(documents).flatten().fuse();
    let mut is_broken = false;
    std::iter::from_fn(move || {
        let item = if is_broken { None } else { documents.next() };
        is_broken = item.as_ref().is_some_and(|item| item.as_ref().is_err_and(|bad| !bad.cause.is_about_a_document()));
        item
    })
}

/// The rows of a table that does not come from a file.
pub(crate) fn table(
    reader: Box<dyn Read + Send>,
    delimiter: u8,
    settings: Arc<IndexSettings>,
    bytes_max: usize,
) -> Result<impl Iterator<Item = Result<SourcedDocument, BadLine>> + Send, BadLine> {
    let style = CellStyle { delimiter, is_quoted: delimiter == b',' };
    table::documents(reader, style, Context { file: "table".into(), folder: None, settings, bytes_max })
}

impl Documents {
    /// A handle for the progress, which can be used while another thread reads the documents.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// The inputs that are folders of documents.
    pub fn folders(&self) -> &[Folder] {
        &self.folders
    }

    /// The numbers of skipped files of these folders.
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// The files without a document: a handle that stays valid while the documents are read elsewhere.
    pub fn empty_files(&self) -> EmptyFiles {
        self.empty_files.clone()
    }

    fn begin(&mut self, plan: Plan) -> Result<(), BadLine> {
        let origin = Origin { file: plan.name.clone(), line: None, item: None };
        let fatal = |cause| BadLine { origin, raw: Vec::new(), cause: Box::new(cause) };
        let (source, is_compressed) = source::open(&plan, &self.progress).map_err(fatal)?;
        let (settings, bytes_max) = (self.settings.clone(), self.options.document_bytes_max);
        let name = plan.name.clone();
        let context = Context { file: plan.name, folder: plan.folder, settings, bytes_max };
        let documents = match plan.shape {
            Shape::JsonLines => json_documents(source, is_compressed, context)?,
            Shape::Table(style) => {
                Box::new(table::documents(source::checked(source, is_compressed, &context)?, style, context)?)
            }
            Shape::Text { id, markup } => {
                Box::new(std::iter::once(text::document(source, is_compressed, id, markup, context)))
            }
        };
        self.current = Some(Current { name, documents, is_empty: true });
        Ok(())
    }
}

impl Documents {
    /// The next item of the file that is being read; at its end, notes whether the file had none.
    fn next_of_current(&mut self) -> Option<Result<SourcedDocument, BadLine>> {
        let current = self.current.as_mut()?;
        let item = current.documents.next();
        if item.is_some() {
            current.is_empty = false;
        } else if let Some(ended) = self.current.take_if(|current| current.is_empty) {
            self.empty_files.add(ended.name);
        }
        item
    }
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Documents").field("progress", &self.progress).finish_non_exhaustive()
    }
}

impl Iterator for Documents {
    type Item = Result<SourcedDocument, BadLine>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let item = match self.next_of_current() {
                Some(item) => item,
                None => match self.plans.pop_front().map(|plan| self.begin(plan))? {
                    Ok(()) => continue,
                    Err(bad_line) => Err(bad_line),
                },
            };
            if item.as_ref().is_err_and(|bad_line| !bad_line.cause.is_about_a_document()) {
                self.plans.clear();
                self.current = None;
            }
            return Some(item);
        }
    }
}

/// The documents of JSON Lines, or of a JSON array if the file starts with one.
fn json_documents(source: Source, is_compressed: bool, context: Context) -> Result<BoxedDocuments, BadLine> {
    let source = source::checked(source, is_compressed, &context)?;
    let (beginning, source) =
        array::beginning(source).map_err(|source| context.bad_file(Error::BrokenInput { source }))?;
    Ok(if beginning.is_array_of_objects() {
        Box::new(array::documents(BufReader::with_capacity(128 * 1024, source), context))
    } else {
        Box::new(lines::documents(source, context))
    })
}

/// The documents of a JSON array, or a single document.
fn json_array_documents(source: Source, context: Context) -> Result<BoxedDocuments, BadLine> {
    let source = source::checked(source, false, &context)?;
    let (beginning, source) =
        array::beginning(source).map_err(|source| context.bad_file(Error::BrokenInput { source }))?;
    let array: Source =
        if beginning.is_array() { source } else { Box::new(Cursor::new("[").chain(source).chain(Cursor::new("]"))) };
    Ok(Box::new(array::documents(BufReader::with_capacity(128 * 1024, array), context)))
}

/// The context of the readers of a file.
#[derive(Clone)]
struct Context {
    file: Arc<str>,
    /// The folder, if the file is a document.
    folder: Option<Arc<str>>,
    settings: Arc<IndexSettings>,
    bytes_max: usize,
}

impl Context {
    /// An error that ends the reading of the file.
    fn bad_file(&self, cause: Error) -> BadLine {
        BadLine { origin: self.origin(None), raw: Vec::new(), cause: Box::new(cause) }
    }

    fn origin(&self, line: Option<u64>) -> Origin {
        Origin { file: self.file.clone(), line, item: None }
    }

    /// The document, or the error of an invalid line.
    fn sourced(
        &self,
        line: Option<u64>,
        raw: impl FnOnce() -> Vec<u8>,
        document: Result<Document, Error>,
    ) -> Result<SourcedDocument, BadLine> {
        let origin = self.origin(line);
        match document {
            Ok(document) => Ok(SourcedDocument { origin, document, folder: self.folder.clone() }),
            Err(cause) => {
                let raw = if cause.is_about_a_document() { raw() } else { Vec::new() };
                Err(BadLine { origin, raw, cause: Box::new(cause) })
            }
        }
    }

    /// The document of an array, or the error of an invalid element.
    fn sourced_item(
        &self,
        item: u64,
        line: u64,
        raw: impl FnOnce() -> Vec<u8>,
        document: Result<Document, Error>,
    ) -> Result<SourcedDocument, BadLine> {
        let mut sourced = self.sourced(Some(line), raw, document);
        match &mut sourced {
            Ok(sourced) => sourced.origin.item = Some(item),
            Err(bad) if bad.cause.is_about_a_document() => bad.origin.item = Some(item),
            // An error of the array is an error of the file.
            Err(_) => {}
        }
        sourced
    }

    /// An error of the whole file.
    fn problem(&self, problem: String) -> Error {
        Error::InvalidInput { input: self.file.to_string(), problem }
    }
}
