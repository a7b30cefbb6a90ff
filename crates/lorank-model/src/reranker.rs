//! One base model in memory, any number of adapters on it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use lorank_core::{AdapterId, AdapterVersion, Digest, ModelVersion, Precision};
use serde::Deserialize;

use crate::config::Config;
use crate::files::Files;
use crate::lora;
use crate::model::{self, BaseModel, ModelAdapter, ScoringModel};
use crate::peft::PeftConfig;
use crate::tokenize::PairTokenizer;
use crate::weights::Weights;
use crate::{AdapterSummary, BaseSummary, LoadOptions, ModelError, OtherBase, Prompt};

/// A reranker: one base model and the adapters loaded on it. The base weights are in memory once.
#[derive(Debug)]
pub struct ModelReranker {
    /// Tells this reranker's encoded pairs from those of others.
    pub(crate) number: u64,
    pub(crate) summary: BaseSummary,
    pub(crate) model: Box<dyn ScoringModel>,
    pub(crate) tokenizer: PairTokenizer,
    pub(crate) prompt: Prompt,
    options: LoadOptions,
    adapters: RwLock<BTreeMap<AdapterId, Arc<Loaded>>>,
}

/// An adapter in memory, laid out for the base model that loaded it. Clones are one adapter.
///
/// [`ModelReranker::add_adapter`] keeps adapters under names; this one is its holder's to keep and to let go of, as where
/// adapters come and go while the program runs.
#[derive(Debug, Clone)]
pub struct LoadedAdapter(pub(crate) Arc<Loaded>);

impl LoadedAdapter {
    /// Its facts.
    pub fn summary(&self) -> &AdapterSummary {
        &self.0.summary
    }

    /// About how many bytes it takes in memory: four for each weight.
    pub fn n_bytes(&self) -> usize {
        self.0.summary.n_parameters * size_of::<f32>()
    }
}

#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) summary: AdapterSummary,
    pub(crate) adapter: ModelAdapter,
    pub(crate) prompt: Prompt,
}

/// How many base models this process has loaded.
static N_LOADED: AtomicU64 = AtomicU64::new(0);

impl ModelReranker {
    /// Loads a base model.
    ///
    /// # Errors
    /// A [`ModelError`] that names the file, tensor or setting that cannot be used.
    pub fn load(files: &Files, options: LoadOptions) -> Result<Self, ModelError> {
        let (config, config_bytes) = Config::read(files)?;
        let (tokenizer, tokenizer_bytes) = PairTokenizer::read(files)?;
        let pad_token_id = pad_token_id(&config, files, &tokenizer)?;
        let mut weights = Weights::of_base(files)?;
        let (architecture, prompt) = (config.architecture.name(), config.architecture.prompt());
        let base = BaseModel {
            name: config.name.clone(),
            architecture: config.architecture,
            pad_token_id,
            files: files.clone(),
        };
        let model = model::load(base, &mut weights, &options)?;
        let prompt = prompt.overridden_by(files)?;
        let facts = model.facts();
        let mut reranker = Self {
            number: N_LOADED.fetch_add(1, Ordering::Relaxed),
            summary: BaseSummary {
                name: config.name,
                digest: base_digest(&config_bytes, &tokenizer_bytes, &weights),
                architecture,
                n_parameters: facts.n_parameters,
                has_head: facts.has_head,
                max_length: 0,
                n_bytes: facts.n_bytes,
            },
            model,
            tokenizer,
            prompt,
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
        let loaded = self.read_adapter(&id, files, &config, |model| model.load_adapter(&id, files, &config))?;
        Ok(self.insert(id, loaded))
    }

    /// Loads an adapter for the caller to keep, under the name that its versions will carry.
    ///
    /// # Errors
    /// As for [`ModelReranker::add_adapter`].
    pub fn load_adapter(&self, id: &AdapterId, files: &Files) -> Result<LoadedAdapter, ModelError> {
        let config = PeftConfig::read(files)?;
        let loaded = self.read_adapter(id, files, &config, |model| model.load_adapter(id, files, &config))?;
        Ok(LoadedAdapter(Arc::new(loaded)))
    }

    /// The exact model that is the base with an adapter that [`ModelReranker::load_adapter`] gave.
    pub fn version_with(&self, adapter: &LoadedAdapter) -> ModelVersion {
        self.version(Some(&adapter.0))
    }

    /// The exact model that is the base with an adapter whose files have the given digest, without reading its weights: only the
    /// prompt's settings are read. Whether the adapter fits the base model, [`ModelReranker::load_adapter`] tells.
    ///
    /// # Errors
    /// A prompt that cannot be used.
    pub fn version_of(&self, id: &AdapterId, digest: Digest, files: &Files) -> Result<ModelVersion, ModelError> {
        let prompt = self.fitted(self.prompt.clone().overridden_by(files)?, files)?;
        let adapter = Some(AdapterVersion { id: id.clone(), digest });
        Ok(ModelVersion { adapter, prompt_version: prompt.version(), ..self.version(None) })
    }

    /// Loads an adapter and adds its updates to a copy of the base model's weights, which makes it as fast as the bare base
    /// model, and takes the memory that [`AdapterSummary::merged_bytes`] tells. For where one adapter serves
    /// nearly all requests.
    ///
    /// The scores are those of the unmerged adapter but for rounding, and have a [`ModelVersion`] of their own.
    ///
    /// # Errors
    /// As for [`ModelReranker::add_adapter`]; and the base model's files must still be where they were.
    pub fn add_merged_adapter(&self, id: AdapterId, files: &Files) -> Result<AdapterSummary, ModelError> {
        let config = PeftConfig::read(files)?;
        let loaded = self.read_adapter(&id, files, &config, |model| model.merge_adapter(&id, files, &config))?;
        Ok(self.insert(id, loaded))
    }

    fn insert(&self, id: AdapterId, loaded: Loaded) -> AdapterSummary {
        let summary = loaded.summary.clone();
        self.adapters.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(loaded));
        summary
    }

    fn read_adapter(
        &self,
        id: &AdapterId,
        files: &Files,
        config: &PeftConfig,
        load: impl FnOnce(&dyn ScoringModel) -> Result<ModelAdapter, ModelError>,
    ) -> Result<Loaded, ModelError> {
        self.check_trained_on(id, config.trained_on.as_deref())?;
        let adapter = load(&*self.model)?;
        let prompt = self.fitted(self.prompt.clone().overridden_by(files)?, files)?;
        let summary = AdapterSummary {
            version: AdapterVersion { id: id.clone(), digest: lora::digest(files)? },
            trained_on: config.trained_on.clone(),
            rank: config.rank,
            n_targets: adapter.n_targets,
            n_parameters: adapter.n_parameters,
            max_length: prompt.max_length(),
            merged_bytes: adapter.merged_bytes,
        };
        Ok(Loaded { summary, adapter, prompt })
    }

    /// The base model's facts.
    pub fn base(&self) -> &BaseSummary {
        &self.summary
    }

    /// The loaded adapters, by name.
    pub fn adapters(&self) -> Vec<AdapterSummary> {
        self.read_adapters(|adapters| adapters.values().map(|loaded| loaded.summary.clone()).collect())
    }

    /// Whether an adapter is kept under a name.
    pub fn holds(&self, id: &AdapterId) -> bool {
        self.read_adapters(|adapters| adapters.contains_key(id))
    }

    /// The device in use: `cpu`, `cuda` or `metal`.
    pub fn device(&self) -> &'static str {
        self.model.facts().device
    }

    /// What computes: `kernels` with the CPU's vector instructions that were found, or `candle`.
    pub fn engine(&self) -> String {
        self.model.facts().backend.clone()
    }

    /// The arithmetic in use.
    pub fn precision(&self) -> Precision {
        self.model.facts().precision
    }

    /// The most tokens that go through the model at once.
    pub fn tokens_max(&self) -> NonZeroUsize {
        self.model.facts().tokens_max
    }

    pub(crate) fn version(&self, loaded: Option<&Loaded>) -> ModelVersion {
        ModelVersion {
            base_model: self.summary.name.clone(),
            base_digest: self.summary.digest,
            adapter: loaded.map(|loaded| loaded.summary.version.clone()),
            prompt_version: loaded.map_or(&self.prompt, |loaded| &loaded.prompt).version(),
            precision: self.precision(),
            merged: loaded.is_some_and(|loaded| loaded.adapter.merged_bytes.is_some()),
        }
    }

    pub(crate) fn loaded(&self, id: &AdapterId) -> Result<Arc<Loaded>, ModelError> {
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
        let (length, positions) = (prompt.max_length(), self.model.facts().max_position_embeddings);
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

    pub(crate) fn missing_head(&self, adapter: Option<&AdapterId>) -> ModelError {
        self.model.facts().missing_head(adapter)
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
