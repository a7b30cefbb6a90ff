//! From a pair of texts to token ids.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use lorank_core::Candidate;
use lru::LruCache;
use tokenizers::tokenizer::PostProcessor;
use tokenizers::utils::truncation::truncate_encodings;
use tokenizers::{Encoding, Tokenizer, TruncationParams, TruncationStrategy};

use crate::files::Files;
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
    /// Documents tokenised lately: one that is scored under several adapters is read once.
    documents: Mutex<LruCache<String, Encoding>>,
}

/// How many documents' tokens are kept: those of a few requests, at some ten kilobytes each.
const DOCUMENTS_KEPT: NonZeroUsize = NonZeroUsize::new(512).expect("it is not zero");

impl PairTokenizer {
    /// Reads `tokenizer.json`. Its own truncation and padding, if any, are switched off: a pair has one length, the prompt's.
    pub(crate) fn read(files: &Files) -> Result<(Self, Vec<u8>), ModelError> {
        let hint = "only fast tokenizers are read; in Python, `AutoTokenizer.from_pretrained(folder).save_pretrained(folder)` writes one";
        let bytes = files.require("tokenizer.json", hint)?.into_owned();
        let folder = files.name().to_owned();
        let read = Tokenizer::from_bytes(&bytes).and_then(|mut tokenizer| {
            tokenizer.with_padding(None).with_truncation(None)?;
            Ok(tokenizer)
        });
        let tokenizer = read.map_err(|source| ModelError::Tokenizer { folder: folder.clone(), source })?;
        let n_special_tokens = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(true));
        let documents = Mutex::new(LruCache::new(DOCUMENTS_KEPT));
        Ok((Self { tokenizer, folder, n_special_tokens, documents }, bytes))
    }

    /// The id of a token's text.
    pub(crate) fn token_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
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

    /// Encodes one query with each of its candidates. The query is tokenised once, the documents in parallel.
    pub(crate) fn pairs(
        &self,
        prompt: &Prompt,
        query: &str,
        candidates: &[Candidate],
    ) -> Result<Vec<Pair>, ModelError> {
        let documents: Vec<String> = candidates.iter().map(|candidate| prompt.document(candidate)).collect();
        let encode = || -> tokenizers::Result<Vec<Pair>> {
            let query = self.tokenizer.encode_fast(prompt.query(query), false)?;
            self.encode_documents(documents)?
                .into_iter()
                .map(|document| self.pair(prompt, query.clone(), document))
                .collect()
        };
        encode().map_err(|source| ModelError::Tokenizer { folder: self.folder.clone(), source })
    }

    fn encode_documents(&self, texts: Vec<String>) -> tokenizers::Result<Vec<Encoding>> {
        let kept = || self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<Option<Encoding>> = {
            let mut kept = kept();
            texts.iter().map(|text| kept.get(text.as_str()).cloned()).collect()
        };
        let missing: Vec<usize> = (0..texts.len()).filter(|n| found[*n].is_none()).collect();
        let new = missing.iter().map(|n| texts[*n].as_str()).collect();
        let new = self.tokenizer.encode_batch_fast(new, false)?;
        let mut kept = kept();
        let mut texts = texts;
        for (n, encoding) in missing.into_iter().zip(new) {
            kept.put(std::mem::take(&mut texts[n]), encoding.clone());
            found[n] = Some(encoding);
        }
        Ok(found.into_iter().map(|encoding| encoding.expect("found or encoded just now")).collect())
    }

    /// Cuts the longer text first until the pair fits, then puts the special tokens in: what the tokenizer itself does
    /// with a pair, in the same order, on texts encoded before.
    fn pair(&self, prompt: &Prompt, query: Encoding, document: Encoding) -> tokenizers::Result<Pair> {
        let max_length = prompt.max_length() - self.n_special_tokens;
        let params = TruncationParams { max_length, strategy: TruncationStrategy::LongestFirst, ..Default::default() };
        let (query, document) = truncate_encodings(query, Some(document), &params)?;
        let pair = self.tokenizer.post_process(query, document, true)?;
        Ok(Pair { ids: pair.get_ids().to_vec(), type_ids: pair.get_type_ids().to_vec() })
    }
}
