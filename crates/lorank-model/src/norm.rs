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
        let NormTensors { slot, weight, bias } = from.norm(name, hidden, bias, 0.0)?;
        let bias = bias.map_or_else(|| from.vector(vec![0.0; hidden]), Ok)?;
        Ok(Self { slot, weight, bias: Some(bias), eps: eps as f32 })
    }

    /// Reads an RMS norm from the tensor `name.weight`, to which `offset` is added.
    pub(crate) fn rms(
        from: &mut Loader<'_, B>,
        name: &str,
        hidden: usize,
        eps: f64,
        offset: f32,
    ) -> Result<Self, ModelError> {
        let NormTensors { slot, weight, bias } = from.norm(name, hidden, Bias::None, offset)?;
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

/// An RMS norm of each attention head's queries or keys.
#[derive(Debug)]
pub(crate) struct HeadNorm<B: Backend> {
    norm: Norm<B>,
    n_heads: usize,
    head_dim: usize,
}

impl<B: Backend> HeadNorm<B> {
    /// Reads the norm from the tensor `name.weight`, [head_dim].
    pub(crate) fn rms(
        from: &mut Loader<'_, B>,
        name: &str,
        [n_heads, head_dim]: [usize; 2],
        eps: f64,
    ) -> Result<Self, ModelError> {
        Ok(Self { norm: Norm::rms(from, name, head_dim, eps, 0.0)?, n_heads, head_dim })
    }

    /// Normalizes each head of each row. x: [n, n_heads * head_dim]; returns the same shape.
    pub(crate) fn forward(
        &self,
        backend: &B,
        x: B::Rows,
        adapters: &[AdapterRows<'_, B>],
    ) -> Result<B::Rows, B::Error> {
        let of_heads = |rows: &AdapterRows<'_, B>| rows.n_rows * self.n_heads;
        let adapters: Vec<AdapterRows<'_, B>> =
            adapters.iter().map(|rows| AdapterRows { n_rows: of_heads(rows), adapter: rows.adapter }).collect();
        let heads = backend.reshape(x, self.head_dim)?;
        let normed = self.norm.forward(backend, Cow::Owned(heads), &adapters)?;
        backend.reshape(normed, self.n_heads * self.head_dim)
    }
}
