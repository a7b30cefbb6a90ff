//! A base model on its backend.
//!
//! Callers use a [`ScoringModel`], which has no type parameters: the backend's types are erased.

use std::any::Any;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use lorank_core::AdapterId;

use crate::backend::linear::Adapter;
use crate::backend::linear::{Modules, TableModule};
use crate::backend::{Backend, Peaks, Storage};
use crate::budget::{self, PassBudget};
use crate::config::Architecture;
use crate::files::Files;
use crate::head::{Head, HeadSpec, ScoreTokens};
use crate::labels::{HeadRow, Labels, NamedLabel};
use crate::loader::Loader;
use crate::lora::{Fit, Merge, TokenHead};
use crate::network::Network;
use crate::pack::AdaptedPair;
use crate::pass::StageTimes;
use crate::peft::PeftConfig;
use crate::precision::ChosenPrecision;
use crate::score_tokens::{LOGITS_MODULE, TokenLogits};
use crate::scoring::{PairWithWeights, Runner};
use crate::weights::Weights;
use crate::{DeviceChoice, ForwardPass, GpuFacts, LoadOptions, Measure, ModelError, Pair, StageClock, TokensLimit};

/// A base model on any backend.
pub(crate) trait ScoringModel: fmt::Debug + Send + Sync {
    /// The model on its backend.
    fn as_any(&self) -> &dyn Any;

    /// The model's facts.
    fn facts(&self) -> &ModelFacts;

    /// Whether it can still score.
    ///
    /// # Errors
    /// [`ModelError::NoGpuLeft`]
    fn check(&self) -> Result<(), ModelError> {
        Ok(())
    }

    /// The number of tokens of a batch that gives work to all of its devices.
    fn batch_tokens(&self) -> NonZeroUsize {
        self.facts().budget.tokens_max
    }

    /// The NVIDIA GPUs that run it, with their memory now.
    fn gpus(&self) -> Vec<GpuFacts>;

    /// What the processor can do at most, if it was ever measured.
    fn peaks(&self) -> Option<Peaks>;

    /// Loads an adapter for this model. No other model can score with it.
    fn load_adapter(&self, source: &AdapterSource<'_>) -> Result<ModelAdapter, ModelError>;

    /// Loads an adapter, and merges its low-rank updates into a copy of the base model's weights.
    fn merge_adapter(&self, source: &AdapterSource<'_>) -> Result<ModelAdapter, ModelError>;

    /// The score of each pair, in their order. Adds the time to `times`.
    fn score(
        &self,
        pairs: &[PairToScore<'_>],
        measure: Measure,
        times: &mut StageTimes,
    ) -> Vec<Result<f32, ModelError>>;
}

/// The parts of a base model besides its weights.
#[derive(Debug, Clone)]
pub(crate) struct BaseModel {
    pub(crate) name: String,
    pub(crate) architecture: Architecture,
    pub(crate) pad_token_id: Option<u32>,
    /// The tokens whose logits are the score, in place of a score head.
    pub(crate) score_tokens: Option<ScoreTokens>,
    /// The labels of the score head.
    pub(crate) labels: Labels,
    /// The row of the score head's label; `None` only if it has no head.
    pub(crate) head_row: Option<HeadRow>,
    /// The files, which are read again to merge an adapter.
    pub(crate) files: Files,
}

/// The files of an adapter, and what was read from them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdapterSource<'a> {
    pub(crate) id: &'a AdapterId,
    pub(crate) files: &'a Files,
    pub(crate) config: &'a PeftConfig,
    /// The tokens of its own `score_tokens`.
    pub(crate) score_tokens: Option<ScoreTokens>,
    /// Its own `score_label`.
    pub(crate) score_label: Option<&'a NamedLabel>,
}

/// Facts about a model.
#[derive(Debug)]
pub(crate) struct ModelFacts {
    pub(crate) n_parameters: usize,
    /// The memory of linear layers and embeddings, in bytes.
    pub(crate) n_bytes: usize,
    /// Whether it has a score head.
    pub(crate) has_head: bool,
    /// The last parts of the names of the linear layers.
    pub(crate) linear_targets: Vec<String>,
    /// The last parts of the names of embeddings, norms and the head.
    pub(crate) other_targets: Vec<String>,
    /// The full names of both.
    pub(crate) linear_modules: Vec<String>,
    pub(crate) other_modules: Vec<String>,
    /// The number of token ids with an embedding.
    pub(crate) n_tokens_known: usize,
    pub(crate) max_position_embeddings: usize,
    /// The engine's name, with the instruction set in use.
    pub(crate) backend: String,
    /// `cpu`, `cuda` or `metal`.
    pub(crate) device: &'static str,
    /// The same with the number of an NVIDIA GPU, as `cuda:0`.
    pub(crate) device_name: String,
    pub(crate) clock: StageClock,
    pub(crate) precision: ChosenPrecision,
    pub(crate) budget: PassBudget,
    name: String,
    head: HeadSpec,
}

/// A pair to score, with its adapter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PairToScore<'a> {
    pub(crate) pair: &'a Pair,
    pub(crate) adapter: Option<&'a ModelAdapter>,
    /// Pairs of a group have the same query; adjacent ones may share the computation of its tokens.
    pub(crate) group: usize,
}

/// An adapter in memory, laid out for the model that loaded it.
#[derive(Debug)]
pub(crate) struct ModelAdapter {
    pub(crate) n_parameters: usize,
    /// The number of linear layers that it changes.
    pub(crate) n_targets: usize,
    /// The memory of the merged copy of the base model's weights, in bytes, if it is merged.
    pub(crate) merged_bytes: Option<usize>,
    pub(crate) id: AdapterId,
    /// What the model needs to score with it.
    pub(crate) weights: Box<dyn Any + Send + Sync>,
}

/// The weights of an adapter, with its network.
struct AdapterWeights<B: Backend> {
    adapter: Adapter<B>,
    /// The network that the adapter was loaded for.
    base: Arc<Network<B>>,
    /// `base`, or a copy with the adapter merged.
    network: Arc<Network<B>>,
}

/// The longest pair of a warm-up, in tokens. The memory of a pass hardly depends on how its tokens are divided into pairs, but the
/// time of attention does.
const WARM_UP_LENGTH: NonZeroUsize = NonZeroUsize::new(512).expect("it is not zero");

impl ModelFacts {
    /// The first token of a pair without an embedding: the tokenizer has more tokens than the model.
    pub(crate) fn unknown_token(&self, pair: &Pair) -> Option<u32> {
        pair.ids.iter().copied().find(|id| *id as usize >= self.n_tokens_known)
    }

    /// The error for a model without a head, if the adapter has none either.
    pub(crate) fn missing_head(&self, adapter: Option<&AdapterId>) -> ModelError {
        let base = format!("base model `{}`", self.name);
        let model =
            adapter.map_or_else(|| format!("the {base}"), |id| format!("neither adapter `{id}` nor the {base}"));
        ModelError::MissingHead { model, head: self.head.weight }
    }
}

/// The matrix of token logits, for the `score_tokens` of a folder.
fn token_logits(base: &BaseModel, folder: &str) -> Result<TokenLogits, ModelError> {
    base.architecture.token_logits().ok_or_else(|| {
        let why = format!("the base model `{}` is no causal model, so its tokens have no logits", base.name);
        ModelError::ScoreTokens { folder: folder.to_owned(), why }
    })
}

/// The name of the module with the head.
fn head_module(base: &BaseModel) -> &'static str {
    if base.score_tokens.is_some() { LOGITS_MODULE } else { base.architecture.head_spec().module() }
}

/// The different last parts of modules' names, in the order of their first use.
fn last_parts(names: &[String]) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for name in names {
        let part = name.rsplit('.').next().unwrap_or(name);
        if !parts.iter().any(|known| known == part) {
            parts.push(part.to_owned());
        }
    }
    parts
}

/// Completes loading, so that other threads can use the loaded data.
fn synchronize<B: Backend>(backend: &B) -> Result<(), ModelError> {
    backend.synchronize().map_err(|error| ModelError::Compute(Arc::new(error)))
}

/// Prepares the backend for reading the matrices of a base model. The table of its words is not one of them.
fn reserve<B: Backend>(backend: &B, weights: &Weights, architecture: &Architecture) -> Result<(), ModelError> {
    let mut matrices = weights.matrices(|name| !is_unused(name));
    matrices.retain(|[n_rows, _]| *n_rows != architecture.vocab_size());
    let reserved = backend.before_reading(&matrices, Storage::Precision);
    reserved.map_err(|error| ModelError::Compute(Arc::new(error)))
}

/// Whether a tensor is usually not read: of another head, or saved by older versions of transformers although it can be computed.
fn is_unused(name: &str) -> bool {
    const PARTS: [&str; 12] = [
        "lm_head.",
        "cls.",
        "decoder.",
        "qa_outputs.",
        "position_ids",
        "rotary_emb.inv_freq",
        "roberta.pooler.",
        "vocab_transform.",
        "vocab_layer_norm.",
        "vocab_projector.",
        "discriminator_predictions.",
        "generator_",
    ];
    PARTS.iter().any(|part| name.contains(part))
}

/// Warns of tensors that the configuration excludes, for example biases if it declares none.
fn warn_of_unread(base: &str, weights: &Weights) {
    let unexpected: Vec<&str> = weights.unread().filter(|name| !is_unused(name)).collect();
    if let Some(first) = unexpected.first() {
        let n = unexpected.len();
        tracing::warn!("{n} tensors of `{base}` (first: `{first}`) do not match its `config.json` and are ignored");
    }
}

/// A base model's weights on a backend.
#[derive(Debug)]
pub(crate) struct Model<B: Backend> {
    pub(crate) backend: B,
    pub(crate) base: BaseModel,
    pub(crate) network: Arc<Network<B>>,
    pub(crate) head: Option<Head>,
    /// The parts that adapters may change.
    pub(crate) modules: Modules,
    pub(crate) facts: ModelFacts,
    /// The number of passes that did not fit into the memory and were run in halves.
    n_halved: AtomicU64,
}

impl<B: Backend> Model<B> {
    /// Reads a base model onto a backend.
    pub(crate) fn load(
        backend: B,
        base: BaseModel,
        weights: &mut Weights,
        options: &LoadOptions,
    ) -> Result<Box<dyn ScoringModel>, ModelError> {
        let architecture = &base.architecture;
        reserve(&backend, weights, architecture)?;
        let mut loader = Loader::new(weights, &backend, None);
        let network = Network::load(architecture, &mut loader)?;
        let head = match base.score_tokens {
            Some(tokens) => Some(loader.token_head(token_logits(&base, base.files.name())?, tokens)?),
            None => {
                let row = base.head_row.unwrap_or(HeadRow::ONLY);
                loader.head(architecture.head_spec(), row, architecture.hidden_size())?
            }
        };
        let (modules, n_parameters) = (loader.modules, loader.n_parameters);
        let wanted = match options.pass {
            ForwardPass::Reference => NonZeroUsize::MIN,
            ForwardPass::Fast | ForwardPass::GpuOnHost | ForwardPass::Train | ForwardPass::TrainReference => {
                options.tokens_max.unwrap_or(backend.tokens_max())
            }
        };
        warn_of_unread(&base.name, weights);
        synchronize(&backend)?;
        let linear_modules: Vec<String> = modules.linears.iter().map(|module| module.name.clone()).collect();
        let tables = modules.tables.iter().map(|table| table.name.as_str());
        let others = tables.chain(modules.norms.iter().map(|norm| norm.name.as_str())).chain([head_module(&base)]);
        let other_modules: Vec<String> = others.map(str::to_owned).collect();
        let facts = ModelFacts {
            n_parameters,
            n_bytes: network.n_bytes(),
            has_head: head.is_some(),
            linear_targets: last_parts(&linear_modules),
            other_targets: last_parts(&other_modules),
            linear_modules,
            other_modules,
            n_tokens_known: architecture.vocab_size(),
            max_position_embeddings: architecture.max_position_embeddings(),
            backend: backend.name(),
            device: backend.device(),
            device_name: match &options.device {
                gpu @ DeviceChoice::Cuda(_) => gpu.to_string(),
                _ => backend.device().to_owned(),
            },
            clock: backend.clock(),
            precision: backend.precision(),
            budget: PassBudget { tokens_max: wanted, limit: TokensLimit::Default, pair_tokens_max: None },
            name: base.name.clone(),
            head: architecture.head_spec(),
        };
        let mut model =
            Self { backend, base, network: Arc::new(network), head, modules, facts, n_halved: AtomicU64::new(0) };
        model.facts.budget = model.fit_passes(wanted, options).map_err(|error| ModelError::Compute(Arc::new(error)))?;
        Ok(Box::new(model))
    }

    /// Prepares the backend for passes, and warms it up if it wants that.
    fn fit_passes(&self, wanted: NonZeroUsize, options: &LoadOptions) -> Result<PassBudget, B::Error> {
        let positions = self.facts.max_position_embeddings;
        let longest = options.max_length.unwrap_or(self.backend.tokens_max().get()).min(positions);
        let longest = NonZeroUsize::new(longest).unwrap_or(NonZeroUsize::MIN);
        // A longer pair than the budget gets a pass of its own.
        let needed = wanted.max(longest);
        let (fitting, error) = budget::fitting(needed, B::is_out_of_memory, |n_tokens| {
            let reserved = self.backend.before_passes(&self.modules, n_tokens)?;
            if let (Some(n_tokens), Some(_as_with_adapters)) = (reserved, self.backend.warm_up()) {
                let started = Instant::now();
                self.runner(Measure::Total).warm_up(&self.network, n_tokens, longest.min(WARM_UP_LENGTH))?;
                tracing::info!(n_tokens, millis = started.elapsed().as_millis(), "warmed up");
            }
            Ok(reserved)
        })?;
        let tokens_max = fitting.map_or(wanted, |fitting| wanted.min(fitting));
        let limit = match options.tokens_max {
            _ if tokens_max < wanted => TokensLimit::Memory,
            Some(_) => TokensLimit::Requested,
            None => TokensLimit::Default,
        };
        if limit == TokensLimit::Memory {
            let why = error.map_or(String::new(), |error| format!(": {error}"));
            tracing::warn!("the GPU's memory suffices for passes of {tokens_max} tokens instead of {wanted}{why}");
        }
        Ok(PassBudget { tokens_max, limit, pair_tokens_max: fitting })
    }

    fn runner(&self, measure: Measure) -> Runner<'_, B> {
        Runner {
            backend: &self.backend,
            scored: self.base.architecture.scored(),
            hidden_size: self.base.architecture.hidden_size(),
            temperature: self.base.architecture.temperature(),
            tokens_max: self.facts.budget.tokens_max,
            measure,
            n_halved: &self.n_halved,
        }
    }

    fn read_adapter(&self, source: &AdapterSource<'_>) -> Result<Adapter<B>, ModelError> {
        let AdapterSource { id, files, config, score_tokens, score_label } = *source;
        let architecture = &self.base.architecture;
        let base_table = |table: &TableModule| {
            let mut weights = architecture.open_weights(&self.base.files)?;
            weights.table(&format!("{}.weight", table.name), [table.n_rows, table.width])
        };
        let token_head = score_tokens.or(self.base.score_tokens).map(|tokens| {
            let logits = token_logits(&self.base, files.name())?;
            Ok::<_, ModelError>(TokenHead { logits, tokens, is_own: score_tokens.is_some() })
        });
        let fit = Fit {
            base: &self.base.name,
            modules: &self.modules,
            head_spec: architecture.head_spec(),
            head: self.head.as_ref(),
            token_head: token_head.transpose()?,
            labels: &self.base.labels,
            head_row: self.base.head_row,
            score_label,
            hidden_size: architecture.hidden_size(),
            prefix: architecture.prefix(),
            backend: &self.backend,
            base_table: &base_table,
            base_weights: &|| architecture.open_weights(&self.base.files),
        };
        let adapter = Adapter::read(id, files, config, &fit)?;
        if adapter.head.is_none() && self.head.is_none() {
            return Err(self.facts.missing_head(Some(id)));
        }
        synchronize(&self.backend)?;
        Ok(adapter)
    }

    /// A pair with its weights.
    fn with_weights<'a>(&'a self, pair: &PairToScore<'a>) -> Result<PairWithWeights<'a, B>, ModelError> {
        let weights = pair.adapter.map(|adapter| self.weights_of(adapter)).transpose()?;
        let adapter = weights.map(|weights| &weights.adapter);
        let head = adapter.and_then(|adapter| adapter.head.as_ref()).or(self.head.as_ref());
        let head = head.ok_or_else(|| self.facts.missing_head(pair.adapter.map(|adapter| &adapter.id)))?;
        // A causal model answers after the last token, whichever it is.
        let padding = self.base.pad_token_id.filter(|_| head.tokens().is_none());
        Ok(PairWithWeights {
            network: weights.map_or(&self.network, |weights| &weights.network),
            head,
            entry: AdaptedPair { pair: pair.pair, adapter, group: pair.group, padding },
        })
    }

    /// The weights of an adapter that this model loaded.
    fn weights_of<'a>(&self, adapter: &'a ModelAdapter) -> Result<&'a AdapterWeights<B>, ModelError> {
        let weights = adapter.weights.downcast_ref::<AdapterWeights<B>>();
        let own = weights.filter(|weights| Arc::ptr_eq(&weights.base, &self.network));
        own.ok_or_else(|| ModelError::OtherModel { adapter: adapter.id.clone() })
    }
}

impl<B: Backend> ScoringModel for Model<B> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn facts(&self) -> &ModelFacts {
        &self.facts
    }

    fn load_adapter(&self, source: &AdapterSource<'_>) -> Result<ModelAdapter, ModelError> {
        let adapter = self.read_adapter(source)?;
        Ok(ModelAdapter {
            n_parameters: adapter.n_parameters,
            n_targets: adapter.n_targets,
            merged_bytes: None,
            id: source.id.clone(),
            weights: Box::new(AdapterWeights { adapter, base: self.network.clone(), network: self.network.clone() }),
        })
    }

    fn merge_adapter(&self, source: &AdapterSource<'_>) -> Result<ModelAdapter, ModelError> {
        let AdapterSource { id, files, config, .. } = *source;
        let adapter = self.read_adapter(source)?;
        let merge = Merge::read(files, config, &self.modules.linears, self.base.architecture.prefix())?;
        let mut weights = self.base.architecture.open_weights(&self.base.files)?;
        reserve(&self.backend, &weights, &self.base.architecture)?;
        let mut loader = Loader::new(&mut weights, &self.backend, Some(&merge));
        let network = Arc::new(Network::load(&self.base.architecture, &mut loader)?);
        synchronize(&self.backend)?;
        Ok(ModelAdapter {
            n_parameters: adapter.n_parameters,
            n_targets: adapter.n_targets,
            merged_bytes: Some(network.n_bytes()),
            id: id.clone(),
            weights: Box::new(AdapterWeights {
                adapter: adapter.without_updates(),
                base: self.network.clone(),
                network,
            }),
        })
    }

    fn gpus(&self) -> Vec<GpuFacts> {
        let of_model = |gpu| GpuFacts {
            device: self.facts.device_name.clone(),
            weights_bytes: self.facts.n_bytes,
            n_passes_halved: self.n_halved.load(Ordering::Relaxed),
            ..gpu
        };
        self.backend.gpu(&self.facts.budget).map(of_model).into_iter().collect()
    }

    fn peaks(&self) -> Option<Peaks> {
        self.backend.peaks()
    }

    fn score(
        &self,
        pairs: &[PairToScore<'_>],
        measure: Measure,
        times: &mut StageTimes,
    ) -> Vec<Result<f32, ModelError>> {
        let runner = self.runner(measure);
        let pairs: Vec<_> = pairs.iter().map(|pair| self.with_weights(pair)).collect();
        let to_run: Vec<_> = pairs.iter().filter_map(|pair| pair.as_ref().ok()).collect();
        let mut scores = runner.scores(&to_run, times).into_iter();
        let score = |pair: Result<PairWithWeights<'_, B>, ModelError>| {
            pair.and_then(|_| scores.next().expect("each valid pair has a score"))
        };
        pairs.into_iter().map(score).collect()
    }
}
