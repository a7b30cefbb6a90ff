//! Layer norm and RMS norm over each token's state.

use std::borrow::Cow;

use crate::ModelError;
use crate::backend::Backend;
use crate::loader::Loader;

/// A norm: with a bias a layer norm, without one an RMS norm.
#[derive(Debug)]
pub(crate) struct Norm<B: Backend> {
    /// [hidden]
    weight: B::Vector,
    /// [hidden]
    bias: Option<B::Vector>,
    eps: f32,
}

impl<B: Backend> Norm<B> {
    /// A layer norm, whose tensors are `name.weight` and `name.bias`.
    pub(crate) fn layer(from: &mut Loader<'_, B>, name: &str, hidden: usize, eps: f64) -> Result<Self, ModelError> {
        let weight = from.vector(&format!("{name}.weight"), hidden)?;
        let bias = from.vector(&format!("{name}.bias"), hidden)?;
        Ok(Self { weight, bias: Some(bias), eps: eps as f32 })
    }

    /// An RMS norm, whose tensor is `name.weight`.
    pub(crate) fn rms(from: &mut Loader<'_, B>, name: &str, hidden: usize, eps: f64) -> Result<Self, ModelError> {
        Ok(Self { weight: from.vector(&format!("{name}.weight"), hidden)?, bias: None, eps: eps as f32 })
    }

    /// Each row, normed. x: [n, hidden]; the result: [n, hidden]. Rows that nothing else reads are given owned.
    pub(crate) fn forward(&self, backend: &B, x: Cow<'_, B::Rows>) -> Result<B::Rows, B::Error> {
        match &self.bias {
            Some(bias) => backend.layer_norm(x, &self.weight, bias, self.eps),
            None => backend.rms_norm(x, &self.weight, self.eps),
        }
    }
}
