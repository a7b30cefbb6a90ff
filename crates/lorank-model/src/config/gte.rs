//! `config.json` of a GTE, whose `model_type` is `new`.

use lorank_kernels::Activation;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{RopeScaling, activation, check_code, check_counts, check_heads, typed, unsupported};
use crate::ModelError;
use crate::files::Files;
use crate::keys::{self, GTE_CONFIG};

/// GTE settings. Missing ones have the defaults of the published code's `NewConfig`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct GteSettings {
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) max_position_embeddings: usize,
    /// Zero if tokens have no types.
    pub(crate) type_vocab_size: usize,
    pub(crate) layer_norm_eps: f64,
    /// Whether queries, keys and values are computed by one layer.
    pub(crate) pack_qkv: bool,
    pub(crate) rope_theta: f32,
    #[serde(skip)]
    pub(crate) rope: RopeScaling,
    #[serde(skip)]
    pub(crate) activation: Activation,
}

impl Default for GteSettings {
    fn default() -> Self {
        Self {
            vocab_size: 30_528,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            max_position_embeddings: 2048,
            type_vocab_size: 1,
            layer_norm_eps: 1e-12,
            pack_qkv: true,
            rope_theta: 10_000.0,
            rope: RopeScaling::None,
            activation: Activation::Gelu,
        }
    }
}

/// The classes of the published code, which is not run: they are implemented here, or have another head.
const CODE: [&str; 7] = [
    "NewConfig",
    "NewModel",
    "NewForSequenceClassification",
    "NewForMaskedLM",
    "NewForTokenClassification",
    "NewForQuestionAnswering",
    "NewForMultipleChoice",
];

pub(super) fn gte_settings(files: &Files, mut json: Map<String, Value>) -> Result<GteSettings, ModelError> {
    GTE_CONFIG.check(files.name(), &json)?;
    check_code(files, &json, &CODE)?;
    let activation = activation(files, &json, "hidden_act")?;
    let rope = rope(files, json.remove("rope_scaling"))?;
    json.retain(|_, value| !value.is_null());
    let settings = GteSettings { activation, rope, ..typed(files, Value::Object(json))? };
    let GteSettings { hidden_size, num_attention_heads, rope_theta, .. } = settings;
    check_counts(
        files,
        &[
            ("vocab_size", settings.vocab_size),
            ("hidden_size", hidden_size),
            ("num_attention_heads", num_attention_heads),
            ("num_hidden_layers", settings.num_hidden_layers),
            ("intermediate_size", settings.intermediate_size),
            ("max_position_embeddings", settings.max_position_embeddings),
            ("type_vocab_size", settings.type_vocab_size.max(1)),
        ],
    )?;
    check_heads(files, hidden_size, num_attention_heads)?;
    let head_dim = hidden_size / num_attention_heads;
    if !head_dim.is_multiple_of(2) {
        let what = format!("attention heads of {head_dim} dimensions");
        return Err(unsupported(files, what, "; rotary positions need an even number"));
    }
    if !(rope_theta.is_finite() && rope_theta > 0.0) {
        return Err(unsupported(files, format!("`rope_theta` = {rope_theta}"), "; a number above zero is"));
    }
    Ok(settings)
}

/// `rope_scaling`: none, or `ntk` with a factor. The published code scales only with a factor above one.
fn rope(files: &Files, scaling: Option<Value>) -> Result<RopeScaling, ModelError> {
    let Some(scaling) = scaling.filter(keys::is_on) else { return Ok(RopeScaling::None) };
    let refused = |hint| unsupported(files, keys::describe("rope_scaling", &scaling), hint);
    if scaling["type"] != "ntk" {
        return Err(refused("; the type `ntk` is"));
    }
    if scaling.get("mixed_b").is_some_and(|mixed| !mixed.is_null()) {
        return Err(refused("; `mixed_b` is not implemented"));
    }
    let factor = scaling["factor"].as_f64().map(|factor| factor as f32);
    let factor = factor.filter(|factor| factor.is_finite() && *factor > 0.0);
    let factor = factor.ok_or_else(|| refused("; a `factor` above zero is"))?;
    Ok(if factor > 1.0 { RopeScaling::Ntk(factor) } else { RopeScaling::None })
}
