//! Reading a base model's tensors into a backend.

use std::sync::Arc;

use crate::ModelError;
use crate::backend::linear::{Linear, Module, Modules, NormModule, TableModule};
use crate::backend::{Backend, Storage};
use crate::embedding::Table;
use crate::head::{Head, HeadSpec};
use crate::lora::Merge;
use crate::weights::Weights;

/// Reads a base model's tensors and numbers its linear layers as it goes.
pub(crate) struct Loader<'a, B> {
    weights: &'a mut Weights,
    backend: &'a B,
    /// An adapter whose updates are added to the weights as they are read.
    merge: Option<&'a Merge>,
    /// What was read so far and adapters may change.
    pub(crate) modules: Modules,
    pub(crate) n_parameters: usize,
}

/// The tensors of a norm.
pub(crate) struct NormTensors<B: Backend> {
    pub(crate) slot: usize,
    pub(crate) weight: B::Vector,
    pub(crate) bias: Option<B::Vector>,
}

/// Whether the linear layers of a module have biases, as the configuration says. What the file holds beside that is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bias {
    /// They have.
    Given,
    /// They have not.
    None,
}

impl Bias {
    /// Biases where the configuration says so.
    pub(crate) fn given(is_given: bool) -> Self {
        if is_given { Self::Given } else { Self::None }
    }
}

impl<'a, B: Backend> Loader<'a, B> {
    pub(crate) fn new(weights: &'a mut Weights, backend: &'a B, merge: Option<&'a Merge>) -> Self {
        Self { weights, backend, merge, modules: Modules::default(), n_parameters: 0 }
    }

    /// The tensors of a norm, its bias where it has one, and the slot of the norm.
    pub(crate) fn norm(&mut self, name: &str, width: usize, bias: Bias) -> Result<NormTensors<B>, ModelError> {
        let weight = self.values(&format!("{name}.weight"), width)?;
        let bias = (bias == Bias::Given).then(|| self.values(&format!("{name}.bias"), width)).transpose()?;
        let slot = self.modules.norms.len();
        self.modules.norms.push(NormModule { name: name.to_owned(), width, has_bias: bias.is_some() });
        Ok(NormTensors { slot, weight: self.vector(weight)?, bias: bias.map(|bias| self.vector(bias)).transpose()? })
    }

    /// An embedding table, whose tensor is `name.weight`.
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

    fn vector(&self, values: Vec<f32>) -> Result<B::Vector, ModelError> {
        self.backend.vector(values).map_err(|error| ModelError::Compute(Arc::new(error)))
    }

    /// An adaptable linear layer.
    pub(crate) fn linear(
        &mut self,
        name: &str,
        [n_out, n_in]: [usize; 2],
        bias: Bias,
    ) -> Result<Linear<B>, ModelError> {
        self.n_parameters += n_out * n_in;
        let slot = self.modules.linears.len();
        let update = self.merge.and_then(|merge| merge.update(slot));
        let adjust = |row: usize, values: &mut [f32]| {
            if let Some(update) = update {
                update.add_row(row, values);
            }
        };
        let (tensor, shape) = (format!("{name}.weight"), [n_out, n_in]);
        let weight = self.backend.matrix(self.weights, &tensor, shape, Storage::Precision, adjust)?;
        let bias = (bias == Bias::Given).then(|| self.values(&format!("{name}.bias"), n_out)).transpose()?;
        let vector = bias.clone().map(|bias| self.vector(bias)).transpose()?;
        self.modules.linears.push(Module { name: name.to_owned(), n_in, n_out, bias });
        Ok(Linear { slot, weight, bias: vector })
    }

    /// The score head, where the checkpoint has one. Adapters replace it as a whole.
    pub(crate) fn head(&mut self, spec: HeadSpec, hidden: usize) -> Result<Option<Head>, ModelError> {
        if !self.weights.has(spec.weight) {
            return Ok(None);
        }
        let head = Head::read(self.weights, spec, |name| name.to_owned(), hidden)?;
        self.n_parameters += head.n_parameters();
        Ok(Some(head))
    }
}
