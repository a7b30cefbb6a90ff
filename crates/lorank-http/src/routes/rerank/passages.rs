//! The texts of a document that are scored: one text, or the chunks of a long document.

use std::num::NonZeroUsize;

use super::super::App;
use super::ranking::JobDocument;
use super::scoring::cut;
use crate::ServerError;
use crate::wire::Rerank;

/// The assumed bytes per token for splitting texts: so few that most chunks are not truncated by the model.
const TOKEN_BYTES: usize = 3;

/// The approximate number of tokens that the prompt adds to a pair.
const PROMPT_TOKENS: usize = 8;

/// The minimum number of tokens of a chunk, even for long queries.
const CHUNK_TOKENS_MIN: usize = 32;

/// The assumed limit of the model in tokens if it is unknown.
const MAX_LENGTH: usize = 512;

impl App {
    /// The documents of a request with the texts that are scored.
    pub(super) fn job_documents(&self, body: &Rerank, query: &str) -> Result<Vec<JobDocument>, ServerError> {
        let chunks = match (body.max_chunks_per_doc, body.overlap_tokens) {
            (None, Some(_)) => {
                return Err(invalid("overlap_tokens", "requires `max_chunks_per_doc`; send both, or neither"));
            }
            (n_chunks_max, overlap) => n_chunks_max
                .map(|max| self.chunks(body.model.as_deref(), query, max, overlap.unwrap_or(0)))
                .transpose()?,
        };
        let mut n_passages = 0_usize;
        let documents = body.documents.iter().map(|document| {
            let text = document.text(body.rank_fields.as_deref());
            let id = document.id(&text);
            let text = cut(text, body.max_tokens_per_doc);
            let passages = match &chunks {
                Some(chunks) => chunks.of(&text).into_iter().map(str::to_owned).collect(),
                None => vec![text],
            };
            n_passages += passages.len();
            JobDocument { id, passages }
        });
        let documents: Vec<JobDocument> = documents.collect();
        let max = self.config.n_documents_max.get();
        if n_passages > max {
            let problem = format!("splits the documents into {n_passages} chunks, and the maximum is {max}");
            return Err(invalid("max_chunks_per_doc", &problem));
        }
        Ok(documents)
    }

    fn chunks(
        &self,
        model: Option<&str>,
        query: &str,
        n_max: NonZeroUsize,
        overlap_tokens: usize,
    ) -> Result<Chunks, ServerError> {
        // The model of an experiment is not known yet; a model that cannot be used fails later.
        let model = self.asked(model).ok().and_then(|asked| self.service.engine.model(&asked.adapter).ok());
        let host = self.service.adapters.as_ref().zip(model);
        let max_length = host.map_or(MAX_LENGTH, |(host, model)| host.max_length(&model));
        let n_tokens = max_length.saturating_sub(query.len() / TOKEN_BYTES + PROMPT_TOKENS).max(CHUNK_TOKENS_MIN);
        if overlap_tokens > n_tokens / 2 {
            let problem = format!("is {overlap_tokens}, and the maximum is half of a chunk of {n_tokens} tokens");
            return Err(invalid("overlap_tokens", &problem));
        }
        Ok(Chunks { n_max, n_bytes: n_tokens * TOKEN_BYTES, overlap_bytes: overlap_tokens * TOKEN_BYTES })
    }
}

/// The splitting of long texts.
#[derive(Debug, Clone, Copy)]
struct Chunks {
    n_max: NonZeroUsize,
    n_bytes: usize,
    /// At most half of `n_bytes`.
    overlap_bytes: usize,
}

impl Chunks {
    /// The chunks of a text, split between characters. The last of `n_max` chunks has the rest of the text.
    fn of(self, text: &str) -> Vec<&str> {
        let boundary = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let (mut chunks, mut start) = (Vec::new(), 0);
        loop {
            let end = boundary(start + self.n_bytes);
            if chunks.len() + 1 == self.n_max.get() || end == text.len() {
                chunks.push(&text[start..]);
                return chunks;
            }
            chunks.push(&text[start..end]);
            start = boundary(end - self.overlap_bytes);
        }
    }
}

fn invalid(field: &str, problem: &str) -> ServerError {
    ServerError::InvalidValue { field: field.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_split_between_characters_and_nothing_is_lost() {
        let check = |n_max: usize, n_bytes, overlap_bytes, text: &str, expected: &[&str]| {
            let chunks = Chunks { n_max: n_max.try_into().unwrap(), n_bytes, overlap_bytes };
            assert_eq!(chunks.of(text), expected, "{text}");
        };
        check(9, 4, 0, "", &[""]);
        check(9, 4, 0, "abcd", &["abcd"]);
        check(9, 4, 0, "abcdefghi", &["abcd", "efgh", "i"]);
        check(2, 4, 0, "abcdefghi", &["abcd", "efghi"]);
        check(1, 4, 0, "abcdefghi", &["abcdefghi"]);
        check(9, 4, 2, "abcdefgh", &["abcd", "cdef", "efgh"]);
        check(9, 5, 1, "ééééé", &["éé", "éé", "éé", "éé"]);
    }
}
