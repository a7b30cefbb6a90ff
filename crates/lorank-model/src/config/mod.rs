//! `config.json`: the architecture and its dimensions.

mod bert;
mod gte;
mod llama;
mod modernbert;

use lorank_core::{Misfit, nearest_name};
use lorank_kernels::Activation;
use serde::Deserialize;
use serde_json::{Map, Value};

pub(crate) use self::bert::{BertSettings, BertVariant};
use self::bert::{bert_settings, electra_settings, roberta_settings};
pub(crate) use self::gte::GteSettings;
use self::gte::gte_settings;
use self::llama::llama_settings;
pub(crate) use self::llama::{Direction, LlamaSettings, LlamaVariant, RopeScaling, StatePooling};
use self::modernbert::modernbert_settings;
pub(crate) use self::modernbert::{ModernBertHead, ModernBertSettings};
use crate::ModelError;
use crate::files::Files;
use crate::head::ScoreTokens;
use crate::keys;
use crate::labels::Labels;
use crate::modules::{self, MODULES_FILE, ModuleHead};

const FILE: &str = "config.json";
const KNOWN: &str = "`llama` (Llama 1 to 3.2, SmolLM2, TinyLlama), `llama_bidirec` (Llama-Nemotron rerankers), `mistral`, `qwen2`, `qwen3`, `gemma`, `bert` (MiniLM cross-encoders), `distilbert`, `electra`, `roberta` and `xlm-roberta` \
                     (bge-reranker-v2-m3), `modernbert` (gte-reranker-modernbert), `new` (gte-multilingual-reranker-base)";

/// The `model_type` of each architecture.
const NAMES: [&str; 13] = [
    "llama",
    "llama_bidirec",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "bert",
    "distilbert",
    "electra",
    "roberta",
    "xlm-roberta",
    "modernbert",
    "new",
];

/// Architectures that look like known ones, and why they are refused.
const REFUSED: [(&str, &str); 3] = [
    (
        "gemma2",
        "; its soft caps bend attention scores and logits, so no score head gives its scores; Gemma 1 (`gemma`) is",
    ),
    (
        "gemma3",
        "; its soft caps, norms after blocks and local rotary positions are not implemented; Gemma 1 (`gemma`) is",
    ),
    (
        "gemma3_text",
        "; its soft caps, norms after blocks and local rotary positions are not implemented; Gemma 1 (`gemma`) is",
    ),
];

/// A base model's configuration.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The model's name: `_name_or_path` if it is a name on the hub, else the folder's name.
    pub(crate) name: String,
    pub(crate) pad_token: PadToken,
    pub(crate) eos_token_id: Option<u32>,
    /// The tokenizer's class, if the tokenizer's own files do not set it.
    pub(crate) tokenizer_class: Option<String>,
    /// The labels of the score head, if the file has them.
    pub(crate) labels: Option<Labels>,
    pub(crate) architecture: Architecture,
    /// The tokens of the module `LogitScore`, if it has one.
    pub(crate) score_tokens: Option<ScoreTokens>,
    /// The bytes of the configurations of the modules with the head, if it has modules.
    pub(crate) module_configs: Vec<u8>,
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

/// The architecture, with its settings.
#[derive(Debug, Clone)]
pub(crate) enum Architecture {
    Llama(LlamaSettings),
    Bert(BertSettings),
    Gte(GteSettings),
    ModernBert(ModernBertSettings),
}

impl Config {
    pub(crate) fn read(files: &Files) -> Result<(Self, Vec<u8>), ModelError> {
        if let (false, Some(file)) = (files.has(FILE), files.gguf()) {
            return Err(ModelError::GgufRefused { folder: files.name().to_owned(), file });
        }
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
        let labels = labels(files, &json)?;
        let mut architecture = match json.get("model_type").and_then(Value::as_str) {
            Some("llama") => Architecture::Llama(llama_settings(files, json, LlamaVariant::Llama)?),
            Some("llama_bidirec") => Architecture::Llama(llama_settings(files, json, LlamaVariant::Bidirectional)?),
            Some("mistral") => Architecture::Llama(llama_settings(files, json, LlamaVariant::Mistral)?),
            Some("qwen2") => Architecture::Llama(llama_settings(files, json, LlamaVariant::Qwen2)?),
            Some("qwen3") => Architecture::Llama(llama_settings(files, json, LlamaVariant::Qwen3)?),
            Some("gemma") => Architecture::Llama(llama_settings(files, json, LlamaVariant::Gemma)?),
            Some("bert") => Architecture::Bert(bert_settings(files, json, BertVariant::Bert)?),
            Some("distilbert") => Architecture::Bert(bert_settings(files, json, BertVariant::DistilBert)?),
            Some("electra") => Architecture::Bert(electra_settings(files, json)?),
            Some("roberta") => Architecture::Bert(roberta_settings(files, json, "roberta", pad_token)?),
            Some("xlm-roberta") => Architecture::Bert(roberta_settings(files, json, "xlm-roberta", pad_token)?),
            Some("new") => Architecture::Gte(gte_settings(files, json)?),
            Some("modernbert") => Architecture::ModernBert(modernbert_settings(files, json)?),
            other => {
                if let Some((name, why)) = REFUSED.iter().find(|(name, _)| Some(*name) == other) {
                    return Err(unsupported(files, keys::describe("model_type", &(*name).into()), why));
                }
                let found = found_architecture(other, json.get("architectures"));
                let nearest = other.and_then(|other| nearest_name(other, NAMES));
                let nearest = nearest.map_or_else(String::new, |nearest| format!(" (nearest: `{nearest}`)"));
                let folder = files.name().into();
                return Err(ModelError::UnknownArchitecture { folder, found, nearest, known: KNOWN });
            }
        };
        let head = ModuleHead::read(files)?;
        if let Some(head) = &head {
            architecture.take_head(files, head)?;
        }
        // The labels are those of a head that the modules replace.
        let labels = labels.filter(|_| head.is_none());
        let mut module_configs = head.map(|head| head.configs).unwrap_or_default();
        let score_tokens = modules::logit_score(files)?.map(|(tokens, config)| {
            module_configs.extend(config);
            tokens
        });
        Ok(Self { name, pad_token, eos_token_id, tokenizer_class, labels, architecture, score_tokens, module_configs })
    }
}

impl Architecture {
    /// Replaces the model's head by that of a cross-encoder's modules.
    fn take_head(&mut self, files: &Files, head: &ModuleHead) -> Result<(), ModelError> {
        match self {
            Self::ModernBert(settings) => {
                settings.head = ModernBertHead::of_modules(head);
                Ok(())
            }
            _ => Err(ModelError::Unsupported {
                folder: files.name().into(),
                file: MODULES_FILE,
                what: "the modules `Pooling`, `Dense` and `LayerNorm` after another model than a ModernBERT".into(),
                hint: "; a model with a head of its own is".into(),
            }),
        }
    }
}

/// An unknown `model_type` with the names of its `architectures`, as an error names them.
fn found_architecture(model_type: Option<&str>, architectures: Option<&Value>) -> String {
    let names = architectures.and_then(Value::as_array).map_or(&[][..], Vec::as_slice).iter().filter_map(Value::as_str);
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    let names = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
    match model_type {
        Some(model_type) => format!("a `{model_type}` model{names}"),
        None => format!("a model{names} without a `model_type`"),
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

/// The named labels, or as many as the number set in their place.
fn labels(files: &Files, json: &Map<String, Value>) -> Result<Option<Labels>, ModelError> {
    let refused = |key: &str, value| Err(unsupported(files, keys::describe(key, value), "; expected labels"));
    match (json.get("id2label"), json.get("num_labels")) {
        (Some(Value::Object(labels)), _) => Ok(Some(Labels::named(labels))),
        (Some(Value::Null) | None, Some(Value::Null) | None) => Ok(None),
        (Some(Value::Null) | None, Some(number)) => match number.as_u64() {
            Some(number) => Ok(usize::try_from(number).ok().map(Labels::numbered)),
            None => refused("num_labels", number),
        },
        (Some(labels), _) => refused("id2label", labels),
    }
}

/// Checks that `auto_map` names no other code than that of these classes.
fn check_code(files: &Files, json: &Map<String, Value>, known: &[&str]) -> Result<(), ModelError> {
    const KEY: &str = "auto_map";
    let Some(map) = json.get(KEY).filter(|map| keys::is_on(map)) else { return Ok(()) };
    // As `file.Class`, or `owner/repository--file.Class`.
    let class =
        |name: &Value| name.as_str().and_then(|name| name.rsplit('.').next()).is_some_and(|it| known.contains(&it));
    if map.as_object().is_some_and(|map| map.values().all(class)) {
        return Ok(());
    }
    let hint = format!("; code is never run, and only the classes `{}` are implemented", known.join("`, `"));
    Err(unsupported(files, keys::describe(KEY, map), &hint))
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
        let misfit = Misfit::of(&error.inner().to_string());
        let field = misfit.path(error.path().to_string().trim_start_matches('.'));
        let field = field.map_or_else(String::new, |field| format!("`{field}` "));
        let source = serde::de::Error::custom(field + &misfit.problem);
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

/// Checks that the attention heads divide the hidden units evenly.
fn check_heads(files: &Files, hidden_size: usize, n_heads: usize) -> Result<(), ModelError> {
    if hidden_size.is_multiple_of(n_heads) {
        return Ok(());
    }
    let what = format!("{hidden_size} hidden units over {n_heads} attention heads");
    Err(unsupported(files, what, "; the heads must divide evenly"))
}

/// The activation that a key names; GELU if absent.
fn activation(files: &Files, json: &Map<String, Value>, key: &str) -> Result<Activation, ModelError> {
    match word(files, json, key)?.unwrap_or("gelu") {
        "gelu" | "gelu_python" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_accurate" => {
            Ok(Activation::GeluTanh)
        }
        "relu" => Ok(Activation::Relu),
        "tanh" => Ok(Activation::Tanh),
        other => {
            let hint = "; `gelu`, `gelu_new` and its other names, `relu` and `tanh` are";
            Err(unsupported(files, format!("`{key}` = `{other}`"), hint))
        }
    }
}
