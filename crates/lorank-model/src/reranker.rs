//! One base model in memory, any number of adapters on it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, PoisonError, RwLock};

use candle_core::Device;
use lorank_core::{
    AdapterId, AdapterVersion, BoxError, Candidate, Digest, Group, ModelVersion, Precision, Reranker, Score,
};
use serde::Deserialize;

use crate::bert::{self, Bert};
use crate::config::{Architecture, Config};
use crate::files::Files;
use crate::linear::{Head, HeadSpec, Loader, Module};
use crate::llama::{self, Llama};
use crate::lora::{self, Adapter, Fit};
use crate::peft::PeftConfig;
use crate::tokenize::PairTokenizer;
use crate::weights::Weights;
use crate::{DeviceChoice, ModelError, Pair, Prompt};

/// How a base model is loaded.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Where the forward pass runs.
    pub device: DeviceChoice,
    /// The arithmetic.
    pub precision: Precision,
    /// The most tokens of a pair, for the base and every adapter, whatever their own settings say.
    pub max_length: Option<usize>,
    /// What to do with an adapter that was trained on another base model than the one loaded.
    pub other_base: OtherBase,
}

/// What to do with an adapter that names another base model than the one loaded.
///
/// Names are compared by their last part, since a folder rarely keeps its owner's name. Shapes are always checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OtherBase {
    /// Load it and log a warning: a copied or renamed folder is the usual reason.
    #[default]
    Warn,
    /// Refuse it.
    Refuse,
}

/// A reranker: one base model and the adapters loaded on it. The base weights are in memory once.
#[derive(Debug)]
pub struct ModelReranker {
    summary: BaseSummary,
    network: Network,
    head: Option<Head>,
    modules: Vec<Module>,
    tokenizer: PairTokenizer,
    prompt: Prompt,
    device: Device,
    options: LoadOptions,
    adapters: RwLock<BTreeMap<AdapterId, Arc<Loaded>>>,
}

/// A base model's facts.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BaseSummary {
    /// The model's name.
    pub name: String,
    /// The hash of its configuration, tokenizer and weights.
    pub digest: Digest,
    /// `llama` or `bert`.
    pub architecture: &'static str,
    /// How many weights it has, the head included.
    pub n_parameters: usize,
    /// Whether it has a score head of its own; without one it needs an adapter that brings it.
    pub has_head: bool,
    /// The most tokens of a pair.
    pub max_length: usize,
}

/// A loaded adapter's facts.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AdapterSummary {
    /// Its name and the hash of its files.
    pub version: AdapterVersion,
    /// The base model that it was trained on, as it says.
    pub trained_on: Option<String>,
    /// Its rank, where no pattern says otherwise.
    pub rank: usize,
    /// How many linear layers it changes.
    pub n_targets: usize,
    /// How many weights it has.
    pub n_parameters: usize,
    /// The most tokens of a pair.
    pub max_length: usize,
}

#[derive(Debug)]
enum Network {
    Llama(Llama),
    Bert(Bert),
}

#[derive(Debug)]
struct Loaded {
    summary: AdapterSummary,
    adapter: Adapter,
    prompt: Prompt,
}

/// One model's pieces, borrowed for a batch.
struct Model<'a> {
    adapter: Option<&'a Adapter>,
    head: &'a Head,
    prompt: &'a Prompt,
}

impl ModelReranker {
    /// Loads a base model.
    ///
    /// # Errors
    /// A [`ModelError`] that names the file, tensor or setting that cannot be used.
    pub fn load(files: &Files, options: LoadOptions) -> Result<Self, ModelError> {
        let device = options.device.open()?;
        let (config, config_bytes) = Config::read(files)?;
        let (tokenizer, tokenizer_bytes) = PairTokenizer::read(files)?;
        let pad = pad_token_id(&config, files, &tokenizer)?;
        let mut weights = Weights::of_base(files)?;
        let mut loader = Loader { weights: &mut weights, device: &device, modules: Vec::new(), n_parameters: 0 };
        let network = Network::load(config.architecture, pad, &mut loader)?;
        let head = loader.head(network.head_spec(), network.hidden_size())?;
        let (modules, n_parameters) = (loader.modules, loader.n_parameters);
        let prompt = network.prompt().overridden_by(files)?;
        let mut reranker = Self {
            summary: BaseSummary {
                name: config.name,
                digest: base_digest(&config_bytes, &tokenizer_bytes, &weights),
                architecture: network.name(),
                n_parameters,
                has_head: head.is_some(),
                max_length: 0,
            },
            network,
            head,
            modules,
            tokenizer,
            prompt,
            device,
            options,
            adapters: RwLock::default(),
        };
        reranker.prompt = reranker.fitted(reranker.prompt.clone(), files)?;
        reranker.summary.max_length = reranker.prompt.max_length();
        Ok(reranker)
    }

    /// Loads an adapter under a name, in place of one that had it.
    ///
    /// # Errors
    /// A [`ModelError`] that says in what the folder is no adapter, or does not fit the base model. The adapter that had
    /// the name stays then.
    pub fn add_adapter(&self, id: AdapterId, files: &Files) -> Result<AdapterSummary, ModelError> {
        let config = PeftConfig::read(files)?;
        self.check_trained_on(&id, config.trained_on.as_deref())?;
        let fit = Fit {
            base: &self.summary.name,
            modules: &self.modules,
            head: self.network.head_spec(),
            hidden_size: self.network.hidden_size(),
            device: &self.device,
        };
        let adapter = Adapter::read(&id, files, &config, &fit)?;
        if adapter.head.is_none() && self.head.is_none() {
            return Err(self.missing_head(Some(&id)));
        }
        let prompt = self.fitted(self.prompt.clone().overridden_by(files)?, files)?;
        let summary = AdapterSummary {
            version: AdapterVersion { id: id.clone(), digest: lora::digest(files)? },
            trained_on: config.trained_on,
            rank: config.rank,
            n_targets: adapter.n_targets,
            n_parameters: adapter.n_parameters,
            max_length: prompt.max_length(),
        };
        let loaded = Arc::new(Loaded { summary: summary.clone(), adapter, prompt });
        self.adapters.write().unwrap_or_else(PoisonError::into_inner).insert(id, loaded);
        Ok(summary)
    }

    /// The base model's facts.
    pub fn base(&self) -> &BaseSummary {
        &self.summary
    }

    /// The loaded adapters, by name.
    pub fn adapters(&self) -> Vec<AdapterSummary> {
        self.read_adapters(|adapters| adapters.values().map(|loaded| loaded.summary.clone()).collect())
    }

    /// The device in use: `cpu`, `cuda` or `metal`.
    pub fn device(&self) -> &'static str {
        match self.device {
            Device::Cpu => "cpu",
            Device::Cuda(_) => "cuda",
            Device::Metal(_) => "metal",
        }
    }

    /// The tokens of a query with each candidate, as the model reads them under `adapter`.
    ///
    /// # Errors
    /// [`ModelError::UnknownAdapter`], or a failure of the tokenizer.
    pub fn encode(
        &self,
        adapter: Option<&AdapterId>,
        query: &str,
        candidates: &[Candidate],
    ) -> Result<Vec<Pair>, ModelError> {
        let loaded = adapter.map(|id| self.loaded(id)).transpose()?;
        let prompt = loaded.as_ref().map_or(&self.prompt, |loaded| &loaded.prompt);
        self.tokenizer.pairs(prompt, query, candidates)
    }

    fn version(&self, loaded: Option<&Loaded>) -> ModelVersion {
        ModelVersion {
            base_model: self.summary.name.clone(),
            base_digest: self.summary.digest,
            adapter: loaded.map(|loaded| loaded.summary.version.clone()),
            prompt_version: loaded.map_or(&self.prompt, |loaded| &loaded.prompt).version(),
            precision: self.options.precision,
        }
    }

    fn score_group(&self, group: &Group<'_>) -> Result<Vec<Score>, ModelError> {
        let loaded = group.model.adapter.as_ref().map(|adapter| self.loaded(&adapter.id)).transpose()?;
        let own = loaded.as_ref().and_then(|loaded| loaded.adapter.head.as_ref());
        let model = Model {
            adapter: loaded.as_ref().map(|loaded| &loaded.adapter),
            head: own.or(self.head.as_ref()).ok_or_else(|| self.missing_head(None))?,
            prompt: loaded.as_ref().map_or(&self.prompt, |loaded| &loaded.prompt),
        };
        let pairs = self.tokenizer.pairs(model.prompt, &group.query.text, group.candidates)?;
        pairs.iter().zip(group.candidates).map(|(pair, candidate)| self.score_pair(pair, candidate, &model)).collect()
    }

    fn score_pair(&self, pair: &Pair, candidate: &Candidate, model: &Model<'_>) -> Result<Score, ModelError> {
        if pair.ids.is_empty() {
            return Err(ModelError::NoTokens { document: candidate.id.clone() });
        }
        let state = match &self.network {
            Network::Llama(llama) => llama.scored_state(&pair.ids, model.adapter)?,
            Network::Bert(bert) => bert.scored_state(pair, model.adapter)?,
        };
        let score = model.head.score(&state)?;
        Score::new(score).map_err(|_| ModelError::NotFiniteScore { document: candidate.id.clone(), score })
    }

    fn loaded(&self, id: &AdapterId) -> Result<Arc<Loaded>, ModelError> {
        let unknown = |adapters: &BTreeMap<AdapterId, _>| {
            let mut known = String::from("no adapter is");
            for (n, id) in adapters.keys().enumerate() {
                if n == 0 {
                    known = "loaded are".into();
                }
                write!(known, "{} `{id}`", if n == 0 { "" } else { "," }).expect("writing to a string cannot fail");
            }
            ModelError::UnknownAdapter { adapter: id.clone(), known }
        };
        self.read_adapters(|adapters| adapters.get(id).cloned().ok_or_else(|| unknown(adapters)))
    }

    fn read_adapters<T>(&self, read: impl FnOnce(&BTreeMap<AdapterId, Arc<Loaded>>) -> T) -> T {
        read(&self.adapters.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The prompt at the length that the caller wants, if the model can read as much.
    fn fitted(&self, prompt: Prompt, files: &Files) -> Result<Prompt, ModelError> {
        let prompt = match self.options.max_length {
            Some(length) => prompt.with_max_length(length),
            None => prompt,
        };
        self.tokenizer.check(&prompt, files.name())?;
        let (length, positions) = (prompt.max_length(), self.network.max_position_embeddings());
        if length > positions {
            let why = format!("the base model `{}` has {positions} positions", self.summary.name);
            return Err(ModelError::Prompt {
                folder: files.name().into(),
                what: format!("the max_length {length}"),
                why,
            });
        }
        Ok(prompt)
    }

    fn check_trained_on(&self, id: &AdapterId, trained_on: Option<&str>) -> Result<(), ModelError> {
        let last = |name: &str| name.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_lowercase();
        let Some(expected) = trained_on.filter(|expected| last(expected) != last(&self.summary.name)) else {
            return Ok(());
        };
        let error =
            ModelError::OtherBase { adapter: id.clone(), expected: expected.into(), found: self.summary.name.clone() };
        match self.options.other_base {
            OtherBase::Refuse => Err(error),
            OtherBase::Warn => {
                tracing::warn!("{error}; its shapes are checked, its scores may mean nothing");
                Ok(())
            }
        }
    }

    fn missing_head(&self, adapter: Option<&AdapterId>) -> ModelError {
        let base = format!("base model `{}`", self.summary.name);
        let model =
            adapter.map_or_else(|| format!("the {base}"), |id| format!("neither adapter `{id}` nor the {base}"));
        ModelError::MissingHead { model, head: self.network.head_spec().weight }
    }
}

impl Reranker for ModelReranker {
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        match adapter {
            Some(id) => Ok(self.version(Some(&*self.loaded(id)?))),
            None if self.head.is_none() => Err(self.missing_head(None).into()),
            None => Ok(self.version(None)),
        }
    }

    fn score(&self, batch: &[Group<'_>]) -> Vec<Result<Vec<Score>, BoxError>> {
        batch.iter().map(|group| self.score_group(group).map_err(BoxError::from)).collect()
    }
}

impl Network {
    fn load(architecture: Architecture, pad: Option<u32>, from: &mut Loader<'_>) -> Result<Self, ModelError> {
        match architecture {
            Architecture::Llama(settings) => Llama::load(settings, pad, from).map(Self::Llama),
            Architecture::Bert(config) => Bert::load(config, from).map(Self::Bert),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Llama(_) => "llama",
            Self::Bert(_) => "bert",
        }
    }

    fn head_spec(&self) -> HeadSpec {
        match self {
            Self::Llama(_) => llama::HEAD,
            Self::Bert(_) => bert::HEAD,
        }
    }

    fn prompt(&self) -> Prompt {
        match self {
            Self::Llama(_) => Prompt::llama(),
            Self::Bert(bert) => Prompt::bert(bert.max_position_embeddings()),
        }
    }

    fn hidden_size(&self) -> usize {
        match self {
            Self::Llama(llama) => llama.hidden_size(),
            Self::Bert(bert) => bert.hidden_size(),
        }
    }

    fn max_position_embeddings(&self) -> usize {
        match self {
            Self::Llama(llama) => llama.max_position_embeddings(),
            Self::Bert(bert) => bert.max_position_embeddings(),
        }
    }
}

/// The id that Hugging Face's Llama takes for padding: the model's, else the tokenizer's pad token, else (Llama 3 has
/// neither) the token that ends a text, as DeAR's authors and most others set it.
fn pad_token_id(config: &Config, files: &Files, tokenizer: &PairTokenizer) -> Result<Option<u32>, ModelError> {
    #[derive(Deserialize, Default)]
    struct TokenizerConfig {
        pad_token: Option<Token>,
        eos_token: Option<Token>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Token {
        Text(String),
        Object { content: String },
    }
    let id = |token: Option<Token>| match token? {
        Token::Text(text) | Token::Object { content: text } => tokenizer.token_id(&text),
    };
    let named: TokenizerConfig = files.read_json("tokenizer_config.json")?.unwrap_or_default();
    Ok(config.pad_token_id.or(id(named.pad_token)).or(id(named.eos_token)).or(config.eos_token_id))
}

fn base_digest(config: &[u8], tokenizer: &[u8], weights: &Weights) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for part in [config, tokenizer] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher.update(weights.digest().as_bytes());
    Digest::new(*hasher.finalize().as_bytes())
}
