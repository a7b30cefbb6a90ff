//! Templates: texts with placeholders.

use std::borrow::Cow;

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

/// A parsed template, so that a placeholder inside a document is never replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<TemplatePart>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TemplatePart {
    Literal(String),
    Query,
    Title,
    Text,
    /// Title and text joined by a space; the text alone without a title or with an empty one.
    Document,
    Instruction,
}

/// The special tokens of a tokenizer, by the names that templates use: `bos` for `{bos}`.
pub(crate) type TokenNames = [(&'static str, String)];

/// The texts that replace placeholders.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Texts<'a> {
    pub(crate) query: &'a str,
    pub(crate) title: Option<&'a str>,
    pub(crate) text: &'a str,
    pub(crate) instruction: &'a str,
}

impl TemplatePart {
    fn placeholder(&self) -> &'static str {
        match self {
            Self::Literal(_) => "",
            Self::Query => "{query}",
            Self::Title => "{title}",
            Self::Text => "{text}",
            Self::Document => "{document}",
            Self::Instruction => "{instruction}",
        }
    }

    /// Whether it is a part of the document.
    fn is_of_document(&self) -> bool {
        matches!(self, Self::Title | Self::Text | Self::Document)
    }
}

impl Template {
    pub(crate) fn known(text: &str) -> Self {
        let all = [TemplatePart::Query, TemplatePart::Title, TemplatePart::Text, TemplatePart::Document];
        Self::parse(text, &all, &[]).expect("built-in templates have known placeholders")
    }

    /// Parses a template. Braces without a word (JSON, code) are plain text; the name of a special token in braces is the
    /// token's text.
    pub(crate) fn parse(text: &str, allowed: &[TemplatePart], tokens: &TokenNames) -> Result<Self, String> {
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
            if let Some((_, token)) = tokens.iter().find(|(name, _)| placeholder[1..end] == **name) {
                literal.push_str(token);
                rest = after;
                continue;
            }
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
        Ok(Self(parts))
    }

    /// The template of a text with marks in place of placeholders.
    pub(crate) fn of_marked(text: &str, marks: &[(&str, TemplatePart)]) -> Self {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((at, mark, part)) =
            marks.iter().filter_map(|(mark, part)| Some((rest.find(mark)?, mark, part))).min_by_key(|(at, ..)| *at)
        {
            parts.extend((at > 0).then(|| TemplatePart::Literal(rest[..at].to_owned())));
            parts.push(part.clone());
            rest = &rest[at + mark.len()..];
        }
        parts.extend((!rest.is_empty()).then(|| TemplatePart::Literal(rest.to_owned())));
        Self(parts)
    }

    /// This template with a text before it.
    pub(crate) fn after_text(mut self, text: &str) -> Self {
        self.0.insert(0, TemplatePart::Literal(text.to_owned()));
        self
    }

    /// Whether it has no placeholders.
    pub(crate) fn is_literal(&self) -> bool {
        self.0.iter().all(|part| matches!(part, TemplatePart::Literal(_)))
    }

    /// Divides it at these tokens in its own text, so that each stands alone.
    pub(crate) fn divided_at(&self, tokens: &[String]) -> Vec<Self> {
        let mut divided = vec![Self(Vec::new())];
        for part in &self.0 {
            let TemplatePart::Literal(literal) = part else {
                divided.last_mut().expect("there is a part").0.push(part.clone());
                continue;
            };
            let mut rest = literal.as_str();
            // The first token, and of those that begin there the longest.
            let first = |text: &str| {
                let found = tokens.iter().filter_map(|token| Some((text.find(token.as_str())?, token.len())));
                found.min_by_key(|(at, len)| (*at, usize::MAX - len))
            };
            while let Some((at, len)) = first(rest) {
                let text = (at > 0).then(|| TemplatePart::Literal(rest[..at].to_owned()));
                divided.last_mut().expect("there is a part").0.extend(text);
                divided.push(Self(vec![TemplatePart::Literal(rest[at..at + len].to_owned())]));
                divided.push(Self(Vec::new()));
                rest = &rest[at + len..];
            }
            let text = (!rest.is_empty()).then(|| TemplatePart::Literal(rest.to_owned()));
            divided.last_mut().expect("there is a part").0.extend(text);
        }
        divided
    }

    /// This template, if it has a placeholder for a text besides a title.
    pub(crate) fn with_text(self) -> Result<Self, String> {
        match self.0.iter().all(|part| matches!(part, TemplatePart::Literal(_) | TemplatePart::Title)) {
            true => Err("it has no placeholder for its text".into()),
            false => Ok(self),
        }
    }

    /// Whether it has a placeholder that `is_wanted` accepts.
    pub(crate) fn has(&self, is_wanted: impl Fn(&TemplatePart) -> bool) -> bool {
        self.0.iter().any(is_wanted)
    }

    /// Divides it into what precedes the document's placeholders, these with what is between them, and what follows.
    /// `None` if it has none.
    pub(crate) fn around_document(&self) -> Option<[Self; 3]> {
        let first = self.0.iter().position(TemplatePart::is_of_document)?;
        let end = self.0.iter().rposition(TemplatePart::is_of_document)? + 1;
        let part = |range: std::ops::Range<usize>| Self(self.0[range].to_vec());
        Some([part(0..first), part(first..end), part(end..self.0.len())])
    }

    /// The template with its placeholders, as it is written.
    pub(crate) fn source(&self) -> String {
        let part = |part: &TemplatePart| match part {
            TemplatePart::Literal(literal) => literal.clone(),
            part => part.placeholder().to_owned(),
        };
        self.0.iter().map(part).collect()
    }

    /// The whole filled template.
    pub(crate) fn fill(&self, texts: Texts<'_>) -> String {
        self.pieces(texts).concat()
    }

    /// The start of the filled template. Borrowed if it lies within one of the texts.
    pub(crate) fn start<'a>(&'a self, texts: Texts<'a>, bytes_max: usize) -> Excerpt<'a> {
        let pieces = self.pieces(texts);
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
    pub(crate) fn end<'a>(&'a self, texts: Texts<'a>, bytes_max: usize) -> Excerpt<'a> {
        let pieces = self.pieces(texts);
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
    fn pieces<'a>(&'a self, texts: Texts<'a>) -> Vec<&'a str> {
        let Texts { query, title, text, instruction } = texts;
        let title = title.unwrap_or("");
        let mut pieces: Vec<&str> = Vec::with_capacity(self.0.len());
        for part in &self.0 {
            match part {
                TemplatePart::Literal(literal) => pieces.push(literal),
                TemplatePart::Query => pieces.push(query),
                TemplatePart::Instruction => pieces.push(instruction),
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
    use super::*;

    #[test]
    fn wrong_templates_are_refused() {
        let allowed = [TemplatePart::Title, TemplatePart::Text];
        for (template, part_of_why) in
            [("{query} {text}", "`{query}`"), ("doc", "no placeholder"), ("{title}", "no placeholder")]
        {
            let why = Template::parse(template, &allowed, &[]).and_then(Template::with_text).unwrap_err();
            assert!(why.contains(part_of_why), "{why}");
        }
    }

    #[test]
    fn templates_are_bounded() {
        let allowed = [TemplatePart::Title, TemplatePart::Text];
        let why = |template: String| Template::parse(&template, &allowed, &[]).unwrap_err();
        assert!(why("{text}".repeat(17)).contains("17 placeholders"));
        assert!(why("{text}".repeat(20_000)).contains("bytes; the limit is 16384"));
        assert!(why(format!("{{text}}{}", "x".repeat(16 << 10))).contains("the limit is"));
        assert!(Template::parse(&"{text}{title}".repeat(8), &allowed, &[]).is_ok());
    }

    #[test]
    fn names_of_special_tokens_are_their_texts() {
        let tokens = [("bos", "<s>".to_owned())];
        let template = Template::parse("{bos}a {text}", &[TemplatePart::Text], &tokens).unwrap();
        assert_eq!(template.fill(Texts { text: "{bos}", ..Texts::default() }), "<s>a {bos}");
        assert!(Template::parse("{eos}{text}", &[TemplatePart::Text], &tokens).unwrap_err().contains("`{eos}`"));
    }

    #[test]
    fn a_template_is_divided_at_special_tokens() {
        let tokens = ["<s>", "<s>>", "</s>"].map(str::to_owned);
        let divided = |text: &str| -> Vec<String> {
            Template::known(text).divided_at(&tokens).iter().map(Template::source).collect()
        };
        assert_eq!(divided("<s>a {query} b</s>"), ["", "<s>", "a {query} b", "</s>", ""]);
        assert_eq!(divided("{query}<s>>"), ["{query}", "<s>>", ""]);
        assert_eq!(divided("a {query}"), ["a {query}"]);
    }

    #[test]
    fn a_template_is_divided_around_its_document() {
        let template = Template::known("a {query} {title}: {text} b");
        let [before, document, after] = template.around_document().unwrap();
        let texts = Texts { query: "q", title: Some("t"), text: "d", ..Texts::default() };
        assert_eq!([before, document, after].map(|part| part.fill(texts)), ["a q ", "t: d", " b"]);
        assert!(Template::known("{query}").around_document().is_none());
    }
}
