//! `config.json`: which architecture, with which numbers.

use candle_transformers::models::{bert, llama};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::ModelError;
use crate::files::Files;

const FILE: &str = "config.json";
const KNOWN: &str = "`llama` (Llama 1 to 3.2, SmolLM2, TinyLlama) and `bert` (MiniLM cross-encoders and kin)";

/// A base model's configuration.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The name the model goes by: `_name_or_path` where it is a hub's, else the folder's.
    pub(crate) name: String,
    pub(crate) pad_token_id: Option<u32>,
    pub(crate) eos_token_id: Option<u32>,
    pub(crate) architecture: Architecture,
}

#[derive(Debug, Clone)]
pub(crate) enum Architecture {
    Llama(LlamaSettings),
    Bert(bert::Config),
}

/// A Llama's numbers: those that candle-transformers reads, and those it does not.
#[derive(Debug, Clone)]
pub(crate) struct LlamaSettings {
    pub(crate) numbers: llama::LlamaConfig,
    pub(crate) head_dim: usize,
    pub(crate) rope: RopeScaling,
}

/// How rotary frequencies are stretched for contexts longer than the pretraining's.
#[derive(Debug, Clone)]
pub(crate) enum RopeScaling {
    None,
    /// Every frequency divided by the factor (position interpolation, arXiv 2306.15595).
    Linear(f32),
    /// Llama 3's: long wavelengths divided, short ones kept, those between blended.
    Llama3(llama::Llama3RopeConfig),
}

impl Config {
    pub(crate) fn read(files: &Files) -> Result<(Self, Vec<u8>), ModelError> {
        let bytes = files
            .require(FILE, "a model folder has `config.json`, `tokenizer.json` and safetensors weights")?
            .into_owned();
        Ok((Self::parse(files, &bytes)?, bytes))
    }

    /// Parses and checks the bytes of `config.json`.
    pub(crate) fn parse(files: &Files, bytes: &[u8]) -> Result<Self, ModelError> {
        Self::from_json(files, files.parse_json(FILE, bytes)?)
    }

    fn from_json(files: &Files, json: Map<String, Value>) -> Result<Self, ModelError> {
        // A local path says nothing to others, so only `owner/name` is a name.
        let given = json.get("_name_or_path").and_then(Value::as_str);
        let hub_name = given.filter(|name| !name.starts_with(['/', '.', '~']) && name.split('/').count() == 2);
        let name = hub_name.unwrap_or(files.name()).to_owned();
        let (pad_token_id, eos_token_id) = (token_id(json.get("pad_token_id")), token_id(json.get("eos_token_id")));
        let architecture = match json.get("model_type").and_then(Value::as_str) {
            Some("llama") => Architecture::Llama(llama_settings(files, json)?),
            Some("bert") => Architecture::Bert(bert_config(files, json)?),
            other => {
                let named = json.get("architectures").map(|names| format!(" ({names})")).unwrap_or_default();
                let found = format!("`{}`{named}", other.unwrap_or("untyped"));
                return Err(ModelError::UnknownArchitecture { folder: files.name().into(), found, known: KNOWN });
            }
        };
        Ok(Self { name, pad_token_id, eos_token_id, architecture })
    }
}

/// An id, or the first of several.
fn token_id(value: Option<&Value>) -> Option<u32> {
    let one = value?.as_array().and_then(|ids| ids.first()).or(value)?;
    one.as_u64().and_then(|id| u32::try_from(id).ok())
}

/// Reads a type out of what is left of the file; an error names the field.
fn typed<T: for<'de> Deserialize<'de>>(files: &Files, json: Value) -> Result<T, ModelError> {
    serde_path_to_error::deserialize(json).map_err(|error| {
        let source = serde::de::Error::custom(format!("`{}`: {}", error.path(), error.inner()));
        ModelError::Config { folder: files.name().into(), file: FILE, source }
    })
}

fn unsupported(files: &Files, what: String, hint: &str) -> ModelError {
    ModelError::Unsupported { folder: files.name().into(), file: FILE, what, hint: hint.into() }
}

/// The largest count: the product of two still fits in 64 bits.
const COUNT_MAX: usize = u32::MAX as usize;

/// Numbers that must be above zero and at most [`COUNT_MAX`], so that no later division, product or loop needs to ask.
fn check_counts(files: &Files, counts: &[(&str, usize)]) -> Result<(), ModelError> {
    match counts.iter().find(|(_, count)| !(1..=COUNT_MAX).contains(count)) {
        Some((name, count)) => Err(unsupported(files, format!("`{name}` = {count}"), "")),
        None => Ok(()),
    }
}

fn llama_settings(files: &Files, mut json: Map<String, Value>) -> Result<LlamaSettings, ModelError> {
    if let Some(act) = json.get("hidden_act").and_then(Value::as_str).filter(|act| *act != "silu") {
        return Err(unsupported(files, format!("the activation `{act}`"), "; Llama models use `silu`"));
    }
    let head_dim = json.get("head_dim").and_then(Value::as_u64).map(|dim| dim as usize);
    let rope = take_rope(files, &mut json)?;
    // candle-transformers reads token ids more strictly than this crate needs them.
    json.retain(|key, _| !matches!(key.as_str(), "bos_token_id" | "eos_token_id"));
    let numbers: llama::LlamaConfig = typed(files, Value::Object(json))?;
    let head_dim = head_dim.unwrap_or(numbers.hidden_size / numbers.num_attention_heads.max(1));
    let (heads, kv_heads) = (numbers.num_attention_heads, numbers.num_key_value_heads());
    check_counts(
        files,
        &[
            ("hidden_size", numbers.hidden_size),
            ("num_attention_heads", heads),
            ("num_key_value_heads", kv_heads),
            ("num_hidden_layers", numbers.num_hidden_layers),
            ("head_dim", head_dim),
        ],
    )?;
    if heads % kv_heads != 0 || !head_dim.is_multiple_of(2) {
        let what = format!("{heads} attention heads of {head_dim} dimensions over {kv_heads} key-value heads");
        return Err(unsupported(files, what, "; the heads must divide evenly and the dimensions be even"));
    }
    Ok(LlamaSettings { numbers, head_dim, rope })
}

/// Takes the rotary settings out of either layout and leaves `rope_theta` where transformers 4 has it.
fn take_rope(files: &Files, json: &mut Map<String, Value>) -> Result<RopeScaling, ModelError> {
    let scaling = json.remove("rope_parameters").filter(|value| !value.is_null());
    let scaling = json.remove("rope_scaling").filter(|value| !value.is_null()).or(scaling);
    let Some(mut scaling) = scaling else { return Ok(RopeScaling::None) };
    let Some(fields) = scaling.as_object_mut() else {
        return Err(unsupported(files, format!("`rope_scaling` = {scaling}"), "; an object was expected"));
    };
    if let Some(theta) = fields.remove("rope_theta") {
        json.entry("rope_theta").or_insert(theta);
    }
    // transformers before 4.43 wrote `type`.
    let kind = fields.remove("type").into_iter().chain(fields.get("rope_type").cloned()).last();
    match kind.as_ref().and_then(Value::as_str).unwrap_or("default") {
        "default" => Ok(RopeScaling::None),
        "linear" => {
            #[derive(Deserialize)]
            struct Linear {
                factor: f32,
            }
            Ok(RopeScaling::Linear(typed::<Linear>(files, scaling)?.factor))
        }
        "llama3" => {
            fields.insert("rope_type".into(), "llama3".into());
            Ok(RopeScaling::Llama3(typed(files, scaling)?))
        }
        other => Err(unsupported(files, format!("rope scaling `{other}`"), "; `default`, `linear` and `llama3` are")),
    }
}

fn bert_config(files: &Files, mut json: Map<String, Value>) -> Result<bert::Config, ModelError> {
    // candle-transformers knows the tanh form by a name that no file has, so the activation is read here.
    let hidden_act = match json.insert("hidden_act".into(), "gelu".into()).as_ref().and_then(Value::as_str) {
        None | Some("gelu") => bert::HiddenAct::Gelu,
        Some("gelu_new" | "gelu_pytorch_tanh") => bert::HiddenAct::GeluApproximate,
        Some("relu") => bert::HiddenAct::Relu,
        Some(act) => {
            return Err(unsupported(files, format!("the activation `{act}`"), "; `gelu`, `gelu_new` and `relu` are"));
        }
    };
    let position = json.get("position_embedding_type").and_then(Value::as_str).unwrap_or("absolute");
    if position != "absolute" {
        return Err(unsupported(files, format!("`position_embedding_type` = `{position}`"), "; `absolute` is"));
    }
    json.entry("pad_token_id").or_insert(0.into());
    let config = bert::Config { hidden_act, ..typed(files, Value::Object(json))? };
    check_counts(
        files,
        &[
            ("hidden_size", config.hidden_size),
            ("num_attention_heads", config.num_attention_heads),
            ("num_hidden_layers", config.num_hidden_layers),
        ],
    )?;
    if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
        let what = format!("{} hidden units over {} attention heads", config.hidden_size, config.num_attention_heads);
        return Err(unsupported(files, what, "; the heads must divide evenly"));
    }
    Ok(config)
}
