//! candle with gradients, for training adapters on a GPU.
//!
//! The base model's weights and all rows have the type of [`Candle`], bf16 or f32. The trained matrices, their products and their
//! gradients are in f32. candle's own gradients are not used: they would compute those of frozen weights too, and its fused
//! norms, softmax and rotary positions have none.
//!
//! Only the states between layers are kept for the backward pass, which runs the operations of each layer again ([`tape`]).

mod attention;
mod dropout;
mod gradients;
mod scatter;
mod tape;

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use candle_core::{Error, Result, Tensor};
use lorank_kernels::{Activation, Isa, Span};

use self::attention::Plan;
use self::dropout::{Factors, Window};
use self::tape::{Operation, Rows, Update};
use super::mark::Mark;
use super::rotary::Rotary;
use super::{Candle, Embeddings, tf32};
use crate::ModelError;
use crate::attention::{Angles, AttentionShape};
use crate::backend::linear::{Delta, Epilogue, Linear, RowAdapters, WeightDelta};
use crate::backend::{AdjustRow, Backend, Lookup, PassDropout, Storage, WithGradients, try_map};
use crate::clock::StageClock;
use crate::precision::ChosenPrecision;
use crate::weights::Weights;

/// candle with gradients.
#[derive(Debug)]
pub(crate) struct CandleTrain {
    candle: Candle,
    /// Draws the numbers of dropout.
    isa: Isa,
    /// Whether rows remember how they were computed.
    records: bool,
}

/// The weights of a linear layer, frozen or trained.
#[derive(Debug)]
pub(crate) struct Matrix {
    tensor: Tensor,
    trained: Option<Trained>,
}

/// The training of a matrix.
#[derive(Debug)]
struct Trained {
    /// The matrix's number among the parameters.
    parameter: usize,
    /// Dropout of its input.
    dropout: Option<Window>,
}

impl CandleTrain {
    pub(crate) fn new(candle: Candle) -> Self {
        if candle.device.is_cuda() {
            // Trained matrices and their gradients are in f32.
            tf32::choose(false);
        }
        Self { candle, isa: Isa::detect(), records: false }
    }

    fn computed(&self, operation: Operation) -> Result<Rows> {
        Rows::computed(operation, &self.candle, self.records)
    }

    /// `x Wᵀ + bias + add`, for rows with one adapter.
    fn part(&self, layer: &Linear<Self>, x: &Rows, delta: Option<&Delta<Self>>, add: Option<&Rows>) -> Result<Rows> {
        let bias = delta.and_then(|delta| delta.bias.as_ref()).or(layer.bias.as_ref());
        let (weight, update) = match delta.map(|delta| &delta.weight) {
            Some(WeightDelta::Replaced(weight)) => (weight, None),
            Some(WeightDelta::LowRank { a, b, scale }) => (&layer.weight, Some(update(a, b, *scale))),
            Some(WeightDelta::None) | None => (&layer.weight, None),
        };
        self.computed(Operation::Linear {
            x: x.clone(),
            add: add.cloned(),
            weight: weight.tensor.clone(),
            bias: bias.cloned(),
            update,
        })
    }
}

fn update(a: &Matrix, b: &Matrix, scale: f64) -> Update {
    let parameters = a.trained.as_ref().zip(b.trained.as_ref()).map(|(a, b)| [a.parameter, b.parameter]);
    let dropout = a.trained.as_ref().and_then(|trained| trained.dropout.clone());
    Update { a: a.tensor.clone(), b: b.tensor.clone(), parameters, scale, dropout }
}

impl Backend for CandleTrain {
    type Rows = Rows;
    type Matrix = Matrix;
    type Vector = Tensor;
    type Embeddings = Embeddings;
    type Rotary = Rotary;
    type AttentionPlan = Arc<Plan>;
    type AdapterLayout = ();
    type Mark = Mark;
    type Error = Error;

    const RUNS_PASSES_IN_PARALLEL: bool = Candle::RUNS_PASSES_IN_PARALLEL;

    fn name(&self) -> String {
        "candle with gradients".to_owned()
    }

    fn device(&self) -> &'static str {
        self.candle.device()
    }

    fn precision(&self) -> ChosenPrecision {
        self.candle.precision()
    }

    fn synchronize(&self) -> Result<()> {
        self.candle.synchronize()
    }

    fn clock(&self) -> StageClock {
        self.candle.clock()
    }

    fn mark(&self) -> Result<Mark> {
        self.candle.mark()
    }

    fn time_between(&self, start: &Mark, end: &Mark) -> Result<Duration> {
        self.candle.time_between(start, end)
    }

    fn tokens_max(&self) -> NonZeroUsize {
        self.candle.tokens_max()
    }

    fn matrix(
        &self,
        weights: &mut Weights,
        tensor: &str,
        shape: [usize; 2],
        storage: Storage,
        adjust: Option<AdjustRow<'_>>,
    ) -> std::result::Result<Matrix, ModelError> {
        Ok(Matrix { tensor: self.candle.matrix(weights, tensor, shape, storage, adjust)?, trained: None })
    }

    fn vector(&self, values: Vec<f32>) -> Result<Tensor> {
        self.candle.vector(values)
    }

    fn embeddings(
        &self,
        weights: &mut Weights,
        tensor: &str,
        shape: [usize; 2],
    ) -> std::result::Result<Embeddings, ModelError> {
        self.candle.embeddings(weights, tensor, shape)
    }

    fn matrix_bytes(matrix: &Matrix) -> usize {
        Candle::matrix_bytes(&matrix.tensor)
    }

    fn embeddings_bytes(embeddings: &Embeddings) -> usize {
        Candle::embeddings_bytes(embeddings)
    }

    fn look_up(&self, first: Lookup<'_, Self>, others: &[Lookup<'_, Self>]) -> Result<Rows> {
        Rows::constant(self.candle.look_up(first, others)?)
    }

    fn linear(
        &self,
        layer: &Linear<Self>,
        x: &Rows,
        adapters: &RowAdapters<'_, Self>,
        epilogue: &Epilogue<'_, Self>,
    ) -> Result<Rows> {
        let y = match &**adapters {
            [rows] => self.part(layer, x, layer.delta(rows.adapter), epilogue.add)?,
            _ => {
                let (mut start, mut parts) = (0, Vec::new());
                for rows in adapters.iter().filter(|rows| rows.n_rows > 0) {
                    let own: Vec<usize> = (start..start + rows.n_rows).collect();
                    start += rows.n_rows;
                    let add = epilogue.add.map(|add| self.gather(add, &own)).transpose()?;
                    parts.push(self.part(layer, &self.gather(x, &own)?, layer.delta(rows.adapter), add.as_ref())?);
                }
                self.concat(parts)?
            }
        };
        match epilogue.activation {
            Some(activation) => self.computed(Operation::Activation { x: y, activation }),
            None => Ok(y),
        }
    }

    fn linears<const N: usize>(
        &self,
        layers: [&Linear<Self>; N],
        x: &Rows,
        adapters: &RowAdapters<'_, Self>,
    ) -> Result<[Rows; N]> {
        try_map(layers, |layer| self.linear(layer, x, adapters, &Epilogue::NONE))
    }

    fn layer_norm(&self, x: Cow<'_, Rows>, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Rows> {
        self.computed(Operation::Norm { x: x.into_owned(), weight: weight.clone(), bias: Some(bias.clone()), eps })
    }

    fn rms_norm(&self, x: Cow<'_, Rows>, weight: &Tensor, eps: f32) -> Result<Rows> {
        self.computed(Operation::Norm { x: x.into_owned(), weight: weight.clone(), bias: None, eps })
    }

    fn gated(&self, gate: Rows, up: &Rows, activation: Activation) -> Result<Rows> {
        self.computed(Operation::Gated { gate, up: up.clone(), activation })
    }

    fn rotary(&self, angles: Angles) -> Result<Rotary> {
        self.candle.rotary(angles)
    }

    fn attention_plan(
        &self,
        shape: &AttentionShape,
        spans: Vec<Span>,
        rotary: Option<&Arc<Rotary>>,
    ) -> Result<Arc<Plan>> {
        Plan::new(shape, spans, rotary.map(|rotary| &**rotary), &self.candle.device).map(Arc::new)
    }

    fn attention(&self, plan: &Arc<Plan>, qkv: [Rows; 3]) -> Result<Rows> {
        self.computed(Operation::Attention { qkv, plan: plan.clone() })
    }

    fn gather(&self, rows: &Rows, indices: &[usize]) -> Result<Rows> {
        self.computed(Operation::Gather { x: rows.clone(), indices: indices.to_vec() })
    }

    fn split<const N: usize>(&self, rows: &Rows) -> Result<[Rows; N]> {
        let width = rows.width() / N;
        try_map(std::array::from_fn(|n| n * width), |start| {
            self.computed(Operation::Columns { x: rows.clone(), start, width })
        })
    }

    fn mean(&self, rows: &Rows, ranges: &[Range<usize>]) -> Result<Rows> {
        self.computed(Operation::Mean { x: rows.clone(), ranges: ranges.to_vec() })
    }

    fn concat(&self, parts: Vec<Rows>) -> Result<Rows> {
        self.computed(Operation::Concat { parts })
    }

    fn reshape(&self, rows: Rows, width: usize) -> Result<Rows> {
        self.computed(Operation::Reshape { x: rows, width })
    }

    fn scale(&self, rows: Rows, factor: f32) -> Result<Rows> {
        self.computed(Operation::Scale { x: rows, factor })
    }

    /// The values depend on no trained parameter.
    fn add_values(&self, x: Rows, values: Vec<f32>) -> Result<Rows> {
        Rows::constant(self.candle.add_values(x.tensor(&self.candle)?, values)?)
    }

    fn numbers<'a>(&self, rows: &'a Rows) -> Result<Cow<'a, [f32]>> {
        let tensor = rows.tensor(&self.candle)?;
        Ok(Cow::Owned(self.candle.numbers(&tensor)?.into_owned()))
    }

    fn after_layer(&self, rows: Rows) -> Result<Rows> {
        rows.keep_only_this()
    }
}

impl WithGradients for CandleTrain {
    type Parameter = Tensor;
    type Dropouts = Factors;

    fn parameter(&self, values: &[f32], [n_out, n_in]: [usize; 2]) -> Result<Tensor> {
        Tensor::from_slice(values, (n_out, n_in), &self.candle.device)
    }

    fn dropouts(&self, dropout: PassDropout) -> Result<Factors> {
        Factors::draw(&dropout, self.isa, &self.candle.device)
    }

    fn frozen(parameter: &Tensor) -> Matrix {
        Matrix { tensor: parameter.clone(), trained: None }
    }

    fn trained([a, b]: &[Tensor; 2], number: usize, dropouts: &Factors) -> [Matrix; 2] {
        let trained = |matrix: &Tensor, parameter, dropout| Matrix {
            tensor: matrix.clone(),
            trained: Some(Trained { parameter, dropout }),
        };
        [trained(a, 2 * number, dropouts.window(number)), trained(b, 2 * number + 1, None)]
    }

    fn recording(&self) -> Self {
        Self { candle: self.candle.clone(), isa: self.isa, records: true }
    }

    fn add_gradients(&self, rows: Rows, gradient: Vec<f32>, parameters: &mut [Vec<f32>]) -> Result<()> {
        rows.backward(gradient, parameters, &self.candle)
    }
}

#[cfg(test)]
impl CandleTrain {
    /// The shapes of all rows that are in memory because these rows are.
    pub(crate) fn shapes_held(rows: &Rows) -> Vec<[usize; 2]> {
        rows.shapes_held()
    }
}
