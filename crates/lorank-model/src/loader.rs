//! Loads a base model's tensors into a backend.

use std::sync::Arc;

use crate::ModelError;
use crate::backend::linear::{Linear, Module, Modules, NormModule, TableModule};
use crate::backend::{AdjustRow, Backend, Storage};
use crate::embedding::Table;
use crate::head::{Head, HeadSpec, ScoreTokens};
use crate::labels::HeadRow;
use crate::lora::Merge;
use crate::score_tokens::TokenLogits;
use crate::weights::Weights;

/// Loads a base model's tensors, and numbers its linear layers.
pub(crate) struct Loader<'a, B> {
    weights: &'a mut Weights,
    backend: &'a B,
    /// An adapter to merge into the weights while they are read.
    merge: Option<&'a Merge>,
    /// The parts loaded so far that adapters may change.
    pub(crate) modules: Modules,
    pub(crate) n_parameters: usize,
}

/// The tensors of a norm.
pub(crate) struct NormTensors<B: Backend> {
    pub(crate) slot: usize,
    pub(crate) weight: B::Vector,
    pub(crate) bias: Option<B::Vector>,
}

/// Whether the linear layers of a module have biases according to the configuration. Other biases in the file are
/// ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bias {
    /// With biases.
    Given,
    /// Without biases.
    None,
}

impl Bias {
    /// The value for a configuration flag.
    pub(crate) fn given(is_given: bool) -> Self {
        if is_given { Self::Given } else { Self::None }
    }
}

impl<'a, B: Backend> Loader<'a, B> {
    pub(crate) fn new(weights: &'a mut Weights, backend: &'a B, merge: Option<&'a Merge>) -> Self {
        Self { weights, backend, merge, modules: Modules::default(), n_parameters: 0 }
    }

    /// Reads the tensors of a norm, with its bias if it has one, and assigns its slot. `offset` is added to its weights.
    pub(crate) fn norm(
        &mut self,
        name: &str,
        width: usize,
        bias: Bias,
        offset: f32,
    ) -> Result<NormTensors<B>, ModelError> {
        let mut weight = self.values(&format!("{name}.weight"), width)?;
        weight.iter_mut().for_each(|weight| *weight += offset);
        let bias = (bias == Bias::Given).then(|| self.values(&format!("{name}.bias"), width)).transpose()?;
        let slot = self.modules.norms.len();
        self.modules.norms.push(NormModule { name: name.to_owned(), width, has_bias: bias.is_some(), offset });
        Ok(NormTensors { slot, weight: self.vector(weight)?, bias: bias.map(|bias| self.vector(bias)).transpose()? })
    }

    /// Reads an embedding table from the tensor `name.weight`.
    pub(crate) fn embeddings(&mut self, name: &str, [n_rows, width]: [usize; 2]) -> Result<Table<B>, ModelError> {
        self.n_parameters += n_rows * width;
        let slot = self.modules.tables.len();
        self.modules.tables.push(TableModule { name: name.to_owned(), n_rows, width });
        Ok(Table { slot, rows: self.backend.embeddings(self.weights, &format!("{name}.weight"), [n_rows, width])? })
    }

    fn values(&mut self, name: &str, len: usize) -> Result<Vec<f32>, ModelError> {
        self.n_parameters += len;
        self.weights.values(name, &[len])
    }

    /// A vector with these values.
    pub(crate) fn vector(&self, values: Vec<f32>) -> Result<B::Vector, ModelError> {
        self.backend.vector(values).map_err(|error| ModelError::Compute(Arc::new(error)))
    }

    /// Reads a linear layer that adapters may change.
    pub(crate) fn linear(
        &mut self,
        name: &str,
        [n_out, n_in]: [usize; 2],
        bias: Bias,
    ) -> Result<Linear<B>, ModelError> {
        self.n_parameters += n_out * n_in;
        let slot = self.modules.linears.len();
        let update = self.merge.and_then(|merge| merge.update(slot));
        let add_row = update.map(|update| |row: usize, values: &mut [f32]| update.add_row(row, values));
        let adjust = add_row.as_ref().map(|add_row| add_row as AdjustRow<'_>);
        let (tensor, shape) = (format!("{name}.weight"), [n_out, n_in]);
        let weight = self.backend.matrix(self.weights, &tensor, shape, Storage::Precision, adjust)?;
        let bias = (bias == Bias::Given).then(|| self.values(&format!("{name}.bias"), n_out)).transpose()?;
        let vector = bias.clone().map(|bias| self.vector(bias)).transpose()?;
        self.modules.linears.push(Module { name: name.to_owned(), n_in, n_out, bias });
        Ok(Linear { slot, weight, n_weights: n_out * n_in, bias: vector })
    }

    /// Reads a row of the score head, if the checkpoint has one. Adapters replace it as a whole.
    pub(crate) fn head(&mut self, spec: HeadSpec, row: HeadRow, hidden: usize) -> Result<Option<Head>, ModelError> {
        if !self.weights.has(spec.weight) {
            return Ok(None);
        }
        let head = Head::read(self.weights, spec, |name| name.to_owned(), row, hidden)?;
        self.n_parameters += row.n_rows * head.n_parameters();
        Ok(Some(head))
    }

    /// The score head of two tokens of a causal model.
    pub(crate) fn token_head(&mut self, logits: TokenLogits, tokens: ScoreTokens) -> Result<Head, ModelError> {
        let head = logits.head(self.weights, logits.tensor(), tokens)?;
        self.n_parameters += if logits.is_tied { 0 } else { head.n_parameters() };
        Ok(head)
    }
}
