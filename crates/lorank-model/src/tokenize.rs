//! From a pair of texts to token ids.
//!
//! A pair has at most `max_length` tokens, and a document may have millions. So a long document is **cut by bytes before it is
//! encoded**, and no score may depend on that. What stands at the end of a cut text may be split otherwise than within
//! the whole one: a word, a run of spaces, a character with its accents or a special token may have been cut in two, and a
//! pre-tokenizer may look ahead. So only those tokens of a cut text count that no continuation can change: whole pre-tokens that
//! end well before the cut, the last one of them left out (see [`PairTokenizer::settled`]). If these are too few, twice as much
//! of the document is encoded, up to [`BYTES_PER_TOKEN_MAX`] for each token that is needed. A text that has no word boundary up
//! to there (a single word or run of spaces of hundreds of kilobytes) is cut there for good, with a warning: only its whole
//! would tell whether the tokens before that cut are exactly its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lorank_core::Candidate;
use rayon::prelude::*;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokenizers::tokenizer::PostProcessor;
use tokenizers::utils::truncation::truncate_encodings;
use tokenizers::{Encoding, Tokenizer, TruncationParams, TruncationStrategy};

use crate::files::Files;
use crate::prompt::Start;
use crate::token_cache::{self, TextHash, TokenCache, TokenCacheStats};
use crate::{ModelError, Prompt};

/// The tokens of one pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The token ids, special tokens included.
    pub ids: Vec<u32>,
    /// For each token the text it belongs to (0 or 1), as BERT models read it.
    pub type_ids: Vec<u32>,
}

/// A base model's tokenizer.
#[derive(Debug)]
pub(crate) struct PairTokenizer {
    tokenizer: Tokenizer,
    folder: String,
    n_special_tokens: usize,
    /// How many bytes before a cut tokens may differ from those of the whole text, the pre-token that reaches there aside.
    margin: usize,
    documents: TokenCache,
    /// Threads of their own: on the model's, a large request's texts would stand before the next batch. None where the
    /// system gave none; the caller then encodes alone.
    threads: Option<rayon::ThreadPool>,
}

/// How much of a text is encoded at first, for each token that is needed. English has four to five bytes a token.
const BYTES_PER_TOKEN: usize = 6;

/// The most of a text that is encoded, for each token that is needed, and at least [`BYTES_MAX_MIN`].
const BYTES_PER_TOKEN_MAX: usize = 256;
const BYTES_MAX_MIN: usize = 64 << 10;

/// How far a pre-tokenizer may look ahead, or an accent stand from its character, in bytes.
const LOOKAHEAD_BYTES: usize = 64;

/// How many documents of a request are encoded before another request gets its turn.
const DOCUMENTS_AT_ONCE: usize = 32;

impl PairTokenizer {
    /// Reads `tokenizer.json`. Its own truncation and padding, if any, are switched off: a pair has one length, the prompt's.
    pub(crate) fn read(files: &Files) -> Result<(Self, Vec<u8>), ModelError> {
        let hint = "only fast tokenizers are read; in Python, `AutoTokenizer.from_pretrained(folder).save_pretrained(folder)` writes one";
        let bytes = files.require("tokenizer.json", hint)?.into_owned();
        Ok((Self::parse(files, &bytes)?, bytes))
    }

    /// Parses the bytes of `tokenizer.json`.
    pub(crate) fn parse(files: &Files, bytes: &[u8]) -> Result<Self, ModelError> {
        let folder = files.name().to_owned();
        let read = without_panic(|| {
            check_merges(bytes)?;
            let mut tokenizer = Tokenizer::from_bytes(bytes)?;
            tokenizer.with_padding(None).with_truncation(None)?;
            Ok(tokenizer)
        });
        let tokenizer = read.map_err(|source| ModelError::Tokenizer { folder: folder.clone(), source })?;
        let n_special_tokens = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(true));
        let added = tokenizer.get_added_tokens_decoder();
        let margin = LOOKAHEAD_BYTES + added.values().map(|token| token.content.len()).max().unwrap_or(0);
        let documents = TokenCache::new(token_cache::BYTES_MAX);
        let threads = rayon::ThreadPoolBuilder::new().thread_name(|n| format!("lorank-encode-{n}")).build().ok();
        Ok(Self { tokenizer, folder, n_special_tokens, margin, documents, threads })
    }

    /// The id of a token's text.
    pub(crate) fn token_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// What is kept of documents encoded lately.
    pub(crate) fn cache_stats(&self) -> TokenCacheStats {
        self.documents.stats()
    }

    /// Checks that a pair of the prompt's length has room for text.
    pub(crate) fn check(&self, prompt: &Prompt, folder: &str) -> Result<(), ModelError> {
        if prompt.max_length() > self.n_special_tokens {
            return Ok(());
        }
        let why = format!(
            "the tokenizer adds {} special tokens to a pair, which leaves no room for text",
            self.n_special_tokens
        );
        Err(ModelError::Prompt { folder: folder.into(), what: format!("the max_length {}", prompt.max_length()), why })
    }

    /// Encodes one query with each of its candidates. The query is tokenized once, the documents in parallel.
    pub(crate) fn pairs(
        &self,
        prompt: &Prompt,
        query: &str,
        candidates: &[Candidate],
    ) -> Result<Vec<Pair>, ModelError> {
        let encode = || -> tokenizers::Result<Vec<Pair>> {
            let query = self.tokenizer.encode_fast(prompt.query(query), false)?;
            let mut pairs = Vec::with_capacity(candidates.len());
            for candidates in candidates.chunks(DOCUMENTS_AT_ONCE) {
                pairs.extend(self.encode_chunk(prompt, &query, candidates)?);
            }
            Ok(pairs)
        };
        without_panic(encode).map_err(|source| ModelError::Tokenizer { folder: self.folder.clone(), source })
    }

    /// Of the tokens of a query with each of its candidates, special tokens aside, the share that stand for what the vocabulary lacks. 0
    /// where the vocabulary has no such token, as one of bytes.
    pub(crate) fn unknown_share(
        &self,
        prompt: &Prompt,
        query: &str,
        candidates: &[Candidate],
    ) -> Result<f32, ModelError> {
        let Some(unknown) = ["[UNK]", "<unk>"].into_iter().find_map(|token| self.token_id(token)) else {
            return Ok(0.0);
        };
        let pairs = self.pairs(prompt, query, candidates)?;
        let n_unknown = pairs.iter().flat_map(|pair| &pair.ids).filter(|id| **id == unknown).count();
        let n_tokens: usize = pairs.iter().map(|pair| pair.ids.len().saturating_sub(self.n_special_tokens)).sum();
        Ok(if n_tokens == 0 { 0.0 } else { n_unknown as f32 / n_tokens as f32 })
    }

    fn encode_chunk(
        &self,
        prompt: &Prompt,
        query: &Encoding,
        candidates: &[Candidate],
    ) -> tokenizers::Result<Vec<Pair>> {
        let encode = |candidate| self.pair(prompt, query, candidate);
        match &self.threads {
            Some(threads) if candidates.len() > 1 => threads.install(|| candidates.par_iter().map(encode).collect()),
            _ => candidates.iter().map(encode).collect(),
        }
    }

    /// Cuts the longer text first until the pair fits, then puts the special tokens in: what the tokenizer itself does
    /// with a pair, in the same order, on texts encoded before.
    fn pair(&self, prompt: &Prompt, query: &Encoding, candidate: &Candidate) -> tokenizers::Result<Pair> {
        let max_length = prompt.max_length() - self.n_special_tokens;
        // With so many tokens of the document or more, how many of each text are kept does not depend on their number: the
        // document is not the shorter text, and its part of a pair is at most that.
        let n_needed = max_length.max(query.len());
        let document = self.document(prompt, candidate, n_needed)?;
        let document = &document[..n_needed.min(document.len())];
        let document: Encoding = document.iter().map(|&id| (id, String::new(), (0, 0), None, 0)).collect();
        let params = TruncationParams { max_length, strategy: TruncationStrategy::LongestFirst, ..Default::default() };
        let (query, document) = truncate_encodings(query.clone(), Some(document), &params)?;
        let pair = self.tokenizer.post_process(query, document, true)?;
        Ok(Pair { ids: pair.get_ids().to_vec(), type_ids: pair.get_type_ids().to_vec() })
    }

    /// The tokens of a document: at least `n_needed`, or all that it has.
    fn document(&self, prompt: &Prompt, candidate: &Candidate, n_needed: usize) -> tokenizers::Result<Arc<[u32]>> {
        let mut bytes_max = n_needed.saturating_mul(BYTES_PER_TOKEN).saturating_add(self.margin);
        let start = prompt.document_start(candidate, bytes_max);
        let key = hash(&start);
        if let Some(ids) = self.documents.get(&key) {
            return Ok(ids);
        }
        if let Some(ids) = self.settled(&start, n_needed)? {
            let ids: Arc<[u32]> = ids.into();
            self.documents.put(key, ids.clone());
            return Ok(ids);
        }
        // What lies past the first start is not in the key, so these tokens are not kept.
        let bytes_cap = n_needed.saturating_mul(BYTES_PER_TOKEN_MAX).max(BYTES_MAX_MIN);
        while bytes_max < bytes_cap {
            bytes_max = bytes_max.saturating_mul(2).min(bytes_cap);
            if let Some(ids) = self.settled(&prompt.document_start(candidate, bytes_max), n_needed)? {
                return Ok(ids.into());
            }
        }
        let document = &candidate.id;
        tracing::warn!(%document, bytes_cap, "cut a text for good that has no word boundary so far; its last tokens may differ");
        let start = prompt.document_start(candidate, bytes_cap);
        Ok(self.tokenizer.encode_fast(&*start.text, false)?.get_ids().into())
    }

    /// The tokens of a text's beginning that are the whole text's whatever follows: all of them where it is the whole; `None`
    /// where there are fewer than `n_needed`.
    ///
    /// Left out are the tokens of pre-tokens that reach into the last `margin` bytes or into the white space before these (a
    /// run of spaces may be one pre-token, and a special token may swallow one), and those of the pre-token before, whose
    /// end may depend on what comes next. A tokenizer without pre-tokens has one for the whole text, so all of it is encoded.
    fn settled(&self, start: &Start<'_>, n_needed: usize) -> tokenizers::Result<Option<Vec<u32>>> {
        let text = &*start.text;
        if start.is_whole {
            return Ok(Some(self.tokenizer.encode_fast(text, false)?.get_ids().to_vec()));
        }
        let encoding = self.tokenizer.encode(text, false)?;
        let settled_end = text.len().saturating_sub(self.margin);
        let settled_end = (0..=settled_end).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        let settled_end = text[..settled_end].trim_end().len();
        let (offsets, words) = (encoding.get_offsets(), encoding.get_word_ids());
        // Offsets may have been trimmed of white space, so a token of it is told by where it begins.
        let is_open = |(begin, end): &(usize, usize)| *begin >= settled_end || *end > settled_end;
        let n_before = offsets.iter().position(is_open).unwrap_or(offsets.len());
        let last_word = n_before.checked_sub(1).map(|last| words[last]);
        let n_settled = words[..n_before].iter().rposition(|word| Some(*word) != last_word).map_or(0, |at| at + 1);
        Ok((n_settled >= n_needed).then(|| encoding.get_ids()[..n_needed].to_vec()))
    }
}

/// Refuses merges that a prefix of continuing subwords does not fit. For each merge the tokenizers library cuts as many bytes as the
/// prefix has from the second token and takes the rest as text without looking (0.23, `BpeBuilder::build`), so a cut within a
/// character would make a string that is not UTF-8.
fn check_merges(bytes: &[u8]) -> tokenizers::Result<()> {
    #[derive(Deserialize)]
    struct File {
        model: Option<Model>,
    }
    #[derive(Deserialize)]
    struct Model {
        continuing_subword_prefix: Option<String>,
        merges: Option<Vec<Merge>>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Merge {
        Tuple(IgnoredAny, String),
        /// Both tokens with a space between.
        Line(String),
    }
    let File { model: Some(Model { continuing_subword_prefix: Some(prefix), merges }) } =
        serde_json::from_slice(bytes)?
    else {
        return Ok(());
    };
    let fits = |merge: &Merge| match merge {
        Merge::Tuple(_, second) => second.is_char_boundary(prefix.len()),
        Merge::Line(line) => line.split(' ').nth(1).is_some_and(|second| second.is_char_boundary(prefix.len())),
    };
    match merges.iter().flatten().all(fits) {
        true => Ok(()),
        false => Err(format!("`merges` has a token without the prefix `{prefix}` of continuing subwords").into()),
    }
}

/// Makes a panic of the tokenizers library an error: it has panics for files that are damaged in some ways, and one file must
/// not end a thread of the program. What a panic leaves half done is in the library's own caches, which it passes over then.
fn without_panic<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let why = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("without a message");
        Err(format!("the tokenizers library panicked: {why}").into())
    })
}

/// Names the beginning of a document. A whole document and one that goes on are two texts.
fn hash(start: &Start<'_>) -> TextHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[u8::from(start.is_whole)]).update(start.text.as_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use lorank_core::Score;
    use lorank_testing::fixture;
    use proptest::prelude::*;

    use super::*;

    fn tokenizer(model: &str) -> PairTokenizer {
        PairTokenizer::read(&Files::folder(fixture(model)).unwrap()).unwrap().0
    }

    /// The fixtures' tokenizers with their prompts: WordPiece with BERT's pre-tokens, byte-level BPE with a regex for words.
    fn tokenizers() -> [(PairTokenizer, Prompt); 2] {
        [(tokenizer("tiny-bert/base"), Prompt::bert(512)), (tokenizer("tiny-llama/base"), Prompt::llama())]
    }

    fn candidate(text: &str) -> Candidate {
        Candidate::new("1", text, Score::new(0.0).unwrap())
    }

    /// The pair of the whole texts: both are encoded to their ends, and only then truncated.
    fn whole(tokenizer: &PairTokenizer, prompt: &Prompt, query: &str, text: &str) -> Pair {
        let encode = |text: String| tokenizer.tokenizer.encode_fast(text, false).unwrap();
        let (query, document) = (encode(prompt.query(query)), encode(prompt.document(&candidate(text))));
        let max_length = prompt.max_length() - tokenizer.n_special_tokens;
        let params = TruncationParams { max_length, strategy: TruncationStrategy::LongestFirst, ..Default::default() };
        let (query, document) = truncate_encodings(query, Some(document), &params).unwrap();
        let pair = tokenizer.tokenizer.post_process(query, document, true).unwrap();
        Pair { ids: pair.get_ids().to_vec(), type_ids: pair.get_type_ids().to_vec() }
    }

    fn check(query: &str, text: &str, max_length: usize) -> Result<(), TestCaseError> {
        for (tokenizer, prompt) in tokenizers() {
            check_with(&tokenizer, &prompt, query, text, max_length)?;
        }
        Ok(())
    }

    fn check_with(
        tokenizer: &PairTokenizer,
        prompt: &Prompt,
        query: &str,
        text: &str,
        max_length: usize,
    ) -> Result<(), TestCaseError> {
        let prompt = prompt.clone().with_max_length(max_length);
        let expected = whole(tokenizer, &prompt, query, text);
        for _ in ["encoded", "kept"] {
            let found = tokenizer.pairs(&prompt, query, &[candidate(text)]).unwrap().pop().unwrap();
            prop_assert_eq!(&found, &expected, "{:?} {:?} {}", query, text, max_length);
        }
        Ok(())
    }

    /// Why a file of the fuzz target's corpus is refused.
    fn refusal(seed: &str) -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/tokenizer/");
        let bytes = std::fs::read(format!("{path}{seed}")).unwrap();
        lorank_core::with_causes(&PairTokenizer::parse(&Files::embedded("m", []), &bytes).unwrap_err())
    }

    #[test]
    fn a_panic_of_the_library_is_an_error() {
        let message = refusal("merge_longer_than_any_token");
        assert!(message.contains("the tokenizer of `m` failed") && message.contains("panicked: "), "{message}");
    }

    #[test]
    fn merges_that_the_prefix_does_not_fit_are_refused() {
        for seed in ["prefix_longer_than_a_token", "prefix_within_a_character"] {
            let message = refusal(seed);
            assert!(message.contains("without the prefix `"), "{message}");
        }
    }

    #[test]
    fn a_long_text_is_cut_before_it_is_encoded() {
        let text = "The first practical light bulb was sold in 1879. ".repeat(20_000);
        for (tokenizer, prompt) in tokenizers() {
            let candidate = candidate(&text);
            let n_needed = 64;
            let bytes_max = n_needed * BYTES_PER_TOKEN + tokenizer.margin;
            let start = prompt.document_start(&candidate, bytes_max);
            let ids = tokenizer.settled(&start, n_needed).unwrap().expect("English needs no second try");
            let all = tokenizer.tokenizer.encode_fast(prompt.document(&candidate), false).unwrap();
            assert_eq!(ids, all.get_ids()[..n_needed]);
        }
    }

    #[test]
    fn texts_that_are_hard_to_cut_keep_their_tokens() {
        let runs = |text: &str| text.repeat(700);
        for text in [
            runs(" "),
            runs("a"),
            runs("1"),
            runs("é"),
            runs("e\u{301}"),
            runs("中文"),
            runs("!?"),
            runs("[SEP]"),
            runs("<|endoftext|>"),
            runs("\r\n\n"),
            runs(" \t word"),
            format!("{}{}", runs(" "), runs("word ")),
            format!("{}{}", runs("x"), runs(" word")),
            format!("{}[MASK]{}", runs(" "), runs(" ")),
        ] {
            for (query, max_length) in [("light bulb", 16), ("", 33), (&*runs("q ").clone(), 17)] {
                check(query, &text, max_length).unwrap();
            }
        }
    }

    #[test]
    fn a_text_without_word_boundaries_costs_no_more_than_its_cut() {
        for (tokenizer, prompt) in tokenizers() {
            let prompt = prompt.with_max_length(16);
            let pair = |text: &str| tokenizer.pairs(&prompt, "q", &[candidate(text)]).unwrap().pop().unwrap();
            for unit in ["a", " ", "1"] {
                let (long, longer) = (pair(&unit.repeat(4 * BYTES_MAX_MIN)), pair(&unit.repeat(16 << 20)));
                assert_eq!(long, longer, "{unit:?}");
            }
        }
    }

    /// A stretch of text that tokenizers treat in a way of its own.
    fn stretch() -> impl Strategy<Value = String> {
        prop_oneof![
            3 => "[a-z]{1,8}( |, |\\. )",
            1 => " {1,200}",
            1 => "[a-zA-Z0-9]{90,220}",
            1 => "[\u{4e00}-\u{4e40}\u{3042}-\u{3060}]{1,60}",
            1 => "(e\u{301}\u{323}|o\u{308}|\u{301}){1,40}",
            1 => "[!-/]{1,40}",
            1 => "\\PC{1,40}",
            1 => "(\n|\r\n|\t| ){1,40}",
            1 => prop::sample::select(vec!["[SEP]", "[CLS]", "[MASK]", "[UNK]", "<s>", "</s>", "<|endoftext|>", "<unk>", "[PAD]"])
                .prop_map(str::to_owned),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn a_cut_changes_no_token(
            stretches in prop::collection::vec(stretch(), 0..60),
            query in prop::collection::vec(stretch(), 0..4),
            max_length in 8_usize..40,
        ) {
            check(&query.concat(), &stretches.concat(), max_length)?;
        }
    }
}
