//! The modules of a sentence-transformers `CrossEncoder` (`modules.json`).
//!
//! A cross-encoder is either one transformer with a head of its own, or a backbone whose head is in the modules after it:
//! pooling, a dense layer, a norm, and a dense layer with the score. Each of these has a folder with `config.json`, and
//! with `model.safetensors` if it has weights.

use lorank_kernels::Activation;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::ModelError;
use crate::files::{Files, is_plain_name};
use crate::head::{Pooling, ScoreTokens};
use crate::keys::{self, SENTENCE_TRANSFORMERS_CONFIG};
use crate::weights::ModuleTensors;

pub(crate) const MODULES_FILE: &str = "modules.json";

/// The layout that is read, for messages.
const LAYOUT: &str = "; a `Transformer` in the folder itself is, alone, before `LogitScore`, or before `Pooling`, `Dense`, `LayerNorm` and `Dense`";

/// `config.json` of `LogitScore`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogitConfig {
    true_token_id: u32,
    false_token_id: Option<u32>,
    module_input_name: Option<String>,
}

/// The tokens of the module `LogitScore` after a causal model, and the bytes of its configuration.
pub(crate) fn logit_score(files: &Files) -> Result<Option<(ScoreTokens, Vec<u8>)>, ModelError> {
    let Some(modules) = cross_encoder_modules(files)? else { return Ok(None) };
    let [_, module] = &modules[..] else { return Ok(None) };
    if module.kind != "LogitScore" {
        return Ok(None);
    }
    if !is_plain_name(&module.path) {
        let what = keys::describe("path", &module.path.as_str().into());
        return Err(unsupported(files, MODULES_FILE, what, "; a folder within this one is"));
    }
    let mut bytes = Vec::new();
    let config: LogitConfig = read(files, &module.path, &mut bytes)?;
    if let Some(name) = config.module_input_name.filter(|name| name != "causal_logits") {
        let what = format!("`module_input_name` = \"{name}\" in `{}`", module.path);
        return Err(unsupported(files, MODULES_FILE, what, "; `causal_logits` is"));
    }
    Ok(Some((ScoreTokens { positive: config.true_token_id, negative: config.false_token_id }, bytes)))
}

/// The modules of a cross-encoder; `None` for another folder. Modules of other models are ignored, as in the reference,
/// which converts such a folder.
fn cross_encoder_modules(files: &Files) -> Result<Option<Vec<Module>>, ModelError> {
    let Some(config) = files.read_json::<Map<String, Value>>(SENTENCE_TRANSFORMERS_CONFIG.file)? else {
        return Ok(None);
    };
    if config.get("model_type").and_then(Value::as_str) != Some("CrossEncoder") {
        return Ok(None);
    }
    let modules = files.read_json::<Vec<Map<String, Value>>>(MODULES_FILE)?;
    Ok(modules.map(|modules| modules.iter().map(Module::new).collect()))
}

/// A head in the modules after the transformer.
#[derive(Debug, Clone)]
pub(crate) struct ModuleHead {
    pub(crate) pooling: Pooling,
    /// Whether the dense layer has a bias.
    pub(crate) dense_bias: bool,
    /// The activation of the dense layer.
    pub(crate) activation: Activation,
    /// Whether the score has a bias.
    pub(crate) score_bias: bool,
    /// The folders of the dense layer, the norm and the score.
    folders: [String; 3],
    /// The configurations of the modules, which scores depend on.
    pub(crate) configs: Vec<u8>,
}

/// One entry of `modules.json`.
#[derive(Debug)]
struct Module {
    /// The class, without its Python module.
    kind: String,
    path: String,
}

/// `config.json` of `Pooling`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the sizes follow from the weights, and there is no prompt to exclude")]
struct PoolingConfig {
    #[serde(alias = "word_embedding_dimension")]
    embedding_dimension: Option<usize>,
    include_prompt: Option<bool>,
    pooling_mode: Option<Value>,
    pooling_mode_cls_token: Option<bool>,
    pooling_mode_mean_tokens: Option<bool>,
    pooling_mode_max_tokens: Option<bool>,
    pooling_mode_mean_sqrt_len_tokens: Option<bool>,
    pooling_mode_weightedmean_tokens: Option<bool>,
    pooling_mode_lasttoken: Option<bool>,
}

/// `config.json` of `Dense`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the sizes follow from the weights")]
struct DenseConfig {
    in_features: usize,
    out_features: usize,
    #[serde(default = "yes")]
    bias: bool,
    activation_function: Option<String>,
    module_input_name: Option<String>,
    module_output_name: Option<String>,
    #[serde(default)]
    use_residual: bool,
}

/// `config.json` of `LayerNorm`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the size follows from the weights")]
struct NormConfig {
    dimension: usize,
}

fn yes() -> bool {
    true
}

impl ModuleHead {
    /// Reads the head of a cross-encoder's folder; `None` if the transformer has its own, or the folder has no modules.
    pub(crate) fn read(files: &Files) -> Result<Option<Self>, ModelError> {
        let Some(modules) = cross_encoder_modules(files)? else { return Ok(None) };
        let refused = |what: String| Err(unsupported(files, MODULES_FILE, what, LAYOUT));
        if let Some(first) = modules.first().filter(|first| first.kind == "Transformer" && !first.is_here()) {
            return refused(keys::describe("path", &first.path.as_str().into()));
        }
        let kinds: Vec<&str> = modules.iter().map(|module| module.kind.as_str()).collect();
        match kinds[..] {
            ["Transformer"] | ["Transformer", "LogitScore"] => Ok(None),
            ["Transformer", "Pooling", "Dense", "LayerNorm", "Dense"] => {
                Self::of_modules(files, &modules[1..]).map(Some)
            }
            _ => {
                const KNOWN: [&str; 5] = ["Transformer", "Pooling", "Dense", "LayerNorm", "LogitScore"];
                let unknown = kinds.iter().find(|kind| !KNOWN.contains(kind));
                refused(
                    unknown.map_or_else(
                        || format!("the modules {}", kinds.join(", ")),
                        |kind| format!("the module `{kind}`"),
                    ),
                )
            }
        }
    }

    /// Reads the modules after the transformer.
    fn of_modules(files: &Files, modules: &[Module]) -> Result<Self, ModelError> {
        let folder = |n: usize| -> Result<String, ModelError> {
            let path = &modules[n].path;
            if is_plain_name(path) {
                return Ok(path.clone());
            }
            Err(unsupported(
                files,
                MODULES_FILE,
                keys::describe("path", &path.as_str().into()),
                "; a folder within this one is",
            ))
        };
        let [pooling, dense, norm, score] = [folder(0)?, folder(1)?, folder(2)?, folder(3)?];
        let mut configs = Vec::new();
        let pooling: PoolingConfig = read(files, &pooling, &mut configs)?;
        let dense_config: DenseConfig = read(files, &dense, &mut configs)?;
        let _: NormConfig = read(files, &norm, &mut configs)?;
        let score_config: DenseConfig = read(files, &score, &mut configs)?;
        dense_config.check(files, &dense, "sentence_embedding")?;
        score_config.check(files, &score, "scores")?;
        let given = score_config.activation_function.as_deref().unwrap_or("torch.nn.modules.activation.Tanh");
        if given.rsplit('.').next() != Some("Identity") {
            let what = format!("the activation `{given}` of the last module");
            return Err(unsupported(files, MODULES_FILE, what, "; `Identity` is"));
        }
        Ok(Self {
            pooling: pooling.mode(files)?,
            dense_bias: dense_config.bias,
            activation: dense_config.activation(files)?,
            score_bias: score_config.bias,
            folders: [dense, norm, score],
            configs,
        })
    }

    /// The tensors of the modules, with the names of a model that has the head itself.
    pub(crate) fn tensors(&self, [dense, norm, score]: [&str; 3]) -> Vec<ModuleTensors> {
        let [dense_folder, norm_folder, score_folder] = &self.folders;
        let tensors = |folder: &str, inner: &str, name: &str| ModuleTensors {
            file: format!("{folder}/model.safetensors"),
            inner: format!("{inner}."),
            name: format!("{name}."),
        };
        vec![
            tensors(dense_folder, "linear", dense),
            tensors(norm_folder, "norm", norm),
            tensors(score_folder, "linear", score),
        ]
    }
}

impl Module {
    fn new(json: &Map<String, Value>) -> Self {
        let text = |key| json.get(key).and_then(Value::as_str).unwrap_or_default();
        Self { kind: text("type").rsplit('.').next().unwrap_or_default().to_owned(), path: text("path").to_owned() }
    }

    /// Whether its files are in the model's folder itself.
    fn is_here(&self) -> bool {
        self.path.is_empty() || self.path == "."
    }
}

impl PoolingConfig {
    fn mode(&self, files: &Files) -> Result<Pooling, ModelError> {
        let flags = [
            ("cls", self.pooling_mode_cls_token),
            ("mean", self.pooling_mode_mean_tokens),
            ("max", self.pooling_mode_max_tokens),
            ("mean_sqrt_len_tokens", self.pooling_mode_mean_sqrt_len_tokens),
            ("weightedmean", self.pooling_mode_weightedmean_tokens),
            ("lasttoken", self.pooling_mode_lasttoken),
        ];
        let flagged: Vec<Value> =
            flags.iter().filter(|(_, is_on)| *is_on == Some(true)).map(|(name, _)| (*name).into()).collect();
        let modes = match &self.pooling_mode {
            Some(Value::Array(modes)) => modes.clone(),
            Some(mode) => vec![mode.clone()],
            None if flagged.is_empty() => vec!["mean".into()],
            None => flagged,
        };
        match &modes[..] {
            [mode] if mode == "cls" => Ok(Pooling::First),
            [mode] if mode == "mean" => Ok(Pooling::Mean),
            _ => {
                let what = keys::describe("pooling_mode", &Value::Array(modes));
                Err(unsupported(files, MODULES_FILE, what, "; `cls` and `mean` are"))
            }
        }
    }
}

impl DenseConfig {
    fn check(&self, files: &Files, folder: &str, output: &str) -> Result<(), ModelError> {
        let refused =
            |what: String, hint: &str| Err(unsupported(files, MODULES_FILE, format!("{what} in `{folder}`"), hint));
        let input = self.module_input_name.as_deref().unwrap_or("sentence_embedding");
        let found = self.module_output_name.as_deref().unwrap_or(input);
        if input != "sentence_embedding" {
            return refused(format!("`module_input_name` = \"{input}\""), "; `sentence_embedding` is");
        }
        if found != output {
            return refused(format!("`module_output_name` = \"{found}\""), &format!("; `{output}` is"));
        }
        if self.use_residual {
            return refused("`use_residual` = true".to_owned(), "; a layer without a residual connection is");
        }
        Ok(())
    }

    /// The activation; sentence-transformers' default is the hyperbolic tangent.
    fn activation(&self, files: &Files) -> Result<Activation, ModelError> {
        let Some(given) = &self.activation_function else { return Ok(Activation::Tanh) };
        match given.rsplit('.').next() {
            Some("GELU") => Ok(Activation::Gelu),
            Some("Tanh") => Ok(Activation::Tanh),
            Some("ReLU") => Ok(Activation::Relu),
            Some("SiLU") => Ok(Activation::Silu),
            _ => {
                let what = keys::describe("activation_function", &given.as_str().into());
                Err(unsupported(files, MODULES_FILE, what, "; `GELU`, `Tanh`, `ReLU` and `SiLU` are"))
            }
        }
    }
}

/// Reads a module's `config.json`, and appends its bytes to `configs`.
fn read<T: DeserializeOwned>(files: &Files, folder: &str, configs: &mut Vec<u8>) -> Result<T, ModelError> {
    let file = format!("{folder}/config.json");
    let bytes = files.read(&file)?.ok_or_else(|| {
        unsupported(files, MODULES_FILE, format!("a module without its `{file}`"), "; download the whole model")
    })?;
    configs.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    configs.extend_from_slice(&bytes);
    serde_json::from_slice(&bytes)
        .map_err(|error| unsupported(files, MODULES_FILE, format!("a module whose `{file}` says: {error}"), ""))
}

fn unsupported(files: &Files, file: &'static str, what: String, hint: &str) -> ModelError {
    ModelError::Unsupported { folder: files.name().into(), file, what, hint: hint.into() }
}
