//! The engine's highlights as snippets.

use lorank_core::Snippet;
use serde_json::{Map, Value as Json};

/// Around marked terms. Control characters, which texts do not have, instead of tags, which texts may have.
pub(crate) const MARK_START: &str = "\u{2}";
pub(crate) const MARK_END: &str = "\u{3}";

/// The length of a snippet in characters, as the engine counts it, and in bytes where lorank cuts it.
pub(crate) const SNIPPET_CHARS: usize = 200;

/// The first passage of a hit's highlights, in the order of `fields`; `None` without any.
pub(crate) fn of_highlights(highlights: &Map<String, Json>, fields: &[String]) -> Option<Snippet> {
    let passage = |passages: &Json| passages.get(0).and_then(Json::as_str).map(read);
    let own = fields.iter().filter_map(|field| highlights.get(field));
    own.chain(highlights.values()).find_map(passage)
}

/// A passage with marks.
fn read(passage: &str) -> Snippet {
    let (mut text, mut marks) = (String::with_capacity(passage.len()), Vec::new());
    let mut start = None;
    for part in passage.split_inclusive([MARK_START, MARK_END].map(|mark| mark.chars().next().unwrap_or_default())) {
        let (plain, mark) = match part.strip_suffix(MARK_START) {
            Some(plain) => (plain, Some(MARK_START)),
            None => part.strip_suffix(MARK_END).map_or((part, None), |plain| (plain, Some(MARK_END))),
        };
        text.push_str(plain);
        match mark {
            Some(MARK_START) => start = Some(text.len()),
            Some(_) => marks.extend(start.take().map(|start| start..text.len())),
            None => {}
        }
    }
    Snippet::new(text, marks)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn marks_are_read() {
        for (passage, html) in [
            ("a \u{2}light\u{3} <b>", "a <b>light</b> &lt;b&gt;"),
            ("\u{2}é\u{3}\u{2}b\u{3}", "<b>é</b><b>b</b>"),
            ("no marks", "no marks"),
            ("\u{3}wrong\u{2} way", "wrong way"),
            ("", ""),
        ] {
            assert_eq!(read(passage).to_html(), html);
        }
    }

    #[test]
    fn the_first_field_with_a_passage_counts() {
        let highlights = json!({"title": ["t"], "body": ["\u{2}b\u{3}"]});
        let highlights = highlights.as_object().unwrap();
        assert_eq!(of_highlights(highlights, &["text".to_owned(), "body".to_owned()]).unwrap().to_html(), "<b>b</b>");
        assert_eq!(of_highlights(highlights, &[]).unwrap().to_html(), "t");
        assert_eq!(of_highlights(&Map::new(), &[]), None);
    }
}
