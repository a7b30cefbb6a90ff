//! `config.json` of a Llama.

use candle_transformers::models::llama;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{check_counts, flag, typed, unsupported, word};
use crate::ModelError;
use crate::files::Files;
use crate::keys::{self, LLAMA_CONFIG};

/// Llama settings: those of candle-transformers, and the others that matter here.
#[derive(Debug, Clone)]
pub(crate) struct LlamaSettings {
    pub(crate) numbers: llama::LlamaConfig,
    pub(crate) head_dim: usize,
    pub(crate) rope: RopeScaling,
    /// Whether the projections of attention have biases.
    pub(crate) attention_bias: bool,
    /// Whether the gate, up and down projections have biases.
    pub(crate) mlp_bias: bool,
}

/// Scaling of rotary frequencies for contexts longer than in pretraining.
#[derive(Debug, Clone)]
pub(crate) enum RopeScaling {
    None,
    /// Divides every frequency by the factor (position interpolation, arXiv 2306.15595).
    Linear(f32),
    /// Llama 3's scaling: long wavelengths are divided, short ones kept, and those between interpolated.
    Llama3(llama::Llama3RopeConfig),
}

pub(super) fn llama_settings(files: &Files, mut json: Map<String, Value>) -> Result<LlamaSettings, ModelError> {
    LLAMA_CONFIG.check(files.name(), &json)?;
    if let Some(act) = word(files, &json, "hidden_act")?.filter(|act| !["silu", "swish"].contains(act)) {
        return Err(unsupported(files, format!("`hidden_act` = `{act}`"), "; Llama models use `silu`"));
    }
    let (attention_bias, mlp_bias) = (flag(files, &json, "attention_bias")?, flag(files, &json, "mlp_bias")?);
    let head_dim = json.get("head_dim").and_then(Value::as_u64).map(|dim| dim as usize);
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
    if heads % kv_heads != 0 || !head_dim.is_multiple_of(2) {
        let what = format!("{heads} attention heads of {head_dim} dimensions over {kv_heads} key-value heads");
        return Err(unsupported(files, what, "; the heads must divide evenly, and their dimensions must be even"));
    }
    Ok(LlamaSettings { numbers, head_dim, rope, attention_bias, mlp_bias })
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
