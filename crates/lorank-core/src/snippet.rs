//! Passages with marked terms.

use std::ops::Range;

use crate::escape_html;

/// A passage of a document with the query's terms marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    text: String,
    marks: Vec<Range<usize>>,
}

impl Snippet {
    /// A passage and the byte ranges of its marked terms. Ranges that are out of order, overlap, or do not lie on
    /// character boundaries are dropped.
    pub fn new(text: impl Into<String>, marks: impl IntoIterator<Item = Range<usize>>) -> Self {
        let text = text.into();
        let mut end = 0;
        let marks = marks.into_iter().filter(|mark| {
            let fits = mark.start >= end && mark.start < mark.end && text.get(mark.clone()).is_some();
            if fits {
                end = mark.end;
            }
            fits
        });
        let marks = marks.collect();
        Self { text, marks }
    }

    /// The start of a text without marks, up to the end of a word if possible; `None` for a text of white space.
    pub fn beginning_of(text: &str, bytes_max: usize) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        if text.len() <= bytes_max {
            return Some(Self::new(text, []));
        }
        let end = (0..=bytes_max).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        let cut = &text[..end];
        Some(Self::new(cut.rsplit_once(char::is_whitespace).map_or(cut, |(whole_words, _)| whole_words.trim_end()), []))
    }

    /// The passage without marks.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The byte ranges of the marked terms: ordered, disjoint, on character boundaries.
    pub fn marks(&self) -> &[Range<usize>] {
        &self.marks
    }

    /// The passage with `open` and `close` around each marked term and all text passed through `escape`, for example
    /// [`escape_html`].
    pub fn render(&self, open: &str, close: &str, escape: impl Fn(&str) -> String) -> String {
        let mut out = String::with_capacity(self.text.len() + self.marks.len() * (open.len() + close.len()));
        let mut at = 0;
        for mark in &self.marks {
            out.push_str(&escape(&self.text[at..mark.start]));
            out.push_str(open);
            out.push_str(&escape(&self.text[mark.clone()]));
            out.push_str(close);
            at = mark.end;
        }
        out.push_str(&escape(&self.text[at..]));
        out
    }

    /// The passage as escaped HTML, with each marked term in `<b>`.
    pub fn to_html(&self) -> String {
        self.render("<b>", "</b>", escape_html)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_rendered_and_text_is_escaped() {
        let snippet = Snippet::new("a <i> boiled egg & salt", [6..12, 13..16]);
        assert_eq!(snippet.to_html(), "a &lt;i&gt; <b>boiled</b> <b>egg</b> &amp; salt");
    }

    #[test]
    #[expect(clippy::reversed_empty_ranges, clippy::single_range_in_vec_init, reason = "bad input is the point")]
    fn impossible_marks_are_left_out() {
        assert_eq!(Snippet::new("né", [1..2]).marks(), [] as [Range<usize>; 0]);
        assert_eq!(Snippet::new("abcdef", [1..4, 2..5, 5..4, 5..9, 4..6]).marks(), [1..4, 4..6]);
    }
}
