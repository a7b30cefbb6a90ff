//! From the template of a whole sequence to token ids.
//!
//! A sequence that is too long loses the end of its document, and a query that would leave no room for a document loses
//! its own end first; the template's tokens always stand. What is kept are the tokens of the whole text, followed by the
//! tokens that the template has after any document, as sentence-transformers restores a chat template's suffix.

use lorank_core::Candidate;

use crate::cut::{BYTES_MAX_MIN, BYTES_PER_TOKEN_MAX};
use crate::template::{Excerpt, Texts};
use crate::whole::{DocumentPart, Whole};

/// Encodes texts without special tokens around them.
pub(crate) trait TextEncoder {
    /// The tokens of a text.
    fn ids(&self, text: &str) -> tokenizers::Result<Vec<u32>>;

    /// The tokens of a template's own text, which may be a special token even if those in texts are plain text.
    fn literal_ids(&self, text: &str) -> tokenizers::Result<Vec<u32>>;

    /// The length in bytes of the start of a text that has its first `n` tokens.
    fn start_of_tokens(&self, text: &str, n: usize) -> tokenizers::Result<usize>;

    /// The first `n_needed` tokens of an excerpt that are also tokens of the whole text; `None` if they are fewer.
    fn settled(&self, excerpt: &Excerpt<'_>, n_needed: usize) -> tokenizers::Result<Option<Vec<u32>>>;

    /// The bytes of a text to encode first, for so many tokens.
    fn bytes_for(&self, n_tokens: usize) -> usize;
}

/// A template filled with a query.
pub(crate) struct Sequences<'a, E> {
    encoder: &'a E,
    part: &'a DocumentPart,
    /// The tokens of the parts before and after the one with the document.
    before: Vec<u32>,
    after: Vec<u32>,
    /// The texts before and after the document in its part.
    start: String,
    end: String,
    /// The tokens at the end of that part, whatever the document.
    suffix: Vec<u32>,
    /// The maximum tokens of the part with the document.
    room: usize,
}

impl<'a, E: TextEncoder> Sequences<'a, E> {
    /// Fills a template with a query, cut to three quarters of the room that the template leaves.
    pub(crate) fn new(
        encoder: &'a E,
        whole: &'a Whole,
        query: &str,
        instruction: &str,
        max_length: usize,
    ) -> tokenizers::Result<Self> {
        let n_template = Self::filled(encoder, whole, "", instruction, max_length)?.n_without_document()?;
        let n_query = max_length.saturating_sub(n_template) * 3 / 4;
        let query = &query[..encoder.start_of_tokens(query, n_query)?];
        Self::filled(encoder, whole, query, instruction, max_length)
    }

    fn filled(
        encoder: &'a E,
        whole: &'a Whole,
        query: &str,
        instruction: &str,
        max_length: usize,
    ) -> tokenizers::Result<Self> {
        let texts = Texts { query, instruction, ..Texts::default() };
        let parts = |templates: &[crate::template::Template]| -> tokenizers::Result<Vec<u32>> {
            let ids: Vec<Vec<u32>> = templates
                .iter()
                .map(|template| match template.is_literal() {
                    true => encoder.literal_ids(&template.fill(texts)),
                    false => encoder.ids(&template.fill(texts)),
                })
                .collect::<Result<_, _>>()?;
            Ok(ids.concat())
        };
        let (before, after) = (parts(&whole.before)?, parts(&whole.after)?);
        let (start, end) = (whole.document.before.fill(texts), whole.document.after.fill(texts));
        let suffix =
            common_suffix(&encoder.ids(&format!("{start}0{end}"))?, &encoder.ids(&format!("{start}1 2 3 4{end}"))?);
        let room = max_length.saturating_sub(before.len() + after.len());
        Ok(Self { encoder, part: &whole.document, before, after, start, end, suffix, room })
    }

    /// The number of tokens with an empty document.
    fn n_without_document(&self) -> tokenizers::Result<usize> {
        let own = self.encoder.ids(&format!("{}{}", self.start, self.end))?;
        Ok(self.before.len() + own.len() + self.after.len())
    }

    /// The number of tokens of the template itself.
    pub(crate) fn n_template(encoder: &'a E, whole: &'a Whole, instruction: &str) -> tokenizers::Result<usize> {
        Self::filled(encoder, whole, "", instruction, usize::MAX)?.n_without_document()
    }

    /// The number of tokens that a candidate of this title leaves for its text.
    pub(crate) fn room_beside(&self, untexted: &Candidate) -> tokenizers::Result<usize> {
        let title = self.part.document.start(Texts::of(untexted), self.encoder.bytes_for(self.room));
        let own = self.encoder.ids(&[&self.start, &*title.text, &self.end].concat())?;
        Ok(self.room.saturating_sub(own.len()))
    }

    /// The tokens of the sequence with a document.
    pub(crate) fn ids(&self, candidate: &Candidate) -> tokenizers::Result<Vec<u32>> {
        Ok([&self.before[..], &self.with_document(candidate)?, &self.after].concat())
    }

    /// The tokens of the part with the document, at most as many as there is room for.
    fn with_document(&self, candidate: &Candidate) -> tokenizers::Result<Vec<u32>> {
        let texts = Texts::of(candidate);
        let mut bytes_max = self.encoder.bytes_for(self.room);
        let bytes_cap = self.room.saturating_mul(BYTES_PER_TOKEN_MAX).max(BYTES_MAX_MIN);
        loop {
            let Excerpt { text, is_whole } = self.part.document.start(texts, bytes_max);
            if is_whole {
                let ids = self.encoder.ids(&[&self.start, &*text, &self.end].concat())?;
                return Ok(if ids.len() <= self.room { ids } else { self.cut(&ids) });
            }
            let text = [&self.start, &*text].concat();
            if let Some(ids) = self.encoder.settled(&Excerpt { text: text.as_str().into(), is_whole }, self.room)? {
                return Ok(self.cut(&ids));
            }
            if bytes_max >= bytes_cap {
                let document = &candidate.id;
                tracing::warn!(%document, bytes_cap, "truncated a text without a word boundary; its tokens at the cut may be inexact");
                return Ok(self.cut(&self.encoder.ids(&text)?));
            }
            bytes_max = bytes_max.saturating_mul(2).min(bytes_cap);
        }
    }

    /// As many of the tokens as the suffix leaves room for, and the suffix.
    fn cut(&self, ids: &[u32]) -> Vec<u32> {
        let n_kept = self.room.saturating_sub(self.suffix.len()).min(ids.len());
        [&ids[..n_kept], &self.suffix].concat()
    }
}

/// The longest common end of two lists; empty if one list is the end of the other.
fn common_suffix(a: &[u32], b: &[u32]) -> Vec<u32> {
    let n = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    if n < a.len().min(b.len()) { a[a.len() - n..].to_vec() } else { Vec::new() }
}
