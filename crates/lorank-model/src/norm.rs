//! Layer norm and RMS norm.

use std::borrow::Cow;

use crate::ModelError;
use crate::backend::Backend;
use crate::backend::linear::{AdapterRows, NormDelta};
use crate::loader::{Bias, Loader, NormTensors};

/// A layer norm or an RMS norm.
#[derive(Debug)]
pub(crate) struct Norm<B: Backend> {
    /// The norm's index among the base model's norms.
    slot: usize,
    /// [hidden]
    weight: B::Vector,
    /// The bias of a layer norm, zeros if it has none in the file; `None` for an RMS norm. [hidden]
    bias: Option<B::Vector>,
    eps: f32,
}

impl<B: Backend> Norm<B> {
    /// Reads a layer norm from the tensors `name.weight` and, if given, `name.bias`.
    pub(crate) fn layer(
        from: &mut Loader<'_, B>,
        name: &str,
        hidden: usize,
        eps: f64,
        bias: Bias,
    ) -> Result<Self, ModelError> {
        let NormTensors { slot, weight, bias } = from.norm(name, hidden, bias)?;
        let bias = bias.map_or_else(|| from.vector(vec![0.0; hidden]), Ok)?;
        Ok(Self { slot, weight, bias: Some(bias), eps: eps as f32 })
    }

    /// Reads an RMS norm from the tensor `name.weight`.
    pub(crate) fn rms(from: &mut Loader<'_, B>, name: &str, hidden: usize, eps: f64) -> Result<Self, ModelError> {
        let NormTensors { slot, weight, bias } = from.norm(name, hidden, Bias::None)?;
        Ok(Self { slot, weight, bias, eps: eps as f32 })
    }

    /// Normalizes each row, with its adapter's weights if that has its own. x: [n, hidden]; returns [n, hidden]. Pass
    /// rows owned if nothing else reads them.
    pub(crate) fn forward(
        &self,
        backend: &B,
        x: Cow<'_, B::Rows>,
        adapters: &[AdapterRows<'_, B>],
    ) -> Result<B::Rows, B::Error> {
        if adapters.iter().all(|rows| self.delta(rows).is_none()) {
            return self.apply(backend, x, None);
        }
        let (mut start, mut parts) = (0, Vec::new());
        for rows in adapters.iter().filter(|rows| rows.n_rows > 0) {
            let indices: Vec<usize> = (start..start + rows.n_rows).collect();
            start += rows.n_rows;
            let own = backend.gather(&x, &indices)?;
            parts.push(self.apply(backend, Cow::Owned(own), self.delta(rows))?);
        }
        backend.concat(parts)
    }

    fn delta<'a>(&self, rows: &AdapterRows<'a, B>) -> Option<&'a NormDelta<B>> {
        rows.adapter.and_then(|adapter| adapter.norms[self.slot].as_ref())
    }

    fn apply(&self, backend: &B, x: Cow<'_, B::Rows>, delta: Option<&NormDelta<B>>) -> Result<B::Rows, B::Error> {
        let weight = delta.and_then(|delta| delta.weight.as_ref()).unwrap_or(&self.weight);
        match delta.and_then(|delta| delta.bias.as_ref()).or(self.bias.as_ref()) {
            Some(bias) => backend.layer_norm(x, weight, bias, self.eps),
            None => backend.rms_norm(x, weight, self.eps),
        }
    }
}
