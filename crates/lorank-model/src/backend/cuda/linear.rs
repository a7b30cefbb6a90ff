//! Linear layers with the low-rank updates of any number of adapters in one product.
//!
//! `x Wᵀ + s (x Aᵀ) Bᵀ` is the product of `[x, x Aᵀ]` and `[W, s B]`: rows have spare columns for `x Aᵀ`, and matrices for `s B`. Each
//! adapter has columns of its own, and a row has zeros in those of other adapters.
//!
//! Quantized matrices have their spare columns apart, in bf16, and `[x Aᵀ] [s B]ᵀ` is a second product, which is added to theirs.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lorank_cuda::{CudaError, Format, Indices, Op, Ops, Quantized, Rows, Vector};

use super::Cuda;
use super::activations::Activations;
use super::slots::SPARE_COLUMNS;
use crate::backend::linear::{Adapter, AdapterRows, Delta, Linear, RowAdapters, WeightDelta};

/// The weights of a linear layer.
#[derive(Debug)]
pub(crate) struct Matrix {
    /// No other matrix of this process has it.
    number: u64,
    pub(super) numbers: Numbers,
    /// [n_out, `SPARE_COLUMNS`], in the format of rows; `None` for the matrices of updates.
    spare: Option<Rows>,
    /// The ranges of spare columns that have been written, and the numbers of the matrices in them.
    written: Mutex<Vec<(Range<usize>, u64)>>,
    /// Counts the matrices of updates, if this is one.
    _update: Option<Arc<()>>,
}

/// The numbers of a matrix.
#[derive(Debug)]
pub(super) enum Numbers {
    /// [n_out, n_in], in the format of rows. The spare columns follow, if there are any.
    Plain(Rows),
    /// [n_out, n_in], in e4m3 with a scale for each row.
    Quantized(Quantized),
}

/// What a matrix is for, and how it is stored.
pub(super) enum MatrixKind {
    /// Of the base model, or in place of one of its matrices, in a format of rows.
    Base(Format),
    /// The same, quantized, with spare columns in bf16.
    QuantizedBase,
    /// Of an update, in a format of rows, with the counter of updates.
    Update(Format, Arc<()>),
}

/// The rows that a product reads: [n, n_in].
pub(super) struct Input {
    rows: Activations,
    /// The same rows, if they are multiplied with a quantized matrix.
    quantized: Option<Quantized>,
}

/// What linear layers need to know of a pass's adapters.
pub(crate) struct AdapterLayout {
    /// The spare columns of each adapter's rows, in the order of the rows; `None` for an adapter without columns, or no adapter.
    columns: Vec<Option<Range<usize>>>,
    /// An empty range for each row.
    no_columns: Indices,
}

/// Rows with an adapter's update of one layer.
struct UpdatedRows<'a> {
    rows: Range<usize>,
    columns: Range<usize>,
    a: &'a Matrix,
    b: &'a Matrix,
    scale: f32,
}

impl UpdatedRows<'_> {
    fn rank(&self) -> usize {
        self.a.n_out()
    }
}

impl Matrix {
    /// A matrix of undefined numbers, whose spare columns are zeros.
    pub(super) fn new<O: Ops>(ops: &O, [n_out, n_in]: [usize; 2], kind: MatrixKind) -> Result<Self, CudaError> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let (numbers, spare, update) = match kind {
            MatrixKind::Base(format) => {
                let whole = ops.weights([n_out, n_in + SPARE_COLUMNS], format)?;
                let [rows, spare] = whole.split([n_in, SPARE_COLUMNS]);
                (Numbers::Plain(rows), Some(spare), None)
            }
            MatrixKind::QuantizedBase => {
                let numbers = Numbers::Quantized(ops.quantized_weights([n_out, n_in])?);
                (numbers, Some(ops.weights_apart([n_out, SPARE_COLUMNS], Format::Bf16)?), None)
            }
            MatrixKind::Update(format, counter) => {
                (Numbers::Plain(ops.weights([n_out, n_in], format)?), None, Some(counter))
            }
        };
        if let Some(spare) = &spare {
            ops.write(spare, &vec![0.0; n_out * SPARE_COLUMNS])?;
        }
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { number, numbers, spare, written: Mutex::default(), _update: update })
    }

    pub(super) fn n_bytes(&self) -> usize {
        let n_bytes = match &self.numbers {
            Numbers::Plain(rows) => rows.n_bytes(),
            Numbers::Quantized(rows) => rows.n_bytes(),
        };
        n_bytes + self.spare.as_ref().map_or(0, Rows::n_bytes)
    }

    pub(super) fn n_out(&self) -> usize {
        self.numbers.n_out()
    }

    /// The rows of a matrix of an update.
    fn of_update(&self) -> &Rows {
        self.numbers.plain().expect("updates are not quantized")
    }

    fn is_quantized(&self) -> bool {
        self.numbers.quantized().is_some()
    }
}

impl Numbers {
    pub(super) fn n_out(&self) -> usize {
        match self {
            Self::Plain(rows) => rows.n_rows(),
            Self::Quantized(rows) => rows.n_rows(),
        }
    }

    fn plain(&self) -> Option<&Rows> {
        if let Self::Plain(rows) = self { Some(rows) } else { None }
    }

    fn quantized(&self) -> Option<&Quantized> {
        if let Self::Quantized(rows) = self { Some(rows) } else { None }
    }

    /// All rows of the parts, if they are stored alike, and each begins where the one before ends.
    pub(super) fn stacked(parts: &[&Self]) -> Option<Self> {
        let plain: Option<Vec<&Rows>> = parts.iter().map(|part| part.plain()).collect();
        let quantized: Option<Vec<&Quantized>> = parts.iter().map(|part| part.quantized()).collect();
        match plain {
            Some(plain) => Rows::stacked(&plain).map(Self::Plain),
            None => Quantized::stacked(&quantized?).map(Self::Quantized),
        }
    }
}

impl Input {
    pub(super) fn n_rows(&self) -> usize {
        self.rows().n_rows()
    }

    fn rows(&self) -> &Rows {
        self.rows.rows()
    }

    fn slice(&self, rows: Range<usize>) -> Self {
        let quantized = self.quantized.as_ref().map(|quantized| quantized.slice(rows.clone()));
        Self { rows: self.rows().slice(rows).into(), quantized }
    }
}

impl<O: Ops> Cuda<O> {
    /// The input of layers: quantized too, if a layer's weights are.
    pub(super) fn input_of(&self, layers: &[&Linear<Self>], x: &Activations) -> Result<Input, CudaError> {
        let is_quantized = layers.iter().any(|layer| layer.weight.is_quantized());
        let quantized = is_quantized.then(|| self.quantized(x.rows())).transpose()?;
        Ok(Input { rows: x.clone(), quantized })
    }

    fn quantized(&self, x: &Rows) -> Result<Quantized, CudaError> {
        let out = self.ops.quantized_rows(x.n_rows(), x.width())?;
        self.ops.run(Op::Quantize { x, out: &out })?;
        Ok(out)
    }

    /// `out = x Wᵀ + bias + add`, with the adapters' changes. x: [n, n_in]; add and out: [n, n_out].
    pub(super) fn product(
        &self,
        layer: &Linear<Self>,
        x: &Input,
        adapters: &RowAdapters<'_, Self>,
        add: Option<&Rows>,
        out: &Rows,
    ) -> Result<(), CudaError> {
        if !is_changed(layer, adapters) {
            return self.multiply(x, &layer.weight.numbers, layer.bias.as_ref(), add, out);
        }
        let layout = adapters.layout(|rows| self.adapter_layout(rows))?;
        match updated_rows(layer, adapters, layout) {
            Some(updated) => self.continued_product(layer, x, (&updated, &layout.no_columns), add, out),
            None => rows_of(adapters).try_for_each(|(rows, adapter)| {
                let add = add.map(|add| add.slice(rows.clone()));
                let (x, out) = (x.slice(rows.clone()), out.slice(rows));
                self.product_of_one(layer, &x, layer.delta(adapter), add.as_ref(), &out)
            }),
        }
    }

    /// `out = x wᵀ + bias + add`.
    pub(super) fn multiply(
        &self,
        x: &Input,
        w: &Numbers,
        bias: Option<&Vector>,
        add: Option<&Rows>,
        out: &Rows,
    ) -> Result<(), CudaError> {
        match w {
            Numbers::Plain(w) => self.gemm(x.rows(), w, bias, add, out),
            Numbers::Quantized(w) => {
                let x = x.quantized.as_ref().expect("the input of quantized weights is quantized");
                self.ops.run(Op::ScaledGemm { x, w, bias, add, out })
            }
        }
    }

    fn gemm(&self, x: &Rows, w: &Rows, bias: Option<&Vector>, add: Option<&Rows>, out: &Rows) -> Result<(), CudaError> {
        self.ops.run(Op::Gemm { x, w, bias, add, out })
    }

    /// The product with updates in the spare columns of the weights, and of the rows if the weights are not quantized.
    fn continued_product(
        &self,
        layer: &Linear<Self>,
        x: &Input,
        (updated, no_columns): (&[UpdatedRows<'_>], &Indices),
        add: Option<&Rows>,
        out: &Rows,
    ) -> Result<(), CudaError> {
        let (weight, bias) = (&layer.weight, layer.bias.as_ref());
        let n_columns = updated.iter().map(|update| update.columns.end).max().unwrap_or(0);
        let spare = weight.spare.as_ref().expect("a layer's matrix has spare columns").columns(0..n_columns);
        // Another thread must not write other updates to these columns before the product has been started.
        let mut written = weight.written.lock().unwrap_or_else(PoisonError::into_inner);
        for UpdatedRows { columns, b, scale, .. } in updated {
            let columns = columns.start..columns.start + b.of_update().width();
            if !written.contains(&(columns.clone(), b.number)) {
                written.retain(|(other, _)| other.end <= columns.start || columns.end <= other.start);
                let to = spare.columns(columns.clone());
                self.ops.run(Op::Scale { x: b.of_update(), factor: *scale, out: &to })?;
                written.push((columns, b.number));
            }
        }
        match &weight.numbers {
            Numbers::Plain(w) => {
                let (x, w) = (self.with_spare(&x.rows, n_columns)?, Rows::side_by_side(&[w, &spare]));
                let [rows, low] = x.split([x.width() - n_columns, n_columns]);
                self.low_products(&rows, updated, no_columns, &low)?;
                self.gemm(&x, &w.expect("the spare columns follow the others"), bias, add, out)
            }
            Numbers::Quantized(_) => {
                let low = self.rows(x.rows().n_rows(), n_columns)?;
                self.low_products(x.rows(), updated, no_columns, &low)?;
                self.multiply(x, &weight.numbers, bias, add, out)?;
                self.gemm(&low, &spare, None, Some(out), out)
            }
        }
    }

    /// The rows with the first spare columns, in a copy if they have less.
    fn with_spare(&self, x: &Activations, n_columns: usize) -> Result<Rows, CudaError> {
        if let Some(x) = x.with_spare(n_columns) {
            return Ok(x);
        }
        let (n, n_in) = (x.rows().n_rows(), x.rows().width());
        let copy = self.rows(n, n_in + n_columns)?;
        self.ops.run(Op::Copy { x: x.rows(), out: &copy.columns(0..n_in) })?;
        Ok(copy)
    }

    /// The product with each adapter's first matrix, in the adapter's columns of its rows; zeros elsewhere. low: [n, n_columns].
    fn low_products(
        &self,
        x: &Rows,
        updated: &[UpdatedRows<'_>],
        no_columns: &Indices,
        low: &Rows,
    ) -> Result<(), CudaError> {
        let is_all_written = match updated {
            [only] => only.rows == (0..x.n_rows()) && only.columns.start == 0 && only.rank() == low.width(),
            _ => false,
        };
        if !is_all_written {
            self.ops.run(Op::KeepColumns { x: low, ranges: no_columns })?;
        }
        updated.iter().try_for_each(|update| {
            let first = update.columns.start;
            let to = low.slice(update.rows.clone()).columns(first..first + update.rank());
            self.gemm(&x.slice(update.rows.clone()), update.a.of_update(), None, None, &to)
        })
    }

    /// The product of rows with one adapter, with its update as a product of its own.
    fn product_of_one(
        &self,
        layer: &Linear<Self>,
        x: &Input,
        delta: Option<&Delta<Self>>,
        add: Option<&Rows>,
        out: &Rows,
    ) -> Result<(), CudaError> {
        let bias = delta.and_then(|delta| delta.bias.as_ref()).or(layer.bias.as_ref());
        let weight = match delta.map(|delta| &delta.weight) {
            Some(WeightDelta::Replaced(weight)) => weight,
            _ => &layer.weight,
        };
        self.multiply(x, &weight.numbers, bias, add, out)?;
        let Some(WeightDelta::LowRank { a, b, scale }) = delta.map(|delta| &delta.weight) else { return Ok(()) };
        let (a, b) = (a.of_update(), b.of_update());
        // Rows at multiples of 16 bytes, as those of the weights.
        let low = self.rows(x.rows().n_rows(), a.n_rows().next_multiple_of(8))?.columns(0..a.n_rows());
        self.gemm(x.rows(), a, None, None, &low)?;
        self.ops.run(Op::Scale { x: &low, factor: *scale as f32, out: &low })?;
        self.gemm(&low, b, None, Some(out), out)
    }

    fn adapter_layout(&self, adapters: &[AdapterRows<'_, Self>]) -> Result<AdapterLayout, CudaError> {
        let of_rows: Vec<Option<(u64, usize)>> =
            adapters.iter().map(|rows| rows.adapter.and_then(updates_of)).collect();
        let mut of_pass: Vec<(u64, usize)> = of_rows.iter().flatten().copied().collect();
        of_pass.sort_unstable();
        of_pass.dedup();
        let columns = self.slots.lock().unwrap_or_else(PoisonError::into_inner).of_pass(&of_pass);
        let columns_of = |adapter: &Option<(u64, usize)>| {
            let at = of_pass.iter().position(|one| Some(one) == adapter.as_ref())?;
            columns[at].clone()
        };
        let n_rows: usize = adapters.iter().map(|rows| rows.n_rows).sum();
        Ok(AdapterLayout {
            columns: of_rows.iter().map(columns_of).collect(),
            no_columns: self.ops.indices(&vec![0; 2 * n_rows])?,
        })
    }
}

/// Whether an adapter of these rows changes the layer.
pub(super) fn is_changed<O: Ops>(layer: &Linear<Cuda<O>>, adapters: &[AdapterRows<'_, Cuda<O>>]) -> bool {
    adapters.iter().any(|rows| rows.n_rows > 0 && layer.delta(rows.adapter).is_some())
}

/// An adapter's number, and its largest rank; `None` if it has no low-rank updates of linear layers.
fn updates_of<O: Ops>(adapter: &Adapter<Cuda<O>>) -> Option<(u64, usize)> {
    let update = |delta: &Delta<Cuda<O>>| match &delta.weight {
        WeightDelta::LowRank { a, .. } => Some((a.number, a.n_out())),
        WeightDelta::None | WeightDelta::Replaced(_) => None,
    };
    let updates = || adapter.deltas.iter().flatten().filter_map(update);
    Some((updates().next()?.0, updates().map(|(_, rank)| rank).max()?))
}

/// The ranges of rows with their adapters.
fn rows_of<'r, 'a, O: Ops>(
    adapters: &'r [AdapterRows<'a, Cuda<O>>],
) -> impl Iterator<Item = (Range<usize>, Option<&'a Adapter<Cuda<O>>>)> + 'r {
    let mut end = 0;
    adapters.iter().map(move |rows| {
        end += rows.n_rows;
        (end - rows.n_rows..end, rows.adapter)
    })
}

/// The rows with updates of a layer; `None` if an adapter changes the layer in another way, or has no columns.
fn updated_rows<'a, O: Ops>(
    layer: &Linear<Cuda<O>>,
    adapters: &[AdapterRows<'a, Cuda<O>>],
    layout: &AdapterLayout,
) -> Option<Vec<UpdatedRows<'a>>> {
    let mut updated = Vec::new();
    for ((rows, adapter), columns) in rows_of(adapters).zip(&layout.columns) {
        match layer.delta(adapter) {
            None => {}
            Some(Delta { weight: WeightDelta::LowRank { a, b, scale }, bias: None }) => {
                updated.push(UpdatedRows { rows, columns: columns.clone()?, a, b, scale: *scale as f32 })
            }
            Some(_) => return None,
        }
    }
    Some(updated)
}
