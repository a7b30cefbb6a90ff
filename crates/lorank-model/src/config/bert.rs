//! `config.json` of a BERT, a RoBERTa or an XLM-RoBERTa.

use lorank_kernels::Activation;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{PadToken, activation, check_counts, check_heads, typed, unsupported};
use crate::ModelError;
use crate::files::Files;
use crate::keys::{self, BERT_CONFIG, ROBERTA_CONFIG};

/// BERT or RoBERTa settings. Missing ones have the defaults of Hugging Face's `BertConfig` or `RobertaConfig`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct BertSettings {
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) max_position_embeddings: usize,
    pub(crate) type_vocab_size: usize,
    pub(crate) layer_norm_eps: f64,
    #[serde(skip)]
    pub(crate) activation: Activation,
    #[serde(skip)]
    pub(crate) variant: BertVariant,
}

/// BERT, or a model that differs from it as RoBERTa (arXiv 1907.11692) does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BertVariant {
    Bert,
    /// Positions start after the padding token's id, and the head has a dense layer in place of a pooler.
    Roberta {
        /// `roberta` or `xlm-roberta`.
        model_type: &'static str,
        pad_token_id: u32,
    },
}

impl BertSettings {
    /// The number of tokens that have a position.
    pub(crate) fn n_positions(&self) -> usize {
        match self.variant {
            BertVariant::Bert => self.max_position_embeddings,
            BertVariant::Roberta { pad_token_id, .. } => {
                self.max_position_embeddings.saturating_sub(pad_token_id as usize + 1)
            }
        }
    }
}

impl Default for BertSettings {
    fn default() -> Self {
        Self {
            vocab_size: 30_522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            activation: Activation::Gelu,
            variant: BertVariant::Bert,
        }
    }
}

/// The padding token is 1 if the file has none, as in `RobertaConfig`.
pub(super) fn roberta_settings(
    files: &Files,
    json: Map<String, Value>,
    model_type: &'static str,
    pad_token: PadToken,
) -> Result<BertSettings, ModelError> {
    let pad_token_id = match pad_token {
        PadToken::Id(id) => id,
        PadToken::Open if !json.contains_key("pad_token_id") => 1,
        PadToken::Open | PadToken::None => {
            let value = json.get("pad_token_id").unwrap_or(&Value::Null);
            let hint = "; positions start after the padding token's id";
            return Err(unsupported(files, keys::describe("pad_token_id", value), hint));
        }
    };
    bert_settings(files, json, BertVariant::Roberta { model_type, pad_token_id })
}

pub(super) fn bert_settings(
    files: &Files,
    mut json: Map<String, Value>,
    variant: BertVariant,
) -> Result<BertSettings, ModelError> {
    let keys = if variant == BertVariant::Bert { &BERT_CONFIG } else { &ROBERTA_CONFIG };
    keys.check(files.name(), &json)?;
    let activation = activation(files, &json, "hidden_act")?;
    json.retain(|_, value| !value.is_null());
    if variant != BertVariant::Bert {
        // `RobertaConfig` has another vocabulary by default; XLM-RoBERTa's is BERT's.
        let vocab_size =
            if matches!(variant, BertVariant::Roberta { model_type: "roberta", .. }) { 50_265 } else { 30_522 };
        json.entry("vocab_size").or_insert(vocab_size.into());
    }
    let config = BertSettings { activation, variant, ..typed(files, Value::Object(json))? };
    check_counts(
        files,
        &[
            ("vocab_size", config.vocab_size),
            ("hidden_size", config.hidden_size),
            ("num_attention_heads", config.num_attention_heads),
            ("num_hidden_layers", config.num_hidden_layers),
            ("intermediate_size", config.intermediate_size),
            ("max_position_embeddings", config.max_position_embeddings),
            ("type_vocab_size", config.type_vocab_size),
        ],
    )?;
    if config.n_positions() == 0 {
        let what = keys::describe("max_position_embeddings", &config.max_position_embeddings.into());
        return Err(unsupported(files, what, "; more than the padding token's id and one were expected"));
    }
    check_heads(files, config.hidden_size, config.num_attention_heads)?;
    Ok(config)
}
