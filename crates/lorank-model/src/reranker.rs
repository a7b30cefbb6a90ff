//! One base model in memory, any number of adapters on it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use lorank_core::{
    AdapterId, AdapterVersion, BoxError, Candidate, Digest, Group, ModelVersion, Precision, Query, Reranker, Score,
};
use serde::Deserialize;

use crate::config::Config;
use crate::engine::Engine;
use crate::files::Files;
use crate::linear::{Head, Loader, Module};
use crate::lora::{self, Adapter, Fit, Merge};
use crate::network::Network;
use crate::pack::Entry;
use crate::pass::PieceTimes;
use crate::peft::PeftConfig;
use crate::precision::PrecisionChoice;
use crate::scoring::{self, Job};
use crate::tokenize::PairTokenizer;
use crate::weights::Weights;
use crate::{DeviceChoice, ModelError, Pair, Prompt};

/// How a base model is loaded.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Where the forward pass runs.
    pub device: DeviceChoice,
    /// The arithmetic.
    pub precision: PrecisionChoice,
    /// The most tokens of a pair, for the base and every adapter, whatever their own settings say.
    pub max_length: Option<usize>,
    /// What to do with an adapter that was trained on another base model than the one loaded.
    pub other_base: OtherBase,
    /// The most tokens that go through the model together. A longer pair goes alone. No score depends on it. The default is
    /// 256 on a CPU, where each thread has its own and more do not fit its caches, and 16384 on a GPU.
    pub tokens_max: Option<NonZeroUsize>,
    /// Which forward pass.
    pub pass: ForwardPass,
}

/// Which of the forward passes computes the scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardPass {
    /// The fast one: many pairs at once, on a CPU by this project's own kernels.
    #[default]
    Fast,
    /// The reference: candle's operations in f32, one pair at a time, nothing shared. What the fast one is judged by.
    Reference,
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
    engine: Engine,
    precision: Precision,
    tokens_max: NonZeroUsize,
    options: LoadOptions,
    /// Where the base model was read from, for those that merge an adapter into it.
    files: Files,
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
    /// The bytes that its linear layers and embeddings take in memory.
    pub n_bytes: usize,
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
    /// The bytes of a copy of the base model's weights that it is merged into, if it is.
    pub merged_bytes: Option<usize>,
}

/// An adapter in memory, laid out for the base model that loaded it. Clones are one adapter.
///
/// [`ModelReranker::add_adapter`] keeps adapters under names; this one is its holder's to keep and to let go of, as where
/// adapters come and go while the program runs.
#[derive(Debug, Clone)]
pub struct LoadedAdapter(Arc<Loaded>);

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
struct Loaded {
    summary: AdapterSummary,
    adapter: Adapter,
    /// The base model with the adapter's updates in its weights.
    merged: Option<Network>,
    prompt: Prompt,
}

impl ModelReranker {
    /// Loads a base model.
    ///
    /// # Errors
    /// A [`ModelError`] that names the file, tensor or setting that cannot be used.
    pub fn load(files: &Files, options: LoadOptions) -> Result<Self, ModelError> {
        let device = options.device.open()?;
        let is_reference = options.pass == ForwardPass::Reference;
        let precision = options.precision.on(&device, is_reference)?;
        let tokens_max = if is_reference {
            1
        } else if device.is_cpu() {
            256
        } else {
            16_384
        };
        let tokens_max = NonZeroUsize::new(tokens_max).expect("none of them is zero");
        let engine = Engine::new(device, precision, is_reference);
        let (config, config_bytes) = Config::read(files)?;
        let (tokenizer, tokenizer_bytes) = PairTokenizer::read(files)?;
        let pad = pad_token_id(&config, files, &tokenizer)?;
        let mut weights = Weights::of_base(files)?;
        let mut loader = Loader::new(&mut weights, &engine, None);
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
                n_bytes: network.n_bytes(),
            },
            network,
            head,
            modules,
            tokenizer,
            prompt,
            engine,
            precision,
            tokens_max: options.tokens_max.filter(|_| !is_reference).unwrap_or(tokens_max),
            options,
            files: files.clone(),
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
        let loaded = self.read_adapter(&id, files, &config)?;
        Ok(self.insert(id, loaded))
    }

    /// Loads an adapter for the caller to keep, under the name that its versions will carry.
    ///
    /// # Errors
    /// As for [`ModelReranker::add_adapter`].
    pub fn load_adapter(&self, id: &AdapterId, files: &Files) -> Result<LoadedAdapter, ModelError> {
        let config = PeftConfig::read(files)?;
        self.read_adapter(id, files, &config).map(|loaded| LoadedAdapter(Arc::new(loaded)))
    }

    /// The exact model that is the base with an adapter that [`ModelReranker::load_adapter`] gave.
    pub fn version_with(&self, adapter: &LoadedAdapter) -> ModelVersion {
        self.version(Some(&adapter.0))
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
        let mut loaded = self.read_adapter(&id, files, &config)?;
        let merge = Merge::read(files, &config, &self.modules)?;
        let (base, _) = Config::read(&self.files)?;
        let pad = pad_token_id(&base, &self.files, &self.tokenizer)?;
        let mut weights = Weights::of_base(&self.files)?;
        let mut loader = Loader::new(&mut weights, &self.engine, Some(&merge));
        let merged = Network::load(base.architecture, pad, &mut loader)?;
        loaded.summary.merged_bytes = Some(merged.n_bytes());
        loaded.merged = Some(merged);
        loaded.adapter = loaded.adapter.without_updates();
        Ok(self.insert(id, loaded))
    }

    fn insert(&self, id: AdapterId, loaded: Loaded) -> AdapterSummary {
        let summary = loaded.summary.clone();
        self.adapters.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(loaded));
        summary
    }

    fn read_adapter(&self, id: &AdapterId, files: &Files, config: &PeftConfig) -> Result<Loaded, ModelError> {
        self.check_trained_on(id, config.trained_on.as_deref())?;
        let fit = Fit {
            base: &self.summary.name,
            modules: &self.modules,
            head: self.network.head_spec(),
            hidden_size: self.network.hidden_size(),
            engine: &self.engine,
        };
        let adapter = Adapter::read(id, files, config, &fit)?;
        if adapter.head.is_none() && self.head.is_none() {
            return Err(self.missing_head(Some(id)));
        }
        let prompt = self.fitted(self.prompt.clone().overridden_by(files)?, files)?;
        let summary = AdapterSummary {
            version: AdapterVersion { id: id.clone(), digest: lora::digest(files)? },
            trained_on: config.trained_on.clone(),
            rank: config.rank,
            n_targets: adapter.n_targets,
            n_parameters: adapter.n_parameters,
            max_length: prompt.max_length(),
            merged_bytes: None,
        };
        Ok(Loaded { summary, adapter, merged: None, prompt })
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
        self.engine.device()
    }

    /// What computes: `kernels` with the CPU's vector instructions that were found, or `candle`.
    pub fn engine(&self) -> String {
        self.engine.to_string()
    }

    /// The arithmetic in use.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The most tokens that go through the model at once.
    pub fn tokens_max(&self) -> NonZeroUsize {
        self.tokens_max
    }

    /// Scores a batch as [`Reranker::score`] does, and tells where the time went.
    pub fn score_timed(&self, batch: &[Group<'_>]) -> (Vec<Result<Vec<Score>, ModelError>>, PieceTimes) {
        self.score_with(batch, &vec![None; batch.len()])
    }

    /// Scores a batch as [`ModelReranker::score_timed`] does, each group with the adapter that is given for it; where none is,
    /// with the one that is kept under the name of the group's model.
    ///
    /// # Panics
    /// If there are not as many `adapters` as groups.
    pub fn score_with(
        &self,
        batch: &[Group<'_>],
        adapters: &[Option<LoadedAdapter>],
    ) -> (Vec<Result<Vec<Score>, ModelError>>, PieceTimes) {
        assert_eq!(batch.len(), adapters.len(), "one place for an adapter per group");
        let started = Instant::now();
        let ready = batch.iter().zip(adapters).map(|(group, adapter)| self.ready(group, adapter.as_ref()));
        let ready: Vec<Result<Ready, ModelError>> = ready.collect();
        let mut times = PieceTimes { tokenise: started.elapsed(), ..PieceTimes::default() };
        let jobs: Vec<Job<'_>> = ready.iter().enumerate().flat_map(|(n, ready)| self.jobs(n, ready)).collect();
        let scores = scoring::run(&self.engine, self.tokens_max, &jobs, &mut times);
        let mut of_group: Vec<Vec<Result<f32, ModelError>>> = batch.iter().map(|_| Vec::new()).collect();
        for (job, score) in jobs.iter().zip(scores) {
            of_group[job.entry.group].push(score);
        }
        let finish = |((group, ready), scores): ((&Group<'_>, Result<Ready, ModelError>), Vec<_>)| {
            ready.and_then(|_| finished(group.candidates, scores))
        };
        let results = batch.iter().zip(ready).zip(of_group).map(finish).collect();
        (results, times)
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
            precision: self.precision,
            merged: loaded.is_some_and(|loaded| loaded.merged.is_some()),
        }
    }

    /// The model of a group, and its candidates' tokens.
    fn ready(&self, group: &Group<'_>, adapter: Option<&LoadedAdapter>) -> Result<Ready, ModelError> {
        let kept = |version: &AdapterVersion| match self.loaded(&version.id) {
            Ok(loaded) if loaded.summary.version.digest != version.digest => {
                Err(ModelError::Replaced { adapter: version.id.clone() })
            }
            loaded => loaded,
        };
        let loaded = match adapter {
            Some(adapter) => Some(adapter.0.clone()),
            None => group.model.adapter.as_ref().map(kept).transpose()?,
        };
        let prompt = loaded.as_ref().map_or(&self.prompt, |loaded| &loaded.prompt);
        let pairs = self.tokenizer.pairs(prompt, &group.query.text, group.candidates)?;
        for (pair, candidate) in pairs.iter().zip(group.candidates) {
            let document = || candidate.id.clone();
            if pair.ids.is_empty() {
                return Err(ModelError::NoTokens { document: document() });
            }
            if let Some(token) = self.network.unknown_token(pair) {
                let n_known = self.network.n_tokens_known();
                return Err(ModelError::UnknownToken { document: document(), token, n_known });
            }
        }
        Ok(Ready { loaded, pairs })
    }

    /// What there is to compute for one group.
    fn jobs<'a>(&'a self, group: usize, ready: &'a Result<Ready, ModelError>) -> Vec<Job<'a>> {
        let Ok(Ready { loaded, pairs }) = ready else { return Vec::new() };
        let loaded = loaded.as_deref();
        let network = loaded.and_then(|loaded| loaded.merged.as_ref()).unwrap_or(&self.network);
        let adapter = loaded.map(|loaded| &loaded.adapter);
        let head = adapter.and_then(|adapter| adapter.head.as_ref()).or(self.head.as_ref());
        let head = head.expect("`resolve` and `add_adapter` refuse a model without a head");
        let job = |pair| Job { network, head, entry: Entry { pair, adapter, group } };
        pairs.iter().map(job).collect()
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
        let (scores, _) = self.score_timed(batch);
        scores.into_iter().map(|scores| scores.map_err(BoxError::from)).collect()
    }

    /// About four bytes a token, up to the most that a pair may have.
    fn n_tokens(&self, query: &Query, candidate: &Candidate) -> usize {
        let n_bytes = query.text.len() + candidate.title.as_deref().map_or(0, str::len) + candidate.text.len();
        (n_bytes / 4 + 4).min(self.summary.max_length)
    }
}

/// A group whose model was found and whose texts are tokens.
struct Ready {
    loaded: Option<Arc<Loaded>>,
    pairs: Vec<Pair>,
}

/// A group's scores, or the first reason why it has none.
fn finished(candidates: &[Candidate], scores: Vec<Result<f32, ModelError>>) -> Result<Vec<Score>, ModelError> {
    let check = |(candidate, score): (&Candidate, Result<f32, ModelError>)| {
        let score = score?;
        Score::new(score).map_err(|_| ModelError::NotFiniteScore { document: candidate.id.clone(), score })
    };
    candidates.iter().zip(scores).map(check).collect()
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
