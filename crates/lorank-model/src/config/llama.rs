//! `config.json` of a Llama, bidirectional Llama, Mistral, Qwen2, Qwen3 or Gemma.

use candle_transformers::models::llama;
use lorank_kernels::Activation;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{check_code, check_counts, flag, typed, unsupported, word};
use crate::ModelError;
use crate::files::Files;
use crate::keys::{
    self, GEMMA_CONFIG, KeyTable, LLAMA_BIDIRECTIONAL_CONFIG, LLAMA_CONFIG, MISTRAL_CONFIG, QWEN2_CONFIG, QWEN3_CONFIG,
};

/// Settings of a Llama or one of its relatives: those of candle-transformers, and the others that matter here.
#[derive(Debug, Clone)]
pub(crate) struct LlamaSettings {
    pub(crate) variant: LlamaVariant,
    pub(crate) numbers: llama::LlamaConfig,
    pub(crate) head_dim: usize,
    pub(crate) rope: RopeScaling,
    /// Whether the projections of queries, keys and values have biases.
    pub(crate) qkv_bias: bool,
    /// Whether the projection after attention has a bias.
    pub(crate) o_bias: bool,
    /// Whether the gate, up and down projections have biases.
    pub(crate) mlp_bias: bool,
    /// The activation of the gate.
    pub(crate) activation: Activation,
    /// The sliding window of each layer: the number of tokens that a token attends to, including itself.
    pub(crate) windows: Vec<Option<usize>>,
    /// Whether the embeddings are also the matrix of the logits of a causal model.
    pub(crate) ties_embeddings: bool,
    pub(crate) direction: Direction,
}

/// The tokens that a token attends to, and the state that the head scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Direction {
    /// Those before it. The state of the last token that is not padding is scored.
    Causal,
    /// All tokens.
    Both {
        pooling: StatePooling,
        /// The divisor of the logit.
        temperature: f32,
    },
}

/// The state that the head of a bidirectional Llama scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatePooling {
    First,
    Last,
    Mean,
}

/// Llama and the architectures with the same layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LlamaVariant {
    Llama,
    /// NVIDIA's `LlamaBidirectionalForSequenceClassification`: attention in both directions.
    Bidirectional,
    Mistral,
    Qwen2,
    Qwen3,
    Gemma,
}

impl LlamaVariant {
    /// The `model_type`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Bidirectional => "llama_bidirec",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma => "gemma",
        }
    }

    fn keys(self) -> &'static KeyTable {
        match self {
            Self::Llama => &LLAMA_CONFIG,
            Self::Bidirectional => &LLAMA_BIDIRECTIONAL_CONFIG,
            Self::Mistral => &MISTRAL_CONFIG,
            Self::Qwen2 => &QWEN2_CONFIG,
            Self::Qwen3 => &QWEN3_CONFIG,
            Self::Gemma => &GEMMA_CONFIG,
        }
    }

    /// The default of `head_dim`; `None` is the hidden size over the number of heads.
    fn head_dim(self) -> Option<usize> {
        match self {
            Self::Llama | Self::Bidirectional | Self::Mistral | Self::Qwen2 => None,
            Self::Qwen3 => Some(128),
            Self::Gemma => Some(256),
        }
    }

    /// Gemma's files name the exact GELU, but mean the tanh form, as in the reference.
    fn activation(self, files: &Files, json: &Map<String, Value>) -> Result<Activation, ModelError> {
        let (default, known): (_, &[&str]) = match self {
            Self::Gemma => (Activation::GeluTanh, &["gelu", "gelu_pytorch_tanh"]),
            _ => (Activation::Silu, &["silu", "swish"]),
        };
        match word(files, json, "hidden_act")?.filter(|act| !known.contains(act)) {
            Some(act) => Err(unsupported(files, format!("`hidden_act` = `{act}`"), &format!("; `{}` is", known[0]))),
            None => Ok(default),
        }
    }

    /// The sliding window of each layer.
    fn windows(
        self,
        files: &Files,
        json: &Map<String, Value>,
        n_layers: usize,
    ) -> Result<Vec<Option<usize>>, ModelError> {
        match self {
            Self::Llama | Self::Bidirectional | Self::Gemma => Ok(vec![None; n_layers]),
            Self::Mistral => Ok(vec![sliding_window(files, json)?; n_layers]),
            Self::Qwen2 | Self::Qwen3 => qwen_windows(files, json, n_layers),
        }
    }
}

/// Scaling of rotary frequencies for contexts longer than in pretraining.
#[derive(Debug, Clone)]
pub(crate) enum RopeScaling {
    None,
    /// Divides every frequency by the factor (position interpolation, arXiv 2306.15595).
    Linear(f32),
    /// Multiplies the base by the factor, and divides every frequency by its power of 2 / `head_dim`.
    Ntk(f32),
    /// Llama 3's scaling: long wavelengths are divided, short ones kept, and those between interpolated.
    Llama3(llama::Llama3RopeConfig),
}

pub(super) fn llama_settings(
    files: &Files,
    mut json: Map<String, Value>,
    variant: LlamaVariant,
) -> Result<LlamaSettings, ModelError> {
    variant.keys().check(files.name(), &json)?;
    let activation = variant.activation(files, &json)?;
    let attention_bias = flag(files, &json, "attention_bias")?;
    let (qkv_bias, o_bias) = match variant {
        LlamaVariant::Qwen2 => (true, false),
        LlamaVariant::Mistral => (false, false),
        _ => (attention_bias, attention_bias),
    };
    let is_llama = matches!(variant, LlamaVariant::Llama | LlamaVariant::Bidirectional);
    let mlp_bias = is_llama && flag(files, &json, "mlp_bias")?;
    let direction = match variant {
        LlamaVariant::Bidirectional => both_directions(files, &json)?,
        _ => Direction::Causal,
    };
    let ties_embeddings = match json.get("tie_word_embeddings") {
        None => variant == LlamaVariant::Gemma,
        Some(_) => flag(files, &json, "tie_word_embeddings")?,
    };
    let head_dim = json.get("head_dim").and_then(Value::as_u64).map(|dim| dim as usize).or(variant.head_dim());
    let n_layers = json.get("num_hidden_layers").and_then(Value::as_u64).unwrap_or_default();
    let windows = variant.windows(files, &json, n_layers.min(LAYERS_MAX) as usize)?;
    let rope = take_rope(files, &mut json)?;
    // candle-transformers parses these more strictly than necessary, although they have no effect here.
    json.retain(|key, _| !matches!(key.as_str(), "bos_token_id" | "eos_token_id" | "tie_word_embeddings"));
    let numbers: llama::LlamaConfig = typed(files, Value::Object(json))?;
    let head_dim = head_dim.unwrap_or(numbers.hidden_size / numbers.num_attention_heads.max(1));
    let (heads, kv_heads) = (numbers.num_attention_heads, numbers.num_key_value_heads());
    check_counts(
        files,
        &[
            ("vocab_size", numbers.vocab_size),
            ("hidden_size", numbers.hidden_size),
            ("intermediate_size", numbers.intermediate_size),
            ("max_position_embeddings", numbers.max_position_embeddings),
            ("num_attention_heads", heads),
            ("num_key_value_heads", kv_heads),
            ("num_hidden_layers", numbers.num_hidden_layers),
            ("head_dim", head_dim),
        ],
    )?;
    if windows.len() != numbers.num_hidden_layers {
        let what = format!("`num_hidden_layers` = {}", numbers.num_hidden_layers);
        return Err(unsupported(files, what, &format!("; at most {LAYERS_MAX} are")));
    }
    if heads % kv_heads != 0 || !head_dim.is_multiple_of(2) {
        let what = format!("{heads} attention heads of {head_dim} dimensions over {kv_heads} key-value heads");
        return Err(unsupported(files, what, "; the heads must divide evenly, and their dimensions must be even"));
    }
    Ok(LlamaSettings {
        variant,
        numbers,
        head_dim,
        rope,
        qkv_bias,
        o_bias,
        mlp_bias,
        activation,
        windows,
        ties_embeddings,
        direction,
    })
}

/// The largest number of layers, so that a damaged file cannot request much memory.
const LAYERS_MAX: u64 = 10_000;

/// The classes of the published code of bidirectional Llamas, which is not run: they are implemented here.
const BIDIRECTIONAL_CODE: [&str; 3] =
    ["LlamaBidirectionalConfig", "LlamaBidirectionalModel", "LlamaBidirectionalForSequenceClassification"];

/// `pooling` and `temperature` of a bidirectional Llama. The defaults are those of the published code.
fn both_directions(files: &Files, json: &Map<String, Value>) -> Result<Direction, ModelError> {
    check_code(files, json, &BIDIRECTIONAL_CODE)?;
    let pooling = match word(files, json, "pooling")?.unwrap_or("avg") {
        "avg" => StatePooling::Mean,
        "cls" => StatePooling::First,
        "last" => StatePooling::Last,
        other => return Err(unsupported(files, format!("`pooling` = `{other}`"), "; `avg`, `cls` and `last` are")),
    };
    let temperature = match json.get("temperature") {
        None => Some(1.0),
        Some(value) => value.as_f64().map(|value| value as f32).filter(|value| value.is_finite() && *value > 0.0),
    };
    let refused =
        || unsupported(files, keys::describe("temperature", &json["temperature"]), "; a number above zero is");
    Ok(Direction::Both { pooling, temperature: temperature.ok_or_else(refused)? })
}

/// `sliding_window`: 4096 if absent, as in the reference; null for none.
fn sliding_window(files: &Files, json: &Map<String, Value>) -> Result<Option<usize>, ModelError> {
    const KEY: &str = "sliding_window";
    match json.get(KEY) {
        None => Ok(Some(4096)),
        Some(Value::Null) => Ok(None),
        Some(value) => {
            let window = value.as_u64().and_then(|window| usize::try_from(window).ok()).filter(|window| *window > 0);
            let refused = || unsupported(files, keys::describe(KEY, value), "; a number above zero or null is");
            window.map(Some).ok_or_else(refused)
        }
    }
}

/// The windows of a Qwen: `layer_types`, or the layers from `max_window_layers` on; none without `use_sliding_window`.
fn qwen_windows(files: &Files, json: &Map<String, Value>, n_layers: usize) -> Result<Vec<Option<usize>>, ModelError> {
    let window = if flag(files, json, "use_sliding_window")? { sliding_window(files, json)? } else { None };
    let Some(types) = json.get("layer_types").filter(|types| !types.is_null()) else {
        let first = match json.get("max_window_layers") {
            None | Some(Value::Null) => Some(28),
            Some(value) => value.as_u64(),
        };
        let refused = || unsupported(files, keys::describe("max_window_layers", &json["max_window_layers"]), "");
        let first = first.ok_or_else(refused)?;
        return Ok((0..n_layers as u64).map(|layer| window.filter(|_| layer >= first)).collect());
    };
    let window_of = |name: &Value| match (name.as_str(), window) {
        (Some("full_attention"), _) => Some(None),
        (Some("sliding_attention"), Some(window)) => Some(Some(window)),
        _ => None,
    };
    let windows: Option<Vec<_>> = types.as_array().and_then(|names| names.iter().map(window_of).collect());
    windows.filter(|windows| windows.len() == n_layers).ok_or_else(|| {
        let hint = format!(
            "; `full_attention`, or `sliding_attention` with `use_sliding_window`, for each of {n_layers} layers is"
        );
        unsupported(files, keys::describe("layer_types", types), &hint)
    })
}

/// Takes the rotary settings from either layout, and leaves `rope_theta` where transformers 4 has it. Values inside the
/// rotary settings take precedence over those outside.
fn take_rope(files: &Files, json: &mut Map<String, Value>) -> Result<RopeScaling, ModelError> {
    let parameters = json.remove("rope_parameters").filter(keys::is_on);
    let outer_length = json.remove("original_max_position_embeddings").filter(|value| !value.is_null());
    let Some(mut scaling) = json.remove("rope_scaling").filter(keys::is_on).or(parameters) else {
        return Ok(RopeScaling::None);
    };
    let Some(fields) = scaling.as_object_mut() else {
        return Err(unsupported(files, keys::describe("rope_scaling", &scaling), "; expected an object"));
    };
    fields.retain(|_, value| !value.is_null());
    if let Some(theta) = fields.remove("rope_theta") {
        json.insert("rope_theta".into(), theta);
    }
    if let Some(factor) = fields.get("partial_rotary_factor").filter(|factor| factor.as_f64() != Some(1.0)) {
        let what = keys::describe("partial_rotary_factor", factor);
        return Err(unsupported(files, what, "; partial rotary positions are not"));
    }
    // transformers before 4.43 wrote `type`.
    let kind = fields.remove("type").into_iter().chain(fields.get("rope_type").cloned()).last();
    match kind.as_ref().map_or(Some("default"), Value::as_str).unwrap_or_default() {
        "default" => Ok(RopeScaling::None),
        "linear" => {
            #[derive(Deserialize)]
            struct Linear {
                factor: f32,
            }
            let Linear { factor } = typed(files, scaling)?;
            check_factors(files, &[("factor", factor)])?;
            Ok(RopeScaling::Linear(factor))
        }
        "llama3" => {
            fields.insert("rope_type".into(), "llama3".into());
            let length = outer_length.or_else(|| fields.get("original_max_position_embeddings").cloned());
            let length = length.or_else(|| json.get("max_position_embeddings").cloned()).unwrap_or_default();
            fields.insert("original_max_position_embeddings".into(), length);
            let llama3: llama::Llama3RopeConfig = typed(files, scaling)?;
            let (factor, low, high) = (llama3.factor, llama3.low_freq_factor, llama3.high_freq_factor);
            check_factors(files, &[("factor", factor), ("low_freq_factor", low), ("high_freq_factor", high)])?;
            if low >= high {
                let what = format!("`low_freq_factor` = {low} with `high_freq_factor` = {high}");
                return Err(unsupported(files, what, "; the second must be larger"));
            }
            Ok(RopeScaling::Llama3(llama3))
        }
        other => Err(unsupported(files, format!("rope scaling `{other}`"), "; `default`, `linear` and `llama3` are")),
    }
}

/// Checks factors that frequencies are divided by.
fn check_factors(files: &Files, factors: &[(&str, f32)]) -> Result<(), ModelError> {
    match factors.iter().find(|(_, factor)| !(factor.is_finite() && *factor > 0.0)) {
        Some((name, factor)) => {
            Err(unsupported(files, format!("`{name}` = {factor} of the rope scaling"), "; a number above zero is"))
        }
        None => Ok(()),
    }
}
