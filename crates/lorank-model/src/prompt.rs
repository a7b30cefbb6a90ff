//! Templates that turn a query and a document into the two texts of a pair.

use std::borrow::Cow;

use lorank_core::{Candidate, Digest};

use crate::ModelError;
use crate::files::Files;
use crate::lorank_file::LorankFile;

/// The templates and the maximum length of a pair. Equal prompts encode pairs equally.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    query: Template,
    document: Template,
    /// For documents without a title, if that differs.
    untitled: Option<Template>,
    max_length: usize,
}

/// The start or end of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt<'a> {
    pub(crate) text: Cow<'a, str>,
    /// Whether it is the whole text.
    pub(crate) is_whole: bool,
}

/// The maximum length of a template in bytes, and of its placeholders, each of which inserts a whole text.
const TEMPLATE_BYTES_MAX: usize = 16 << 10;
const PLACEHOLDERS_MAX: usize = 16;

impl Prompt {
    /// DeAR's prompt (arXiv 2508.16998) for Llama models: 32 query and 196 passage tokens in training, thus 228
    /// together. As in training, an empty title leaves two spaces after the colon; a missing title, one.
    pub(crate) fn llama() -> Self {
        Self {
            query: Template::known("query: {query}"),
            document: Template::known("document: {title} {text}"),
            untitled: Some(Template::known("document: {text}")),
            max_length: 228,
        }
    }

    /// The prompt of cross-encoders: the texts unchanged.
    pub(crate) fn pair(max_length: usize) -> Self {
        Self { query: Template::known("{query}"), document: Template::known("{document}"), untitled: None, max_length }
    }

    /// This prompt with the overrides of a folder's `lorank.json`.
    pub(crate) fn overridden_by(mut self, file: &LorankFile, files: &Files) -> Result<Self, ModelError> {
        let parse = |what: &str, text: &str, allowed: &[TemplatePart]| {
            let unusable = |why| ModelError::Prompt { folder: files.name().into(), what: format!("the {what}"), why };
            Template::parse(text, allowed).map_err(unusable)
        };
        if let Some(text) = &file.query_template {
            self.query = parse("query_template", text, &[TemplatePart::Query])?;
        }
        if let Some(text) = &file.document_template {
            self.document =
                parse("document_template", text, &[TemplatePart::Title, TemplatePart::Text, TemplatePart::Document])?;
            self.untitled = None;
        }
        self.max_length = file.max_length.unwrap_or(self.max_length);
        Ok(self)
    }

    /// This prompt with another maximum length, in tokens.
    #[must_use]
    pub(crate) fn with_max_length(mut self, max_length: usize) -> Self {
        self.max_length = max_length;
        self
    }

    /// The maximum tokens of a pair, including special tokens; the longer text is truncated first.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// The first text of a pair.
    pub fn query(&self, query: &str) -> String {
        self.query.start(query, None, "", usize::MAX).text.into_owned()
    }

    /// The second text of a pair.
    pub fn document(&self, candidate: &Candidate) -> String {
        self.document_start(candidate, usize::MAX).text.into_owned()
    }

    /// The start of the second text of a pair: at most `bytes_max` bytes, cut between two characters.
    pub(crate) fn document_start<'a>(&'a self, candidate: &'a Candidate, bytes_max: usize) -> Excerpt<'a> {
        let template = self.untitled.as_ref().filter(|_| candidate.title.is_none()).unwrap_or(&self.document);
        template.start("", candidate.title.as_deref(), &candidate.text, bytes_max)
    }

    /// The end of the second text of a pair; see [`Self::document_start`].
    pub(crate) fn document_end<'a>(&'a self, candidate: &'a Candidate, bytes_max: usize) -> Excerpt<'a> {
        let template = self.untitled.as_ref().filter(|_| candidate.title.is_none()).unwrap_or(&self.document);
        template.end(candidate.title.as_deref(), &candidate.text, bytes_max)
    }

    /// The hash of the prompt.
    pub fn version(&self) -> Digest {
        // `Debug` of plain data represents it completely; the prefix is the version of the encoding.
        let whole = format!("pair encoding 1: {self:?}");
        Digest::new(*blake3::hash(whole.as_bytes()).as_bytes())
    }
}

/// A parsed template, so that a placeholder inside a document is never replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Template(Vec<TemplatePart>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum TemplatePart {
    Literal(String),
    Query,
    Title,
    Text,
    /// Title and text joined by a space; the text alone without a title or with an empty one.
    Document,
}

impl TemplatePart {
    fn placeholder(&self) -> &'static str {
        match self {
            Self::Literal(_) => "",
            Self::Query => "{query}",
            Self::Title => "{title}",
            Self::Text => "{text}",
            Self::Document => "{document}",
        }
    }
}

impl Template {
    fn known(text: &str) -> Self {
        let all = [TemplatePart::Query, TemplatePart::Title, TemplatePart::Text, TemplatePart::Document];
        Self::parse(text, &all).expect("built-in templates have known placeholders")
    }

    /// Parses a template. Braces without a word (JSON, code) are plain text.
    fn parse(text: &str, allowed: &[TemplatePart]) -> Result<Self, String> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(format!("it has {} bytes; the limit is {TEMPLATE_BYTES_MAX}", text.len()));
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let Some(end) = placeholder_end(rest) else {
                literal.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            };
            let (placeholder, after) = rest.split_at(end + 1);
            let names: Vec<_> = allowed.iter().map(TemplatePart::placeholder).collect();
            let part = allowed.iter().find(|part| part.placeholder() == placeholder);
            let shown: String = placeholder.chars().take(40).collect();
            let part =
                part.ok_or_else(|| format!("`{shown}` is not a placeholder here; allowed are {}", names.join(", ")))?;
            if !literal.is_empty() {
                parts.push(TemplatePart::Literal(std::mem::take(&mut literal)));
            }
            parts.push(part.clone());
            rest = after;
        }
        if !literal.is_empty() {
            parts.push(TemplatePart::Literal(literal));
        }
        let n_placeholders = parts.iter().filter(|part| !matches!(part, TemplatePart::Literal(_))).count();
        if n_placeholders > PLACEHOLDERS_MAX {
            return Err(format!("it has {n_placeholders} placeholders; the limit is {PLACEHOLDERS_MAX}"));
        }
        if parts.iter().all(|part| matches!(part, TemplatePart::Literal(_) | TemplatePart::Title)) {
            return Err("it has no placeholder for its text".into());
        }
        Ok(Self(parts))
    }

    /// The start of the filled template. Borrowed if it lies within one of the texts.
    fn start<'a>(&'a self, query: &'a str, title: Option<&'a str>, text: &'a str, bytes_max: usize) -> Excerpt<'a> {
        let pieces = self.pieces(query, title, text);
        let n_bytes = n_bytes(&pieces);
        let is_whole = n_bytes <= bytes_max;
        if let Some(first) = pieces.first().filter(|first| pieces.len() == 1 || first.len() >= bytes_max) {
            return Excerpt { text: Cow::Borrowed(start_of(first, bytes_max)), is_whole };
        }
        let mut out = String::with_capacity(n_bytes.min(bytes_max));
        for piece in pieces {
            let room = bytes_max - out.len();
            out.push_str(start_of(piece, room));
            if piece.len() > room {
                break;
            }
        }
        Excerpt { text: Cow::Owned(out), is_whole }
    }

    /// The end of a document's filled template. Borrowed if it lies within one of the texts.
    fn end<'a>(&'a self, title: Option<&'a str>, text: &'a str, bytes_max: usize) -> Excerpt<'a> {
        let pieces = self.pieces("", title, text);
        let is_whole = n_bytes(&pieces) <= bytes_max;
        if let Some(last) = pieces.last().filter(|last| pieces.len() == 1 || last.len() >= bytes_max) {
            return Excerpt { text: Cow::Borrowed(end_of(last, bytes_max)), is_whole };
        }
        let (mut kept, mut room) = (Vec::with_capacity(pieces.len()), bytes_max);
        for piece in pieces.iter().rev() {
            kept.push(end_of(piece, room));
            if piece.len() > room {
                break;
            }
            room -= piece.len();
        }
        kept.reverse();
        Excerpt { text: Cow::Owned(kept.concat()), is_whole }
    }

    /// The non-empty texts of the filled template.
    fn pieces<'a>(&'a self, query: &'a str, title: Option<&'a str>, text: &'a str) -> Vec<&'a str> {
        let title = title.unwrap_or("");
        let mut pieces: Vec<&str> = Vec::with_capacity(self.0.len());
        for part in &self.0 {
            match part {
                TemplatePart::Literal(literal) => pieces.push(literal),
                TemplatePart::Query => pieces.push(query),
                TemplatePart::Title => pieces.push(title),
                TemplatePart::Text => pieces.push(text),
                TemplatePart::Document if title.is_empty() => pieces.push(text),
                TemplatePart::Document => pieces.extend([title, " ", text]),
            }
        }
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }
}

fn n_bytes(pieces: &[&str]) -> usize {
    pieces.iter().map(|piece| piece.len()).fold(0, usize::saturating_add)
}

/// The start of a text: at most `bytes_max` bytes, cut between two characters.
fn start_of(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let end = (0..=bytes_max).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}

/// The end of a text: at most `bytes_max` bytes, cut between two characters.
fn end_of(text: &str, bytes_max: usize) -> &str {
    let start = text.len().saturating_sub(bytes_max);
    let start = (start..=text.len()).find(|&start| text.is_char_boundary(start)).unwrap_or(text.len());
    &text[start..]
}

/// The position of the `}` after a word in braces at the start of the text. Looks only at the word: searching for the
/// next brace at every character would take quadratic time.
fn placeholder_end(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('{')?;
    let n_bytes = inner.find(|c: char| !c.is_ascii_lowercase() && c != '_').filter(|n_bytes| *n_bytes > 0)?;
    inner[n_bytes..].starts_with('}').then_some(n_bytes + 1)
}

#[cfg(test)]
mod tests {
    use lorank_core::Score;

    use super::*;

    fn check(prompt: &Prompt, title: Option<&str>, text: &str, expected: &str) {
        let mut candidate = Candidate::new("1", text, Score::new(0.0).unwrap());
        candidate.title = title.map(Into::into);
        assert_eq!(prompt.document(&candidate), expected);
    }

    fn with_document(template: &str) -> Prompt {
        Prompt { document: Template::known(template), ..Prompt::pair(512) }
    }

    #[test]
    fn llama_titles() {
        check(&Prompt::llama(), None, "text", "document: text");
        check(&Prompt::llama(), Some(""), "text", "document:  text");
        check(&Prompt::llama(), Some("Title"), "text", "document: Title text");
        assert_eq!(Prompt::llama().query("q"), "query: q");
    }

    #[test]
    fn titles_of_a_plain_pair() {
        check(&Prompt::pair(512), None, "text", "text");
        check(&Prompt::pair(512), Some(""), "text", "text");
        check(&Prompt::pair(512), Some("Title"), "text", "Title text");
    }

    #[test]
    fn starts_and_ends_are_those_of_the_document_between_characters() {
        let mut candidate = Candidate::new("1", "né\u{4e2d} text", Score::new(0.0).unwrap());
        for title in [None, Some(""), Some("Títle")] {
            candidate.title = title.map(Into::into);
            for prompt in [Prompt::llama(), Prompt::pair(512), with_document("{text} ({title})")] {
                let whole = prompt.document(&candidate);
                for bytes_max in 0..whole.len() + 2 {
                    let start = prompt.document_start(&candidate, bytes_max);
                    assert!(whole.starts_with(&*start.text) && start.text.len() <= bytes_max, "{start:?}");
                    assert!(whole.len().min(bytes_max) - start.text.len() < 4, "{start:?} of {bytes_max}");
                    assert_eq!(start.is_whole, *start.text == whole);
                    let end = prompt.document_end(&candidate, bytes_max);
                    assert!(whole.ends_with(&*end.text) && end.text.len() <= bytes_max, "{end:?}");
                    assert!(whole.len().min(bytes_max) - end.text.len() < 4, "{end:?} of {bytes_max}");
                    assert_eq!(end.is_whole, *end.text == whole);
                }
            }
        }
        candidate.title = None;
        assert!(matches!(Prompt::pair(512).document_start(&candidate, 5).text, Cow::Borrowed(_)), "no copy");
    }

    #[test]
    fn texts_are_never_templates() {
        check(&with_document("{title}: {text}"), Some("{text}"), "{title} {x}", "{text}: {title} {x}");
        check(&with_document("{\"a\": {} {text}}"), None, "t", "{\"a\": {} t}");
    }

    #[test]
    fn wrong_templates_are_refused() {
        let allowed = [TemplatePart::Title, TemplatePart::Text];
        for (template, part_of_why) in
            [("{query} {text}", "`{query}`"), ("doc", "no placeholder"), ("{title}", "no placeholder")]
        {
            let why = Template::parse(template, &allowed).unwrap_err();
            assert!(why.contains(part_of_why), "{why}");
        }
    }

    #[test]
    fn templates_are_bounded() {
        let allowed = [TemplatePart::Title, TemplatePart::Text];
        let why = |template: String| Template::parse(&template, &allowed).unwrap_err();
        assert!(why("{text}".repeat(17)).contains("17 placeholders"));
        assert!(why("{text}".repeat(20_000)).contains("bytes; the limit is 16384"));
        assert!(why(format!("{{text}}{}", "x".repeat(16 << 10))).contains("the limit is"));
        assert!(Template::parse(&"{text}{title}".repeat(8), &allowed).is_ok());
    }

    #[test]
    fn versions_tell_prompts_apart() {
        let one = Prompt::llama();
        assert_eq!(one.version(), Prompt::llama().version());
        assert_ne!(one.version(), one.clone().with_max_length(100).version());
        assert_ne!(one.version(), Prompt::pair(512).version());
    }
}
