//! The windows of a long document: as many tokens as the model reads beside a query and a title.
//!
//! A window is scored as a pair of its own, so its text is encoded once more. Windows are cut between words, whose
//! tokens then are the same as within the whole text, and some tokens of room are left for tokenizers in which the first
//! word of a text is encoded differently.

use std::num::NonZeroUsize;

use lorank_core::{Candidate, TokenSpan, WindowCut, Windows};

use crate::cut::{self, BYTES_MAX_MIN, BYTES_PER_TOKEN_MAX};
use crate::pipeline::without_panic;
use crate::prompt::Form;
use crate::sequence::{Sequences, TextEncoder};
use crate::tokenize::PairTokenizer;
use crate::{ModelError, Prompt};

/// The tokens that a window leaves free.
const TOKENS_FREE: usize = 4;

/// The minimum tokens of a window. A title that leaves less room is read as far as the model's limit, and the text is
/// not cut.
const TOKENS_MIN: usize = 8;

/// The tokens for a document beside a query.
enum Room<'a> {
    /// Of the second text of a pair.
    Pair(usize),
    /// Of a whole sequence.
    Whole(Sequences<'a, PairTokenizer>),
}

impl PairTokenizer {
    /// The windows of each candidate's text, in parallel.
    pub(crate) fn windows(
        &self,
        prompt: &Prompt,
        query: &str,
        candidates: &[Candidate],
        cut: &WindowCut,
    ) -> Result<Vec<Windows>, ModelError> {
        let cut_all = || {
            let room = self.room(prompt, query)?;
            self.each(candidates, &|candidate| {
                let room = self.room_of_text(prompt, &room, candidate)?;
                self.windows_of(candidate, room, cut)
            })
        };
        without_panic(cut_all).map_err(|source| ModelError::Tokenizer { folder: self.folder.clone(), source })
    }

    /// What a query leaves for a document. A query that is too long is cut, so a quarter of the whole is always left.
    fn room<'a>(&'a self, prompt: &'a Prompt, query: &str) -> tokenizers::Result<Room<'a>> {
        match &prompt.form {
            Form::Pair(templates) => {
                let n_query = self.ids(&templates.query(query))?.len();
                let whole = prompt.max_length() - self.n_special_tokens;
                Ok(Room::Pair(whole.saturating_sub(n_query).max(whole / 4)))
            }
            Form::Whole(templates) => {
                let whole = templates.choose(prompt.instruction())?;
                let instruction = prompt.instruction().unwrap_or_default();
                Ok(Room::Whole(Sequences::new(self, whole, query, instruction, prompt.max_length())?))
            }
        }
    }

    /// What the prompt and the title leave for the text of a candidate; `None` if that is too little.
    fn room_of_text(
        &self,
        prompt: &Prompt,
        room: &Room<'_>,
        candidate: &Candidate,
    ) -> tokenizers::Result<Option<NonZeroUsize>> {
        let empty = Candidate { text: "".into(), ..candidate.clone() };
        let left = match (room, &prompt.form) {
            (Room::Pair(room), Form::Pair(templates)) => {
                let title = templates.document_start(&empty, self.bytes_for(*room));
                room.saturating_sub(self.ids(&title.text)?.len())
            }
            (Room::Whole(sequences), _) => sequences.room_beside(&empty)?,
            (Room::Pair(_), Form::Whole(_)) => 0,
        };
        let left = left.saturating_sub(TOKENS_FREE);
        Ok(NonZeroUsize::new(left).filter(|left| left.get() >= TOKENS_MIN))
    }

    /// The windows of a text, from the cache or cut now.
    fn windows_of(
        &self,
        candidate: &Candidate,
        room: Option<NonZeroUsize>,
        cut: &WindowCut,
    ) -> tokenizers::Result<Windows> {
        let text = &*candidate.text;
        let Some(room) = room else {
            return Ok(Windows { is_complete: text.is_empty(), ..Windows::whole(text) });
        };
        let (n_tokens, stride) = cut.sizes(room);
        // No token is shorter than a byte.
        if text.len() <= n_tokens.get() {
            return Ok(Windows::whole(text));
        }
        let key = key(text, [n_tokens, stride, cut.n_max]);
        if let Some(windows) = self.documents.get(&key).and_then(|numbers| of_numbers(&numbers)) {
            return Ok(windows);
        }
        // One more than all windows have, which says whether the text goes on.
        let n_needed =
            n_tokens.get().saturating_add(stride.get().saturating_mul(cut.n_max.get() - 1)).saturating_add(1);
        let (tokens, has_rest) = self.spans(candidate, n_needed)?;
        let windows = Windows::of_tokens(text, &tokens, has_rest, (n_tokens, stride), cut.n_max);
        if let Some(numbers) = numbers(&windows) {
            self.documents.put(key, numbers.into());
        }
        Ok(windows)
    }

    /// The tokens of the start of a text, at least `n_needed` or all, and whether there are more.
    fn spans(&self, candidate: &Candidate, n_needed: usize) -> tokenizers::Result<(Vec<TokenSpan>, bool)> {
        let text = &*candidate.text;
        let bytes_cap = n_needed.saturating_mul(BYTES_PER_TOKEN_MAX).max(BYTES_MAX_MIN);
        let mut bytes_max = self.bytes_for(n_needed);
        loop {
            let end = (0..=bytes_max.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
            let (start, is_whole) = (&text[..end], end == text.len());
            let encoding = self.tokenizer.encode(start, false)?;
            let n_settled =
                if is_whole { encoding.len() } else { cut::settled_start(start, &encoding, self.margin).len() };
            let is_last = bytes_max >= bytes_cap;
            if !is_whole && n_settled < n_needed && !is_last {
                bytes_max = bytes_max.saturating_mul(2).min(bytes_cap);
                continue;
            }
            if !is_whole && n_settled < n_needed {
                let document = &candidate.id;
                tracing::warn!(%document, bytes_cap, "cut a text without word boundaries into passages; the last one may be inexact");
            }
            let n_used = if n_settled < n_needed { encoding.len() } else { n_settled };
            let words = encoding.get_word_ids();
            let span = |(n, &(begin, end)): (usize, &(usize, usize))| {
                let is_other_word = n == 0 || words[n] != words[n - 1];
                let is_ascii = start.as_bytes().get(begin).is_some_and(u8::is_ascii);
                let starts_word = is_beside_space(start, begin) || is_other_word && !is_ascii;
                TokenSpan { start: begin, end, starts_word }
            };
            let spans = encoding.get_offsets()[..n_used].iter().enumerate().map(span).collect();
            return Ok((spans, !is_whole));
        }
    }
}

/// Whether white space precedes or begins at a byte. Pre-tokens alone are not words: a comma is one, and with SentencePiece
/// the whole text may be. They divide texts of scripts without white space.
fn is_beside_space(text: &str, at: usize) -> bool {
    let is_space = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_whitespace);
    is_space(at) || at.checked_sub(1).is_some_and(is_space)
}

/// The cache key of the windows of a text.
fn key(text: &str, sizes: [NonZeroUsize; 3]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("lorank windows of texts v1");
    for size in sizes {
        hasher.update(&(size.get() as u64).to_le_bytes());
    }
    *hasher.update(text.as_bytes()).finalize().as_bytes()
}

/// Windows as numbers, for the cache; `None` if the text is too long for them.
fn numbers(windows: &Windows) -> Option<Vec<u32>> {
    let ends = windows.spans.iter().flat_map(|span| [span.start, span.end]);
    let ends: Option<Vec<u32>> = ends.map(|end| u32::try_from(end).ok()).collect();
    ends.map(|ends| [vec![u32::from(windows.is_complete)], ends].concat())
}

fn of_numbers(numbers: &[u32]) -> Option<Windows> {
    let (is_complete, ends) = numbers.split_first()?;
    let spans = ends.chunks_exact(2).map(|ends| ends[0] as usize..ends[1] as usize).collect();
    Some(Windows { spans, is_complete: *is_complete == 1 })
}

#[cfg(test)]
mod tests {
    use lorank_core::Score;
    use lorank_testing::fixture;
    use proptest::prelude::*;

    use super::*;
    use crate::files::Files;
    use crate::template::TokenNames;
    use crate::tokenizer_config::TokenizerSettings;
    use crate::whole::{Whole, WholeTemplates};

    const NO_TOKENS: &TokenNames = &[];

    fn tokenizer(model: &str) -> PairTokenizer {
        let files = Files::folder(fixture(model)).unwrap();
        let architecture = if model.contains("bert") { "bert" } else { "llama" };
        PairTokenizer::read(&files, TokenizerSettings::read(&files, architecture, None).unwrap()).unwrap()
    }

    fn whole_prompt() -> Prompt {
        let parts = ["judge the text\n", "query: {query} document: {document}", "\nanswer:"];
        let templates = WholeTemplates::new(Whole::parse(&parts, NO_TOKENS).unwrap(), None).unwrap();
        Prompt::whole(templates, None, 512)
    }

    /// WordPiece with BERT's pre-tokens, and byte-level BPE, in pairs and in a whole sequence.
    fn models() -> [(PairTokenizer, Prompt); 3] {
        [
            (tokenizer("tiny-bert/base"), Prompt::pair(512)),
            (tokenizer("tiny-llama/base"), Prompt::llama()),
            (tokenizer("tiny-llama/base"), whole_prompt()),
        ]
    }

    fn candidate(title: Option<&str>, text: &str) -> Candidate {
        let mut candidate = Candidate::new("1", text, Score::new(0.0).unwrap());
        candidate.title = title.map(Into::into);
        candidate
    }

    fn cut(tokens: usize, stride: usize, n_max: usize) -> WindowCut {
        let n_max = NonZeroUsize::new(n_max).unwrap();
        WindowCut { tokens: NonZeroUsize::new(tokens), stride: NonZeroUsize::new(stride), n_max }
    }

    fn windows(model: &(PairTokenizer, Prompt), query: &str, candidate: &Candidate, cut: &WindowCut) -> Windows {
        let (tokenizer, prompt) = model;
        tokenizer.windows(prompt, query, std::slice::from_ref(candidate), cut).unwrap().remove(0)
    }

    /// Each window as a candidate of its own.
    fn parts(candidate: &Candidate, windows: &Windows) -> Vec<Candidate> {
        let part = |span: &std::ops::Range<usize>| Candidate {
            text: candidate.text[span.clone()].into(),
            ..candidate.clone()
        };
        windows.spans.iter().map(part).collect()
    }

    #[test]
    fn a_text_that_fits_is_not_cut() {
        for model in models() {
            for text in ["", " ", "one", "  spaces around  ", &"word ".repeat(20)] {
                let candidate = candidate(None, text);
                let found = windows(&model, "query", &candidate, &cut(0, 0, 8));
                assert_eq!(found, Windows::whole(text), "{text:?}");
            }
        }
    }

    #[test]
    fn a_long_text_is_cut_between_words_into_as_many_tokens_as_asked() {
        let text = (0..400).map(|n| format!("word{n}")).collect::<Vec<_>>().join(" ");
        for model in models() {
            let candidate = candidate(None, &text);
            let found = windows(&model, "query", &candidate, &cut(40, 30, 1_000));
            assert!(found.is_complete && found.spans.len() > 10, "{found:?}");
            for (n, span) in found.spans.iter().enumerate() {
                let part = &text[span.clone()];
                let n_tokens = model.0.ids(part).unwrap().len();
                assert!(part.starts_with("word") && n_tokens <= 40 + TOKENS_FREE, "{n_tokens}: {part}");
                let is_before_space = text[span.end..].starts_with(' ') || span.end == text.len();
                assert!(is_before_space, "{part}");
                assert!(n == 0 || span.start < found.spans[n - 1].end, "they overlap");
            }
            let few = windows(&model, "query", &candidate, &cut(40, 30, 3));
            assert_eq!((&few.spans[..], few.is_complete), (&found.spans[..3], false));
        }
    }

    #[test]
    fn windows_are_cached_by_their_sizes() {
        let model = &models()[0];
        let candidate = candidate(None, &"one two three ".repeat(100));
        let sizes = [cut(40, 30, 9), cut(40, 20, 9), cut(40, 30, 2), cut(50, 30, 9)];
        let first = sizes.map(|cut| windows(model, "query", &candidate, &cut));
        let n_misses = model.0.cache_stats().misses;
        let second = sizes.map(|cut| windows(model, "query", &candidate, &cut));
        assert_eq!(first, second);
        assert_eq!((model.0.cache_stats().misses, model.0.cache_stats().hits), (n_misses, 4));
        assert_eq!(first.iter().map(|it| format!("{it:?}")).collect::<std::collections::HashSet<_>>().len(), 4);
    }

    #[test]
    fn a_title_without_room_for_a_text_leaves_it_in_one_piece() {
        for model in models() {
            let candidate = candidate(Some(&"long title ".repeat(400)), &"text ".repeat(900));
            let found = windows(&model, "query", &candidate, &cut(0, 0, 9));
            assert_eq!(found, Windows { is_complete: false, ..Windows::whole(&candidate.text) });
        }
    }

    #[test]
    fn a_text_without_words_is_cut_at_tokens() {
        for model in models() {
            for text in ["x".repeat(5_000), "中".repeat(3_000), "é".repeat(3_000)] {
                let candidate = candidate(None, &text);
                let found = windows(&model, "query", &candidate, &cut(64, 32, 1_000));
                assert!(found.fit(&text) && !found.spans.is_empty(), "{found:?}");
                let read_to = found.spans.iter().map(|span| span.end).max().unwrap();
                assert_eq!(read_to == text.len(), found.is_complete);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        /// The model reads a window to its end: its pair is the same with a limit that it cannot reach.
        #[test]
        fn the_pair_of_a_window_is_not_truncated(
            words in prop::collection::vec("[a-zA-Z]{1,9}|[0-9]{1,7}|[.,;!]|é中|\u{301}x", 0..900),
            n_query in 0_usize..500,
            title in prop::option::of("([a-z]{1,8} ){0,40}"),
            tokens in prop_oneof![Just(0_usize), 16_usize..300],
        ) {
            let query = "what ".repeat(n_query);
            let candidate = candidate(title.as_deref(), &words.join(" "));
            for model in models() {
                let found = windows(&model, &query, &candidate, &cut(tokens, 0, 6));
                prop_assert!(found.fit(&candidate.text));
                if !found.is_complete && found.spans.len() == 1 {
                    continue;
                }
                let (tokenizer, prompt) = &model;
                for part in parts(&candidate, &found) {
                    let without_end = Candidate { text: part.text.trim_end().into(), ..part.clone() };
                    let more = Candidate { text: format!("{} zzz", &*part.text).into(), ..part.clone() };
                    let pairs = tokenizer.pairs(prompt, &query, &[without_end, more]).unwrap();
                    // A word more is one that the model reads too, within the room that is left free.
                    prop_assert_ne!(&pairs[0], &pairs[1], "{:?}", part.text);
                    prop_assert!(pairs[0].ids.len() <= prompt.max_length());
                }
            }
        }
    }
}
