//! Linear layers with the low-rank updates of any number of adapters in one product.
//!
//! `x Wᵀ + s (x Aᵀ) Bᵀ` is the product of `[x, x Aᵀ]` and `[W, s B]`: rows have spare columns for `x Aᵀ`, and matrices for `s B`. Each
//! adapter has columns of its own, and a row has zeros in those of other adapters.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lorank_cuda::{CudaError, Indices, Op, Ops, Rows, Vector};

use super::Cuda;
use super::activations::Activations;
use super::slots::SPARE_COLUMNS;
use crate::backend::linear::{Adapter, AdapterRows, Delta, Linear, RowAdapters, WeightDelta};

/// The weights of a linear layer.
#[derive(Debug)]
pub(crate) struct Matrix {
    /// No other matrix of this process has it.
    number: u64,
    /// [n_out, n_in]
    pub(super) rows: Rows,
    /// [n_out, n_in + `SPARE_COLUMNS`]; `None` for the matrices of updates.
    whole: Option<Rows>,
    /// The ranges of spare columns that have been written, and the numbers of the matrices in them.
    written: Mutex<Vec<(Range<usize>, u64)>>,
    /// Counts the matrices of updates, if this is one.
    _update: Option<Arc<()>>,
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

impl Matrix {
    /// A matrix of undefined numbers, with spare columns of zeros, or, given the counter of updates, without any.
    pub(super) fn new<O: Ops>(
        ops: &O,
        [n_out, n_in]: [usize; 2],
        format: lorank_cuda::Format,
        update: Option<Arc<()>>,
    ) -> Result<Self, CudaError> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let n_spare = if update.is_some() { 0 } else { SPARE_COLUMNS };
        let whole = ops.weights([n_out, n_in + n_spare], format)?;
        if n_spare > 0 {
            ops.write(&whole.columns(n_in..n_in + n_spare), &vec![0.0; n_out * n_spare])?;
        }
        Ok(Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            rows: whole.columns(0..n_in),
            whole: update.is_none().then_some(whole),
            written: Mutex::default(),
            _update: update,
        })
    }

    pub(super) fn n_bytes(&self) -> usize {
        self.whole.as_ref().unwrap_or(&self.rows).n_bytes()
    }
}

impl<O: Ops> Cuda<O> {
    /// `out = x Wᵀ + bias + add`, with the adapters' changes. x: [n, n_in]; add and out: [n, n_out].
    pub(super) fn product(
        &self,
        layer: &Linear<Self>,
        x: &Activations,
        adapters: &RowAdapters<'_, Self>,
        add: Option<&Rows>,
        out: &Rows,
    ) -> Result<(), CudaError> {
        if !is_changed(layer, adapters) {
            return self.gemm(x.rows(), &layer.weight.rows, layer.bias.as_ref(), add, out);
        }
        let layout = adapters.layout(|rows| self.adapter_layout(rows))?;
        match updated_rows(layer, adapters, layout) {
            Some(updated) => self.continued_product(layer, x, (&updated, &layout.no_columns), add, out),
            None => rows_of(adapters).try_for_each(|(rows, adapter)| {
                let add = add.map(|add| add.slice(rows.clone()));
                let (x, out) = (x.rows().slice(rows.clone()), out.slice(rows));
                self.product_of_one(layer, &x, layer.delta(adapter), add.as_ref(), &out)
            }),
        }
    }

    fn gemm(&self, x: &Rows, w: &Rows, bias: Option<&Vector>, add: Option<&Rows>, out: &Rows) -> Result<(), CudaError> {
        self.ops.run(Op::Gemm { x, w, bias, add, out })
    }

    /// The product with updates in the spare columns of rows and weights.
    fn continued_product(
        &self,
        layer: &Linear<Self>,
        x: &Activations,
        (updated, no_columns): (&[UpdatedRows<'_>], &Indices),
        add: Option<&Rows>,
        out: &Rows,
    ) -> Result<(), CudaError> {
        let (n, n_in) = (x.rows().n_rows(), x.rows().width());
        let n_columns = updated.iter().map(|update| update.columns.end).max().unwrap_or(0);
        let x = match x.with_spare(n_columns) {
            Some(x) => x,
            None => {
                let copy = self.ops.rows(n, n_in + n_columns, self.format)?;
                self.ops.run(Op::Copy { x: x.rows(), out: &copy.columns(0..n_in) })?;
                copy
            }
        };
        let whole = layer.weight.whole.as_ref().expect("a layer's matrix has spare columns");
        // Another thread must not write other updates to these columns before the product has been started.
        let mut written = layer.weight.written.lock().unwrap_or_else(PoisonError::into_inner);
        for UpdatedRows { columns, b, scale, .. } in updated {
            let columns = columns.start..columns.start + b.rows.width();
            if !written.contains(&(columns.clone(), b.number)) {
                written.retain(|(other, _)| other.end <= columns.start || columns.end <= other.start);
                let to = whole.columns(n_in + columns.start..n_in + columns.end);
                self.ops.run(Op::Scale { x: &b.rows, factor: *scale, out: &to })?;
                written.push((columns, b.number));
            }
        }
        let is_all_written = match updated {
            [only] => only.rows == (0..n) && only.columns.start == 0 && only.a.rows.n_rows() == n_columns,
            _ => false,
        };
        if !is_all_written {
            self.ops.run(Op::KeepColumns { x: &x.columns(n_in..n_in + n_columns), ranges: no_columns })?;
        }
        for UpdatedRows { rows, columns, a, .. } in updated {
            let first = n_in + columns.start;
            let x = x.slice(rows.clone());
            let to = x.columns(first..first + a.rows.n_rows());
            self.gemm(&x.columns(0..n_in), &a.rows, None, None, &to)?;
        }
        self.gemm(&x, &whole.columns(0..n_in + n_columns), layer.bias.as_ref(), add, out)
    }

    /// The product of rows with one adapter, with its update as a product of its own.
    fn product_of_one(
        &self,
        layer: &Linear<Self>,
        x: &Rows,
        delta: Option<&Delta<Self>>,
        add: Option<&Rows>,
        out: &Rows,
    ) -> Result<(), CudaError> {
        let bias = delta.and_then(|delta| delta.bias.as_ref()).or(layer.bias.as_ref());
        let weight = match delta.map(|delta| &delta.weight) {
            Some(WeightDelta::Replaced(weight)) => weight,
            _ => &layer.weight,
        };
        self.gemm(x, &weight.rows, bias, add, out)?;
        let Some(WeightDelta::LowRank { a, b, scale }) = delta.map(|delta| &delta.weight) else { return Ok(()) };
        let rank = a.rows.n_rows();
        // Rows at multiples of 16 bytes, as those of the weights.
        let low = self.ops.rows(x.n_rows(), rank.next_multiple_of(8), self.format)?.columns(0..rank);
        self.gemm(x, &a.rows, None, None, &low)?;
        self.ops.run(Op::Scale { x: &low, factor: *scale as f32, out: &low })?;
        self.gemm(&low, &b.rows, None, Some(out), out)
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
        WeightDelta::LowRank { a, .. } => Some((a.number, a.rows.n_rows())),
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
