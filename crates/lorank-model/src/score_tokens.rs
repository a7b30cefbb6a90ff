//! Score heads from the logits of two tokens.
//!
//! A causal reranker answers with a word, and its score is the logit of a token (`yes`), or the difference to the logit
//! of another one (`no`). Both logits are products of the last hidden state with a row of one matrix, so the score is
//! the product with the difference of the two rows: a score head like any other.

use serde::Deserialize;

use crate::ModelError;
use crate::head::{Head, ScoreTokens};
use crate::weights::Weights;

/// The module of a causal model that computes the logit of each token.
pub(crate) const LOGITS_MODULE: &str = "lm_head";

/// `score_tokens` of a `lorank.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamedTokens {
    pub(crate) positive: NamedToken,
    pub(crate) negative: Option<NamedToken>,
}

/// A token by its id, or by its text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a token's text or its id")]
pub(crate) enum NamedToken {
    Id(u32),
    Text(String),
}

/// The tokens of a tokenizer.
pub(crate) trait Vocabulary {
    /// The id of a token.
    fn token_id(&self, token: &str) -> Option<u32>;

    /// The tokens of a text alone, without special tokens around it.
    fn plain_ids(&self, text: &str) -> Result<Vec<u32>, ModelError>;
}

/// The matrix that computes the logit of each token: [n_tokens, hidden].
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenLogits {
    /// Whether it is the table of embeddings.
    pub(crate) is_tied: bool,
    pub(crate) n_tokens: usize,
    pub(crate) hidden: usize,
}

impl NamedTokens {
    /// The tokens with these texts.
    pub(crate) fn texts(positive: &str, negative: Option<&str>) -> Self {
        let text = |text: &str| NamedToken::Text(text.to_owned());
        Self { positive: text(positive), negative: negative.map(text) }
    }

    /// The ids of the tokens in a tokenizer's vocabulary.
    pub(crate) fn resolve(&self, vocabulary: &impl Vocabulary, folder: &str) -> Result<ScoreTokens, ModelError> {
        let id = |token: &NamedToken| token.resolve(vocabulary, folder);
        let tokens =
            ScoreTokens { positive: id(&self.positive)?, negative: self.negative.as_ref().map(id).transpose()? };
        if tokens.negative == Some(tokens.positive) {
            let why = "its positive and negative token are the same, so every score would be 0".to_owned();
            return Err(ModelError::ScoreTokens { folder: folder.to_owned(), why });
        }
        Ok(tokens)
    }
}

impl NamedToken {
    /// The vocabulary's token of this text, else the only token of the text.
    fn resolve(&self, vocabulary: &impl Vocabulary, folder: &str) -> Result<u32, ModelError> {
        let text = match self {
            Self::Id(id) => return Ok(*id),
            Self::Text(text) => text,
        };
        if let Some(id) = vocabulary.token_id(text) {
            return Ok(id);
        }
        match vocabulary.plain_ids(text)?[..] {
            [id] => Ok(id),
            ref ids => {
                let why =
                    format!("`{text}` is {} tokens of the tokenizer; name one token, by its text or id", ids.len());
                Err(ModelError::ScoreTokens { folder: folder.to_owned(), why })
            }
        }
    }
}

impl TokenLogits {
    /// The name of the matrix's tensor.
    pub(crate) fn tensor(&self) -> &'static str {
        if self.is_tied { "model.embed_tokens.weight" } else { "lm_head.weight" }
    }

    /// The shape of the matrix.
    pub(crate) fn shape(&self) -> [usize; 2] {
        [self.n_tokens, self.hidden]
    }

    /// The head of two tokens, from a tensor of this shape.
    pub(crate) fn head(&self, weights: &mut Weights, tensor: &str, tokens: ScoreTokens) -> Result<Head, ModelError> {
        let weight = difference(tokens, weights, tensor, self.shape())?;
        Ok(Head::of_tokens(weight, tokens))
    }
}

/// The row of the positive token, minus the row of the negative one: [width].
pub(crate) fn difference(
    tokens: ScoreTokens,
    weights: &mut Weights,
    tensor: &str,
    [n_rows, width]: [usize; 2],
) -> Result<Vec<f32>, ModelError> {
    let ids: Vec<usize> =
        [Some(tokens.positive), tokens.negative].into_iter().flatten().map(|id| id as usize).collect();
    if let Some(id) = ids.iter().find(|id| **id >= n_rows) {
        let why = format!("the model has {n_rows} tokens, but the id {id} is named");
        return Err(ModelError::ScoreTokens { folder: weights.folder().to_owned(), why });
    }
    let mut rows = weights.rows(tensor, [n_rows, width], &ids)?;
    let negative = rows.split_off(width);
    rows.iter_mut().zip(negative).for_each(|(x, y)| *x -= y);
    Ok(rows)
}
