//! Which files an input stands for, and how each is read.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::input::delimiter::{CellStyle, Delimiter};
use crate::input::{Format, Input, InputOptions};
use crate::{Error, IndexSettings};

/// A file that is going to be read.
pub(super) struct Plan {
    /// Its name in messages.
    pub name: Arc<str>,
    /// `None` is standard input.
    pub path: Option<PathBuf>,
    /// Its size, where that is known.
    pub bytes: Option<u64>,
    pub shape: Shape,
}

/// What a file holds.
pub(super) enum Shape {
    JsonLines,
    Table(CellStyle),
    /// One document.
    Text {
        id: String,
        markdown: bool,
    },
}

/// The file of a BEIR folder that holds the documents, in the order of preference.
const BEIR_CORPUS: [&str; 3] = ["corpus.jsonl", "corpus.jsonl.gz", "corpus.jsonl.zst"];

/// Adds the files that an input stands for.
pub(super) fn plan(
    input: &Input,
    settings: &IndexSettings,
    options: &InputOptions,
    plans: &mut VecDeque<Plan>,
) -> Result<(), Error> {
    let Input::Path(path) = input else {
        let usual = if options.delimiter.is_some() { Format::Csv } else { Format::JsonLines };
        let format = options.format.unwrap_or(usual);
        check_delimiter(input, format, options)?;
        let shape = shape_of(format, options.delimiter, "-".to_owned(), false);
        plans.push_back(Plan { name: "standard input".into(), path: None, bytes: None, shape });
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
        problem: "its name does not tell its format; say which of jsonl, csv, tsv and text it is, as in `--format csv`"
            .to_owned(),
    })?;
    check_delimiter(input, format, options)?;
    if format == Format::Text {
        check_text_fields(path, settings)?;
    }
    // A pipe has no size that could be known before its end.
    let bytes = metadata.is_file().then_some(metadata.len());
    plans.push_back(plan_file(path, format, options.delimiter, slashed(path), bytes));
    Ok(())
}

/// Refuses a delimiter for an input without cells, where it would have no effect.
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

fn plan_folder(dir: &Path, settings: &IndexSettings, plans: &mut VecDeque<Plan>) -> Result<(), Error> {
    for name in BEIR_CORPUS {
        let path = dir.join(name);
        match fs::metadata(&path) {
            Ok(metadata) => {
                plans.push_back(plan_file(&path, Format::JsonLines, None, String::new(), Some(metadata.len())));
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Io { action: "read", path, source }),
        }
    }
    let mut files = Vec::new();
    list_text_files(dir, &mut files)?;
    if files.is_empty() {
        let problem = "the folder has neither a `corpus.jsonl` nor any `.txt` or `.md` file".to_owned();
        return Err(Error::InvalidInput { input: dir.display().to_string(), problem });
    }
    check_text_fields(dir, settings)?;
    let mut texts: Vec<_> = files
        .into_iter()
        .map(|(path, bytes)| (slashed(path.strip_prefix(dir).unwrap_or(&path)), path, bytes))
        .collect();
    texts.sort();
    plans.extend(texts.into_iter().map(|(id, path, bytes)| plan_file(&path, Format::Text, None, id, Some(bytes))));
    Ok(())
}

/// The text files below a folder, with their sizes. Hidden files and folders are left out, and links to folders, which may
/// lead in a circle.
fn list_text_files(dir: &Path, files: &mut Vec<(PathBuf, u64)>) -> Result<(), Error> {
    let failed = |source| Error::Io { action: "read the folder", path: dir.to_owned(), source };
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let kind = entry.file_type().map_err(failed)?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if kind.is_dir() {
            list_text_files(&path, files)?;
        } else if format_of(&path) == Some(Format::Text) {
            let metadata =
                fs::metadata(&path).map_err(|source| Error::Io { action: "read", path: path.clone(), source })?;
            if metadata.is_file() {
                files.push((path, metadata.len()));
            }
        }
    }
    Ok(())
}

/// A text file gives a `title` and a `text`; an index that searches neither would never find it.
fn check_text_fields(path: &Path, settings: &IndexSettings) -> Result<(), Error> {
    if settings.is_text_field("title") || settings.is_text_field("text") {
        return Ok(());
    }
    let problem = "text files give the fields `title` and `text`, and the index searches neither".to_owned();
    Err(Error::InvalidInput { input: path.display().to_string(), problem })
}

fn plan_file(path: &Path, format: Format, delimiter: Option<Delimiter>, id: String, bytes: Option<u64>) -> Plan {
    let shape = shape_of(format, delimiter, id, extension(path) == "md");
    Plan { name: path.display().to_string().into(), path: Some(path.to_owned()), bytes, shape }
}

fn shape_of(format: Format, delimiter: Option<Delimiter>, id: String, markdown: bool) -> Shape {
    let style = |usual, is_quoted| CellStyle { delimiter: delimiter.map_or(usual, Delimiter::byte), is_quoted };
    match format {
        Format::JsonLines => Shape::JsonLines,
        Format::Csv => Shape::Table(style(b',', true)),
        Format::Tsv => Shape::Table(style(b'\t', false)),
        Format::Text => Shape::Text { id, markdown },
    }
}

fn format_of(path: &Path) -> Option<Format> {
    match extension(path).as_str() {
        "jsonl" | "ndjson" | "json" => Some(Format::JsonLines),
        "csv" => Some(Format::Csv),
        "tsv" | "tab" => Some(Format::Tsv),
        "txt" | "md" => Some(Format::Text),
        _ => None,
    }
}

/// The extension in lower case, that of the compression left aside; `markdown` counts as `md`.
fn extension(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name = [".gz", ".zst"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
    match name.rsplit_once('.') {
        Some((stem, "markdown")) if !stem.is_empty() => "md".to_owned(),
        Some((stem, extension)) if !stem.is_empty() => extension.to_owned(),
        _ => String::new(),
    }
}

/// The path with `/` between its parts.
fn slashed(path: &Path) -> String {
    let path = path.to_string_lossy();
    if std::path::MAIN_SEPARATOR == '/' { path.into_owned() } else { path.replace(std::path::MAIN_SEPARATOR, "/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_formats() {
        check_format("a.jsonl", Some(Format::JsonLines));
        check_format("a.NDJSON.gz", Some(Format::JsonLines));
        check_format("dir.csv/a.json.zst", Some(Format::JsonLines));
        check_format("a.csv.gz", Some(Format::Csv));
        check_format("a.b.tsv", Some(Format::Tsv));
        check_format("README.md", Some(Format::Text));
        check_format("a.markdown.zst", Some(Format::Text));
        for other in ["a", "a.gz", ".csv", "a.pdf", "csv"] {
            check_format(other, None);
        }
    }

    fn check_format(path: &str, format: Option<Format>) {
        assert_eq!(format_of(Path::new(path)), format, "{path}");
    }
}
