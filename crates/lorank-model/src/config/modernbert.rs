//! `config.json` of a ModernBERT.

use lorank_kernels::Activation;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{activation, check_counts, check_heads, flag, typed, unsupported, word};
use crate::ModelError;
use crate::files::Files;
use crate::head::Pooling;
use crate::keys::{self, MODERNBERT_CONFIG};
use crate::modules::ModuleHead;
use crate::weights::ModuleTensors;

/// ModernBERT settings. Missing ones have the defaults of Hugging Face's `ModernBertConfig`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct ModernBertSettings {
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) max_position_embeddings: usize,
    pub(crate) norm_eps: f64,
    /// The width of the window of local attention, in tokens: half of it to each side.
    pub(crate) local_attention: usize,
    pub(crate) norm_bias: bool,
    pub(crate) attention_bias: bool,
    pub(crate) mlp_bias: bool,
    #[serde(skip)]
    pub(crate) activation: Activation,
    #[serde(skip)]
    pub(crate) head: ModernBertHead,
    /// Whether each layer's attention is local.
    #[serde(skip)]
    pub(crate) is_local: Vec<bool>,
    /// The base of the rotary frequencies of global attention.
    #[serde(skip)]
    pub(crate) global_theta: f32,
    /// The same for local attention.
    #[serde(skip)]
    pub(crate) local_theta: f32,
}

/// The settings of ModernBERT's head: pooling, a dense layer, a norm and the score.
#[derive(Debug, Clone)]
pub(crate) struct ModernBertHead {
    pub(crate) pooling: Pooling,
    /// Whether the dense layer has a bias.
    pub(crate) dense_bias: bool,
    /// The activation of the dense layer.
    pub(crate) activation: Activation,
    pub(crate) norm_bias: bool,
    pub(crate) norm_eps: f64,
    /// Whether the score has a bias.
    pub(crate) score_bias: bool,
    /// The tensors of the head, if they are in the folders of sentence-transformers' modules.
    pub(crate) tensors: Vec<ModuleTensors>,
}

impl ModernBertHead {
    /// The head of a cross-encoder's modules. Their norm is torch's, with a bias and its default epsilon.
    pub(crate) fn of_modules(head: &ModuleHead) -> Self {
        Self {
            pooling: head.pooling,
            dense_bias: head.dense_bias,
            activation: head.activation,
            norm_bias: true,
            norm_eps: 1e-5,
            score_bias: head.score_bias,
            tensors: head.tensors(["head.dense", "head.norm", "classifier"]),
        }
    }
}

impl Default for ModernBertHead {
    fn default() -> Self {
        Self {
            pooling: Pooling::First,
            dense_bias: false,
            activation: Activation::Gelu,
            norm_bias: false,
            norm_eps: 1e-5,
            score_bias: true,
            tensors: Vec::new(),
        }
    }
}

impl Default for ModernBertSettings {
    fn default() -> Self {
        Self {
            vocab_size: 50_368,
            hidden_size: 768,
            num_hidden_layers: 22,
            num_attention_heads: 12,
            intermediate_size: 1152,
            max_position_embeddings: 8192,
            norm_eps: 1e-5,
            local_attention: 128,
            norm_bias: false,
            attention_bias: false,
            mlp_bias: false,
            activation: Activation::Gelu,
            head: ModernBertHead::default(),
            is_local: Vec::new(),
            global_theta: 160_000.0,
            local_theta: 10_000.0,
        }
    }
}

/// The names of the two kinds of layers, with the older key for the base of their rotary frequencies.
const GLOBAL: [&str; 2] = ["full_attention", "global_rope_theta"];
const LOCAL: [&str; 2] = ["sliding_attention", "local_rope_theta"];

pub(super) fn modernbert_settings(
    files: &Files,
    mut json: Map<String, Value>,
) -> Result<ModernBertSettings, ModelError> {
    MODERNBERT_CONFIG.check(files.name(), &json)?;
    json.retain(|_, value| !value.is_null());
    let plain: ModernBertSettings = typed(files, Value::Object(json.clone()))?;
    let ModernBertSettings { hidden_size, num_attention_heads, num_hidden_layers, .. } = plain;
    check_counts(
        files,
        &[
            ("vocab_size", plain.vocab_size),
            ("hidden_size", hidden_size),
            ("num_attention_heads", num_attention_heads),
            ("num_hidden_layers", num_hidden_layers),
            ("intermediate_size", plain.intermediate_size),
            ("max_position_embeddings", plain.max_position_embeddings),
            ("local_attention", plain.local_attention),
        ],
    )?;
    check_heads(files, hidden_size, num_attention_heads)?;
    let head_dim = hidden_size / num_attention_heads;
    if !head_dim.is_multiple_of(2) {
        let what = format!("attention heads of {head_dim} dimensions");
        return Err(unsupported(files, what, "; rotary positions need an even number"));
    }
    Ok(ModernBertSettings {
        activation: activation(files, &json, "hidden_activation")?,
        head: ModernBertHead {
            pooling: pooling(files, &json)?,
            dense_bias: flag(files, &json, "classifier_bias")?,
            activation: activation(files, &json, "classifier_activation")?,
            norm_bias: plain.norm_bias,
            norm_eps: plain.norm_eps,
            ..ModernBertHead::default()
        },
        is_local: layer_types(files, &json, num_hidden_layers)?,
        global_theta: theta(files, &json, GLOBAL, plain.global_theta)?,
        local_theta: theta(files, &json, LOCAL, plain.local_theta)?,
        ..plain
    })
}

fn pooling(files: &Files, json: &Map<String, Value>) -> Result<Pooling, ModelError> {
    match word(files, json, "classifier_pooling")?.unwrap_or("cls") {
        "cls" => Ok(Pooling::First),
        "mean" => Ok(Pooling::Mean),
        other => Err(unsupported(files, format!("`classifier_pooling` = `{other}`"), "; `cls` and `mean` are")),
    }
}

/// Whether each layer is local: `layer_types`, or all layers except each `global_attn_every_n_layers`-th from the first.
fn layer_types(files: &Files, json: &Map<String, Value>, n_layers: usize) -> Result<Vec<bool>, ModelError> {
    let Some(types) = json.get("layer_types") else {
        const KEY: &str = "global_attn_every_n_layers";
        let every = json.get(KEY).map_or(Some(3), Value::as_u64).filter(|every| *every > 0);
        let refused = || unsupported(files, keys::describe(KEY, &json[KEY]), "; expected a number above zero");
        let every = every.ok_or_else(refused)?;
        return Ok((0..n_layers as u64).map(|layer| !layer.is_multiple_of(every)).collect());
    };
    let is_local = |name: &Value| match name.as_str() {
        Some(name) if name == GLOBAL[0] => Some(false),
        Some(name) if name == LOCAL[0] => Some(true),
        _ => None,
    };
    let types: Option<Vec<bool>> = types.as_array().and_then(|names| names.iter().map(is_local).collect());
    types.filter(|types| types.len() == n_layers).ok_or_else(|| {
        let hint = format!("; `{}` or `{}` for each of {n_layers} layers is", GLOBAL[0], LOCAL[0]);
        unsupported(files, keys::describe("layer_types", &json["layer_types"]), &hint)
    })
}

/// The base of the rotary frequencies of one kind of layers. The key inside `rope_parameters` takes precedence.
fn theta(files: &Files, json: &Map<String, Value>, [kind, key]: [&str; 2], default: f32) -> Result<f32, ModelError> {
    let all = json.get("rope_parameters").unwrap_or(&Value::Null);
    let is_known = |kinds: &Map<String, Value>| kinds.keys().all(|kind| [GLOBAL[0], LOCAL[0]].contains(&&**kind));
    if !all.is_null() && !all.as_object().is_some_and(is_known) {
        let hint = format!("; settings of `{}` and `{}` are", GLOBAL[0], LOCAL[0]);
        return Err(unsupported(files, keys::describe("rope_parameters", all), &hint));
    }
    let parameters = &all[kind];
    let scaling = parameters.get("rope_type").filter(|name| name.as_str() != Some("default"));
    if let Some(scaling) = scaling {
        return Err(unsupported(files, keys::describe("rope_type", scaling), "; only `default` is"));
    }
    let inner = parameters.get("rope_theta").map(|value| ("rope_theta", value));
    let Some((key, value)) = inner.or(json.get(key).map(|value| (key, value))) else { return Ok(default) };
    let theta = value.as_f64().map(|theta| theta as f32).filter(|theta| theta.is_finite() && *theta > 0.0);
    theta.ok_or_else(|| unsupported(files, keys::describe(key, value), "; expected a number above zero"))
}
