//! Layer norm and RMS norm over each token's state.

use candle_nn::ops;
use lorank_kernels::{Isa, layer_norm, rms_norm};

use crate::ModelError;
use crate::engine::{Rows, Vector};
use crate::linear::Loader;

/// A norm: with a bias a layer norm, without one an RMS norm.
#[derive(Debug)]
pub(crate) struct Norm {
    /// [hidden]
    weight: Vector,
    /// [hidden]
    bias: Option<Vector>,
    eps: f32,
}

impl Norm {
    /// A layer norm, whose tensors are `name.weight` and `name.bias`.
    pub(crate) fn layer(from: &mut Loader<'_>, name: &str, hidden: usize, eps: f64) -> Result<Self, ModelError> {
        let weight = from.vector(&format!("{name}.weight"), hidden)?;
        let bias = from.vector(&format!("{name}.bias"), hidden)?;
        Ok(Self { weight, bias: Some(bias), eps: eps as f32 })
    }

    /// An RMS norm, whose tensor is `name.weight`.
    pub(crate) fn rms(from: &mut Loader<'_>, name: &str, hidden: usize, eps: f64) -> Result<Self, ModelError> {
        Ok(Self { weight: from.vector(&format!("{name}.weight"), hidden)?, bias: None, eps: eps as f32 })
    }

    /// Each row, normed.
    pub(crate) fn forward(&self, x: Rows) -> candle_core::Result<Rows> {
        match x {
            Rows::Kernels { mut numbers, width } => {
                match &self.bias {
                    Some(bias) => {
                        layer_norm(&mut numbers, self.weight.kernels(), bias.kernels(), self.eps, Isa::detect());
                    }
                    None => rms_norm(&mut numbers, self.weight.kernels(), self.eps, Isa::detect()),
                }
                Ok(Rows::Kernels { numbers, width })
            }
            Rows::Candle(x) => match &self.bias {
                Some(bias) => ops::layer_norm(&x, self.weight.candle(), bias.candle(), self.eps),
                None => ops::rms_norm(&x, self.weight.candle(), self.eps),
            }
            .map(Rows::Candle),
        }
    }
}
