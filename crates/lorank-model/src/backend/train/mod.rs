//! The training backend: the kernels in f32 on a CPU, with gradients.
//!
//! Every architecture trains without code of its own, because the operations of the trait remember what their gradients need
//! ([`tape`]). The base model is frozen: no gradient of its weights is computed, and none of rows that depend on no trained
//! matrix.

mod tape;

use std::borrow::Cow;
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lorank_core::{Precision, split_mix};
use lorank_kernels::{Activation, Dropout, Format, Input, Isa, PackedMatrix, Segment, Span, copied};

use self::tape::{NormKind, Operation, Update};
pub(crate) use self::tape::{Plan, Rows};
use super::kernels::{joined, packed};
use super::{AdjustRow, Backend, Lookup, PassDropout, Storage, WithGradients, try_map};
use crate::attention::{Angles, AttentionShape};
use crate::backend::linear::{Delta, Epilogue, Linear, RowAdapters, WeightDelta};
use crate::precision::ChosenPrecision;
use crate::weights::{Table, Weights};
use crate::{ModelError, PrecisionChoice};

/// The kernels with gradients.
#[derive(Debug)]
pub(crate) struct Train {
    isa: Isa,
}

/// The weights of a linear layer, frozen or trained.
#[derive(Debug, Clone)]
pub(crate) struct Matrix {
    packed: Arc<PackedMatrix>,
    trained: Option<Trained>,
}

/// The training of a matrix.
#[derive(Debug, Clone, Copy)]
struct Trained {
    /// The matrix's number among the parameters.
    parameter: usize,
    /// Dropout of its input.
    dropout: Option<Dropout>,
}

impl Matrix {
    fn frozen(packed: Arc<PackedMatrix>) -> Self {
        Self { packed, trained: None }
    }
}

impl Train {
    /// Detects the CPU's vector instructions.
    ///
    /// # Errors
    /// [`ModelError::Precision`] for a precision other than f32.
    pub(crate) fn new(precision: PrecisionChoice) -> Result<Self, ModelError> {
        match precision {
            PrecisionChoice::Auto | PrecisionChoice::Fixed(Precision::F32) => Ok(Self { isa: Isa::detect() }),
            PrecisionChoice::Fixed(precision) => {
                Err(ModelError::Precision { precision, why: "training uses f32 on a CPU" })
            }
        }
    }

    /// `x Wᵀ + bias + add`, for rows with one adapter.
    fn part(&self, layer: &Linear<Self>, x: &Rows, delta: Option<&Delta<Self>>, add: Option<&Rows>) -> Rows {
        let bias = delta.and_then(|delta| delta.bias.as_ref()).or(layer.bias.as_ref());
        let bias = bias.map(|bias| bias.as_slice());
        let (weight, update) = match delta.map(|delta| &delta.weight) {
            Some(WeightDelta::Replaced(weight)) => (weight, None),
            Some(WeightDelta::LowRank { a, b, scale }) => (&layer.weight, Some(update(x, a, b, *scale as f32))),
            Some(WeightDelta::None) | None => (&layer.weight, None),
        };
        let epilogue = lorank_kernels::Epilogue { bias, add: add.map(Rows::numbers), activation: None };
        let input = Input::plain(x.numbers(), x.width());
        let numbers = match &update {
            Some(update) => weight.packed.linear_updated(&input, (&update.low, &update.b, update.scale), &epilogue),
            None => weight.packed.linear(&input, &[Segment::plain(x.n_rows())], &epilogue),
        };
        let (x, add, weight, width) = (x.clone(), add.cloned(), weight.packed.clone(), weight.packed.n_out());
        Rows::computed(numbers, width, Operation::Linear { x, add, weight, update })
    }
}

/// A low-rank update, with the first of its products.
fn update(x: &Rows, a: &Matrix, b: &Matrix, scale: f32) -> Update {
    let dropout = a.trained.and_then(|trained| trained.dropout);
    let low = a.packed.linear_after(x.numbers(), dropout);
    let parameters = a.trained.zip(b.trained).map(|(a, b)| [a.parameter, b.parameter]);
    Update { a: a.packed.clone(), b: b.packed.clone(), parameters, scale, dropout, low }
}

impl Backend for Train {
    type Rows = Rows;
    type Matrix = Matrix;
    type Vector = Arc<Vec<f32>>;
    type Embeddings = Table;
    type Rotary = Angles;
    type AttentionPlan = Arc<Plan>;
    type AdapterLayout = ();
    type Mark = Instant;
    type Error = Infallible;

    const RUNS_PASSES_IN_PARALLEL: bool = true;

    fn name(&self) -> String {
        format!("kernels with gradients ({})", self.isa)
    }

    fn device(&self) -> &'static str {
        "cpu"
    }

    fn precision(&self) -> ChosenPrecision {
        ChosenPrecision::new(Precision::F32, "training uses f32")
    }

    fn synchronize(&self) -> Result<(), Infallible> {
        Ok(())
    }

    fn mark(&self) -> Result<Instant, Infallible> {
        Ok(Instant::now())
    }

    fn time_between(&self, start: &Instant, end: &Instant) -> Result<Duration, Infallible> {
        Ok(*end - *start)
    }

    /// A panel of weights is transposed once for the rows of a pass, so passes are longer than those without gradients.
    fn tokens_max(&self) -> NonZeroUsize {
        const { NonZeroUsize::new(512).expect("it is not zero") }
    }

    fn matrix(
        &self,
        weights: &mut Weights,
        tensor: &str,
        shape: [usize; 2],
        _storage: Storage,
        adjust: Option<AdjustRow<'_>>,
    ) -> Result<Matrix, ModelError> {
        Ok(Matrix::frozen(Arc::new(packed(weights, tensor, shape, Format::F32, self.isa, adjust)?)))
    }

    fn vector(&self, values: Vec<f32>) -> Result<Arc<Vec<f32>>, Infallible> {
        Ok(Arc::new(values))
    }

    fn embeddings(&self, weights: &mut Weights, tensor: &str, shape: [usize; 2]) -> Result<Table, ModelError> {
        weights.table(tensor, shape)
    }

    fn matrix_bytes(matrix: &Matrix) -> usize {
        matrix.packed.n_bytes()
    }

    fn embeddings_bytes(embeddings: &Table) -> usize {
        embeddings.n_bytes()
    }

    fn look_up(&self, (table, ids): Lookup<'_, Self>, others: &[Lookup<'_, Self>]) -> Result<Rows, Infallible> {
        let width = table.width();
        let mut numbers = table.rows(ids);
        for (table, ids) in others {
            numbers.iter_mut().zip(table.rows(ids)).for_each(|(x, y)| *x += y);
        }
        Ok(Rows::constant(numbers, width))
    }

    fn linear(
        &self,
        layer: &Linear<Self>,
        x: &Rows,
        adapters: &RowAdapters<'_, Self>,
        epilogue: &Epilogue<'_, Self>,
    ) -> Result<Rows, Infallible> {
        let y = match &**adapters {
            [rows] => self.part(layer, x, layer.delta(rows.adapter), epilogue.add),
            _ => {
                let (mut start, mut parts) = (0, Vec::new());
                for rows in adapters.iter().filter(|rows| rows.n_rows > 0) {
                    let own: Vec<usize> = (start..start + rows.n_rows).collect();
                    start += rows.n_rows;
                    let add = epilogue.add.map(|add| self.gather(add, &own)).transpose()?;
                    parts.push(self.part(layer, &self.gather(x, &own)?, layer.delta(rows.adapter), add.as_ref()));
                }
                self.concat(parts)?
            }
        };
        let Some(activation) = epilogue.activation else { return Ok(y) };
        let mut numbers = copied(y.numbers());
        lorank_kernels::activate(&mut numbers, activation, self.isa);
        let width = y.width();
        Ok(Rows::computed(numbers, width, Operation::Activation { x: y, activation }))
    }

    fn linears<const N: usize>(
        &self,
        layers: [&Linear<Self>; N],
        x: &Rows,
        adapters: &RowAdapters<'_, Self>,
    ) -> Result<[Rows; N], Infallible> {
        try_map(layers, |layer| self.linear(layer, x, adapters, &Epilogue::NONE))
    }

    fn layer_norm(
        &self,
        x: Cow<'_, Rows>,
        weight: &Arc<Vec<f32>>,
        bias: &Arc<Vec<f32>>,
        eps: f32,
    ) -> Result<Rows, Infallible> {
        let x = x.into_owned();
        let mut numbers = copied(x.numbers());
        lorank_kernels::layer_norm(&mut numbers, weight, bias, eps, self.isa);
        let (width, weight, kind) = (x.width(), weight.clone(), NormKind::Layer);
        Ok(Rows::computed(numbers, width, Operation::Norm { x, weight, eps, kind }))
    }

    fn rms_norm(&self, x: Cow<'_, Rows>, weight: &Arc<Vec<f32>>, eps: f32) -> Result<Rows, Infallible> {
        let x = x.into_owned();
        let mut numbers = copied(x.numbers());
        lorank_kernels::rms_norm(&mut numbers, weight, eps, self.isa);
        let (width, weight, kind) = (x.width(), weight.clone(), NormKind::Rms);
        Ok(Rows::computed(numbers, width, Operation::Norm { x, weight, eps, kind }))
    }

    fn gated(&self, gate: Rows, up: &Rows, activation: Activation) -> Result<Rows, Infallible> {
        let mut numbers = copied(gate.numbers());
        lorank_kernels::gated(&mut numbers, up.numbers(), activation, self.isa);
        let width = gate.width();
        Ok(Rows::computed(numbers, width, Operation::Gated { gate, up: up.clone(), activation }))
    }

    fn rotary(&self, angles: Angles) -> Result<Angles, Infallible> {
        Ok(angles)
    }

    fn attention_plan(
        &self,
        shape: &AttentionShape,
        spans: Vec<Span>,
        rotary: Option<&Arc<Angles>>,
    ) -> Result<Arc<Plan>, Infallible> {
        Ok(Arc::new(Plan { shape: *shape, spans, angles: rotary.cloned() }))
    }

    fn attention(&self, plan: &Arc<Plan>, qkv: [Rows; 3]) -> Result<Rows, Infallible> {
        let numbers = plan.attention(qkv.each_ref()).run(self.isa);
        let width = qkv[0].width();
        Ok(Rows::computed(numbers, width, Operation::Attention { qkv, plan: plan.clone() }))
    }

    fn gather(&self, rows: &Rows, indices: &[usize]) -> Result<Rows, Infallible> {
        let width = rows.width();
        let numbers = joined(indices.iter().map(|index| &rows.numbers()[index * width..][..width]));
        Ok(Rows::computed(numbers, width, Operation::Gather { x: rows.clone(), indices: indices.to_vec() }))
    }

    fn split<const N: usize>(&self, rows: &Rows) -> Result<[Rows; N], Infallible> {
        let width = rows.width() / N;
        let part = |n: usize| {
            let start = n * width;
            let numbers = joined(rows.numbers().chunks_exact(rows.width()).map(|row| &row[start..][..width]));
            Rows::computed(numbers, width, Operation::Columns { x: rows.clone(), start })
        };
        Ok(std::array::from_fn(part))
    }

    fn mean(&self, rows: &Rows, ranges: &[Range<usize>]) -> Result<Rows, Infallible> {
        let width = rows.width();
        let mut numbers = Vec::with_capacity(ranges.len() * width);
        for range in ranges {
            let mut sums = vec![0.0_f64; width];
            for row in rows.numbers()[range.start * width..range.end * width].chunks_exact(width) {
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
            }
            numbers.extend(sums.into_iter().map(|sum| (sum / range.len() as f64) as f32));
        }
        Ok(Rows::computed(numbers, width, Operation::Mean { x: rows.clone(), ranges: ranges.to_vec() }))
    }

    fn concat(&self, parts: Vec<Rows>) -> Result<Rows, Infallible> {
        let width = parts.first().map_or(1, Rows::width);
        let numbers = joined(parts.iter().map(Rows::numbers));
        Ok(Rows::computed(numbers, width, Operation::Concat { parts }))
    }

    fn reshape(&self, rows: Rows, width: usize) -> Result<Rows, Infallible> {
        Ok(Rows::computed(copied(rows.numbers()), width, Operation::Reshape { x: rows }))
    }

    fn scale(&self, rows: Rows, factor: f32) -> Result<Rows, Infallible> {
        let numbers = rows.numbers().iter().map(|x| x * factor).collect();
        let width = rows.width();
        Ok(Rows::computed(numbers, width, Operation::Scale { x: rows, factor }))
    }

    /// The values depend on no trained parameter.
    fn add_values(&self, x: Rows, values: Vec<f32>) -> Result<Rows, Infallible> {
        let numbers = x.numbers().iter().zip(values).map(|(x, value)| x + value).collect();
        Ok(Rows::constant(numbers, x.width()))
    }

    fn numbers<'a>(&self, rows: &'a Rows) -> Result<Cow<'a, [f32]>, Infallible> {
        Ok(Cow::Borrowed(rows.numbers()))
    }
}

impl WithGradients for Train {
    type Parameter = Arc<PackedMatrix>;
    /// Whether an input is dropped is computed wherever it is needed.
    type Dropouts = PassDropout;

    fn parameter(&self, values: &[f32], [n_out, n_in]: [usize; 2]) -> Result<Arc<PackedMatrix>, Infallible> {
        let read = |row: usize, to: &mut [f32]| to.copy_from_slice(&values[row * n_in..][..n_in]);
        Ok(Arc::new(PackedMatrix::pack(Format::F32, self.isa, n_out, n_in, read)))
    }

    fn dropouts(&self, dropout: PassDropout) -> Result<PassDropout, Infallible> {
        Ok(dropout)
    }

    fn frozen(parameter: &Arc<PackedMatrix>) -> Matrix {
        Matrix::frozen(parameter.clone())
    }

    fn trained([a, b]: &[Arc<PackedMatrix>; 2], number: usize, dropouts: &PassDropout) -> [Matrix; 2] {
        let seed = split_mix(dropouts.seed.wrapping_add(number as u64));
        let dropout = Dropout::new(dropouts.probability, seed);
        let trained = |matrix: &Arc<PackedMatrix>, parameter, dropout| Matrix {
            packed: matrix.clone(),
            trained: Some(Trained { parameter, dropout }),
        };
        [trained(a, 2 * number, dropout), trained(b, 2 * number + 1, None)]
    }

    /// Rows remember how they were computed if they depend on a trained matrix.
    fn recording(&self) -> Self {
        Self { isa: self.isa }
    }

    fn add_gradients(&self, rows: Rows, gradient: Vec<f32>, parameters: &mut [Vec<f32>]) -> Result<(), Infallible> {
        rows.backward(gradient, parameters, self.isa);
        Ok(())
    }
}
