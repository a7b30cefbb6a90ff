//! Prompts: how a query and a document become the tokens of a pair.

use std::sync::Arc;

use lorank_core::{Candidate, Digest};

use crate::ModelError;
use crate::files::Files;
use crate::lorank_file::LorankFile;
use crate::template::{Excerpt, Template, TemplatePart, Texts, TokenNames};
use crate::whole::{Whole, WholeTemplates};

/// The templates and the maximum length of a pair. Equal prompts encode pairs equally.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    pub(crate) form: Form,
    /// Fills `{instruction}`.
    instruction: Option<Arc<str>>,
    /// Whether special tokens in texts are plain text.
    has_plain_texts: bool,
    max_length: usize,
}

/// What the templates describe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// Two texts, which the tokenizer joins with its special tokens.
    Pair(PairTemplates),
    /// The whole sequence, with its special tokens.
    Whole(WholeTemplates),
}

/// The templates of the two texts of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PairTemplates {
    query: Template,
    document: Template,
    /// For documents without a title, if that differs.
    untitled: Option<Template>,
}

impl PairTemplates {
    /// The first text of a pair.
    pub(crate) fn query(&self, query: &str) -> String {
        self.query.fill(Texts { query, ..Texts::default() })
    }

    /// The second text of a pair.
    #[cfg(test)]
    pub(crate) fn document(&self, candidate: &Candidate) -> String {
        self.document_start(candidate, usize::MAX).text.into_owned()
    }

    /// The start of the second text of a pair: at most `bytes_max` bytes, cut between two characters.
    pub(crate) fn document_start<'a>(&'a self, candidate: &'a Candidate, bytes_max: usize) -> Excerpt<'a> {
        self.template(candidate).start(Texts::of(candidate), bytes_max)
    }

    /// The end of the second text of a pair; see [`Self::document_start`].
    pub(crate) fn document_end<'a>(&'a self, candidate: &'a Candidate, bytes_max: usize) -> Excerpt<'a> {
        self.template(candidate).end(Texts::of(candidate), bytes_max)
    }

    fn template(&self, candidate: &Candidate) -> &Template {
        self.untitled.as_ref().filter(|_| candidate.title.is_none()).unwrap_or(&self.document)
    }
}

impl Prompt {
    /// DeAR's prompt (arXiv 2508.16998) for Llama models: 32 query and 196 passage tokens in training, thus 228
    /// together. As in training, an empty title leaves two spaces after the colon; a missing title, one.
    pub(crate) fn llama() -> Self {
        let templates = PairTemplates {
            query: Template::known("query: {query}"),
            document: Template::known("document: {title} {text}"),
            untitled: Some(Template::known("document: {text}")),
        };
        Self { form: Form::Pair(templates), instruction: None, has_plain_texts: false, max_length: 228 }
    }

    /// The prompt of cross-encoders: the texts unchanged.
    pub(crate) fn pair(max_length: usize) -> Self {
        let (query, document) = (Template::known("{query}"), Template::known("{document}"));
        let templates = PairTemplates { query, document, untitled: None };
        Self { form: Form::Pair(templates), instruction: None, has_plain_texts: false, max_length }
    }

    /// A prompt of whole sequences.
    pub(crate) fn whole(templates: WholeTemplates, instruction: Option<&str>, max_length: usize) -> Self {
        Self {
            form: Form::Whole(templates),
            instruction: instruction.map(Into::into),
            has_plain_texts: false,
            max_length,
        }
    }

    /// This prompt with a text before the query, if it is of pairs.
    pub(crate) fn with_text_before_query(mut self, text: &str) -> Self {
        if let Form::Pair(templates) = &mut self.form {
            templates.query = templates.query.clone().after_text(text);
        }
        self
    }

    /// This prompt with the overrides of a folder's `lorank.json`.
    pub(crate) fn overridden_by(
        mut self,
        file: &LorankFile,
        files: &Files,
        tokens: &TokenNames,
    ) -> Result<Self, ModelError> {
        let refused = |what: &str, why| ModelError::Prompt { folder: files.name().into(), what: what.into(), why };
        if let Some(parts) = &file.template {
            let parse = |key: &str, parts: &[String]| {
                Whole::parse(parts, tokens).map_err(|why| refused(&format!("the {key}"), why))
            };
            let template = parse("template", parts.as_slice())?;
            let plain = file.template_without_instruction.as_ref();
            let plain = plain.map(|parts| parse("template_without_instruction", parts.as_slice())).transpose()?;
            let templates = WholeTemplates::new(template, plain).map_err(|why| refused("the template", why))?;
            self = Self::whole(templates, None, self.max_length);
        }
        if file.query_template.is_some() || file.document_template.is_some() {
            self.form = Form::Pair(self.pair_overridden_by(file, tokens).map_err(|(what, why)| refused(what, why))?);
        }
        if let Some(instruction) = &file.instruction {
            self.instruction = Some(instruction.as_str().into());
        }
        self.max_length = file.max_length.unwrap_or(self.max_length);
        self.check().map_err(|why| refused("the prompt", why))?;
        Ok(self)
    }

    /// The templates of a pair with the overrides of a `lorank.json`; the error names a key.
    fn pair_overridden_by(
        &self,
        file: &LorankFile,
        tokens: &TokenNames,
    ) -> Result<PairTemplates, (&'static str, String)> {
        const DOCUMENT: [TemplatePart; 3] = [TemplatePart::Title, TemplatePart::Text, TemplatePart::Document];
        let parse = |what, text: &str, allowed: &[TemplatePart]| {
            let template = Template::parse(text, allowed, tokens).and_then(Template::with_text);
            template.map_err(|why| (what, why))
        };
        let mut templates = match &self.form {
            Form::Pair(templates) => templates.clone(),
            Form::Whole(_) if file.template.is_some() => {
                let why = "`template` is a whole sequence; set it, or `query_template` and `document_template`";
                return Err(("the template", why.into()));
            }
            Form::Whole(_) => match Self::pair(self.max_length).form {
                Form::Pair(templates) => templates,
                Form::Whole(_) => unreachable!("`pair` makes templates of pairs"),
            },
        };
        if let Some(text) = &file.query_template {
            templates.query = parse("the query_template", text, &[TemplatePart::Query])?;
        }
        if let Some(text) = &file.document_template {
            templates.document = parse("the document_template", text, &DOCUMENT)?;
            templates.untitled = None;
        }
        Ok(templates)
    }

    /// Checks that the template has a place for the instruction, and has one if it needs it.
    fn check(&self) -> Result<(), String> {
        match (&self.form, self.instruction()) {
            (Form::Whole(templates), instruction) => templates.choose(instruction).map(drop),
            (Form::Pair(_), Some(_)) => {
                let message = "the templates of a pair have no place for an instruction; leave it out, or give the model a \
                               `template` with `{instruction}` in `lorank.json`";
                Err(message.into())
            }
            (Form::Pair(_), None) => Ok(()),
        }
    }

    /// This prompt with another instruction.
    ///
    /// # Errors
    /// Why the prompt has no place for it.
    pub(crate) fn instructed(mut self, instruction: &str) -> Result<Self, String> {
        self.instruction = Some(instruction.into());
        self.check()?;
        Ok(self)
    }

    /// The instruction that fills `{instruction}`.
    pub fn instruction(&self) -> Option<&str> {
        self.instruction.as_deref()
    }

    /// This prompt with another maximum length, in tokens.
    #[must_use]
    pub(crate) fn with_max_length(mut self, max_length: usize) -> Self {
        self.max_length = max_length;
        self
    }

    /// Whether special tokens in texts are plain text.
    pub(crate) fn has_plain_texts(&self) -> bool {
        self.has_plain_texts
    }

    /// This prompt for texts whose special tokens are plain text: those of the template stand alone.
    pub(crate) fn with_plain_texts(mut self, special_tokens: &[String]) -> Self {
        self.has_plain_texts = true;
        if let Form::Whole(WholeTemplates { instructed, plain }) = &mut self.form {
            for whole in [instructed, plain].into_iter().flatten() {
                *whole = whole.divided_at(special_tokens);
            }
        }
        self
    }

    /// The maximum tokens of a pair, including special tokens.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// The templates as they are written: the two texts of a pair, or the parts of a whole sequence.
    pub fn templates(&self) -> Vec<String> {
        match &self.form {
            Form::Pair(templates) => vec![templates.query.source(), templates.document.source()],
            Form::Whole(templates) => templates.choose(self.instruction()).map(Whole::sources).unwrap_or_default(),
        }
    }

    /// Whether the templates are the whole sequence; otherwise the tokenizer joins two texts.
    pub fn is_whole(&self) -> bool {
        matches!(self.form, Form::Whole(_))
    }

    /// The hash of the prompt.
    pub fn version(&self) -> Digest {
        // `Debug` of plain data represents it completely; the prefix is the version of the encoding.
        let whole = format!("pair encoding 2: {self:?}");
        Digest::new(*blake3::hash(whole.as_bytes()).as_bytes())
    }
}

impl<'a> Texts<'a> {
    /// The texts of a candidate.
    pub(crate) fn of(candidate: &'a Candidate) -> Self {
        Self { title: candidate.title.as_deref(), text: &candidate.text, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use lorank_core::Score;

    use super::*;

    fn check(prompt: &Prompt, title: Option<&str>, text: &str, expected: &str) {
        let mut candidate = Candidate::new("1", text, Score::new(0.0).unwrap());
        candidate.title = title.map(Into::into);
        assert_eq!(templates(prompt).document(&candidate), expected);
    }

    fn templates(prompt: &Prompt) -> &PairTemplates {
        let Form::Pair(templates) = &prompt.form else { panic!("the prompt is of pairs") };
        templates
    }

    fn with_document(template: &str) -> Prompt {
        let templates = PairTemplates { document: Template::known(template), ..templates(&Prompt::pair(512)).clone() };
        Prompt { form: Form::Pair(templates), ..Prompt::pair(512) }
    }

    /// A prompt with the overrides of a `lorank.json`, or why it is refused.
    fn overridden(json: &str) -> Result<Prompt, String> {
        let files = Files::embedded("m", []);
        let tokens = [("bos", "<s>".to_owned())];
        let file = LorankFile::parse(&files, json.as_bytes());
        let prompt = file.and_then(|file| Prompt::pair(64).overridden_by(&file, &files, &tokens));
        prompt.map_err(|error| lorank_core::with_causes(&error))
    }

    #[test]
    fn templates_of_whole_sequences_are_checked() {
        for (json, part) in [
            (r#"{"template": "{document}"}"#, "no placeholder `{query}`"),
            (r#"{"template": "{query}"}"#, "0 of its parts have a placeholder of the document"),
            (r#"{"template": ["{query} {text}", "{text}"]}"#, "2 of its parts"),
            (r#"{"template": "{title} {query} {text}"}"#, "between placeholders of the document"),
            (r#"{"template": "{query} {title}"}"#, "no placeholder for its text"),
            (r#"{"template": "{query} {document} {eos}"}"#, "`{eos}` is not a placeholder"),
            (r#"{"template": "{query} {document} {instruction}"}"#, "needs an `instruction`"),
            (r#"{"template": "{query} {document}", "instruction": "i"}"#, "no place for an instruction"),
            (r#"{"instruction": "i"}"#, "no place for an instruction"),
            (r#"{"template": "{query} {document}", "query_template": "{query}"}"#, "is a whole sequence"),
            (
                r#"{"template": "{query} {text}", "template_without_instruction": "{query} {text}"}"#,
                "has no `{instruction}`",
            ),
        ] {
            let why = overridden(json).unwrap_err();
            assert!(why.contains(part) && why.contains("`m`"), "{json}: {why}");
        }
        let both =
            r#"{"template": "{bos}{instruction} {query} {text}", "template_without_instruction": "{query} {text}"}"#;
        let prompt = overridden(both).unwrap();
        assert_eq!(prompt.instruction(), None);
        let instructed = prompt.clone().instructed("i").unwrap();
        assert_eq!(instructed.instruction(), Some("i"));
        assert_ne!(prompt.version(), instructed.version());
    }

    #[test]
    fn llama_titles() {
        check(&Prompt::llama(), None, "text", "document: text");
        check(&Prompt::llama(), Some(""), "text", "document:  text");
        check(&Prompt::llama(), Some("Title"), "text", "document: Title text");
        assert_eq!(templates(&Prompt::llama()).query("q"), "query: q");
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
                let prompt = templates(&prompt);
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
        let prompt = Prompt::pair(512);
        assert!(matches!(templates(&prompt).document_start(&candidate, 5).text, Cow::Borrowed(_)), "no copy");
    }

    #[test]
    fn texts_are_never_templates() {
        check(&with_document("{title}: {text}"), Some("{text}"), "{title} {x}", "{text}: {title} {x}");
        check(&with_document("{\"a\": {} {text}}"), None, "t", "{\"a\": {} t}");
    }

    #[test]
    fn versions_tell_prompts_apart() {
        let one = Prompt::llama();
        assert_eq!(one.version(), Prompt::llama().version());
        assert_ne!(one.version(), one.clone().with_max_length(100).version());
        assert_ne!(one.version(), Prompt::pair(512).version());
    }
}
