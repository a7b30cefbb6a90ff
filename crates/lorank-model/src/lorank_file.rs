//! `lorank.json` beside a base model's `config.json` or an adapter's `adapter_config.json`.

use std::num::NonZeroUsize;

use lorank_core::{NotAPassageRule, PassageOptions};
use serde::Deserialize;

use crate::ModelError;
use crate::files::Files;
use crate::labels::NamedLabel;
use crate::score_tokens::NamedTokens;

/// The file's name.
pub(crate) const LORANK_FILE: &str = "lorank.json";

/// The settings of a model or adapter that no other file has. All are optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LorankFile {
    /// The template of a whole sequence: its parts, encoded one by one.
    pub(crate) template: Option<OneOrMany>,
    /// The template for requests without an instruction.
    pub(crate) template_without_instruction: Option<OneOrMany>,
    /// Whether the prompt is the folder's chat template.
    pub(crate) chat_template: Option<bool>,
    /// Fills `{instruction}`.
    pub(crate) instruction: Option<String>,
    /// How special tokens in a query or a document are read.
    pub(crate) special_tokens_in_texts: Option<SpecialTokens>,
    pub(crate) query_template: Option<String>,
    pub(crate) document_template: Option<String>,
    /// The maximum tokens of a pair.
    pub(crate) max_length: Option<usize>,
    /// How documents that are longer than the model's limit are scored: a rule, the tokens of a window, and the tokens
    /// from one window to the next.
    passages: Option<String>,
    passage_tokens: Option<NonZeroUsize>,
    stride: Option<NonZeroUsize>,
    /// The tokens of a causal model whose logits are the score.
    pub(crate) score_tokens: Option<NamedTokens>,
    /// The label of a classifier whose logit is the score.
    pub(crate) score_label: Option<NamedLabel>,
}

/// How special tokens in users' texts are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SpecialTokens {
    /// As tokens, like the reference.
    Tokens,
    /// As plain text.
    Text,
}

/// One text or several.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a string or an array of strings")]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(crate) fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

impl LorankFile {
    /// Reads the file; without one, nothing is set.
    pub(crate) fn read(files: &Files) -> Result<Self, ModelError> {
        Ok(files.read_json(LORANK_FILE)?.unwrap_or_default())
    }

    /// The settings of passages.
    pub(crate) fn passages(&self, files: &Files) -> Result<PassageOptions, ModelError> {
        let refused = |why: String| ModelError::Prompt {
            folder: files.name().into(),
            what: "the setting of passages".into(),
            why,
        };
        let rule = self.passages.as_deref().map(str::parse).transpose();
        let rule = rule.map_err(|error: NotAPassageRule| refused(error.to_string()))?;
        let options = PassageOptions { rule, tokens: self.passage_tokens, stride: self.stride };
        options.check().map_err(|error| refused(error.to_string()))?;
        Ok(options)
    }

    /// Parses the bytes of the file.
    pub(crate) fn parse(files: &Files, bytes: &[u8]) -> Result<Self, ModelError> {
        files.parse_json(LORANK_FILE, bytes)
    }
}
