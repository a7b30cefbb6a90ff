//! Training of LoRA adapters: trained parameters, forward passes with gradients, and adapter files.

use std::fmt;
use std::path::Path;

use lorank_core::{Candidate, Digest, SplitMix64};

use crate::adapter_writer::{self, AdapterSettings, SavedTensor};
use crate::files::Files;
use crate::gradient_model::{self, GradientModel, PackedAdapter, Parts, PassMode, ScoredStates, Target};
use crate::head::Head;
use crate::labels::HeadRow;
use crate::peft::PeftConfig;
use crate::{ModelError, ModelReranker, Pair};

/// A base model that adapters are trained on: a [`ModelReranker`] that was loaded with
/// [`ForwardPass::Train`](crate::ForwardPass::Train).
#[derive(Debug, Clone, Copy)]
pub struct TrainableModel<'a> {
    reranker: &'a ModelReranker,
    model: &'a dyn GradientModel,
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

/// The scores of pairs, and what their gradient needs.
#[derive(Debug)]
pub struct ScoredPairs<'a> {
    /// The score of each pair.
    pub scores: Vec<f32>,
    adapter: &'a PackedAdapter,
    /// The states that the head scored, of each pass, in the pairs' order.
    states: Vec<ScoredStates>,
}

impl ModelReranker {
    /// The base model for training; `None` if it was not loaded with [`ForwardPass::Train`](crate::ForwardPass::Train).
    pub fn trainable(&self) -> Option<TrainableModel<'_>> {
        Some(TrainableModel { reranker: self, model: gradient_model::of(&*self.model)? })
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
        let Parts { base, head, linears: modules } = self.model.parts();
        let architecture = &base.architecture;
        if head.is_some_and(|head| head.tokens().is_some()) {
            return Err(ModelError::TokenHead { base: self.reranker.summary.name.clone() });
        }
        if let Some(HeadRow { n_rows: n_labels @ 2.., .. }) = base.head_row {
            return Err(ModelError::LabeledHead { base: self.reranker.summary.name.clone(), n_labels });
        }
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
        let values = head.map_or_else(random_head, |head| head.weight().to_vec());
        parameters.push(Parameter { name: tensor(spec.weight), shape: vec![1, hidden], values });
        if let Some(bias) = spec.bias {
            let value = head.and_then(Head::bias).unwrap_or(0.0);
            parameters.push(Parameter { name: tensor(bias), shape: vec![1], values: vec![value] });
        }
        Ok(TrainedAdapter { settings: settings.clone(), config, targets, parameters })
    }

    /// The digest of the base model's files.
    pub fn base_digest(&self) -> Digest {
        self.reranker.base().digest
    }

    /// Whether several threads may run passes at the same time. Otherwise one thread runs all of them: a device has the memory for
    /// one.
    pub fn runs_passes_in_parallel(&self) -> bool {
        self.model.runs_passes_in_parallel()
    }

    /// Packs the adapter's parameters, which forward passes need after each change.
    ///
    /// # Errors
    /// If they do not fit into a GPU's memory.
    pub fn pack(&self, adapter: &TrainedAdapter) -> Result<PackedAdapter, ModelError> {
        let rank = adapter.settings.rank.get();
        let (pairs, _) = adapter.parameters[..2 * adapter.targets.len()].as_chunks::<2>();
        let values: Vec<[&[f32]; 2]> = pairs.iter().map(|[a, b]| [&*a.values, &*b.values]).collect();
        let (weight, bias) = adapter.head();
        Ok(PackedAdapter {
            matrices: self.model.pack(&adapter.targets, rank, &values)?,
            targets: adapter.targets.clone(),
            rank,
            head: Head::new(weight.to_vec(), bias),
            scale: adapter.settings.alpha / rank as f64,
            dropout: adapter.settings.dropout,
        })
    }

    /// Scores pairs on this thread. Pairs of a query have the same number and are adjacent: causal models compute a common
    /// prefix of theirs once. The adapter is one that this model [packed](Self::pack).
    ///
    /// # Errors
    /// A token without an embedding, or a failure of a GPU.
    pub fn score<'a>(
        &self,
        adapter: &'a PackedAdapter,
        pairs: &[(&Pair, usize)],
        mode: PassMode,
    ) -> Result<ScoredPairs<'a>, ModelError> {
        let (head, temperature) = (&adapter.head, self.model.parts().base.architecture.temperature());
        let states = self.model.states(adapter, pairs, mode)?;
        let numbers = states.iter().flat_map(|states| states.numbers.chunks_exact(head.weight().len()));
        let scores = numbers.map(|state| head.score(state) / temperature).collect();
        Ok(ScoredPairs { scores, adapter, states })
    }

    /// Adds the gradients of all parameters, given those of the scores. `gradients` comes from [`PackedAdapter::zeros`].
    ///
    /// # Errors
    /// A failure of a GPU.
    pub fn add_gradients(
        &self,
        scored: ScoredPairs<'_>,
        d_scores: &[f32],
        gradients: &mut Gradients,
    ) -> Result<(), ModelError> {
        let head = &scored.adapter.head;
        let (hidden, n_matrices) = (head.weight().len(), 2 * scored.adapter.targets.len());
        let temperature = self.model.parts().base.architecture.temperature();
        let mut d_scores = d_scores.iter().map(|d_score| d_score / temperature);
        for states in scored.states {
            let mut d_states = Vec::with_capacity(states.numbers.len());
            for (state, d_score) in states.numbers.chunks_exact(hidden).zip(d_scores.by_ref()) {
                d_states.extend(head.weight().iter().map(|weight| weight * d_score));
                gradients.0[n_matrices].iter_mut().zip(state).for_each(|(to, x)| *to += x * d_score);
                if let Some(bias) = gradients.0.get_mut(n_matrices + 1) {
                    bias[0] += d_score;
                }
            }
            self.model.add_gradients(states, d_states, &mut gradients.0[..n_matrices])?;
        }
        Ok(())
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
        let Parts { base, linears, .. } = self.model.parts();
        let architecture = &base.architecture;
        let of_head: Vec<_> = linears.iter().filter(|module| adapter_writer::is_in_head(&module.name)).collect();
        if of_head.is_empty() {
            return Ok(Vec::new());
        }
        let mut weights = architecture.open_weights(&base.files)?;
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
    /// The settings that it was made with.
    pub fn settings(&self) -> &AdapterSettings {
        &self.settings
    }

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
        let of_target = |target: &Target| [target.n_in, target.n_out].map(|width| vec![0.0; self.rank * width]);
        let mut gradients: Vec<Vec<f32>> = self.targets.iter().flat_map(of_target).collect();
        gradients.push(vec![0.0; self.head.weight().len()]);
        gradients.extend(self.head.bias().map(|_| vec![0.0]));
        Gradients(gradients)
    }
}

/// A number with the normal distribution of mean 0 and deviation 1 (Box and Muller, 1958).
fn normal(random: &mut SplitMix64) -> f64 {
    let (radius, angle) = ((-2.0 * (1.0 - random.unit()).ln()).sqrt(), std::f64::consts::TAU * random.unit());
    radius * angle.cos()
}
