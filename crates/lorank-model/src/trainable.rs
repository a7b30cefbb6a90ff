//! Training of LoRA adapters: trained parameters, forward passes with gradients, and adapter files.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use lorank_core::{Candidate, DocumentId, SplitMix64, split_mix};
use lorank_kernels::{Dropout, PackedMatrix};

use crate::adapter_writer::{self, AdapterSettings, SavedTensor};
use crate::backend::linear::{Adapter, Delta, WeightDelta};
use crate::backend::{Backend, Matrix, Rows, Train, Trained};
use crate::files::Files;
use crate::head::Head;
use crate::labels::HeadRow;
use crate::model::Model;
use crate::pack::{AdaptedPair, Pack};
use crate::pass::Pass;
use crate::peft::PeftConfig;
use crate::{ModelError, ModelReranker, Pair};

/// A base model that adapters are trained on: a [`ModelReranker`] that was loaded with
/// [`ForwardPass::Train`](crate::ForwardPass::Train).
#[derive(Debug, Clone, Copy)]
pub struct TrainableModel<'a> {
    reranker: &'a ModelReranker,
    model: &'a Model<Train>,
}

/// An adapter in training.
#[derive(Clone)]
pub struct TrainedAdapter {
    settings: AdapterSettings,
    /// The files' `adapter_config.json`.
    config: String,
    targets: Vec<Target>,
    /// The trained numbers: for each target its two matrices, then the head's weights and bias.
    pub parameters: Vec<Parameter>,
}

/// A trained matrix or vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name in PEFT's file.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its numbers, row by row.
    pub values: Vec<f32>,
}

/// A linear layer with an update.
#[derive(Debug, Clone, Copy)]
struct Target {
    slot: usize,
    n_in: usize,
    n_out: usize,
}

/// An adapter's parameters, packed for forward passes.
#[derive(Debug)]
pub struct PackedAdapter {
    /// For each target both matrices.
    matrices: Vec<(Target, [Arc<PackedMatrix>; 2])>,
    n_slots: [usize; 3],
    head: Head,
    scale: f64,
    dropout: f32,
}

/// The scores of pairs, and what their gradient needs.
#[derive(Debug)]
pub struct ScoredPairs<'a> {
    /// The score of each pair.
    pub scores: Vec<f32>,
    adapter: &'a PackedAdapter,
    /// The states that the head scored, one matrix per pass, in the pairs' order.
    states: Vec<Rows>,
}

/// The purpose of a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassMode {
    /// Scores alone, without dropout.
    Score,
    /// Scores with gradients. The seed is that of dropout.
    Train {
        /// Passes with equal seeds drop the same inputs.
        seed: u64,
    },
}

impl ModelReranker {
    /// The base model for training; `None` if it was not loaded with [`ForwardPass::Train`](crate::ForwardPass::Train).
    pub fn trainable(&self) -> Option<TrainableModel<'_>> {
        let model = self.model.as_any().downcast_ref()?;
        Some(TrainableModel { reranker: self, model })
    }
}

impl TrainableModel<'_> {
    /// A new adapter. Its updates are zero, and so are its scores those of the base model; a base model without a head gets a
    /// random one.
    ///
    /// The first matrices are uniform within `± 1 / sqrt(n_in)`, as in PEFT, and the head normal with deviation 0.02.
    ///
    /// # Errors
    /// If a target matches no linear layer, or the base model's score is made of the logits of tokens or is that of one of
    /// several labels.
    pub fn new_adapter(&self, settings: &AdapterSettings, seed: u64) -> Result<TrainedAdapter, ModelError> {
        let architecture = &self.model.base.architecture;
        if self.model.head.as_ref().is_some_and(|head| head.tokens().is_some()) {
            return Err(ModelError::TokenHead { base: self.reranker.summary.name.clone() });
        }
        if let Some(HeadRow { n_rows: n_labels @ 2.., .. }) = self.model.base.head_row {
            return Err(ModelError::LabeledHead { base: self.reranker.summary.name.clone(), n_labels });
        }
        let modules = &self.model.modules.linears;
        let names: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
        let config = adapter_writer::config(settings, &self.reranker.summary.name, &names);
        let files = Files::embedded("the new adapter", [("adapter_config.json", &[][..])]);
        let parsed = PeftConfig::parse(&files, config.as_bytes())?;
        for name in &settings.targets {
            if !modules.iter().any(|module| PeftConfig::is_named(name, &module.name) && parsed.targets(&module.name)) {
                let known = adapter_writer::last_parts(&names).join(", ");
                return Err(ModelError::NoTarget {
                    target: name.clone(),
                    base: self.reranker.summary.name.clone(),
                    known,
                });
            }
        }
        let rank = settings.rank.get();
        let (mut targets, mut parameters, mut random) = (Vec::new(), Vec::new(), SplitMix64::new(seed));
        let tensor = |name: &str| format!("{}{name}", adapter_writer::PREFIX);
        for (slot, module) in modules.iter().enumerate().filter(|(_, module)| parsed.targets(&module.name)) {
            let (n_in, n_out) = (module.n_in, module.n_out);
            let bound = 1.0 / (n_in as f64).sqrt();
            let values = (0..rank * n_in).map(|_| (bound * (2.0 * random.unit() - 1.0)) as f32).collect();
            let name = tensor(&format!("{}.lora_A.weight", module.name));
            parameters.push(Parameter { name, shape: vec![rank, n_in], values });
            let name = tensor(&format!("{}.lora_B.weight", module.name));
            parameters.push(Parameter { name, shape: vec![n_out, rank], values: vec![0.0; n_out * rank] });
            targets.push(Target { slot, n_in, n_out });
        }
        let (spec, hidden) = (architecture.head_spec(), architecture.hidden_size());
        let random_head = || (0..hidden).map(|_| (0.02 * normal(&mut random)) as f32).collect();
        let values = self.model.head.as_ref().map_or_else(random_head, |head| head.weight().to_vec());
        parameters.push(Parameter { name: tensor(spec.weight), shape: vec![1, hidden], values });
        if let Some(bias) = spec.bias {
            let value = self.model.head.as_ref().and_then(Head::bias).unwrap_or(0.0);
            parameters.push(Parameter { name: tensor(bias), shape: vec![1], values: vec![value] });
        }
        Ok(TrainedAdapter { settings: settings.clone(), config, targets, parameters })
    }

    /// Packs the adapter's parameters, which forward passes need after each change.
    pub fn pack(&self, adapter: &TrainedAdapter) -> PackedAdapter {
        let rank = adapter.settings.rank.get();
        let packed = |target: &Target, n: usize| {
            let [a, b] = [2 * n, 2 * n + 1].map(|n| &adapter.parameters[n].values);
            let a = self.model.backend.pack(a, [rank, target.n_in]);
            (*target, [a, self.model.backend.pack(b, [target.n_out, rank])])
        };
        let (weight, bias) = adapter.head();
        let modules = &self.model.modules;
        PackedAdapter {
            matrices: adapter.targets.iter().enumerate().map(|(n, target)| packed(target, n)).collect(),
            n_slots: [modules.linears.len(), modules.norms.len(), modules.tables.len()],
            head: Head::new(weight.to_vec(), bias),
            scale: adapter.settings.alpha / rank as f64,
            dropout: adapter.settings.dropout,
        }
    }

    /// Scores pairs on this thread. Pairs of a query have the same number and are adjacent: causal models compute a common
    /// prefix of theirs once.
    ///
    /// # Errors
    /// A token without an embedding.
    pub fn score<'a>(
        &self,
        adapter: &'a PackedAdapter,
        pairs: &[(&Pair, usize)],
        mode: PassMode,
    ) -> Result<ScoredPairs<'a>, ModelError> {
        let base = &self.model.base;
        if let Some(token) = pairs.iter().find_map(|(pair, _)| self.model.facts.unknown_token(pair)) {
            let n_known = self.model.facts.n_tokens_known;
            return Err(ModelError::UnknownToken { document: DocumentId::new("in training"), token, n_known });
        }
        let (scored, temperature) = (base.architecture.scored(), base.architecture.temperature());
        let (mut states, mut scores) = (Vec::new(), Vec::with_capacity(pairs.len()));
        for (n, pairs) in passes(pairs, self.model.facts.tokens_max).into_iter().enumerate() {
            let weights = adapter.for_pass(mode, n);
            let entries: Vec<_> = pairs
                .iter()
                .map(|(pair, group)| AdaptedPair {
                    pair,
                    adapter: Some(&weights),
                    group: *group,
                    padding: base.pad_token_id,
                })
                .collect();
            let pack = Pack::new(&entries.iter().collect::<Vec<_>>(), scored);
            let pass = Pass::new(&self.model.backend, &pack);
            let Ok(rows) = self.model.network.scored_states(&pass);
            let Ok(numbers) = self.model.backend.numbers(&rows);
            let states_of = numbers.chunks_exact(adapter.head.weight().len());
            scores.extend(states_of.map(|state| adapter.head.score(state) / temperature));
            drop(numbers);
            states.push(rows);
        }
        Ok(ScoredPairs { scores, adapter, states })
    }

    /// Adds the gradients of all parameters, given those of the scores. `gradients` comes from [`PackedAdapter::zeros`].
    pub fn add_gradients(&self, scored: ScoredPairs<'_>, d_scores: &[f32], gradients: &mut Gradients) {
        let head = &scored.adapter.head;
        let (hidden, n_matrices) = (head.weight().len(), 2 * scored.adapter.matrices.len());
        let temperature = self.model.base.architecture.temperature();
        let mut d_scores = d_scores.iter().map(|d_score| d_score / temperature);
        for states in scored.states {
            let Ok(numbers) = self.model.backend.numbers(&states);
            let mut d_states = Vec::with_capacity(numbers.len());
            for (state, d_score) in numbers.chunks_exact(hidden).zip(d_scores.by_ref()) {
                d_states.extend(head.weight().iter().map(|weight| weight * d_score));
                gradients.0[n_matrices].iter_mut().zip(state).for_each(|(to, x)| *to += x * d_score);
                if let Some(bias) = gradients.0.get_mut(n_matrices + 1) {
                    bias[0] += d_score;
                }
            }
            drop(numbers);
            states.backward(d_states, &mut gradients.0[..n_matrices], self.model.backend.isa());
        }
    }

    /// Encodes the pairs of a query, as the base model does.
    ///
    /// # Errors
    /// A failure of the tokenizer.
    pub fn encode(&self, query: &str, candidates: &[Candidate]) -> Result<Vec<Pair>, ModelError> {
        self.reranker.tokens(None, query, candidates)
    }

    /// Writes the adapter to a folder, as PEFT's `save_pretrained` does. Each file is replaced as a whole.
    ///
    /// # Errors
    /// If a file cannot be written, or the base model's files have been moved.
    pub fn save(&self, adapter: &TrainedAdapter, folder: &Path) -> Result<(), ModelError> {
        let own = adapter.parameters.iter().map(|parameter| SavedTensor {
            name: parameter.name.clone(),
            shape: parameter.shape.clone(),
            values: parameter.values.clone(),
        });
        let tensors = own.chain(self.frozen_head()?).collect();
        adapter_writer::write(folder, &adapter.config, tensors, self.reranker.own_max_length())
    }

    /// The layers of the head that stay frozen. PEFT saves a head as a whole.
    fn frozen_head(&self) -> Result<Vec<SavedTensor>, ModelError> {
        let architecture = &self.model.base.architecture;
        let modules = self.model.modules.linears.iter();
        let of_head: Vec<_> = modules.filter(|module| adapter_writer::is_in_head(&module.name)).collect();
        if of_head.is_empty() {
            return Ok(Vec::new());
        }
        let mut weights = architecture.open_weights(&self.model.base.files)?;
        let mut tensors = Vec::new();
        for module in of_head {
            let (weight, bias) = (format!("{}.weight", module.name), format!("{}.bias", module.name));
            let shape = vec![module.n_out, module.n_in];
            let values = weights.values(&weight, &shape)?;
            tensors.push(SavedTensor { name: format!("{}{weight}", adapter_writer::PREFIX), shape, values });
            if let Some(values) = module.bias.clone() {
                let name = format!("{}{bias}", adapter_writer::PREFIX);
                tensors.push(SavedTensor { name, shape: vec![module.n_out], values });
            }
        }
        Ok(tensors)
    }
}

/// The gradients of an adapter's parameters.
///
/// Sums are kept with the second matrix of each target transposed, so that both are added row by row.
#[derive(Debug, Clone)]
pub struct Gradients(Vec<Vec<f32>>);

impl Gradients {
    /// Adds other gradients.
    pub fn add(&mut self, others: &Self) {
        for (own, others) in self.0.iter_mut().zip(&others.0) {
            own.iter_mut().zip(others).for_each(|(own, other)| *own += other);
        }
    }

    /// The gradient of each parameter, in its shape.
    pub fn by_parameter(self, adapter: &TrainedAdapter) -> Vec<Vec<f32>> {
        let rank = adapter.settings.rank.get();
        let mut gradients = self.0;
        for (n, target) in adapter.targets.iter().enumerate() {
            let transposed = std::mem::take(&mut gradients[2 * n + 1]);
            let n_out = target.n_out;
            gradients[2 * n + 1] = (0..n_out)
                .flat_map(|out| (0..rank).map(move |r| (r, out)))
                .map(|(r, out)| transposed[r * n_out + out])
                .collect();
        }
        gradients
    }
}

impl TrainedAdapter {
    /// The number of linear layers with an update.
    pub fn n_targets(&self) -> usize {
        self.targets.len()
    }

    /// The number of trained numbers.
    pub fn n_parameters(&self) -> usize {
        self.parameters.iter().map(|parameter| parameter.values.len()).sum()
    }

    /// The head's weights and bias.
    fn head(&self) -> (&[f32], Option<f32>) {
        let of_head = &self.parameters[2 * self.targets.len()..];
        (&of_head[0].values, of_head.get(1).map(|bias| bias.values[0]))
    }
}

impl fmt::Debug for TrainedAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrainedAdapter")
            .field("settings", &self.settings)
            .field("n_targets", &self.targets.len())
            .finish()
    }
}

impl PackedAdapter {
    /// Gradients of zero.
    pub fn zeros(&self) -> Gradients {
        let of_target = |(target, [a, _]): &(Target, [Arc<PackedMatrix>; 2])| {
            [vec![0.0; a.n_out() * target.n_in], vec![0.0; a.n_out() * target.n_out]]
        };
        let mut gradients: Vec<Vec<f32>> = self.matrices.iter().flat_map(of_target).collect();
        gradients.push(vec![0.0; self.head.weight().len()]);
        gradients.extend(self.head.bias().map(|_| vec![0.0]));
        Gradients(gradients)
    }

    /// The adapter for the n-th pass.
    fn for_pass(&self, mode: PassMode, n: usize) -> Adapter<Train> {
        let [n_linears, n_norms, n_tables] = self.n_slots;
        let mut deltas: Vec<Option<Delta<Train>>> = (0..n_linears).map(|_| None).collect();
        for (number, (target, [a, b])) in self.matrices.iter().enumerate() {
            let [a, b] = match mode {
                PassMode::Score => [a, b].map(|matrix| Matrix::frozen(matrix.clone())),
                PassMode::Train { seed } => {
                    let seed = split_mix(split_mix(seed.wrapping_add(n as u64)).wrapping_add(number as u64));
                    let dropout = Dropout::new(self.dropout, seed);
                    let trained = |matrix: &Arc<PackedMatrix>, parameter, dropout| {
                        Matrix::trained(matrix.clone(), Trained { parameter, dropout })
                    };
                    [trained(a, 2 * number, dropout), trained(b, 2 * number + 1, None)]
                }
            };
            deltas[target.slot] = Some(Delta { weight: WeightDelta::LowRank { a, b, scale: self.scale }, bias: None });
        }
        let norms = (0..n_norms).map(|_| None).collect();
        let tables = (0..n_tables).map(|_| None).collect();
        Adapter { deltas, norms, tables, head: None, n_parameters: 0, n_targets: self.matrices.len() }
    }
}

/// Divides pairs into passes of at most `tokens_max` tokens; a longer pair gets a pass of its own.
fn passes<'p, 'a>(pairs: &'p [(&'a Pair, usize)], tokens_max: NonZeroUsize) -> Vec<&'p [(&'a Pair, usize)]> {
    let (mut passes, mut start, mut n_tokens) = (Vec::new(), 0, 0);
    for (at, (pair, _)) in pairs.iter().enumerate() {
        n_tokens += pair.ids.len();
        if n_tokens > tokens_max.get() && at > start {
            passes.push(&pairs[start..at]);
            (start, n_tokens) = (at, pair.ids.len());
        }
    }
    passes.extend((start < pairs.len()).then(|| &pairs[start..]));
    passes
}

/// A number with the normal distribution of mean 0 and deviation 1 (Box and Muller, 1958).
fn normal(random: &mut SplitMix64) -> f64 {
    let (radius, angle) = ((-2.0 * (1.0 - random.unit()).ln()).sqrt(), std::f64::consts::TAU * random.unit());
    radius * angle.cos()
}
