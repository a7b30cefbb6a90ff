//! Text files and HTML pages, which are one document each.

use std::io::Read;

use encoding_rs::Encoding;
use lorank_core::Fields;

use crate::input::markup::Markup;
use crate::input::source::{self, Source};
use crate::input::{BadLine, Context, SourcedDocument, charset, html};
use crate::{Document, Error};

/// The document of a file.
pub(super) fn document(
    source: Source,
    is_compressed: bool,
    id: String,
    markup: Markup,
    context: Context,
) -> Result<SourcedDocument, BadLine> {
    match read(source, is_compressed, markup, &context) {
        Ok(text) => {
            let (title, text) = title_and_text(text, markup);
            let title = title.unwrap_or_else(|| file_stem(&id).to_owned());
            let id_field = context.settings.id_field().to_owned();
            let fields: Fields =
                vec![(id_field, id.into()), ("title".to_owned(), title.into()), ("text".to_owned(), text.into())];
            context.sourced(None, Vec::new, Document::from_fields(fields, &context.settings))
        }
        Err((line, cause)) => context.sourced(line, Vec::new, Err(cause)),
    }
}

/// The title, if any, and the searched text.
fn title_and_text(text: String, markup: Markup) -> (Option<String>, String) {
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    match markup {
        Markup::Plain => (None, text),
        Markup::Markdown => (first_heading(&text).map(str::to_owned), text),
        Markup::Html => {
            let page = html::read(&text);
            (page.title, page.text)
        }
    }
}

/// The whole file as text, or the line and the reason if it is not a text.
fn read(
    source: Source,
    is_compressed: bool,
    markup: Markup,
    context: &Context,
) -> Result<String, (Option<u64>, Error)> {
    let bytes_max = context.bytes_max;
    let mut bytes = Vec::new();
    let limit = (bytes_max as u64).saturating_add(1);
    source.take(limit).read_to_end(&mut bytes).map_err(|source| (None, Error::BrokenInput { source }))?;
    if bytes.len() > bytes_max {
        return Err((None, Error::TooLong { bytes_max }));
    }
    // Pages may have any encoding that they declare or mark.
    let is_utf_32 = bytes.starts_with(&[0xff, 0xfe, 0, 0]);
    let is_marked_page = markup == Markup::Html && Encoding::for_bom(&bytes).is_some() && !is_utf_32;
    let problem = if is_marked_page { None } else { source::what_is_wrong(&bytes, is_compressed, &context.file) };
    match (problem, markup) {
        (Some(problem), _) => Err((None, Error::NotText { problem })),
        (None, Markup::Html) => charset::decode(bytes),
        (None, _) => charset::utf_8(bytes),
    }
}

/// The first heading (`# ...`) of a Markdown text, except in code blocks and front matter.
fn first_heading(text: &str) -> Option<&str> {
    let mut lines = text.lines().peekable();
    if lines.peek().is_some_and(|line| line.trim_end() == "---") {
        lines.by_ref().skip(1).find(|line| matches!(line.trim_end(), "---" | "..."));
    }
    let mut fence = None;
    for line in lines {
        let start = line.trim_start();
        match fence {
            Some(mark) if start.starts_with(mark) => fence = None,
            Some(_) => {}
            None => {
                fence = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
                let title = start.trim_start_matches('#');
                let n_marks = start.len() - title.len();
                let title_text = title.trim().trim_end_matches('#').trim_end();
                if (1..=6).contains(&n_marks) && title.starts_with([' ', '\t']) && !title_text.is_empty() {
                    return Some(title_text);
                }
            }
        }
    }
    None
}

/// The last part of a path without its extensions: `a` for `notes/a.md.gz`.
fn file_stem(id: &str) -> &str {
    let name = id.rsplit('/').next().unwrap_or(id);
    let name = [".gz", ".zst"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_the_first_heading() {
        check("# One\n## Two", Some("One"));
        check("text\n\n  ### Three ###\n", Some("Three"));
        check("---\n# comment\ntitle: x\n---\n# Four", Some("Four"));
        check("```sh\n# comment\n```\n# Five", Some("Five"));
        check("#hashtag\n#\n####### seven", None);
        check("---\nopen # front", None);
        check("", None);
    }

    fn check(text: &str, title: Option<&str>) {
        assert_eq!(first_heading(text), title, "{text}");
    }

    #[test]
    fn without_a_heading_the_file_gives_the_title() {
        for (id, stem) in [("a.txt", "a"), ("b/c.d.md", "c.d"), ("b/c.md.zst", "c"), ("-", "-")] {
            assert_eq!(file_stem(id), stem);
        }
    }
}
