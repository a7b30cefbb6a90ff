//! Passages: how long documents are scored, in requests; and the passage of a hit, in answers.

use std::borrow::Cow;
use std::num::NonZeroUsize;

use lorank_core::{NotAPassageRule, Passage, PassageOptions, ScoredWindow};
use serde::Serialize;
use utoipa::ToSchema;

use crate::ServerError;

/// The window of a long document that its score comes from. The key is present only if documents are scored as passages.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Passage)]
pub struct PassageJson<'a> {
    /// The index of the passage in the document, from 0.
    pub index: usize,
    /// The number of passages of the document.
    pub of: usize,
    /// The first byte of the passage in the document's text (UTF-8), without the title.
    pub start: usize,
    /// The byte after the last one of the passage.
    pub end: usize,
    /// The text of the passage.
    pub text: Cow<'a, str>,
    /// Whether the passages reach the end of the document. If not, the document has more passages than the limit, or a title that
    /// leaves no room for its text, and the end of its text was not scored.
    pub complete: bool,
}

/// A passage of a document, with its score.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ScoredPassage)]
pub struct ScoredPassageJson {
    /// The first byte of the passage in the document's text (UTF-8), without the title.
    pub start: usize,
    /// The byte after the last one of the passage.
    pub end: usize,
    /// The reranker's score of the passage.
    pub rerank_score: f32,
}

impl<'a> PassageJson<'a> {
    /// The best passage of a text.
    pub fn new(passage: &Passage, text: &'a str) -> Self {
        let span = passage.span();
        Self {
            index: passage.best,
            of: passage.windows.len(),
            start: span.start,
            end: span.end,
            text: Cow::Borrowed(passage.text(text)),
            complete: passage.is_complete,
        }
    }

    /// The same with its own text.
    pub(crate) fn into_owned(self) -> PassageJson<'static> {
        PassageJson { text: Cow::Owned(self.text.into_owned()), ..self }
    }
}

impl ScoredPassageJson {
    /// All passages of a document, in the order of its text.
    pub(crate) fn all(passage: &Passage) -> Vec<Self> {
        let one = |ScoredWindow { span, rerank_score }: &ScoredWindow| Self {
            start: span.start,
            end: span.end,
            rerank_score: rerank_score.get(),
        };
        passage.windows.iter().map(one).collect()
    }
}

/// The settings of a request's three keys. The lengths are checked where the others are known.
pub(crate) fn passage_options(
    passages: Option<&str>,
    tokens: Option<NonZeroUsize>,
    stride: Option<NonZeroUsize>,
) -> Result<PassageOptions, ServerError> {
    let rule = passages.map(str::parse).transpose().map_err(|error: NotAPassageRule| {
        let problem = format!("is invalid: {error}");
        ServerError::InvalidValue { field: "passages".to_owned(), problem }
    })?;
    Ok(PassageOptions { rule, tokens, stride })
}
