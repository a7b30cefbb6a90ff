//! From the two texts of a pair to token ids.
//!
//! A pair has at most `max_length` tokens, but a document may have millions. Therefore a long document is truncated by
//! bytes before encoding, which must not affect scores: see [`cut`](crate::cut).

use std::sync::Arc;

use lorank_core::Candidate;
use rayon::prelude::*;
use tokenizers::tokenizer::PostProcessor;
use tokenizers::utils::truncation::truncate_encodings;
use tokenizers::{Encoding, Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

use crate::cut::{self, BYTES_MAX_MIN, BYTES_PER_TOKEN_MAX};
use crate::files::Files;
use crate::pipeline::{self, Pipeline, without_panic};
use crate::prompt::{Form, PairTemplates};
use crate::score_tokens::Vocabulary;
use crate::sequence::{Sequences, TextEncoder};
use crate::template::Excerpt;
use crate::token_cache::{self, TextHash, TokenCache, TokenCacheStats};
use crate::tokenizer_config::TokenizerSettings;
use crate::{ModelError, Prompt};

pub(crate) const TOKENIZER_FILE: &str = "tokenizer.json";

/// The tokens of one pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The token ids, including special tokens.
    pub ids: Vec<u32>,
    /// The text of each token (0 or 1), for BERT models.
    pub type_ids: Vec<u32>,
}

/// A model's tokenizer.
#[derive(Debug)]
pub(crate) struct PairTokenizer {
    pub(crate) tokenizer: Tokenizer,
    settings: TokenizerSettings,
    /// The side on which long texts are truncated.
    truncation: TruncationDirection,
    pub(crate) folder: String,
    pub(crate) n_special_tokens: usize,
    /// The distance from a cut, in bytes, within which tokens may differ from those of the whole text, besides the
    /// pre-token there.
    pub(crate) margin: usize,
    pub(crate) documents: TokenCache,
    /// The special tokens, with their ids.
    special_tokens: Vec<(String, u32)>,
    /// A separate thread pool: on the model's pool, a large request's texts would delay the next batch. `None` if the
    /// threads could not be started; the caller then encodes alone.
    threads: Option<Arc<rayon::ThreadPool>>,
}

/// The bytes of a text to encode first, per required token. English has four to five bytes per token.
const BYTES_PER_TOKEN: usize = 6;

/// How far a pre-tokenizer may look ahead, or an accent be separated from its character, in bytes.
const LOOKAHEAD_BYTES: usize = 64;

/// The number of documents that a request encodes before another request gets its turn.
const DOCUMENTS_AT_ONCE: usize = 32;

impl PairTokenizer {
    /// Reads `tokenizer.json` and the files beside it.
    pub(crate) fn read(files: &Files, settings: TokenizerSettings) -> Result<Self, ModelError> {
        let hint = "only fast tokenizers are supported; in Python, `AutoTokenizer.from_pretrained(folder).save_pretrained(folder)` writes one";
        Self::parse(files, &files.require(TOKENIZER_FILE, hint)?, settings)
    }

    /// Parses the bytes of `tokenizer.json`.
    pub(crate) fn parse(files: &Files, bytes: &[u8], settings: TokenizerSettings) -> Result<Self, ModelError> {
        let folder = files.name().to_owned();
        let Pipeline { tokenizer, truncation } = pipeline::build(bytes, &settings)
            .map_err(|source| ModelError::Tokenizer { folder: folder.clone(), source })?;
        let n_special_tokens = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(true));
        let added = tokenizer.get_added_tokens_decoder();
        let special_tokens = added.iter().filter(|(_, token)| token.special);
        let special_tokens = special_tokens.map(|(id, token)| (token.content.clone(), *id)).collect();
        let margin = LOOKAHEAD_BYTES + added.values().map(|token| token.content.len()).max().unwrap_or(0);
        let documents = TokenCache::new(token_cache::BYTES_MAX);
        let threads = rayon::ThreadPoolBuilder::new().thread_name(|n| format!("lorank-encode-{n}")).build().ok();
        let threads = threads.map(Arc::new);
        Ok(Self {
            tokenizer,
            settings,
            truncation,
            folder,
            n_special_tokens,
            margin,
            documents,
            special_tokens,
            threads,
        })
    }

    /// This tokenizer with the thread pool of another one.
    #[must_use]
    pub(crate) fn on_threads_of(mut self, other: &Self) -> Self {
        self.threads.clone_from(&other.threads);
        self
    }

    /// The settings in the files beside `tokenizer.json`.
    pub(crate) fn settings(&self) -> &TokenizerSettings {
        &self.settings
    }

    /// The text of a token.
    pub(crate) fn token_text(&self, id: u32) -> String {
        self.tokenizer.id_to_token(id).unwrap_or_else(|| id.to_string())
    }

    /// The texts of the tokens that it adds before and after a text alone.
    pub(crate) fn around_text(&self) -> Result<[Vec<String>; 2], ModelError> {
        let around = || {
            let (plain, whole) = (self.ids("a")?, self.tokenizer.encode_fast("a", true)?);
            let whole = whole.get_ids();
            let start = whole.windows(plain.len().max(1)).position(|ids| ids == plain).unwrap_or(whole.len());
            let texts = |ids: &[u32]| ids.iter().map(|id| self.token_text(*id)).collect();
            Ok([texts(&whole[..start]), texts(&whole[(start + plain.len()).min(whole.len())..])])
        };
        without_panic(around).map_err(|source| ModelError::Tokenizer { folder: self.folder.clone(), source })
    }

    /// The texts of the special tokens.
    pub(crate) fn special_tokens(&self) -> Vec<String> {
        self.special_tokens.iter().map(|(token, _)| token.clone()).collect()
    }

    /// The contents and counters of the token cache.
    pub(crate) fn cache_stats(&self) -> TokenCacheStats {
        self.documents.stats()
    }

    pub(crate) fn clear_cache(&self) {
        self.documents.clear();
    }

    /// Checks that the prompt's maximum length leaves room for text.
    pub(crate) fn check(&self, prompt: &Prompt, folder: &str) -> Result<(), ModelError> {
        let why = match &prompt.form {
            Form::Pair(_) if prompt.max_length() > self.n_special_tokens => return Ok(()),
            Form::Pair(_) => format!(
                "the tokenizer adds {} special tokens to a pair, which leaves no room for text",
                self.n_special_tokens
            ),
            Form::Whole(_) if self.truncation == TruncationDirection::Left => {
                let what =
                    "a template of a whole sequence with a tokenizer that cuts off the start of texts".to_owned();
                let why = "`truncation_side` in `tokenizer_config.json` must be `right`".to_owned();
                return Err(ModelError::Prompt { folder: folder.into(), what, why });
            }
            Form::Whole(templates) => {
                let refused = |why| ModelError::Prompt { folder: folder.into(), what: "the prompt".into(), why };
                let whole = templates.choose(prompt.instruction()).map_err(refused)?;
                let count = || Sequences::n_template(self, whole, prompt.instruction().unwrap_or_default());
                let n_template = without_panic(count)
                    .map_err(|source| ModelError::Tokenizer { folder: self.folder.clone(), source })?;
                // A token of the query and one of the document, at least.
                if n_template + 2 <= prompt.max_length() {
                    return Ok(());
                }
                format!("the template has {n_template} tokens, which leaves no room for text")
            }
        };
        Err(ModelError::Prompt { folder: folder.into(), what: format!("the max_length {}", prompt.max_length()), why })
    }

    /// Encodes one query with each of its candidates. Tokenizes the query once, and the documents in parallel.
    pub(crate) fn pairs(
        &self,
        prompt: &Prompt,
        query: &str,
        candidates: &[Candidate],
    ) -> Result<Vec<Pair>, ModelError> {
        let encode = || match &prompt.form {
            Form::Pair(templates) => {
                let query = self.tokenizer.encode_fast(templates.query(query), false)?;
                self.each(candidates, &|candidate| self.pair(templates, prompt.max_length(), &query, candidate))
            }
            Form::Whole(templates) => {
                let whole = templates.choose(prompt.instruction())?;
                let instruction = prompt.instruction().unwrap_or_default();
                let sequences = Sequences::new(self, whole, query, instruction, prompt.max_length())?;
                self.each(candidates, &|candidate| {
                    let ids = sequences.ids(candidate)?;
                    Ok(Pair { type_ids: vec![0; ids.len()], ids })
                })
            }
        };
        without_panic(encode).map_err(|source| ModelError::Tokenizer { folder: self.folder.clone(), source })
    }

    /// The share of tokens of a query and its candidates, without special tokens, that are unknown to the vocabulary. 0
    /// if the vocabulary has no unknown token, as for byte-level vocabularies.
    pub(crate) fn unknown_share(
        &self,
        prompt: &Prompt,
        query: &str,
        candidates: &[Candidate],
    ) -> Result<f32, ModelError> {
        let Some(unknown) = ["[UNK]", "<unk>"].into_iter().find_map(|token| self.tokenizer.token_to_id(token)) else {
            return Ok(0.0);
        };
        let pairs = self.pairs(prompt, query, candidates)?;
        let n_unknown = pairs.iter().flat_map(|pair| &pair.ids).filter(|id| **id == unknown).count();
        let n_tokens: usize = pairs.iter().map(|pair| pair.ids.len().saturating_sub(self.n_special_tokens)).sum();
        Ok(if n_tokens == 0 { 0.0 } else { n_unknown as f32 / n_tokens as f32 })
    }

    /// Encodes or cuts each candidate, in parallel.
    pub(crate) fn each<T: Send>(
        &self,
        candidates: &[Candidate],
        encode: &(dyn Fn(&Candidate) -> tokenizers::Result<T> + Sync),
    ) -> tokenizers::Result<Vec<T>> {
        let mut pairs = Vec::with_capacity(candidates.len());
        for candidates in candidates.chunks(DOCUMENTS_AT_ONCE) {
            let encoded: tokenizers::Result<Vec<T>> = match &self.threads {
                Some(threads) if candidates.len() > 1 => {
                    threads.install(|| candidates.par_iter().map(encode).collect())
                }
                _ => candidates.iter().map(encode).collect(),
            };
            pairs.extend(encoded?);
        }
        Ok(pairs)
    }

    /// Truncates the longer text first until the pair fits, then adds the special tokens: the same as the tokenizer
    /// does with a pair, in the same order, on encoded texts.
    fn pair(
        &self,
        templates: &PairTemplates,
        max_length: usize,
        query: &Encoding,
        candidate: &Candidate,
    ) -> tokenizers::Result<Pair> {
        let max_length = max_length - self.n_special_tokens;
        // With this many document tokens or more, truncation does not depend on their exact number: the document is not
        // the shorter text, and at most this many of its tokens are kept.
        let n_needed = max_length.max(query.len());
        let document = self.document(templates, candidate, n_needed)?;
        let document = cut::kept(&document, n_needed, self.truncation);
        self.joined(query.clone(), document, max_length)
    }

    /// Joins two encoded texts to a pair.
    fn joined(&self, query: Encoding, document: &[u32], max_length: usize) -> tokenizers::Result<Pair> {
        // A post-processor may keep existing types, and the tokenizer assigns type 1 to the second text.
        let document: Encoding = document.iter().map(|&id| (id, String::new(), (0, 0), None, 1)).collect();
        let (strategy, direction) = (TruncationStrategy::LongestFirst, self.truncation);
        let params = TruncationParams { max_length, strategy, direction, ..Default::default() };
        let (query, document) = truncate_encodings(query, Some(document), &params)?;
        let pair = self.tokenizer.post_process(query, document, true)?;
        let type_ids =
            if self.settings.has_type_ids { pair.get_type_ids().to_vec() } else { vec![0; pair.get_ids().len()] };
        Ok(Pair { ids: pair.get_ids().to_vec(), type_ids })
    }

    /// The tokens of a document: at least `n_needed` from the end that is kept, or all.
    fn document(
        &self,
        templates: &PairTemplates,
        candidate: &Candidate,
        n_needed: usize,
    ) -> tokenizers::Result<Arc<[u32]>> {
        let excerpt = |bytes_max| match self.truncation {
            TruncationDirection::Right => templates.document_start(candidate, bytes_max),
            TruncationDirection::Left => templates.document_end(candidate, bytes_max),
        };
        let mut bytes_max = self.bytes_for(n_needed);
        let first = excerpt(bytes_max);
        let key = hash(&first);
        if let Some(ids) = self.documents.get(&key) {
            return Ok(ids);
        }
        if let Some(ids) = self.settled_ids(&first, n_needed)? {
            let ids: Arc<[u32]> = ids.into();
            self.documents.put(key, ids.clone());
            return Ok(ids);
        }
        // Text beyond the first excerpt is not part of the key, so these tokens are not cached.
        let bytes_cap = n_needed.saturating_mul(BYTES_PER_TOKEN_MAX).max(BYTES_MAX_MIN);
        while bytes_max < bytes_cap {
            bytes_max = bytes_max.saturating_mul(2).min(bytes_cap);
            if let Some(ids) = self.settled_ids(&excerpt(bytes_max), n_needed)? {
                return Ok(ids.into());
            }
        }
        let document = &candidate.id;
        tracing::warn!(%document, bytes_cap, "truncated a text without a word boundary; its tokens at the cut may be inexact");
        Ok(self.tokenizer.encode_fast(&*excerpt(bytes_cap).text, false)?.get_ids().into())
    }

    /// The tokens of an excerpt that are also tokens of the whole text: all of them if the excerpt is the whole text;
    /// `None` if they are fewer than `n_needed`.
    fn settled_ids(&self, excerpt: &Excerpt<'_>, n_needed: usize) -> tokenizers::Result<Option<Vec<u32>>> {
        let text = &*excerpt.text;
        if excerpt.is_whole {
            return Ok(Some(self.tokenizer.encode_fast(text, false)?.get_ids().to_vec()));
        }
        let encoding = self.tokenizer.encode(text, false)?;
        let settled = match self.truncation {
            TruncationDirection::Right => cut::settled_start(text, &encoding, self.margin),
            TruncationDirection::Left => cut::settled_end(text, &encoding, self.margin),
        };
        let is_enough = settled.len() >= n_needed;
        Ok(is_enough.then(|| cut::kept(settled, n_needed, self.truncation).to_vec()))
    }
}

impl Vocabulary for PairTokenizer {
    fn token_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    fn plain_ids(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        without_panic(|| self.ids(text)).map_err(|source| ModelError::Tokenizer { folder: self.folder.clone(), source })
    }
}

impl TextEncoder for PairTokenizer {
    fn ids(&self, text: &str) -> tokenizers::Result<Vec<u32>> {
        Ok(self.tokenizer.encode_fast(text, false)?.get_ids().to_vec())
    }

    fn literal_ids(&self, text: &str) -> tokenizers::Result<Vec<u32>> {
        let special =
            self.special_tokens.iter().find(|(token, _)| self.settings.splits_special_tokens && token == text);
        special.map_or_else(|| self.ids(text), |(_, id)| Ok(vec![*id]))
    }

    fn start_of_tokens(&self, text: &str, n: usize) -> tokenizers::Result<usize> {
        let encoding = self.tokenizer.encode(text, false)?;
        let offsets = encoding.get_offsets();
        if offsets.len() <= n {
            return Ok(text.len());
        }
        let end = n.checked_sub(1).map_or(0, |last| offsets[last].1);
        Ok((0..=end).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0))
    }

    fn settled(&self, excerpt: &Excerpt<'_>, n_needed: usize) -> tokenizers::Result<Option<Vec<u32>>> {
        self.settled_ids(excerpt, n_needed)
    }

    fn bytes_for(&self, n_tokens: usize) -> usize {
        n_tokens.saturating_mul(BYTES_PER_TOKEN).saturating_add(self.margin)
    }
}

/// The cache key of an excerpt. A whole document and an excerpt with the same text have different keys.
fn hash(excerpt: &Excerpt<'_>) -> TextHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[u8::from(excerpt.is_whole)]).update(excerpt.text.as_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use lorank_core::Score;
    use lorank_testing::fixture;
    use proptest::prelude::*;

    use super::*;

    fn tokenizer(model: &str) -> PairTokenizer {
        tokenizer_with(model, |_| ())
    }

    /// A fixture's tokenizer with other settings.
    fn tokenizer_with(model: &str, change: impl FnOnce(&mut TokenizerSettings)) -> PairTokenizer {
        let files = Files::folder(fixture(model)).unwrap();
        let mut settings =
            TokenizerSettings::read(&files, if model.contains("bert") { "bert" } else { "llama" }, None).unwrap();
        change(&mut settings);
        PairTokenizer::read(&files, settings).unwrap()
    }

    /// The fixtures' tokenizers with their prompts: WordPiece with BERT's pre-tokens, byte-level BPE with a regex for words.
    fn tokenizers_of_starts() -> [(PairTokenizer, Prompt); 2] {
        [(tokenizer("tiny-bert/base"), Prompt::pair(512)), (tokenizer("tiny-llama/base"), Prompt::llama())]
    }

    /// The same, cutting off the beginnings of texts.
    fn tokenizers_of_ends() -> [(PairTokenizer, Prompt); 2] {
        let left = |settings: &mut TokenizerSettings| settings.truncation = Some(TruncationDirection::Left);
        [
            (tokenizer_with("tiny-bert/base", left), Prompt::pair(512)),
            (tokenizer_with("tiny-llama/base", left), Prompt::llama()),
        ]
    }

    fn candidate(text: &str) -> Candidate {
        Candidate::new("1", text, Score::new(0.0).unwrap())
    }

    fn templates(prompt: &Prompt) -> &PairTemplates {
        let Form::Pair(templates) = &prompt.form else { panic!("the prompt is of pairs") };
        templates
    }

    /// The pair of the whole texts: both are encoded to their ends, and only then truncated.
    fn whole(tokenizer: &PairTokenizer, prompt: &Prompt, query: &str, text: &str) -> Pair {
        // The library's own truncation stops encoding a text once it has so many tokens (0.23, `encode_single_sequence`), and then no
        // longer knows which of the two is the longer; so it is left out until both are whole.
        let encode = |text: String| tokenizer.tokenizer.encode_fast(text, false).unwrap();
        let templates = templates(prompt);
        let (query, mut document) = (encode(templates.query(query)), encode(templates.document(&candidate(text))));
        document.set_type_ids(vec![1; document.len()]);
        let max_length = prompt.max_length() - tokenizer.n_special_tokens;
        let (strategy, direction) = (TruncationStrategy::LongestFirst, tokenizer.truncation);
        let params = TruncationParams { max_length, strategy, direction, ..Default::default() };
        let (query, document) = truncate_encodings(query, Some(document), &params).unwrap();
        let pair = tokenizer.tokenizer.post_process(query, document, true).unwrap();
        let (ids, mut type_ids) = (pair.get_ids().to_vec(), pair.get_type_ids().to_vec());
        if !tokenizer.settings.has_type_ids {
            type_ids.fill(0);
        }
        Pair { ids, type_ids }
    }

    fn check(query: &str, text: &str, max_length: usize) -> Result<(), TestCaseError> {
        for (tokenizer, prompt) in tokenizers_of_starts().into_iter().chain(tokenizers_of_ends()) {
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
        let settings = TokenizerSettings::read(&Files::embedded("m", []), "llama", None).unwrap();
        lorank_core::with_causes(&PairTokenizer::parse(&Files::embedded("m", []), &bytes, settings).unwrap_err())
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
        for (tokenizer, prompt) in tokenizers_of_starts() {
            let candidate = candidate(&text);
            let n_needed = 64;
            let bytes_max = n_needed * BYTES_PER_TOKEN + tokenizer.margin;
            let start = templates(&prompt).document_start(&candidate, bytes_max);
            let ids = tokenizer.settled(&start, n_needed).unwrap().expect("English needs no second try");
            let all = tokenizer.tokenizer.encode_fast(templates(&prompt).document(&candidate), false).unwrap();
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
        for (tokenizer, prompt) in tokenizers_of_starts() {
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
