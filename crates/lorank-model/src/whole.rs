//! Templates of a whole sequence: the text around the query and the document, with special tokens.
//!
//! A causal reranker reads one sequence: an introduction, the query, the document, and the beginning of the answer, whose
//! next token it predicts. The template is a list of parts; each part is encoded alone, as the published code of a model
//! does it.

use crate::template::{Template, TemplatePart, TokenNames};

/// The maximum number of parts.
const PARTS_MAX: usize = 64;

/// A whole sequence: parts, one of which has the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) before: Vec<Template>,
    pub(crate) document: DocumentPart,
    pub(crate) after: Vec<Template>,
}

/// The part with the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DocumentPart {
    pub(crate) before: Template,
    /// The placeholders of the document.
    pub(crate) document: Template,
    pub(crate) after: Template,
}

/// The templates with and without an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WholeTemplates {
    /// `None` if the template has no place for an instruction.
    pub(crate) instructed: Option<Whole>,
    /// `None` if the template needs an instruction.
    pub(crate) plain: Option<Whole>,
}

impl Whole {
    /// Parses the parts of a template.
    pub(crate) fn parse<T: AsRef<str>>(parts: &[T], tokens: &TokenNames) -> Result<Self, String> {
        use TemplatePart::{Document, Instruction, Query, Text, Title};
        const ALLOWED: [TemplatePart; 5] = [Query, Document, Title, Text, Instruction];
        if parts.len() > PARTS_MAX {
            return Err(format!("it has {} parts; the limit is {PARTS_MAX}", parts.len()));
        }
        Self::of_templates(
            parts.iter().map(|part| Template::parse(part.as_ref(), &ALLOWED, tokens)).collect::<Result<_, _>>()?,
        )
    }

    /// The sequence of these parts.
    pub(crate) fn of_templates(parts: Vec<Template>) -> Result<Self, String> {
        use TemplatePart::Query;
        if !parts.iter().any(|part| part.has(|it| *it == Query)) {
            return Err("it has no placeholder `{query}`".into());
        }
        let with_document: Vec<usize> =
            parts.iter().enumerate().filter_map(|(n, part)| part.around_document().map(|_| n)).collect();
        let [at] = with_document[..] else {
            let n = with_document.len();
            return Err(format!("{n} of its parts have a placeholder of the document; exactly one part must have it"));
        };
        let [before, document, after] = parts[at].around_document().expect("the part has a document");
        if document.has(|it| *it == Query) {
            return Err("`{query}` stands between placeholders of the document; write it before or after them".into());
        }
        let document = DocumentPart { before, document: document.with_text()?, after };
        Ok(Self { before: parts[..at].to_vec(), document, after: parts[at + 1..].to_vec() })
    }

    /// Whether it has a placeholder for an instruction.
    pub(crate) fn has_instruction(&self) -> bool {
        self.all().any(|part| part.has(|it| *it == TemplatePart::Instruction))
    }

    /// This sequence with each of these tokens in its own text as a part.
    pub(crate) fn divided_at(&self, tokens: &[String]) -> Self {
        let divide = |templates: &[Template]| -> Vec<Template> {
            templates.iter().flat_map(|template| template.divided_at(tokens)).collect()
        };
        let (mut before, mut after) = (divide(&self.before), divide(&self.after));
        let mut start = self.document.before.divided_at(tokens);
        let mut end = self.document.after.divided_at(tokens);
        let document = DocumentPart {
            before: start.pop().expect("a template has a part"),
            document: self.document.document.clone(),
            after: end.remove(0),
        };
        before.extend(start);
        end.append(&mut after);
        Self { before, document, after: end }
    }

    /// The parts as they are written.
    pub(crate) fn sources(&self) -> Vec<String> {
        let DocumentPart { before, document, after } = &self.document;
        let with_document = [before, document, after].map(Template::source).concat();
        let sources = |templates: &[Template]| templates.iter().map(Template::source).collect::<Vec<_>>();
        [sources(&self.before), vec![with_document], sources(&self.after)].concat()
    }

    /// All templates, in their order.
    fn all(&self) -> impl Iterator<Item = &Template> {
        let DocumentPart { before, document, after } = &self.document;
        self.before.iter().chain([before, document, after]).chain(&self.after)
    }
}

impl WholeTemplates {
    /// A template, and another one to use without an instruction.
    pub(crate) fn new(template: Whole, without_instruction: Option<Whole>) -> Result<Self, String> {
        if without_instruction.as_ref().is_some_and(Whole::has_instruction) {
            return Err("`template_without_instruction` has the placeholder `{instruction}`".into());
        }
        match (template.has_instruction(), without_instruction) {
            (true, plain) => Ok(Self { instructed: Some(template), plain }),
            (false, None) => Ok(Self { instructed: None, plain: Some(template) }),
            (false, Some(_)) => {
                Err("`template_without_instruction` is set, but `template` has no `{instruction}`".into())
            }
        }
    }

    /// The template to use with or without an instruction.
    pub(crate) fn choose(&self, instruction: Option<&str>) -> Result<&Whole, String> {
        match (instruction, &self.instructed, &self.plain) {
            (Some(_), Some(whole), _) | (None, _, Some(whole)) => Ok(whole),
            (Some(_), None, _) => Err("its template has no place for an instruction; leave the instruction out, or put `{instruction}` in the template".into()),
            (None, _, None) => Err("its template needs an `instruction`".into()),
        }
    }
}
