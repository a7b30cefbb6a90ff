//! `config.json` of a BERT, a RoBERTa, an XLM-RoBERTa, a DistilBERT or an ELECTRA.

use lorank_kernels::Activation;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{PadToken, activation, check_counts, check_heads, typed, unsupported};
use crate::ModelError;
use crate::files::Files;
use crate::keys::{self, BERT_CONFIG, DISTILBERT_CONFIG, ELECTRA_CONFIG, ROBERTA_CONFIG};

/// Settings of BERT and its relatives. Missing ones have the defaults of their Hugging Face configuration.
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

/// BERT, or how a relative differs from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BertVariant {
    Bert,
    /// Positions start after the padding token's id (arXiv 1907.11692), and the head has a dense layer in place of a pooler.
    Roberta {
        /// `roberta` or `xlm-roberta`.
        model_type: &'static str,
        pad_token_id: u32,
    },
    /// No token types, and the head has a dense layer with ReLU in place of a pooler (arXiv 1910.01108).
    DistilBert,
    /// The embeddings have their own width, and the head has a dense layer with GELU in place of a pooler
    /// (arXiv 2003.10555).
    Electra {
        embedding_size: usize,
    },
}

impl BertSettings {
    /// The number of tokens that have a position.
    pub(crate) fn n_positions(&self) -> usize {
        match self.variant {
            BertVariant::Bert | BertVariant::DistilBert | BertVariant::Electra { .. } => self.max_position_embeddings,
            BertVariant::Roberta { pad_token_id, .. } => {
                self.max_position_embeddings.saturating_sub(pad_token_id as usize + 1)
            }
        }
    }
}

impl BertSettings {
    /// The width of the embeddings.
    pub(crate) fn embedding_size(&self) -> usize {
        match self.variant {
            BertVariant::Electra { embedding_size } => embedding_size,
            _ => self.hidden_size,
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

/// ELECTRA's sizes are those of `ElectraConfig` by default.
pub(super) fn electra_settings(files: &Files, mut json: Map<String, Value>) -> Result<BertSettings, ModelError> {
    const SIZES: [(&str, u32); 4] =
        [("embedding_size", 128), ("hidden_size", 256), ("num_attention_heads", 4), ("intermediate_size", 1024)];
    for (key, default) in SIZES {
        json.entry(key).or_insert(default.into());
    }
    let embedding_size = json["embedding_size"].as_u64().and_then(|size| usize::try_from(size).ok());
    let refused = || {
        unsupported(files, keys::describe("embedding_size", &json["embedding_size"]), "; expected a number above zero")
    };
    let embedding_size = embedding_size.ok_or_else(refused)?;
    bert_settings(files, json, BertVariant::Electra { embedding_size })
}

/// Renames DistilBERT's sizes to BERT's, with the defaults of `DistilBertConfig`. It has three of BERT's names too.
fn rename_distilbert_sizes(json: &mut Map<String, Value>) {
    const SIZES: [(&str, &str, u32); 4] = [
        ("dim", "hidden_size", 768),
        ("n_layers", "num_hidden_layers", 6),
        ("n_heads", "num_attention_heads", 12),
        ("hidden_dim", "intermediate_size", 3072),
    ];
    json.retain(|key, _| !["intermediate_size", "layer_norm_eps", "type_vocab_size"].contains(&&**key));
    for (own, name, default) in SIZES {
        let value = json.remove(own).or_else(|| json.remove(name)).unwrap_or(default.into());
        json.insert(name.to_owned(), value);
    }
}

pub(super) fn bert_settings(
    files: &Files,
    mut json: Map<String, Value>,
    variant: BertVariant,
) -> Result<BertSettings, ModelError> {
    let table = match variant {
        BertVariant::Bert => &BERT_CONFIG,
        BertVariant::Roberta { .. } => &ROBERTA_CONFIG,
        BertVariant::DistilBert => &DISTILBERT_CONFIG,
        BertVariant::Electra { .. } => &ELECTRA_CONFIG,
    };
    table.check(files.name(), &json)?;
    let is_distilbert = variant == BertVariant::DistilBert;
    let activation = activation(files, &json, if is_distilbert { "activation" } else { "hidden_act" })?;
    json.retain(|_, value| !value.is_null());
    match variant {
        // XLM-RoBERTa's default vocabulary is BERT's.
        BertVariant::Roberta { model_type: "roberta", .. } => {
            json.entry("vocab_size").or_insert(50_265.into());
        }
        BertVariant::DistilBert => rename_distilbert_sizes(&mut json),
        _ => {}
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
            ("embedding_size", config.embedding_size()),
        ],
    )?;
    if config.n_positions() == 0 {
        let what = keys::describe("max_position_embeddings", &config.max_position_embeddings.into());
        return Err(unsupported(files, what, "; more than the padding token's id and one were expected"));
    }
    check_heads(files, config.hidden_size, config.num_attention_heads)?;
    Ok(config)
}
