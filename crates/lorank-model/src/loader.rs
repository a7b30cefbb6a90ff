//! Reading a base model's tensors into a backend.

use crate::ModelError;
use crate::backend::linear::{Linear, Module};
use crate::backend::{Backend, Storage};
use crate::head::{Head, HeadSpec};
use crate::lora::Merge;
use crate::weights::Weights;

/// Reads a base model's tensors and numbers its linear layers as it goes.
pub(crate) struct Loader<'a, B> {
    weights: &'a mut Weights,
    backend: &'a B,
    /// An adapter whose updates are added to the weights as they are read.
    merge: Option<&'a Merge>,
    /// The linear layers read so far; a layer's slot is its index here.
    pub(crate) modules: Vec<Module>,
    pub(crate) n_parameters: usize,
}

impl<'a, B: Backend> Loader<'a, B> {
    pub(crate) fn new(weights: &'a mut Weights, backend: &'a B, merge: Option<&'a Merge>) -> Self {
        Self { weights, backend, merge, modules: Vec::new(), n_parameters: 0 }
    }

    pub(crate) fn vector(&mut self, name: &str, len: usize) -> Result<B::Vector, ModelError> {
        self.n_parameters += len;
        self.backend.vector(self.weights, name, len)
    }

    pub(crate) fn embeddings(&mut self, name: &str, shape: [usize; 2]) -> Result<B::Embeddings, ModelError> {
        self.n_parameters += shape.iter().product::<usize>();
        self.backend.embeddings(self.weights, name, shape)
    }

    /// An adaptable linear layer; it has a bias where the checkpoint has one.
    pub(crate) fn linear(&mut self, name: &str, n_out: usize, n_in: usize) -> Result<Linear<B>, ModelError> {
        self.n_parameters += n_out * n_in;
        let slot = self.modules.len();
        let update = self.merge.and_then(|merge| merge.update(slot));
        let adjust = |row: usize, values: &mut [f32]| {
            if let Some(update) = update {
                update.add_row(row, values);
            }
        };
        let (tensor, shape) = (format!("{name}.weight"), [n_out, n_in]);
        let weight = self.backend.matrix(self.weights, &tensor, shape, Storage::Precision, adjust)?;
        let bias_name = format!("{name}.bias");
        let bias = self.weights.has(&bias_name).then(|| self.vector(&bias_name, n_out)).transpose()?;
        self.modules.push(Module { name: name.to_owned(), n_in, n_out, has_bias: bias.is_some() });
        Ok(Linear { slot, weight, bias })
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
