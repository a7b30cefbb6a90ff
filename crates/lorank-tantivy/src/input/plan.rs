//! The files of an input, and the format of each.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::input::delimiter::{CellStyle, Delimiter};
use crate::input::folder::{Folder, FolderFile, FolderFiles, list};
use crate::input::markup::Markup;
use crate::input::names::{extension, format_of, slashed};
use crate::input::{Format, Input, InputOptions, LeftOut};
use crate::{Error, IndexSettings};

/// A file to read.
pub(super) struct Plan {
    /// Its name in messages.
    pub name: Arc<str>,
    /// `None` is standard input.
    pub path: Option<PathBuf>,
    /// The size in bytes, if known.
    pub bytes: Option<u64>,
    pub shape: Shape,
    /// The folder that it was found in, if the files of the folder are documents.
    pub folder: Option<Arc<str>>,
}

/// The files of all inputs.
#[derive(Default)]
pub(super) struct Plans {
    pub files: VecDeque<Plan>,
    /// The folders whose files are documents.
    pub folders: Vec<Folder>,
    /// The skipped files of folders.
    pub left_out: LeftOut,
}

/// The contents of a file.
pub(super) enum Shape {
    JsonLines,
    Table(CellStyle),
    /// One document.
    Text {
        id: String,
        markup: Markup,
    },
}

/// The document file of a BEIR folder, in order of preference.
const BEIR_CORPUS: [&str; 3] = ["corpus.jsonl", "corpus.jsonl.gz", "corpus.jsonl.zst"];

/// Adds the files of an input.
pub(super) fn plan(
    input: &Input,
    settings: &IndexSettings,
    options: &InputOptions,
    plans: &mut Plans,
) -> Result<(), Error> {
    let Input::Path(path) = input else {
        let usual = if options.delimiter.is_some() { Format::Csv } else { Format::JsonLines };
        let format = options.format.unwrap_or(usual);
        check_delimiter(input, format, options)?;
        let shape = shape_of(format, options.delimiter, "-".to_owned(), false);
        plans.files.push_back(Plan { name: "standard input".into(), path: None, bytes: None, shape, folder: None });
        return Ok(());
    };
    let metadata = fs::metadata(path).map_err(|source| Error::Io { action: "read", path: path.clone(), source })?;
    if metadata.is_dir() {
        check_delimiter(input, Format::Text, options)?;
        return plan_folder(path, settings, plans);
    }
    let of_tables = options.delimiter.map(|_| Format::Csv);
    let format = options.format.or_else(|| format_of(path)).or(of_tables).ok_or_else(|| Error::InvalidInput {
        input: input.to_string(),
        problem:
            "its name does not tell its format; say which of jsonl, csv, tsv, text and html it is, as in `--format csv`"
                .to_owned(),
    })?;
    check_delimiter(input, format, options)?;
    if matches!(format, Format::Text | Format::Html) {
        check_text_fields(path, settings)?;
    }
    // The size of a pipe is unknown before its end.
    let bytes = metadata.is_file().then_some(metadata.len());
    plans.files.push_back(plan_file(path, format, options.delimiter, slashed(path), bytes));
    Ok(())
}

/// Rejects a delimiter for an input without cells, where it would have no effect.
fn check_delimiter(input: &Input, format: Format, options: &InputOptions) -> Result<(), Error> {
    if options.delimiter.is_none() || matches!(format, Format::Csv | Format::Tsv) {
        return Ok(());
    }
    let problem = match input {
        Input::Path(path) if path.is_dir() => {
            "a delimiter is for tables, and this is a folder; leave it out".to_owned()
        }
        _ => format!("a delimiter is for tables, and the format is {format}; leave it out, or add `--format csv`"),
    };
    Err(Error::InvalidInput { input: input.to_string(), problem })
}

fn plan_folder(dir: &Path, settings: &IndexSettings, plans: &mut Plans) -> Result<(), Error> {
    for name in BEIR_CORPUS {
        let path = dir.join(name);
        match fs::metadata(&path) {
            Ok(metadata) => {
                let bytes = Some(metadata.len());
                plans.files.push_back(plan_file(&path, Format::JsonLines, None, String::new(), bytes));
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Io { action: "read", path, source }),
        }
    }
    let FolderFiles { files, left_out } = list(dir)?;
    if files.is_empty() {
        let problem = "the folder has neither a `corpus.jsonl` nor any `.txt`, `.md` or `.html` file".to_owned();
        return Err(Error::InvalidInput { input: dir.display().to_string(), problem });
    }
    check_text_fields(dir, settings)?;
    let folder = Folder::new(dir, &files)?;
    plans.left_out += left_out;
    plans.files.extend(files.into_iter().map(|FolderFile { id, path, format, bytes }| {
        let plan = plan_file(&path, format, None, id, Some(bytes));
        Plan { folder: Some(folder.path.clone()), ..plan }
    }));
    plans.folders.push(folder);
    Ok(())
}

/// Text files have a `title` and a `text`; an index that searches neither would not find them.
fn check_text_fields(path: &Path, settings: &IndexSettings) -> Result<(), Error> {
    if settings.is_text_field("title") || settings.is_text_field("text") {
        return Ok(());
    }
    let problem = "text files give the fields `title` and `text`, and the index searches neither".to_owned();
    Err(Error::InvalidInput { input: path.display().to_string(), problem })
}

fn plan_file(path: &Path, format: Format, delimiter: Option<Delimiter>, id: String, bytes: Option<u64>) -> Plan {
    let shape = shape_of(format, delimiter, id, extension(path) == "md");
    Plan { name: path.display().to_string().into(), path: Some(path.to_owned()), bytes, shape, folder: None }
}

fn shape_of(format: Format, delimiter: Option<Delimiter>, id: String, markdown: bool) -> Shape {
    let style = |usual, is_quoted| CellStyle { delimiter: delimiter.map_or(usual, Delimiter::byte), is_quoted };
    match format {
        Format::JsonLines => Shape::JsonLines,
        Format::Csv => Shape::Table(style(b',', true)),
        Format::Tsv => Shape::Table(style(b'\t', false)),
        Format::Text if markdown => Shape::Text { id, markup: Markup::Markdown },
        Format::Text => Shape::Text { id, markup: Markup::Plain },
        Format::Html => Shape::Text { id, markup: Markup::Html },
    }
}
