//! What the name of a file tells.

use std::path::Path;

use crate::input::Format;

/// The format that a file's name tells.
pub(super) fn format_of(path: &Path) -> Option<Format> {
    match extension(path).as_str() {
        "jsonl" | "ndjson" | "json" => Some(Format::JsonLines),
        "csv" => Some(Format::Csv),
        "tsv" | "tab" => Some(Format::Tsv),
        "txt" | "md" => Some(Format::Text),
        "html" | "htm" => Some(Format::Html),
        _ => None,
    }
}

/// The extension in lower case, that of the compression left aside; `markdown` counts as `md`.
pub(super) fn extension(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name = [".gz", ".zst"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
    match name.rsplit_once('.') {
        Some((stem, "markdown")) if !stem.is_empty() => "md".to_owned(),
        Some((stem, extension)) if !stem.is_empty() => extension.to_owned(),
        _ => String::new(),
    }
}

/// The path with `/` between its parts.
pub(super) fn slashed(path: &Path) -> String {
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
        check_format("index.html", Some(Format::Html));
        check_format("INDEX.HTM.gz", Some(Format::Html));
        for other in ["a", "a.gz", ".csv", "a.pdf", "csv"] {
            check_format(other, None);
        }
    }

    fn check_format(path: &str, format: Option<Format>) {
        assert_eq!(format_of(Path::new(path)), format, "{path}");
    }
}
