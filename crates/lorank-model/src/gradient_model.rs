//! A base model with gradients, whose backend's types are erased: packed adapters, passes, and the way back through them.

use std::any::Any;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lorank_core::{DocumentId, split_mix};

use crate::backend::linear::{Adapter, Delta, Module, WeightDelta};
use crate::backend::{CandleTrain, PassDropout, Train, WithGradients};
use crate::head::Head;
use crate::model::{BaseModel, Model, ScoringModel};
use crate::pack::{AdaptedPair, Pack};
use crate::pass::Pass;
use crate::{Measure, ModelError, Pair, device};

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

/// A linear layer with an update.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) slot: usize,
    pub(crate) n_in: usize,
    pub(crate) n_out: usize,
}

/// An adapter's parameters, packed for forward passes.
#[derive(Debug)]
pub struct PackedAdapter {
    pub(crate) targets: Vec<Target>,
    pub(crate) rank: usize,
    pub(crate) head: Head,
    pub(crate) scale: f64,
    pub(crate) dropout: f32,
    /// Both matrices of each target, as [`Matrices`] of the model's backend.
    pub(crate) matrices: Box<dyn Any + Send + Sync>,
}

/// Both matrices of each target.
type Matrices<B> = Vec<[<B as WithGradients>::Parameter; 2]>;

/// The states of a pass that the head scores, in the order of the pairs.
#[derive(Debug)]
pub(crate) struct ScoredStates {
    /// [n_pairs, hidden], row by row.
    pub(crate) numbers: Vec<f32>,
    /// The rows of the model's backend.
    rows: Box<dyn Any + Send>,
}

/// The parts of a model that do not depend on its backend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) base: &'a BaseModel,
    pub(crate) head: Option<&'a Head>,
    /// The linear layers that can have an update.
    pub(crate) linears: &'a [Module],
}

/// A base model on any backend with gradients.
pub(crate) trait GradientModel: fmt::Debug + Send + Sync {
    fn parts(&self) -> Parts<'_>;

    /// Whether several threads may run passes at the same time.
    fn runs_passes_in_parallel(&self) -> bool;

    /// Lays out the matrices of an adapter: for each target both, row by row.
    fn pack(
        &self,
        targets: &[Target],
        rank: usize,
        values: &[[&[f32]; 2]],
    ) -> Result<Box<dyn Any + Send + Sync>, ModelError>;

    /// Runs passes over pairs, each with the number of its query.
    fn states(
        &self,
        adapter: &PackedAdapter,
        pairs: &[(&Pair, usize)],
        mode: PassMode,
    ) -> Result<Vec<ScoredStates>, ModelError>;

    /// Adds the gradients of all matrices, given that of a pass's states. See [`WithGradients::add_gradients`].
    fn add_gradients(
        &self,
        states: ScoredStates,
        d_states: Vec<f32>,
        gradients: &mut [Vec<f32>],
    ) -> Result<(), ModelError>;
}

/// The model with gradients; `None` if it was not loaded for training.
pub(crate) fn of(model: &dyn ScoringModel) -> Option<&dyn GradientModel> {
    let on_kernels = model.as_any().downcast_ref::<Model<Train>>().map(|model| model as &dyn GradientModel);
    on_kernels.or_else(|| model.as_any().downcast_ref::<Model<CandleTrain>>().map(|model| model as _))
}

impl<B: WithGradients> GradientModel for Model<B>
where
    B::Rows: Send + 'static,
{
    fn parts(&self) -> Parts<'_> {
        Parts { base: &self.base, head: self.head.as_ref(), linears: &self.modules.linears }
    }

    fn runs_passes_in_parallel(&self) -> bool {
        B::RUNS_PASSES_IN_PARALLEL
    }

    fn pack(
        &self,
        targets: &[Target],
        rank: usize,
        values: &[[&[f32]; 2]],
    ) -> Result<Box<dyn Any + Send + Sync>, ModelError> {
        let pack = |(target, [a, b]): (&Target, &[&[f32]; 2])| {
            Ok([self.backend.parameter(a, [rank, target.n_in])?, self.backend.parameter(b, [target.n_out, rank])?])
        };
        let matrices = targets.iter().zip(values).map(pack).collect::<Result<Matrices<B>, _>>();
        let matrices = matrices.map_err(|error| self.failure(error))?;
        self.backend.synchronize().map_err(|error| self.failure(error))?;
        Ok(Box::new(matrices))
    }

    fn states(
        &self,
        adapter: &PackedAdapter,
        pairs: &[(&Pair, usize)],
        mode: PassMode,
    ) -> Result<Vec<ScoredStates>, ModelError> {
        if let Some(token) = pairs.iter().find_map(|(pair, _)| self.facts.unknown_token(pair)) {
            let n_known = self.facts.n_tokens_known;
            return Err(ModelError::UnknownToken { document: DocumentId::new("in training"), token, n_known });
        }
        let run = |(n, pairs)| self.run_pass(adapter, pairs, mode, n).map_err(|error| self.failure(error));
        passes(pairs, self.facts.budget.tokens_max).into_iter().enumerate().map(run).collect()
    }

    fn add_gradients(
        &self,
        states: ScoredStates,
        d_states: Vec<f32>,
        gradients: &mut [Vec<f32>],
    ) -> Result<(), ModelError> {
        let rows = states.rows.downcast().expect("the states are those of this model's passes");
        self.backend.add_gradients(*rows, d_states, gradients).map_err(|error| self.failure(error))
    }
}

impl<B: WithGradients> Model<B>
where
    B::Rows: Send + 'static,
{
    /// Runs the n-th pass.
    fn run_pass(
        &self,
        adapter: &PackedAdapter,
        pairs: &[(&Pair, usize)],
        mode: PassMode,
        n: usize,
    ) -> Result<ScoredStates, B::Error> {
        let n_tokens = pairs.iter().map(|(pair, _)| pair.ids.len()).sum();
        let weights = self.weights_of_pass(adapter, mode, n, n_tokens)?;
        let padding = self.base.pad_token_id;
        let adapter = Some(&weights);
        let entries: Vec<_> =
            pairs.iter().map(|(pair, group)| AdaptedPair { pair, adapter, group: *group, padding }).collect();
        let pack = Pack::new(&entries.iter().collect::<Vec<_>>(), self.base.architecture.scored());
        let recording = matches!(mode, PassMode::Train { .. }).then(|| self.backend.recording());
        let backend = recording.as_ref().unwrap_or(&self.backend);
        let rows = self.network.scored_states(&Pass::new(backend, &pack, Measure::Total))?;
        let numbers = backend.numbers(&rows)?.into_owned();
        Ok(ScoredStates { numbers, rows: Box::new(rows) })
    }

    /// The adapter for the n-th pass.
    fn weights_of_pass(
        &self,
        packed: &PackedAdapter,
        mode: PassMode,
        n: usize,
        n_tokens: usize,
    ) -> Result<Adapter<B>, B::Error> {
        let dropouts = match mode {
            PassMode::Score => None,
            PassMode::Train { seed } => {
                let seed = split_mix(seed.wrapping_add(n as u64));
                let width_max = packed.targets.iter().map(|target| target.n_in).max().unwrap_or(0);
                let dropout = PassDropout { probability: packed.dropout, seed, n_tokens, width_max };
                Some(self.backend.dropouts(dropout)?)
            }
        };
        let matrices: &Matrices<B> = packed.matrices.downcast_ref().expect("the model packed the adapter");
        let mut deltas: Vec<Option<Delta<B>>> = (0..self.modules.linears.len()).map(|_| None).collect();
        for (number, (target, update)) in packed.targets.iter().zip(matrices).enumerate() {
            let [a, b] = match &dropouts {
                None => update.each_ref().map(B::frozen),
                Some(dropouts) => B::trained(update, number, dropouts),
            };
            let weight = WeightDelta::LowRank { a, b, scale: packed.scale };
            deltas[target.slot] = Some(Delta { weight, bias: None });
        }
        Ok(Adapter {
            deltas,
            norms: (0..self.modules.norms.len()).map(|_| None).collect(),
            tables: (0..self.modules.tables.len()).map(|_| None).collect(),
            head: None,
            n_parameters: 0,
            n_targets: packed.targets.len(),
        })
    }

    /// The error of a backend. Of a GPU the driver says what to do.
    fn failure(&self, error: B::Error) -> ModelError {
        match self.backend.device() {
            "cpu" => ModelError::Compute(Arc::new(error)),
            device => {
                let hint = device::describe(&lorank_core::with_causes(&error)).into();
                ModelError::Device { device: device.to_owned(), hint, source: Some(Box::new(error)) }
            }
        }
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

#[cfg(test)]
mod tests {
    use lorank_testing::fixture;

    use super::*;
    use crate::backend::Backend;
    use crate::files::Files;
    use crate::{AdapterSettings, ForwardPass, LoadOptions, ModelReranker};

    /// The shapes of the rows that a pass over three pairs keeps in memory, sorted. Targets are all linear layers, or one.
    fn held(folder: &str, targets: &[&str], mode: PassMode) -> Vec<[usize; 2]> {
        let options = LoadOptions { pass: ForwardPass::TrainReference, ..LoadOptions::default() };
        let reranker = ModelReranker::load(&Files::folder(fixture(folder).join("base")).unwrap(), options).unwrap();
        let trainable = reranker.trainable().unwrap();
        let targets = targets.iter().map(|target| (*target).to_owned()).collect();
        let settings = AdapterSettings { rank: NonZeroUsize::new(2).unwrap(), alpha: 4.0, targets, dropout: 0.1 };
        let packed = trainable.pack(&trainable.new_adapter(&settings, 1).unwrap()).unwrap();
        let pairs = [vec![5, 6, 7, 8], vec![5, 9, 10], vec![11, 12, 13, 14, 15]];
        let pairs = pairs.map(|ids| Pair { type_ids: vec![0; ids.len()], ids });
        let pairs: Vec<(&Pair, usize)> = pairs.iter().enumerate().map(|(n, pair)| (pair, n)).collect();
        let model: &Model<CandleTrain> = reranker.model.as_any().downcast_ref().unwrap();
        let states = model.run_pass(&packed, &pairs, mode, 0).unwrap();
        let rows: Box<<CandleTrain as Backend>::Rows> = states.rows.downcast().unwrap();
        let mut shapes = CandleTrain::shapes_held(&rows);
        shapes.sort_unstable();
        shapes
    }

    /// Of a pass with gradients, only the embedded tokens, the states after each layer, and the few scored rows after the last one
    /// are in memory: of three pairs with twelve tokens.
    #[test]
    fn only_the_states_between_layers_are_kept() {
        const TRAIN: PassMode = PassMode::Train { seed: 1 };
        const TOKENS: [usize; 2] = [12, 64];
        const SCORED: [usize; 2] = [3, 64];
        for (folder, n_layers) in [("tiny-bert", 3), ("tiny-llama", 2)] {
            // The last layer has scored rows alone, and after it comes the pooler with its activation, or a norm.
            let n_after = if folder == "tiny-bert" { 2 } else { 1 };
            let expected: Vec<[usize; 2]> = [vec![SCORED; 1 + n_after], vec![TOKENS; n_layers]].concat();
            assert_eq!(held(folder, &[], TRAIN), expected, "{folder}");
            assert_eq!(held(folder, &[], PassMode::Score), [SCORED], "{folder}");
        }
        // All tokens of five layers are normed and pooled.
        assert_eq!(held("tiny-modernbert/mean", &[], TRAIN), [vec![[3, 32]; 4], vec![[12, 32]; 7]].concat());
        // Nothing is kept below the input of the first layer with an update.
        assert_eq!(held("tiny-bert", &["bert.encoder.layer.2.output.dense"], TRAIN), [SCORED, SCORED, SCORED, TOKENS]);
    }
}
