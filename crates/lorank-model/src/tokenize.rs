//! From a pair of texts to token ids.

use lorank_core::Candidate;
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
}

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
        Ok((Self { tokenizer, folder, n_special_tokens }, bytes))
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
            let documents = self.tokenizer.encode_batch_fast(documents, false)?;
            documents.into_iter().map(|document| self.pair(prompt, query.clone(), document)).collect()
        };
        encode().map_err(|source| ModelError::Tokenizer { folder: self.folder.clone(), source })
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
