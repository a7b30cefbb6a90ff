//! Linear layers with low-rank updates, several adapters at once.

use candle_core::Tensor;
use lorank_kernels::{Activation, Epilogue, Input, LowRank, PackedMatrix, Segment};

use crate::ModelError;
use crate::engine::{Embeddings, Engine, Matrix, ONE_ENGINE, Prepared, Rows, Vector};
use crate::lora::{Adapter, Merge};
use crate::weights::Weights;

/// `y = x Wᵀ + b`, and with an adapter `+ s (x Aᵀ) Bᵀ` (LoRA, arXiv 2106.09685).
#[derive(Debug)]
pub(crate) struct Linear {
    /// The layer's place among the base model's adaptable layers.
    slot: usize,
    /// [out, in]
    weight: Matrix,
    /// [out]
    bias: Option<Vector>,
}

/// What an adapter changes of one linear layer.
#[derive(Debug)]
pub(crate) enum Delta {
    /// A product of two thin matrices, added to the layer's own product.
    LowRank {
        /// [r, in]
        a: Matrix,
        /// [out, r]
        b: Matrix,
        scale: f64,
    },
    /// The whole layer, trained along (`modules_to_save`).
    Replaced {
        /// [out, in]
        weight: Matrix,
        /// [out]
        bias: Option<Vector>,
    },
}

/// Rows that stand beside each other and are scored under one adapter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) n_rows: usize,
    pub(crate) adapter: Option<&'a Adapter>,
}

/// What comes right after a product: `activation(product + add)`.
#[derive(Clone, Copy, Default)]
pub(crate) struct Then<'a> {
    /// Rows of the result's shape.
    pub(crate) add: Option<&'a Rows>,
    pub(crate) activation: Option<Activation>,
}

impl<'a> Then<'a> {
    pub(crate) fn add(rows: &'a Rows) -> Self {
        Self { add: Some(rows), activation: None }
    }

    pub(crate) fn activate(activation: Activation) -> Self {
        Self { add: None, activation: Some(activation) }
    }
}

impl Linear {
    /// x: [n, in]; the result: [n, out]. The parts cover the rows.
    pub(crate) fn forward(&self, x: &Prepared<'_>, parts: &[Part<'_>], then: Then<'_>) -> candle_core::Result<Rows> {
        match (x, &self.weight) {
            (Prepared::Kernels(input), Matrix::Kernels(weight)) => {
                let numbers = self.by_kernels(weight, input, parts, then);
                Ok(Rows::Kernels { numbers, width: weight.n_out() })
            }
            (Prepared::Candle(x), Matrix::Candle(weight)) => self.by_candle(weight, x, parts, then).map(Rows::Candle),
            _ => unreachable!("{ONE_ENGINE}"),
        }
    }

    /// The bytes that the weights take in memory.
    pub(crate) fn n_bytes(&self) -> usize {
        self.weight.n_bytes()
    }

    fn by_kernels(&self, weight: &PackedMatrix, x: &Input<'_>, parts: &[Part<'_>], then: Then<'_>) -> Vec<f32> {
        let add = then.add.map(|rows| match rows {
            Rows::Kernels { numbers, .. } => numbers.as_slice(),
            Rows::Candle(_) => unreachable!("{ONE_ENGINE}"),
        });
        let segments: Vec<Segment<'_>> =
            parts.iter().map(|part| Segment { n_rows: part.n_rows, update: self.update(part) }).collect();
        let bias = self.bias.as_ref().map(Vector::kernels);
        let mut y = weight.linear(x, &segments, &Epilogue { bias, add, activation: then.activation });
        let mut start = 0;
        for part in parts {
            let rows = start..start + part.n_rows;
            start = rows.end;
            if let Some(Delta::Replaced { weight: Matrix::Kernels(weight), bias }) = part.delta(self.slot) {
                let n = weight.n_out();
                let add = add.map(|add| &add[rows.start * n..rows.end * n]);
                let bias = bias.as_ref().map(Vector::kernels);
                let epilogue = Epilogue { bias, add, activation: then.activation };
                let own = weight.linear(&x.rows(rows.clone()), &[Segment::plain(part.n_rows)], &epilogue);
                y[rows.start * n..rows.end * n].copy_from_slice(&own);
            }
        }
        y
    }

    fn update<'p>(&self, part: &Part<'p>) -> Option<LowRank<'p>> {
        match part.delta(self.slot)? {
            Delta::LowRank { a: Matrix::Kernels(a), b: Matrix::Kernels(b), scale } => {
                Some(LowRank { a, b, scale: *scale as f32 })
            }
            _ => None,
        }
    }

    fn by_candle(
        &self,
        weight: &Tensor,
        x: &Tensor,
        parts: &[Part<'_>],
        then: Then<'_>,
    ) -> candle_core::Result<Tensor> {
        let mut y = product(x, weight, self.bias.as_ref())?;
        if parts.iter().any(|part| part.delta(self.slot).is_some()) {
            let mut start = 0;
            let mut pieces = Vec::new();
            for part in parts.iter().filter(|part| part.n_rows > 0) {
                let (x, y) = (x.narrow(0, start, part.n_rows)?, y.narrow(0, start, part.n_rows)?);
                pieces.push(part.delta(self.slot).map_or(Ok(y.clone()), |delta| delta.by_candle(&x, &y))?);
                start += part.n_rows;
            }
            y = Tensor::cat(&pieces, 0)?;
        }
        if let Some(add) = then.add {
            let Rows::Candle(add) = add else { unreachable!("{ONE_ENGINE}") };
            y = (add + y)?;
        }
        match then.activation {
            None => Ok(y),
            Some(Activation::Gelu) => y.gelu_erf(),
            Some(Activation::GeluTanh) => y.gelu(),
            Some(Activation::Relu) => y.relu(),
            Some(Activation::Tanh) => y.tanh(),
        }
    }
}

impl Delta {
    /// x: [n, in], y: the base's product, [n, out]; the adapted product.
    fn by_candle(&self, x: &Tensor, y: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::LowRank { a: Matrix::Candle(a), b: Matrix::Candle(b), scale } => {
                // The scale goes to the thin product, which has the fewest numbers.
                y + (x.matmul(&a.t()?)? * *scale)?.matmul(&b.t()?)?
            }
            Self::Replaced { weight: Matrix::Candle(weight), bias } => product(x, weight, bias.as_ref()),
            _ => unreachable!("{ONE_ENGINE}"),
        }
    }
}

impl<'a> Part<'a> {
    fn delta(&self, slot: usize) -> Option<&'a Delta> {
        self.adapter.and_then(|adapter| adapter.delta(slot))
    }
}

/// x: [n, in], weight: [out, in], bias: [out]; the result: [n, out].
fn product(x: &Tensor, weight: &Tensor, bias: Option<&Vector>) -> candle_core::Result<Tensor> {
    let y = x.matmul(&weight.t()?)?;
    match bias {
        Some(bias) => y.broadcast_add(bias.candle()),
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
    pub(crate) engine: &'a Engine,
    /// An adapter whose updates are added to the weights as they are read.
    pub(crate) merge: Option<&'a Merge>,
    pub(crate) modules: Vec<Module>,
    pub(crate) n_parameters: usize,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(weights: &'a mut Weights, engine: &'a Engine, merge: Option<&'a Merge>) -> Self {
        Self { weights, engine, merge, modules: Vec::new(), n_parameters: 0 }
    }

    pub(crate) fn vector(&mut self, name: &str, len: usize) -> Result<Vector, ModelError> {
        self.n_parameters += len;
        self.engine.vector(self.weights, name, len)
    }

    pub(crate) fn embeddings(&mut self, name: &str, shape: [usize; 2]) -> Result<Embeddings, ModelError> {
        self.n_parameters += shape.iter().product::<usize>();
        self.engine.embeddings(self.weights, name, shape)
    }

    /// An adaptable linear layer; it has a bias where the checkpoint has one.
    pub(crate) fn linear(&mut self, name: &str, n_out: usize, n_in: usize) -> Result<Linear, ModelError> {
        self.n_parameters += n_out * n_in;
        let slot = self.modules.len();
        let (format, tensor) = (self.engine.format(), format!("{name}.weight"));
        let update = self.merge.and_then(|merge| merge.update(slot));
        let adjust = |row: usize, values: &mut [f32]| {
            if let Some(update) = update {
                update.add_row(row, values);
            }
        };
        let weight = self.engine.matrix(self.weights, &tensor, [n_out, n_in], format, adjust)?;
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

/// Where an architecture keeps its score head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadSpec {
    pub(crate) weight: &'static str,
    pub(crate) bias: Option<&'static str>,
}

/// One logit from a hidden state.
#[derive(Debug)]
pub(crate) struct Head {
    /// [hidden]
    weight: Vec<f32>,
    bias: Option<f32>,
}

impl Head {
    /// Reads a head whose tensors go by the names that `name` gives them.
    pub(crate) fn read(
        weights: &mut Weights,
        spec: HeadSpec,
        mut name: impl FnMut(&str) -> String,
        hidden: usize,
    ) -> Result<Self, ModelError> {
        let weight = weights.values(&name(spec.weight), &[1, hidden])?;
        let bias = spec.bias.map(|bias| weights.values(&name(bias), &[1])).transpose()?;
        Ok(Self { weight, bias: bias.map(|bias| bias[0]) })
    }

    pub(crate) fn n_parameters(&self) -> usize {
        self.weight.len() + usize::from(self.bias.is_some())
    }

    /// state: [hidden].
    pub(crate) fn score(&self, state: &[f32]) -> f32 {
        // A sum over thousands of products, once a pair: f64 costs nothing and keeps their order from mattering.
        let sum: f64 = state.iter().zip(&self.weight).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
        (sum + f64::from(self.bias.unwrap_or(0.0))) as f32
    }
}
