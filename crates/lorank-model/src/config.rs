//! `config.json`: the architecture and its dimensions.

use candle_transformers::models::llama;
use lorank_kernels::Activation;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::ModelError;
use crate::files::Files;
use crate::keys::{self, BERT_CONFIG, LLAMA_CONFIG, ROBERTA_CONFIG};

const FILE: &str = "config.json";
const KNOWN: &str = "`llama` (Llama 1 to 3.2, SmolLM2, TinyLlama), `bert` (MiniLM cross-encoders), `roberta` and `xlm-roberta` \
                     (bge-reranker-v2-m3)";

/// A base model's configuration.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The model's name: `_name_or_path` if it is a name on the hub, else the folder's name.
    pub(crate) name: String,
    pub(crate) pad_token: PadToken,
    pub(crate) eos_token_id: Option<u32>,
    /// The tokenizer's class, if the tokenizer's own files do not set it.
    pub(crate) tokenizer_class: Option<String>,
    /// The number of labels of the score head, if the file sets it.
    pub(crate) n_labels: Option<usize>,
    pub(crate) architecture: Architecture,
}

/// The value of `pad_token_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PadToken {
    /// Not set: the tokenizer's files may set a token.
    Open,
    /// A negative number: there is no padding token.
    None,
    /// The id of the padding token.
    Id(u32),
}

#[derive(Debug, Clone)]
pub(crate) enum Architecture {
    Llama(LlamaSettings),
    Bert(BertSettings),
}

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

/// Scaling of rotary frequencies for contexts longer than in pretraining.
#[derive(Debug, Clone)]
pub(crate) enum RopeScaling {
    None,
    /// Divides every frequency by the factor (position interpolation, arXiv 2306.15595).
    Linear(f32),
    /// Llama 3's scaling: long wavelengths are divided, short ones kept, and those between interpolated.
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
        // A local path is meaningless elsewhere, so only `owner/name` counts as a name.
        let given = json.get("_name_or_path").and_then(Value::as_str);
        let hub_name = given.filter(|name| !name.starts_with(['/', '.', '~']) && name.split('/').count() == 2);
        let name = hub_name.unwrap_or(files.name()).to_owned();
        let (pad_token, eos_token_id) = (pad_token(files, &json)?, token_id(json.get("eos_token_id")));
        let tokenizer_class = json.get("tokenizer_class").and_then(Value::as_str).map(str::to_owned);
        let n_labels = n_labels(files, &json)?;
        let architecture = match json.get("model_type").and_then(Value::as_str) {
            Some("llama") => Architecture::Llama(llama_settings(files, json)?),
            Some("bert") => Architecture::Bert(bert_settings(files, json, BertVariant::Bert)?),
            Some("roberta") => Architecture::Bert(roberta_settings(files, json, "roberta", pad_token)?),
            Some("xlm-roberta") => Architecture::Bert(roberta_settings(files, json, "xlm-roberta", pad_token)?),
            other => {
                let named = json.get("architectures").map(|names| format!(" ({names})")).unwrap_or_default();
                let found = format!("`{}`{named}", other.unwrap_or("untyped"));
                return Err(ModelError::UnknownArchitecture { folder: files.name().into(), found, known: KNOWN });
            }
        };
        Ok(Self { name, pad_token, eos_token_id, tokenizer_class, n_labels, architecture })
    }
}

/// A token id, or the first of several.
fn token_id(value: Option<&Value>) -> Option<u32> {
    let one = value?.as_array().and_then(|ids| ids.first()).or(value)?;
    one.as_u64().and_then(|id| u32::try_from(id).ok())
}

fn pad_token(files: &Files, json: &Map<String, Value>) -> Result<PadToken, ModelError> {
    match json.get("pad_token_id") {
        None | Some(Value::Null) => Ok(PadToken::Open),
        Some(value) if value.as_i64().is_some_and(|id| id < 0) => Ok(PadToken::None),
        Some(value) => token_id(Some(value))
            .map(PadToken::Id)
            .ok_or_else(|| unsupported(files, keys::describe("pad_token_id", value), "; expected a token id")),
    }
}

/// The number of named labels, or the number set in their place.
fn n_labels(files: &Files, json: &Map<String, Value>) -> Result<Option<usize>, ModelError> {
    let refused = |key: &str, value| Err(unsupported(files, keys::describe(key, value), "; expected labels"));
    match (json.get("id2label"), json.get("num_labels")) {
        (Some(Value::Object(labels)), _) => Ok(Some(labels.len())),
        (Some(Value::Null) | None, Some(Value::Null) | None) => Ok(None),
        (Some(Value::Null) | None, Some(number)) => match number.as_u64() {
            Some(number) => Ok(usize::try_from(number).ok()),
            None => refused("num_labels", number),
        },
        (Some(labels), _) => refused("id2label", labels),
    }
}

/// A boolean setting.
fn flag(files: &Files, json: &Map<String, Value>, key: &str) -> Result<bool, ModelError> {
    match json.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(value) => Err(unsupported(files, keys::describe(key, value), "; expected true or false")),
    }
}

/// A setting with a name as its value; `None` if null or absent.
fn word<'a>(files: &Files, json: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, ModelError> {
    match json.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(value) => Err(unsupported(files, keys::describe(key, value), "; expected a name")),
    }
}

/// Deserializes the rest of the file; errors name the field.
fn typed<T: for<'de> Deserialize<'de>>(files: &Files, json: Value) -> Result<T, ModelError> {
    serde_path_to_error::deserialize(json).map_err(|error| {
        let source = serde::de::Error::custom(format!("`{}`: {}", error.path(), error.inner()));
        ModelError::Config { folder: files.name().into(), file: FILE, source }
    })
}

fn unsupported(files: &Files, what: String, hint: &str) -> ModelError {
    ModelError::Unsupported { folder: files.name().into(), file: FILE, what, hint: hint.into() }
}

/// The largest allowed count: the product of two fits in 64 bits.
const COUNT_MAX: usize = u32::MAX as usize;

/// Checks that numbers are above zero and at most [`COUNT_MAX`], so that later divisions, products and loops are safe.
fn check_counts(files: &Files, counts: &[(&str, usize)]) -> Result<(), ModelError> {
    match counts.iter().find(|(_, count)| !(1..=COUNT_MAX).contains(count)) {
        Some((name, count)) => Err(unsupported(files, format!("`{name}` = {count}"), "")),
        None => Ok(()),
    }
}

fn llama_settings(files: &Files, mut json: Map<String, Value>) -> Result<LlamaSettings, ModelError> {
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

/// The padding token is 1 if the file has none, as in `RobertaConfig`.
fn roberta_settings(
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

fn bert_settings(
    files: &Files,
    mut json: Map<String, Value>,
    variant: BertVariant,
) -> Result<BertSettings, ModelError> {
    let keys = if variant == BertVariant::Bert { &BERT_CONFIG } else { &ROBERTA_CONFIG };
    keys.check(files.name(), &json)?;
    let activation = match word(files, &json, "hidden_act")?.unwrap_or("gelu") {
        "gelu" | "gelu_python" => Activation::Gelu,
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_accurate" => Activation::GeluTanh,
        "relu" => Activation::Relu,
        "tanh" => Activation::Tanh,
        act => {
            let hint = "; `gelu`, `gelu_new` and its other names, `relu` and `tanh` are";
            return Err(unsupported(files, format!("`hidden_act` = `{act}`"), hint));
        }
    };
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
    if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
        let what = format!("{} hidden units over {} attention heads", config.hidden_size, config.num_attention_heads);
        return Err(unsupported(files, what, "; the heads must divide evenly"));
    }
    Ok(config)
}
