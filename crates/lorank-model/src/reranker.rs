//! A base model in memory with any number of adapters.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use lorank_core::{
    AdapterId, AdapterVersion, BoxError, Candidate, Digest, Group, InvalidQuery, ModelVersion, PassageOptions,
    Precision, Query, Score,
};
use lorank_kernels::Isa;

use crate::backend::Peaks;
use crate::chat::{self, ChatSettings};
use crate::config::{Config, PadToken};
use crate::files::Files;
use crate::head::ScoreTokens;
use crate::keys::SENTENCE_TRANSFORMERS_CONFIG;
use crate::known::KnownModel;
use crate::labels::{HeadRow, Labels};
use crate::lora;
use crate::lorank_file::{LorankFile, SpecialTokens};
use crate::model::{AdapterSource, BaseModel, ModelAdapter, ScoringModel};
use crate::peft::PeftConfig;
use crate::precisions::Precisions;
use crate::score_activation::score_activation;
use crate::score_tokens::Vocabulary;
use crate::tokenize::{PairTokenizer, TOKENIZER_FILE};
use crate::tokenizer_config::{self, TokenizerSettings};
use crate::weights::Weights;
use crate::whole::{Whole, WholeTemplates};
use crate::{
    AdapterSummary, BaseSummary, GpuFacts, Int8Ranking, LoadOptions, Measure, ModelError, OtherBase, Prompt,
    ScoresToCompare, StageClock,
};

/// A reranker: a base model and the adapters loaded on it, which share the base weights.
#[derive(Debug)]
pub struct ModelReranker {
    /// Distinguishes this reranker's encoded pairs from those of others.
    pub(crate) number: u64,
    pub(crate) summary: BaseSummary,
    /// The base model in the precision that it has without an adapter.
    pub(crate) model: Box<dyn ScoringModel>,
    /// The precision with each adapter, and the copies of the base model for adapters with another one.
    precisions: Precisions,
    pub(crate) tokenizer: Arc<PairTokenizer>,
    pub(crate) prompt: Prompt,
    /// How its author wants long documents to be scored.
    passages: PassageOptions,
    /// The prompt for texts whose special tokens are tokens.
    marked_prompt: Prompt,
    /// The tokenizer's class in `config.json`.
    tokenizer_class: Option<String>,
    files: Files,
    options: LoadOptions,
    adapters: RwLock<BTreeMap<AdapterId, Arc<Loaded>>>,
}

/// An adapter in memory, laid out for the base model that loaded it. Clones share the adapter.
///
/// [`ModelReranker::add_adapter`] keeps adapters by name; a `LoadedAdapter` is kept by the caller, which may load and
/// drop adapters while the program runs.
#[derive(Debug, Clone)]
pub struct LoadedAdapter(pub(crate) Arc<Loaded>);

impl LoadedAdapter {
    /// The adapter's facts.
    pub fn summary(&self) -> &AdapterSummary {
        &self.0.summary
    }

    /// The approximate memory in bytes: four per parameter.
    pub fn n_bytes(&self) -> usize {
        self.0.summary.n_parameters * size_of::<f32>()
    }
}

#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) summary: AdapterSummary,
    pub(crate) adapter: ModelAdapter,
    /// The copy of the base model that loaded the adapter, if it is not the first one.
    pub(crate) copy: Option<Arc<dyn ScoringModel>>,
    pub(crate) prompt: Prompt,
    passages: PassageOptions,
    /// The base model's, or the adapter's own.
    pub(crate) tokenizer: Arc<PairTokenizer>,
}

/// The number of base models loaded by this process.
static N_LOADED: AtomicU64 = AtomicU64::new(0);

impl ModelReranker {
    /// Loads a base model.
    ///
    /// # Errors
    /// A [`ModelError`] that names the invalid file, tensor or setting.
    pub fn load(files: &Files, options: LoadOptions) -> Result<Self, ModelError> {
        let (config, config_bytes) = Config::read(files)?;
        let (architecture, class) = (config.architecture.name(), config.tokenizer_class.clone());
        let mut settings = TokenizerSettings::read(files, architecture, class.as_deref())?;
        let known = KnownModel::find(architecture, &[&config.name, files.name()]);
        let file = LorankFile::read(files)?;
        settings.splits_special_tokens |= file.special_tokens_in_texts == Some(SpecialTokens::Text);
        let tokenizer = PairTokenizer::read(files, settings)?;
        let prompt = base_prompt(&config, known, &tokenizer, &file, files)?;
        let mut weights = config.architecture.open_weights(files)?;
        let has_head = weights.has(config.architecture.head_spec().weight);
        let known_tokens = known.filter(|_| !has_head).map(KnownModel::score_tokens);
        let of_modules = config.score_tokens.filter(|_| file.score_tokens.is_none());
        let score_tokens = file.score_tokens.as_ref().or(known_tokens.as_ref());
        let score_tokens = match (of_modules, score_tokens) {
            (Some(tokens), _) => Some(tokens),
            (None, tokens) => tokens.map(|tokens| tokens.resolve(&tokenizer, files.name())).transpose()?,
        };
        check_one_score(&file, score_tokens.is_some(), files)?;
        let (labels, head_row) = head_labels(&config, &file, files, &weights, score_tokens.is_some())?;
        check_types(&config, files, &tokenizer, &prompt)?;
        let base = BaseModel {
            name: config.name.clone(),
            pad_token_id: pad_token_id(&config, &tokenizer),
            architecture: config.architecture,
            score_tokens,
            labels: labels.clone(),
            head_row,
            files: files.clone(),
        };
        let encoder = files.read(SENTENCE_TRANSFORMERS_CONFIG.file)?;
        let digest = |weights: &Weights| {
            base_digest(&config_bytes, &config.module_configs, score_tokens, head_row, files, weights)
        };
        let is_scored_bare = has_head || score_tokens.is_some();
        let (precisions, model) = Precisions::load(base, &mut weights, &options, is_scored_bare, digest)?;
        let prompt = prompt.overridden_by(&file, files, &tokenizer.settings().token_names)?;
        let marked_prompt = prompt.clone();
        let prompt = match file.special_tokens_in_texts {
            Some(SpecialTokens::Text) => prompt.with_plain_texts(&tokenizer.special_tokens()),
            Some(SpecialTokens::Tokens) | None => prompt,
        };
        let n_labels = head_row.filter(|_| score_tokens.is_none()).map_or(1, |row| row.n_rows);
        let facts = model.facts();
        let mut reranker = Self {
            number: N_LOADED.fetch_add(1, Ordering::Relaxed),
            summary: BaseSummary {
                name: config.name,
                digest: precisions.base_digest(),
                architecture,
                n_parameters: facts.n_parameters,
                has_head: facts.has_head,
                activation: score_activation(&config_bytes, encoder.as_deref(), n_labels),
                score_tokens: score_tokens.map_or_else(Vec::new, |tokens| {
                    [Some(tokens.positive), tokens.negative]
                        .iter()
                        .flatten()
                        .map(|id| tokenizer.token_text(*id))
                        .collect()
                }),
                score_label: head_row.filter(|row| row.n_rows > 1).map(|row| labels.name(row.row)),
                linear_targets: facts.linear_targets.clone(),
                other_targets: facts.other_targets.clone(),
                linear_modules: facts.linear_modules.clone(),
                other_modules: facts.other_modules.clone(),
                max_length: 0,
                n_bytes: facts.n_bytes,
            },
            model,
            precisions,
            tokenizer: Arc::new(tokenizer),
            prompt,
            passages: file.passages(files)?,
            marked_prompt,
            tokenizer_class: class,
            files: files.clone(),
            options,
            adapters: RwLock::default(),
        };
        reranker.prompt = reranker.fitted(reranker.prompt.clone(), &reranker.tokenizer, files)?;
        reranker.summary.max_length = reranker.prompt.max_length();
        if reranker.summary.has_head {
            let name = &reranker.summary.name;
            reranker.probe(None).inspect(|why| tracing::warn!("base model `{name}` {why}"));
            reranker.precisions.warning(None, false).inspect(|why| tracing::warn!("base model `{name}`: {why}"));
        }
        Ok(reranker)
    }

    /// Loads an adapter under a name, replacing an adapter of that name.
    ///
    /// # Errors
    /// A [`ModelError`] that describes why the folder is not a valid adapter, or does not fit the base model. An
    /// existing adapter of that name stays.
    pub fn add_adapter(&self, id: AdapterId, files: &Files) -> Result<AdapterSummary, ModelError> {
        let config = PeftConfig::read(files)?;
        Ok(self.insert(id.clone(), self.read_adapter(&id, files, &config, false)?))
    }

    /// Loads an adapter for the caller to keep. Its versions have the name `id`.
    ///
    /// # Errors
    /// As [`ModelReranker::add_adapter`].
    pub fn load_adapter(&self, id: &AdapterId, files: &Files) -> Result<LoadedAdapter, ModelError> {
        let config = PeftConfig::read(files)?;
        Ok(LoadedAdapter(Arc::new(self.read_adapter(id, files, &config, false)?)))
    }

    /// The model version of the base model with an adapter from [`ModelReranker::load_adapter`].
    pub fn version_with(&self, adapter: &LoadedAdapter) -> ModelVersion {
        self.version(Some(&adapter.0))
    }

    /// The model version of the base model with an adapter whose files have the given digest. Reads only the prompt's
    /// settings and no weights; [`ModelReranker::load_adapter`] checks whether the adapter fits the base model.
    ///
    /// # Errors
    /// The prompt is invalid.
    pub fn version_of(&self, id: &AdapterId, digest: Digest, files: &Files) -> Result<ModelVersion, ModelError> {
        let file = LorankFile::read(files)?;
        let settings = self.own_settings(files, &file)?;
        let prompt = self.fitted(self.prompt_of(settings.as_ref(), &file, files)?, &self.tokenizer, files)?;
        let adapter = AdapterVersion { id: id.clone(), digest };
        let (precision, adapter) = (self.precision_of(&adapter), Some(adapter));
        Ok(ModelVersion { adapter, prompt_version: prompt.version(), precision, ..self.version(None) })
    }

    /// How the author of a model wants long documents to be scored: the adapter's `lorank.json`, else the base model's.
    /// `settings` are the files of an adapter that is not loaded here.
    ///
    /// # Errors
    /// The adapter's settings are invalid, or it is not loaded.
    pub fn passages_of(&self, model: &ModelVersion, settings: Option<&Files>) -> Result<PassageOptions, ModelError> {
        match (&model.adapter, settings) {
            (None, _) => Ok(self.passages),
            (Some(adapter), None) => Ok(self.loaded(&adapter.id)?.passages),
            (Some(_), Some(files)) => Ok(LorankFile::read(files)?.passages(files)?.or(self.passages)),
        }
    }

    /// The version of a model with another instruction. `settings` are the files of an adapter that is not loaded here.
    ///
    /// # Errors
    /// [`InvalidQuery`] if the prompt has no place for an instruction, or the adapter's settings are invalid.
    pub fn instructed_version(
        &self,
        model: ModelVersion,
        instruction: &str,
        settings: Option<&Files>,
    ) -> Result<ModelVersion, BoxError> {
        let prompt = match (&model.adapter, settings) {
            (None, _) => self.prompt.clone(),
            (Some(adapter), None) => self.loaded(&adapter.id)?.prompt.clone(),
            (Some(_), Some(files)) => {
                let file = LorankFile::read(files)?;
                self.prompt_of(self.own_settings(files, &file)?.as_ref(), &file, files)?
            }
        };
        let prompt = self.with_requested_length(prompt).instructed(instruction);
        let prompt = prompt.map_err(|message| InvalidQuery { field: "instruction", message })?;
        Ok(ModelVersion { prompt_version: prompt.version(), ..model })
    }

    /// Loads an adapter and merges it into a copy of the base model's weights. It is then as fast as the bare base
    /// model, and uses [`AdapterSummary::merged_bytes`] of memory. Useful if one adapter serves nearly all requests.
    ///
    /// The scores differ from those of the unmerged adapter only by rounding, and have their own [`ModelVersion`].
    ///
    /// # Errors
    /// As [`ModelReranker::add_adapter`]; also if the base model's files have been moved.
    pub fn add_merged_adapter(&self, id: AdapterId, files: &Files) -> Result<AdapterSummary, ModelError> {
        let config = PeftConfig::read(files)?;
        Ok(self.insert(id.clone(), self.read_adapter(&id, files, &config, true)?))
    }

    /// Drops an adapter, and returns whether there was one of this name. Pairs that are encoded for it are still scored.
    pub fn remove_adapter(&self, id: &AdapterId) -> bool {
        self.adapters.write().unwrap_or_else(PoisonError::into_inner).remove(id).is_some()
    }

    /// Scores a few pairs and describes what is wrong with the scores: they are not finite, or all equal. Weights that
    /// are far too large cause both, because norms and activations saturate.
    pub fn probe(&self, adapter: Option<&LoadedAdapter>) -> Option<String> {
        const TEXTS: [&str; 3] =
            ["light", "the river is long", "7 % of 12, said nobody at all in the year before last"];
        let query = Query::new("how long is the river");
        let candidates = TEXTS.map(|text| Candidate::new("probe", text, Score::new(0.0).expect("zero is finite")));
        let model = self.version(adapter.map(|adapter| &*adapter.0));
        let pairs = self.encode_with(Group { query: &query, model: &model, candidates: &candidates }, adapter).ok()?;
        let scores = self.score_timed(&pairs.iter().collect::<Vec<_>>(), Measure::Total).0;
        let scores: Vec<f32> = scores.into_iter().map(|score| score.map_or(f32::NAN, Score::get)).collect();
        if scores.iter().any(|score| !score.is_finite()) {
            return Some("produces scores that are not finite: its weights may be far too large".to_owned());
        }
        let first = scores[0];
        scores.iter().all(|score| score.to_bits() == first.to_bits()).then(|| {
            format!("produces the score {first} for different texts: its weights may be far too large, or all zero")
        })
    }

    fn insert(&self, id: AdapterId, loaded: Loaded) -> AdapterSummary {
        let (summary, loaded) = (loaded.summary.clone(), Arc::new(loaded));
        if let Some(why) = self.probe(Some(&LoadedAdapter(loaded.clone()))) {
            tracing::warn!("adapter `{id}` {why}");
        }
        self.adapters.write().unwrap_or_else(PoisonError::into_inner).insert(id, loaded);
        summary
    }

    fn read_adapter(
        &self,
        id: &AdapterId,
        files: &Files,
        config: &PeftConfig,
        is_merged: bool,
    ) -> Result<Loaded, ModelError> {
        let misfit = match (self.misfit_of_names(id, config.trained_on.as_deref()), self.options.other_base) {
            (Some(error), OtherBase::Refuse) => return Err(error),
            (misfit, OtherBase::Warn | OtherBase::Refuse) => misfit,
        };
        let file = LorankFile::read(files)?;
        let settings = self.own_settings(files, &file)?;
        let prompt = self.prompt_of(settings.as_ref(), &file, files)?;
        let tokenizer =
            settings.map_or_else(|| Ok(self.tokenizer.clone()), |settings| self.own_tokenizer(files, settings))?;
        let score_tokens = file.score_tokens.as_ref().map(|tokens| tokens.resolve(&*tokenizer, files.name()));
        let (score_tokens, score_label) = (score_tokens.transpose()?, file.score_label.as_ref());
        check_one_score(&file, score_tokens.is_some(), files)?;
        let source = AdapterSource { id, files, config, score_tokens, score_label };
        let version = AdapterVersion { id: id.clone(), digest: lora::digest(files)? };
        self.precisions.check(&version)?;
        let chosen = self.precisions.chosen(Some(&version), is_merged);
        let copy = self.precisions.copy_in(chosen.precision)?;
        let model = copy.as_deref().unwrap_or(&*self.model);
        let adapter = if is_merged { model.merge_adapter(&source) } else { model.load_adapter(&source) }?;
        let prompt = self.fitted(prompt, &tokenizer, files)?;
        self.precisions.warning(Some(&version), is_merged).inspect(|why| tracing::warn!("adapter `{id}`: {why}"));
        let summary = AdapterSummary {
            version,
            trained_on: config.trained_on.clone(),
            rank: config.rank,
            n_targets: adapter.n_targets,
            n_parameters: adapter.n_parameters,
            max_length: prompt.max_length(),
            merged_bytes: adapter.merged_bytes,
            precision: chosen.precision,
            precision_reason: chosen.why.into_owned(),
        };
        if let Some(misfit) = misfit {
            tracing::warn!("{misfit}; its shapes match, but its scores may be meaningless");
        }
        Ok(Loaded { summary, adapter, copy, prompt, passages: file.passages(files)?.or(self.passages), tokenizer })
    }

    /// The base model's facts.
    pub fn base(&self) -> &BaseSummary {
        &self.summary
    }

    /// The base model's prompt.
    pub fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    /// The loaded adapters, by name.
    pub fn adapters(&self) -> Vec<AdapterSummary> {
        self.read_adapters(|adapters| adapters.values().map(|loaded| loaded.summary.clone()).collect())
    }

    /// Whether an adapter of this name is loaded.
    pub fn holds(&self, id: &AdapterId) -> bool {
        self.read_adapters(|adapters| adapters.contains_key(id))
    }

    /// The device: `cpu`, `cuda` or `metal`.
    pub fn device(&self) -> &'static str {
        self.model.facts().device
    }

    /// The NVIDIA GPUs, with their memory now; none if the engine is not `lorank-cuda`.
    pub fn gpus(&self) -> Vec<GpuFacts> {
        self.model.gpus()
    }

    /// The maximum tokens of a batch that runs in one forward pass on each device.
    pub fn batch_tokens(&self) -> NonZeroUsize {
        self.model.batch_tokens()
    }

    /// The engine: `kernels` with the CPU's vector instructions, `lorank-cuda` or `candle`.
    pub fn engine(&self) -> String {
        self.model.facts().backend.clone()
    }

    /// The clock that measures the stages of forward passes.
    pub fn stage_clock(&self) -> StageClock {
        self.model.facts().clock
    }

    /// What this processor can do at most, measured now within a tenth of a second on all threads of the current rayon pool, for
    /// comparison with [`StageTimes`](crate::StageTimes). `None` on a GPU, and where there is no measurement.
    pub fn peaks(&self) -> Option<Peaks> {
        self.model.peaks()
    }

    /// The CPU's sets of vector instructions that are not used because a check found wrong results: the name of each, and what is
    /// wrong.
    pub fn left_out_instructions(&self) -> Vec<(&'static str, &'static str)> {
        Isa::left_out().iter().map(|left_out| (&*left_out.set, &*left_out.why)).collect()
    }

    /// The numeric precision without an adapter; with one, that of its [`AdapterSummary`].
    pub fn precision(&self) -> Precision {
        self.precisions.first().precision
    }

    /// The reason for the precision: how `auto` chose it, or that it was requested.
    pub fn precision_reason(&self) -> &str {
        &self.precisions.first().why
    }

    /// The precision with an adapter that is not merged.
    pub fn precision_of(&self, adapter: &AdapterVersion) -> Precision {
        self.precisions.chosen(Some(adapter), false).precision
    }

    /// The measurement of how int8 ranks with a model of this reranker, compared with f32.
    pub fn int8_ranking(&self, model: &ModelVersion) -> Option<&Int8Ranking> {
        self.precisions.ranking(model.adapter.as_ref().map(|adapter| adapter.digest), model.merged)
    }

    /// How int8 rounds the weights and inputs of linear layers of this base model, in words.
    pub fn int8_form(&self) -> &'static str {
        self.precisions.int8_form().describe()
    }

    /// Whether `auto` could select int8: the kernels run on a CPU with vector instructions for it.
    pub fn has_fast_int8(&self) -> bool {
        self.precisions.has_fast_int8()
    }

    /// Compares the scores of queries' candidates with a model of this reranker in int8 and in f32.
    ///
    /// # Panics
    /// If a query has different numbers of scores in both, or there is no query.
    pub fn compare_int8(&self, model: &ModelVersion, queries: &[ScoresToCompare]) -> Int8Ranking {
        self.precisions.compare(model, queries)
    }

    /// The memory of the linear layers and embeddings, in bytes: of the base model, and of its copies in the other precisions
    /// that adapters have.
    pub fn n_bytes(&self) -> usize {
        self.summary.n_bytes + self.precisions.bytes_of_copies()
    }

    /// The maximum tokens per forward pass.
    pub fn tokens_max(&self) -> NonZeroUsize {
        self.model.facts().budget.tokens_max
    }

    pub(crate) fn version(&self, loaded: Option<&Loaded>) -> ModelVersion {
        ModelVersion {
            base_model: self.summary.name.clone(),
            base_digest: self.summary.digest,
            adapter: loaded.map(|loaded| loaded.summary.version.clone()),
            prompt_version: loaded.map_or(&self.prompt, |loaded| &loaded.prompt).version(),
            precision: loaded.map_or(self.precision(), |loaded| loaded.summary.precision),
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

    pub(crate) fn read_adapters<T>(&self, read: impl FnOnce(&BTreeMap<AdapterId, Arc<Loaded>>) -> T) -> T {
        read(&self.adapters.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether special tokens in texts are plain text for an adapter: as its own `lorank.json` has it, else the base
    /// model's.
    fn has_plain_texts(&self, file: &LorankFile) -> bool {
        file.special_tokens_in_texts.map_or(self.prompt.has_plain_texts(), |tokens| tokens == SpecialTokens::Text)
    }

    /// The tokenizer settings of an adapter that has its own tokenizer, or reads special tokens in texts in another way
    /// than the base model.
    fn own_settings(&self, files: &Files, file: &LorankFile) -> Result<Option<TokenizerSettings>, ModelError> {
        let (class, has_plain_texts) = (self.tokenizer_class.as_deref(), self.has_plain_texts(file));
        let read = |files: &Files| {
            let mut settings = TokenizerSettings::read(files, self.summary.architecture, class)?;
            settings.splits_special_tokens |= has_plain_texts;
            Ok::<_, ModelError>(settings)
        };
        if files.has(TOKENIZER_FILE) {
            return read(files).map(Some);
        }
        if let Some(file) = tokenizer_config::FILES.into_iter().find(|file| files.has(file)) {
            tracing::warn!(
                "`{file}` of `{}` is ignored, because there is no `{TOKENIZER_FILE}` beside it",
                files.name()
            );
        }
        if has_plain_texts == self.prompt.has_plain_texts() {
            return Ok(None);
        }
        // The prompt's length is the base model's already.
        Ok(Some(TokenizerSettings { max_length: None, ..read(&self.files)? }))
    }

    /// The prompt of an adapter: the base model's, limited by the adapter's own tokenizer, with the overrides of its
    /// `lorank.json`.
    fn prompt_of(
        &self,
        settings: Option<&TokenizerSettings>,
        file: &LorankFile,
        files: &Files,
    ) -> Result<Prompt, ModelError> {
        let max_length = settings.and_then(|settings| settings.max_length).unwrap_or(usize::MAX);
        let prompt = self.marked_prompt.clone();
        let max_length = max_length.min(prompt.max_length());
        let prompt = prompt.with_max_length(max_length);
        let settings = settings.unwrap_or(self.tokenizer.settings());
        let prompt = match chat_settings(settings, file).filter(|_| file.chat_template.is_some()) {
            Some(chat) => chat_prompt(&chat, settings, prompt.max_length(), &[files, &self.files])?,
            None => prompt,
        };
        let prompt = prompt.overridden_by(file, files, &settings.token_names)?;
        Ok(match self.has_plain_texts(file) {
            true => prompt.with_plain_texts(&self.tokenizer.special_tokens()),
            false => prompt,
        })
    }

    /// The tokenizer of an adapter: the base model's if it is a copy of that.
    fn own_tokenizer(&self, files: &Files, settings: TokenizerSettings) -> Result<Arc<PairTokenizer>, ModelError> {
        let files = if files.has(TOKENIZER_FILE) { files } else { &self.files };
        let is_same = settings == *self.tokenizer.settings() && tokenizer_json(files)? == tokenizer_json(&self.files)?;
        if is_same {
            return Ok(self.tokenizer.clone());
        }
        Ok(Arc::new(PairTokenizer::read(files, settings)?.on_threads_of(&self.tokenizer)))
    }

    /// The prompt at the requested length, if the model supports it.
    fn fitted(&self, prompt: Prompt, tokenizer: &PairTokenizer, files: &Files) -> Result<Prompt, ModelError> {
        let prompt = self.with_requested_length(prompt);
        tokenizer.check(&prompt, files.name())?;
        let (length, positions) = (prompt.max_length(), self.model.facts().max_position_embeddings);
        if length > positions {
            let why = format!("the base model `{}` has {positions} positions", self.summary.name);
            return Err(ModelError::Prompt {
                folder: files.name().into(),
                what: format!("the max_length {length}"),
                why,
            });
        }
        self.check_memory_of_pair(length)?;
        Ok(prompt)
    }

    /// Rejects pairs that the GPU has not enough memory for.
    fn check_memory_of_pair(&self, length: usize) -> Result<(), ModelError> {
        let n_bytes = || self.gpus().iter().map(|gpu| gpu.activation_bytes).min().unwrap_or(0);
        let Some(hint) = self.model.facts().budget.why_not(length, n_bytes) else { return Ok(()) };
        Err(ModelError::Device { device: self.options.device.to_string(), hint: hint.into(), source: None })
    }

    fn with_requested_length(&self, prompt: Prompt) -> Prompt {
        match self.options.max_length {
            Some(length) => prompt.with_max_length(length),
            None => prompt,
        }
    }

    /// The error for an adapter that was trained on a base model of another name.
    fn misfit_of_names(&self, id: &AdapterId, trained_on: Option<&str>) -> Option<ModelError> {
        let expected = trained_on.filter(|expected| !is_same_name(expected, &self.summary.name))?;
        Some(ModelError::OtherBase { adapter: id.clone(), expected: expected.into(), found: self.summary.name.clone() })
    }

    /// The maximum length that the options chose instead of the files.
    pub(crate) fn own_max_length(&self) -> Option<usize> {
        self.options.max_length
    }

    pub(crate) fn missing_head(&self, adapter: Option<&AdapterId>) -> ModelError {
        self.model.facts().missing_head(adapter)
    }
}

/// Whether two names are of the same model: their owners and folders are not compared.
pub(crate) fn is_same_name(one: &str, other: &str) -> bool {
    let last = |name: &str| name.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_lowercase();
    last(one) == last(other)
}

/// The prompt of a base model without a `lorank.json`: a known model's own, else its architecture's.
fn base_prompt(
    config: &Config,
    known: Option<&KnownModel>,
    tokenizer: &PairTokenizer,
    file: &LorankFile,
    files: &Files,
) -> Result<Prompt, ModelError> {
    let settings = tokenizer.settings();
    let prompt = config.architecture.prompt(settings.max_length);
    if let Some(chat) = chat_settings(settings, file) {
        // A causal model has no prompt of its own length.
        let positions = config.architecture.max_position_embeddings();
        let max_length = settings.max_length.unwrap_or(positions).min(positions);
        return chat_prompt(&chat, settings, max_length, &[files]);
    }
    if let Some(text) = &settings.query_prompt {
        return Ok(prompt.with_text_before_query(text));
    }
    let refused = |why| ModelError::Prompt { folder: files.name().into(), what: "the built-in prompt".into(), why };
    if let Some(template) = config.architecture.text_template() {
        let [mut parts, end] = tokenizer.around_text()?;
        parts.push(template.to_owned());
        parts.extend(end);
        let whole = Whole::parse(&parts, &[]).and_then(|whole| WholeTemplates::new(whole, None)).map_err(refused)?;
        return Ok(Prompt::whole(whole, None, prompt.max_length()));
    }
    let Some(known) = known else { return Ok(prompt) };
    let templates = known.templates(&settings.token_names).map_err(refused)?;
    Ok(Prompt::whole(templates, known.instruction, known.max_length.min(prompt.max_length())))
}

/// How a chat template is applied: as the cross-encoder's files say, or as `chat_template` of a `lorank.json` asks.
fn chat_settings(settings: &TokenizerSettings, file: &LorankFile) -> Option<ChatSettings> {
    match file.chat_template {
        Some(false) => None,
        Some(true) => Some(settings.chat.clone().unwrap_or_else(|| {
            let variables = [("add_generation_prompt".to_owned(), true.into())].into_iter().collect();
            ChatSettings { variables, ..ChatSettings::default() }
        })),
        None => settings.chat.clone(),
    }
}

/// The prompt of the first chat template in these folders.
fn chat_prompt(
    chat: &ChatSettings,
    settings: &TokenizerSettings,
    max_length: usize,
    folders: &[&Files],
) -> Result<Prompt, ModelError> {
    let refused = |why: String| ModelError::Prompt {
        folder: folders.first().map_or_else(String::new, |files| files.name().to_owned()),
        what: "the chat template".to_owned(),
        why,
    };
    for files in folders {
        if let Some(template) = tokenizer_config::chat_template(files)? {
            let templates = chat::templates(&template, chat, &settings.token_names).map_err(refused)?;
            return Ok(Prompt::whole(templates, chat.instruction.as_deref(), max_length));
        }
    }
    Err(refused("there is none, neither `chat_template.jinja` nor `chat_template` in `tokenizer_config.json`".into()))
}

/// The content of `tokenizer.json`, independent of its formatting.
fn tokenizer_json(files: &Files) -> Result<Option<serde_json::Value>, ModelError> {
    files.read_json(TOKENIZER_FILE)
}

/// The pad token id as in Hugging Face's Llama: the model's, else the tokenizer's pad token, else (Llama 3 has neither)
/// the end-of-text token, as DeAR's authors and most others set it.
fn pad_token_id(config: &Config, tokenizer: &PairTokenizer) -> Option<u32> {
    let id = |name| tokenizer.settings().token_named(name).and_then(|token| tokenizer.token_id(token));
    match config.pad_token {
        PadToken::Id(id) => Some(id),
        PadToken::None => None,
        PadToken::Open => id("pad").or(id("eos")).or(config.eos_token_id),
    }
}

/// A score is that of a label, or is made of the logits of tokens.
fn check_one_score(file: &LorankFile, has_tokens: bool, files: &Files) -> Result<(), ModelError> {
    if file.score_label.is_none() || !has_tokens {
        return Ok(());
    }
    let why = "the score is made of the logits of tokens (`score_tokens`), which have no labels".to_owned();
    Err(ModelError::ScoreLabel { folder: files.name().to_owned(), why })
}

/// The labels of the score head, and the row of the one that is scored. A classifier without `id2label` has as many as
/// its head has rows.
fn head_labels(
    config: &Config,
    file: &LorankFile,
    files: &Files,
    weights: &Weights,
    has_tokens: bool,
) -> Result<(Labels, Option<HeadRow>), ModelError> {
    let shape = weights.shape(config.architecture.head_spec().weight);
    let n_rows = shape.as_ref().and_then(|shape| shape.first().copied());
    let labels = config.labels.clone().unwrap_or_else(|| Labels::numbered(n_rows.unwrap_or(0)));
    let folder = || files.name().to_owned();
    let row = labels.row(file.score_label.as_ref()).map_err(|why| ModelError::ScoreLabel { folder: folder(), why })?;
    if row.is_none() && n_rows.is_some() && !has_tokens {
        return Err(ModelError::UnnamedLabel { folder: folder(), n_labels: labels.len(), labels: labels.describe() });
    }
    Ok((labels, row))
}

/// Checks that the token types of pairs have embeddings.
fn check_types(config: &Config, files: &Files, tokenizer: &PairTokenizer, prompt: &Prompt) -> Result<(), ModelError> {
    let Some(n_types) = config.architecture.n_types() else { return Ok(()) };
    tokenizer.check(prompt, files.name())?;
    let candidate = Candidate::new("", "b", Score::new(0.0).expect("zero is finite"));
    let pairs = tokenizer.pairs(prompt, "a", &[candidate])?;
    match pairs.iter().flat_map(|pair| &pair.type_ids).find(|type_id| **type_id as usize >= n_types) {
        Some(type_id) => Err(ModelError::Unsupported {
            folder: files.name().into(),
            file: "config.json",
            what: format!("`type_vocab_size` = {n_types} with a tokenizer that assigns the token type {type_id}"),
            hint: "; `model_input_names` without `token_type_ids` in `tokenizer_config.json` makes all types 0".into(),
        }),
        None => Ok(()),
    }
}

/// The hash of everything that the base model's scores depend on.
fn base_digest(
    config: &[u8],
    modules: &[u8],
    score_tokens: Option<ScoreTokens>,
    head_row: Option<HeadRow>,
    files: &Files,
    weights: &Weights,
) -> Result<Digest, ModelError> {
    let tokenizer = files.read(TOKENIZER_FILE)?.unwrap_or_default();
    let mut hasher = blake3::Hasher::new();
    for part in [config, &tokenizer] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    for name in tokenizer_config::FILES {
        if let Some(bytes) = files.read(name)? {
            hasher.update(name.as_bytes()).update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
        }
    }
    hasher.update(modules);
    if let Some(ScoreTokens { positive, negative }) = score_tokens {
        // An id that no token has stands for no negative token.
        for id in [positive, negative.unwrap_or(u32::MAX)] {
            hasher.update(&id.to_le_bytes());
        }
    }
    if let Some(HeadRow { row, .. }) = head_row.filter(|row| row.n_rows > 1) {
        hasher.update(b"score_label").update(&(row as u64).to_le_bytes());
    }
    hasher.update(weights.digest().as_bytes());
    Ok(Digest::new(*hasher.finalize().as_bytes()))
}
