//! Linear layers with a low-rank update.

use candle_core::{Device, Tensor};

use crate::ModelError;
use crate::lora::Adapter;
use crate::weights::Weights;

/// `y = x Wᵀ + b`, and with an adapter `+ (x Aᵀ)(s B)ᵀ` (LoRA, arXiv 2106.09685).
#[derive(Debug)]
pub(crate) struct Linear {
    /// The layer's place among the base model's adaptable layers.
    slot: usize,
    /// [out, in]
    weight: Tensor,
    /// [out]
    bias: Option<Tensor>,
}

/// What an adapter changes of one linear layer.
#[derive(Debug)]
pub(crate) enum Delta {
    /// A product of two thin matrices, added to the layer's own product.
    LowRank {
        /// [r, in]
        a: Tensor,
        /// [out, r], already multiplied by the scale.
        b: Tensor,
    },
    /// The whole layer, trained along (`modules_to_save`).
    Replaced {
        /// [out, in]
        weight: Tensor,
        /// [out]
        bias: Option<Tensor>,
    },
}

impl Linear {
    /// x: [n, in]; the result: [n, out].
    pub(crate) fn forward(&self, x: &Tensor, adapter: Option<&Adapter>) -> candle_core::Result<Tensor> {
        match adapter.and_then(|adapter| adapter.delta(self.slot)) {
            None => product(x, &self.weight, self.bias.as_ref()),
            Some(Delta::Replaced { weight, bias }) => product(x, weight, bias.as_ref()),
            Some(Delta::LowRank { a, b }) => {
                let update = x.matmul(&a.t()?)?.matmul(&b.t()?)?;
                product(x, &self.weight, self.bias.as_ref())? + update
            }
        }
    }
}

/// x: [n, in], weight: [out, in], bias: [out]; the result: [n, out].
pub(crate) fn product(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> candle_core::Result<Tensor> {
    let y = x.matmul(&weight.t()?)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

/// A linear layer that adapters may change.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    /// Its name in the checkpoint, without `.weight`.
    pub(crate) name: String,
    pub(crate) n_in: usize,
    pub(crate) n_out: usize,
    pub(crate) has_bias: bool,
}

/// Reads a base model's tensors and numbers its linear layers as it goes.
pub(crate) struct Loader<'a> {
    pub(crate) weights: &'a mut Weights,
    pub(crate) device: &'a Device,
    pub(crate) modules: Vec<Module>,
    pub(crate) n_parameters: usize,
}

impl Loader<'_> {
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        self.n_parameters += shape.iter().product::<usize>();
        self.weights.tensor(name, shape, self.device)
    }

    /// An adaptable linear layer; it has a bias where the checkpoint has one.
    pub(crate) fn linear(&mut self, name: &str, n_out: usize, n_in: usize) -> Result<Linear, ModelError> {
        let weight = self.tensor(&format!("{name}.weight"), &[n_out, n_in])?;
        let bias_name = format!("{name}.bias");
        let bias = self.weights.has(&bias_name).then(|| self.tensor(&bias_name, &[n_out])).transpose()?;
        let slot = self.modules.len();
        self.modules.push(Module { name: name.to_owned(), n_in, n_out, has_bias: bias.is_some() });
        Ok(Linear { slot, weight, bias })
    }

    /// The score head, where the checkpoint has one. Adapters replace it as a whole.
    pub(crate) fn head(&mut self, spec: HeadSpec, hidden: usize) -> Result<Option<Head>, ModelError> {
        if !self.weights.has(spec.weight) {
            return Ok(None);
        }
        let weight = self.tensor(spec.weight, &[1, hidden])?;
        let bias = spec.bias.map(|bias| self.tensor(bias, &[1])).transpose()?;
        Ok(Some(Head { weight, bias }))
    }
}

/// Where an architecture keeps its score head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadSpec {
    pub(crate) weight: &'static str,
    pub(crate) bias: Option<&'static str>,
}

/// One logit from a hidden state.
#[derive(Debug)]
pub(crate) struct Head {
    /// [1, hidden]
    pub(crate) weight: Tensor,
    /// [1]
    pub(crate) bias: Option<Tensor>,
}

impl Head {
    /// state: [1, hidden].
    pub(crate) fn score(&self, state: &Tensor) -> candle_core::Result<f32> {
        product(state, &self.weight, self.bias.as_ref())?.flatten_all()?.to_vec1::<f32>().map(|scores| scores[0])
    }
}
