//! How a query and a document become the two texts of a pair.

use std::borrow::Cow;

use lorank_core::{Candidate, Digest};
use serde::Deserialize;

use crate::ModelError;
use crate::files::Files;

/// The templates and the length of a pair. Two equal prompts encode a pair alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    query: Template,
    document: Template,
    /// For a document without a title, where that reads differently.
    untitled: Option<Template>,
    max_length: usize,
}

/// The beginning or the end of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt<'a> {
    pub(crate) text: Cow<'a, str>,
    /// Whether it is the whole text.
    pub(crate) is_whole: bool,
}

/// The optional `lorank.json` beside `adapter_config.json` (or beside a base model's `config.json`).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PromptFile {
    query_template: Option<String>,
    document_template: Option<String>,
    max_length: Option<usize>,
}

pub(crate) const PROMPT_FILE: &str = "lorank.json";

/// The longest template, in bytes, and the most placeholders in it: each puts the whole text in once more.
const TEMPLATE_BYTES_MAX: usize = 16 << 10;
const PLACEHOLDERS_MAX: usize = 16;

impl Prompt {
    /// DeAR's prompt (arXiv 2508.16998) for Llama models: 32 query and 196 passage tokens in training, so 228 together.
    /// With an empty title two spaces stand after the colon, as in training; without a title, one.
    pub(crate) fn llama() -> Self {
        Self {
            query: Template::known("query: {query}"),
            document: Template::known("document: {title} {text}"),
            untitled: Some(Template::known("document: {text}")),
            max_length: 228,
        }
    }

    /// The prompt of the BERT cross-encoders: the texts as they are.
    pub(crate) fn bert(max_length: usize) -> Self {
        Self { query: Template::known("{query}"), document: Template::known("{document}"), untitled: None, max_length }
    }

    /// This prompt with what the folder's `lorank.json`, if there is one, says differently.
    pub(crate) fn overridden_by(self, files: &Files) -> Result<Self, ModelError> {
        match files.read(PROMPT_FILE)? {
            Some(bytes) => self.overridden_by_bytes(files, &bytes),
            None => Ok(self),
        }
    }

    /// This prompt with what the bytes of a `lorank.json` say differently.
    pub(crate) fn overridden_by_bytes(mut self, files: &Files, bytes: &[u8]) -> Result<Self, ModelError> {
        let file: PromptFile = files.parse_json(PROMPT_FILE, bytes)?;
        let parse = |what: &str, text: String, allowed: &[TemplatePart]| {
            let unusable = |why| ModelError::Prompt { folder: files.name().into(), what: format!("the {what}"), why };
            Template::parse(&text, allowed).map_err(unusable)
        };
        if let Some(text) = file.query_template {
            self.query = parse("query_template", text, &[TemplatePart::Query])?;
        }
        if let Some(text) = file.document_template {
            self.document =
                parse("document_template", text, &[TemplatePart::Title, TemplatePart::Text, TemplatePart::Document])?;
            self.untitled = None;
        }
        self.max_length = file.max_length.unwrap_or(self.max_length);
        Ok(self)
    }

    /// This prompt with another length, in tokens.
    #[must_use]
    pub(crate) fn with_max_length(mut self, max_length: usize) -> Self {
        self.max_length = max_length;
        self
    }

    /// The most tokens of an encoded pair, special tokens included; the longer text is cut first.
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

    /// The beginning of the second text of a pair: at most so many bytes of it, cut between two characters.
    pub(crate) fn document_start<'a>(&'a self, candidate: &'a Candidate, bytes_max: usize) -> Excerpt<'a> {
        let template = self.untitled.as_ref().filter(|_| candidate.title.is_none()).unwrap_or(&self.document);
        template.start("", candidate.title.as_deref(), &candidate.text, bytes_max)
    }

    /// The end of the second text of a pair, as [`Self::document_start`] is its beginning.
    pub(crate) fn document_end<'a>(&'a self, candidate: &'a Candidate, bytes_max: usize) -> Excerpt<'a> {
        let template = self.untitled.as_ref().filter(|_| candidate.title.is_none()).unwrap_or(&self.document);
        template.end(candidate.title.as_deref(), &candidate.text, bytes_max)
    }

    /// The hash of all that makes this prompt.
    pub fn version(&self) -> Digest {
        // `Debug` of plain data is a faithful rendering of it; the prefix is the version of the encoding itself.
        let whole = format!("pair encoding 1: {self:?}");
        Digest::new(*blake3::hash(whole.as_bytes()).as_bytes())
    }
}

/// A template, taken apart once, so that a placeholder inside a document is never replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Template(Vec<TemplatePart>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum TemplatePart {
    Literal(String),
    Query,
    Title,
    Text,
    /// Title and text joined by a space; the text alone where there is no title or an empty one.
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
        Self::parse(text, &all).expect("built-in templates hold known placeholders")
    }

    /// Takes a template apart. Braces that hold no word (JSON, code) are plain text.
    fn parse(text: &str, allowed: &[TemplatePart]) -> Result<Self, String> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(format!("it has {} bytes; {TEMPLATE_BYTES_MAX} is the limit", text.len()));
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
                part.ok_or_else(|| format!("`{shown}` is not a placeholder here; known are {}", names.join(", ")))?;
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
            return Err(format!("it has {n_placeholders} placeholders; {PLACEHOLDERS_MAX} is the limit"));
        }
        if parts.iter().all(|part| matches!(part, TemplatePart::Literal(_) | TemplatePart::Title)) {
            return Err("it never names the text that it is for".into());
        }
        Ok(Self(parts))
    }

    /// The beginning of the filled template. Nothing is copied where it lies within one of the texts.
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

    /// The end of the filled template of a document. Nothing is copied where it lies within one of the texts.
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

    /// The texts that the filled template is made of, without empty ones.
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

/// At most so many bytes of a text, cut between two characters.
fn start_of(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let end = (0..=bytes_max).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}

/// At most so many bytes of a text's end, cut between two characters.
fn end_of(text: &str, bytes_max: usize) -> &str {
    let start = text.len().saturating_sub(bytes_max);
    let start = (start..=text.len()).find(|&start| text.is_char_boundary(start)).unwrap_or(text.len());
    &text[start..]
}

/// Where the `}` stands of a word in braces that the text begins with. Nothing behind the word is looked at: a search for the next
/// brace at every character would take time quadratic in the template.
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
        Prompt { document: Template::known(template), ..Prompt::bert(512) }
    }

    #[test]
    fn llama_titles() {
        check(&Prompt::llama(), None, "text", "document: text");
        check(&Prompt::llama(), Some(""), "text", "document:  text");
        check(&Prompt::llama(), Some("Title"), "text", "document: Title text");
        assert_eq!(Prompt::llama().query("q"), "query: q");
    }

    #[test]
    fn bert_titles() {
        check(&Prompt::bert(512), None, "text", "text");
        check(&Prompt::bert(512), Some(""), "text", "text");
        check(&Prompt::bert(512), Some("Title"), "text", "Title text");
    }

    #[test]
    fn starts_and_ends_are_those_of_the_document_between_characters() {
        let mut candidate = Candidate::new("1", "né\u{4e2d} text", Score::new(0.0).unwrap());
        for title in [None, Some(""), Some("Títle")] {
            candidate.title = title.map(Into::into);
            for prompt in [Prompt::llama(), Prompt::bert(512), with_document("{text} ({title})")] {
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
        assert!(matches!(Prompt::bert(512).document_start(&candidate, 5).text, Cow::Borrowed(_)), "no copy");
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
            [("{query} {text}", "`{query}`"), ("doc", "never names"), ("{title}", "never names")]
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
        assert!(why("{text}".repeat(20_000)).contains("bytes; 16384 is the limit"));
        assert!(why(format!("{{text}}{}", "x".repeat(16 << 10))).contains("is the limit"));
        assert!(Template::parse(&"{text}{title}".repeat(8), &allowed).is_ok());
    }

    #[test]
    fn versions_tell_prompts_apart() {
        let one = Prompt::llama();
        assert_eq!(one.version(), Prompt::llama().version());
        assert_ne!(one.version(), one.clone().with_max_length(100).version());
        assert_ne!(one.version(), Prompt::bert(512).version());
    }
}
