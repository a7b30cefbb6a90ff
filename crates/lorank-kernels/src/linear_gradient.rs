//! Gradients of linear layers and of low-rank updates, for training.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::attention::{first, transpose};
use crate::dropout::Dropout;
use crate::elementwise::copy;
use crate::gradient::add_scaled;
use crate::isa::{Computation, dispatch};
use crate::linear::{BlockSums, floats, written};
use crate::recycled::{recycle, zeros};
use crate::threads::{self, Disjoint};
use crate::tile::{BLOCK_ROWS_MAX, COLUMNS_MAX, Kernel, VECTORS_MAX};
use crate::{Epilogue, Input, Isa, PackedMatrix, Segment};

/// A low-rank update's part in the gradient of a linear layer's input.
#[derive(Debug, Clone, Copy)]
pub struct InputUpdate<'a> {
    /// The gradient of the update's first product: `[n_rows, rank]`.
    pub low: &'a [f32],
    /// The update's first matrix: `[rank, n_in]`.
    pub a: &'a PackedMatrix,
    /// What the first product dropped of its input.
    pub dropout: Option<Dropout>,
}

impl PackedMatrix {
    /// The first product of a low-rank update, `x Wᵀ`, after dropout of its input: `[n_rows, n_out]`.
    ///
    /// # Panics
    /// If `x` is not a whole number of rows, or the matrix has integers.
    pub fn linear_after(&self, x: &[f32], dropout: Option<Dropout>) -> Vec<f32> {
        let Some(dropout) = dropout else {
            let x = Input::plain(x, self.n_in);
            return self.linear(&x, &[Segment::plain(x.n_rows())], &Epilogue::default());
        };
        assert!(self.is_float(), "integers have no gradient");
        assert!(x.len().is_multiple_of(self.n_in), "{} values make no rows of {}", x.len(), self.n_in);
        let n_blocks = (x.len() / self.n_in).div_ceil(BLOCK_ROWS_MAX);
        let len = (x.len() / self.n_in).checked_mul(self.n_out).expect("the result fits into memory");
        let run = |out: &Disjoint<'_, MaybeUninit<f32>>| {
            (0..n_blocks).into_par_iter().for_each_init(Scratch::default, |scratch, block| {
                dispatch(self.isa, AfterDropout { matrix: self, x, dropout, block, scratch, out });
            });
        };
        // SAFETY: the blocks cover the rows, and each task writes all columns of its rows.
        unsafe { threads::filled(len, run) }
    }

    /// The gradient of [`linear`](Self::linear)'s input, `scale * dy W`, added to `dx` if there is one.
    ///
    /// `dy` is `[n_rows, n_out]`, `dx` and the result are `[n_rows, n_in]`. The weights are transposed panel by panel, so the
    /// matrix is held once for both directions.
    ///
    /// # Panics
    /// If the shapes disagree, or the matrix has integers.
    pub fn transposed(&self, dy: &[f32], scale: f32, dx: Option<Vec<f32>>) -> Vec<f32> {
        self.gradient(dy, scale, None, dx)
    }

    /// The gradient of [`linear_updated`](Self::linear_updated)'s input: `dy W` plus `low a`, the latter after dropout, added to
    /// `dx` if there is one.
    ///
    /// # Panics
    /// As [`transposed`](Self::transposed), and if the update does not fit.
    pub fn updated_transposed(&self, dy: &[f32], update: &InputUpdate<'_>, dx: Option<Vec<f32>>) -> Vec<f32> {
        self.gradient(dy, 1.0, Some(update), dx)
    }

    fn gradient(&self, dy: &[f32], scale: f32, update: Option<&InputUpdate<'_>>, dx: Option<Vec<f32>>) -> Vec<f32> {
        assert!(self.is_float(), "integers have no gradient");
        assert!(dy.len().is_multiple_of(self.n_out), "{} values make no rows of {}", dy.len(), self.n_out);
        let n_rows = dy.len() / self.n_out;
        let len = n_rows.checked_mul(self.n_in).expect("the gradient fits into memory");
        if let Some(InputUpdate { low, a, .. }) = update {
            assert_eq!((a.n_in, a.isa), (self.n_in, self.isa), "the update has the matrix's shape and instruction set");
            assert_eq!(Some(low.len()), n_rows.checked_mul(a.n_out), "the update has the same rows");
            assert!(a.is_float(), "integers have no gradient");
        }
        let run = |dx: Gradient<'_>| {
            let n_panels = self.n_in.div_ceil(VECTORS_MAX * self.isa.lanes());
            (0..n_panels).into_par_iter().for_each_init(Default::default, |scratch, panel| {
                dispatch(self.isa, Transposed { matrix: self, dy, scale, update, panel, scratch, dx: &dx });
            });
        };
        let Some(mut dx) = dx else {
            // SAFETY: the panels cover the columns, and each task writes all rows of its columns.
            return unsafe { threads::filled(len, |dx| run(Gradient::New(dx))) };
        };
        assert_eq!(dx.len(), len, "the gradient has the input's shape");
        run(Gradient::Sum(Disjoint::new(&mut dx)));
        dx
    }
}

/// Where the gradient of an input goes.
enum Gradient<'a> {
    /// It is written.
    New(&'a Disjoint<'a, MaybeUninit<f32>>),
    /// It is added to what is there.
    Sum(Disjoint<'a, f32>),
}

impl Gradient<'_> {
    /// Puts rows of `width` numbers, of which the first `n_columns` count, at the rows of `n_in` from `start`.
    ///
    /// # Safety
    /// No other reference to these elements exists.
    #[inline(always)]
    unsafe fn put(&self, (start, n_in, n_columns): (usize, usize, usize), numbers: &[f32], width: usize) {
        let n = numbers.len() / width;
        match self {
            Self::New(to) => {
                // SAFETY: as the caller guarantees.
                let to = unsafe { to.rows(start, n_in, n, n_columns) };
                for (to, numbers) in to.zip(numbers.chunks_exact(width)) {
                    initialize(numbers, to);
                }
            }
            Self::Sum(to) => {
                // SAFETY: as the caller guarantees.
                let to = unsafe { to.rows(start, n_in, n, n_columns) };
                for (to, numbers) in to.zip(numbers.chunks_exact(width)) {
                    add_scaled(to, numbers, 1.0);
                }
            }
        }
    }
}

/// The gradient of a weight matrix: adds `scale * gᵀ x`, a sum over rows, to `to`.
///
/// `g` is `[n_rows, rank]`, `x` is `[n_rows, width]`, `to` is `[rank, width]`. It is meant for small ranks. `dropout` is what
/// the product with the matrix dropped of `x`.
///
/// # Panics
/// If `rank` or `width` is zero, or the shapes disagree.
pub fn add_products(
    (g, rank): (&[f32], usize),
    (x, width): (&[f32], usize),
    dropout: Option<Dropout>,
    scale: f32,
    to: &mut [f32],
    isa: Isa,
) {
    assert!(rank > 0 && width > 0, "a matrix of {rank} by {width} has no weights");
    assert!(g.len().is_multiple_of(rank) && x.len().is_multiple_of(width), "whole rows");
    let n_rows = x.len() / width;
    assert_eq!(g.len() / rank, n_rows, "both have the same rows");
    assert_eq!(Some(to.len()), rank.checked_mul(width), "the gradient has the matrix's shape");
    if n_rows == 0 {
        return;
    }
    let mut transposed = zeros(g.len());
    for (row, g) in g.chunks_exact(rank).enumerate() {
        for (column, g) in g.iter().enumerate() {
            transposed[column * n_rows + row] = *g;
        }
    }
    let (g, to) = (&transposed[..], &Disjoint::new(to));
    let n_panels = width.div_ceil(VECTORS_MAX * isa.lanes());
    (0..n_panels).into_par_iter().for_each_init(Vec::new, |columns, panel| {
        dispatch(isa, Products { g, rank, x, width, n_rows, dropout, scale, panel, columns, to });
    });
    recycle(transposed);
}

/// Buffers that are reused from task to task.
#[derive(Default)]
struct Scratch {
    /// Rows after dropout.
    rows: Vec<f32>,
    widened: Vec<f32>,
}

/// A block of rows of a product after dropout.
struct AfterDropout<'a> {
    matrix: &'a PackedMatrix,
    x: &'a [f32],
    dropout: Dropout,
    block: usize,
    scratch: &'a mut Scratch,
    out: &'a Disjoint<'a, MaybeUninit<f32>>,
}

impl Computation for AfterDropout<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        let Self { matrix, x, dropout, block, scratch, out } = self;
        let width = matrix.n_in;
        let start = block * BLOCK_ROWS_MAX;
        let x = &x[start * width..x.len().min((start + BLOCK_ROWS_MAX) * width)];
        let rows = first(&mut scratch.rows, x.len());
        for (n, (x, row)) in x.chunks_exact(width).zip(rows.chunks_exact_mut(width)).enumerate() {
            dropout.copy((start + n, width), 0, x, row);
        }
        for panel in 0..matrix.n_panels() {
            let weights = matrix.float_panel(panel, &mut scratch.widened);
            match matrix.panel_vectors(panel) {
                1 => store_product::<K, 1>(matrix, rows, weights, (start, panel), out),
                _ => store_product::<K, 2>(matrix, rows, weights, (start, panel), out),
            }
        }
    }
}

/// Writes the product of rows, the first of which has the number `start`, and the weights of a panel.
#[inline(always)]
fn store_product<K: Kernel, const V: usize>(
    matrix: &PackedMatrix,
    rows: &[f32],
    weights: &[f32],
    (start, panel): (usize, usize),
    out: &Disjoint<'_, MaybeUninit<f32>>,
) {
    let (n, width) = (rows.len() / matrix.n_in, V * K::LANES);
    let mut sums = BlockSums::new();
    floats::<K, V>(rows, matrix.n_in, weights, &mut sums[..n * width]);
    // SAFETY: `floats` has written all of them.
    let sums = unsafe { written(&mut sums, n * width) };
    let column = panel * VECTORS_MAX * K::LANES;
    let n_columns = (matrix.n_out - column).min(width);
    // SAFETY: each task has rows of its own.
    let out = unsafe { out.rows(start * matrix.n_out + column, matrix.n_out, n, n_columns) };
    for (out, sums) in out.zip(sums.chunks_exact(width)) {
        initialize(sums, out);
    }
}

/// Buffers that are reused from panel to panel.
#[derive(Default)]
struct TransposedScratch {
    /// The panel of the transposed matrix: `[n_out, columns]`.
    weights: Vec<f32>,
    widened: Vec<f32>,
    /// Rows that the last panel lacks, as zeros.
    padded: Vec<f32>,
}

impl TransposedScratch {
    /// The columns of a matrix from `start`, `[n_out, V * LANES]`, with zeros after the last one.
    #[inline(always)]
    fn transposed<K: Kernel, const V: usize>(&mut self, matrix: &PackedMatrix, start: usize) -> &[f32] {
        let width = V * K::LANES;
        let n_columns = (matrix.n_in - start).min(width);
        let weights = first(&mut self.weights, matrix.n_out.next_multiple_of(K::LANES) * width);
        for from in 0..matrix.n_panels() {
            let depth = matrix.panel_vectors(from) * K::LANES;
            let numbers = &matrix.float_panel(from, &mut self.widened)[start * depth..][..n_columns * depth];
            let to = &mut weights[from * VECTORS_MAX * K::LANES * width..][..depth * width];
            if n_columns == width {
                transpose::<K>(numbers, depth, to, width);
            } else {
                let padded = first(&mut self.padded, width * depth);
                padded[..numbers.len()].copy_from_slice(numbers);
                padded[numbers.len()..].fill(0.0);
                transpose::<K>(padded, depth, to, width);
            }
        }
        &weights[..matrix.n_out * width]
    }
}

/// One panel of the transposed matrix, for all rows.
struct Transposed<'a> {
    matrix: &'a PackedMatrix,
    dy: &'a [f32],
    scale: f32,
    update: Option<&'a InputUpdate<'a>>,
    panel: usize,
    /// For the matrix, and for the update.
    scratch: &'a mut [TransposedScratch; 2],
    dx: &'a Gradient<'a>,
}

impl Computation for Transposed<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        match (self.matrix.n_in - self.panel * VECTORS_MAX * K::LANES).div_ceil(K::LANES) {
            1 => self.columns::<K, 1>(),
            _ => self.columns::<K, 2>(),
        }
    }
}

impl Transposed<'_> {
    #[inline(always)]
    fn columns<K: Kernel, const V: usize>(self) {
        let Self { matrix, dy, scale, update, panel, scratch: [scratch, of_update], dx } = self;
        let (n_out, n_in, width) = (matrix.n_out, matrix.n_in, V * K::LANES);
        let start = panel * VECTORS_MAX * K::LANES;
        let n_columns = (n_in - start).min(width);
        let weights = scratch.transposed::<K, V>(matrix, start);
        let update = update.map(|update| (update, of_update.transposed::<K, V>(update.a, start)));
        for (block, dy) in dy.chunks(BLOCK_ROWS_MAX * n_out).enumerate() {
            let (n, first_row) = (dy.len() / n_out, block * BLOCK_ROWS_MAX);
            let mut sums = BlockSums::new();
            floats::<K, V>(dy, n_out, weights, &mut sums[..n * width]);
            // SAFETY: `floats` has written all of them.
            let sums = unsafe { written(&mut sums, n * width) };
            if scale != 1.0 {
                for sum in sums.iter_mut() {
                    *sum *= scale;
                }
            }
            if let Some((InputUpdate { low, a, dropout }, weights)) = update {
                let low = &low[first_row * a.n_out..][..n * a.n_out];
                let mut terms = BlockSums::new();
                floats::<K, V>(low, a.n_out, weights, &mut terms[..n * width]);
                // SAFETY: `floats` has written all of them.
                let terms = unsafe { written(&mut terms, n * width) };
                let mut kept = [0.0; COLUMNS_MAX];
                let both = sums.chunks_exact_mut(width).zip(terms.chunks_exact(width));
                for (row, (sums, terms)) in both.enumerate() {
                    if let Some(dropout) = dropout {
                        dropout.copy((first_row + row, n_in), start, terms, &mut kept[..width]);
                        add_scaled(sums, &kept[..width], 1.0);
                    } else {
                        add_scaled(sums, terms, 1.0);
                    }
                }
            }
            // SAFETY: each task has columns of its own.
            unsafe { dx.put((first_row * n_in + start, n_in, n_columns), sums, width) };
        }
    }
}

/// One panel of columns of a sum over rows.
struct Products<'a> {
    /// `[rank, n_rows]`
    g: &'a [f32],
    rank: usize,
    x: &'a [f32],
    width: usize,
    n_rows: usize,
    dropout: Option<Dropout>,
    scale: f32,
    panel: usize,
    columns: &'a mut Vec<f32>,
    to: &'a Disjoint<'a, f32>,
}

impl Computation for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        match (self.width - self.panel * VECTORS_MAX * K::LANES).div_ceil(K::LANES) {
            1 => self.columns::<K, 1>(),
            _ => self.columns::<K, 2>(),
        }
    }
}

impl Products<'_> {
    #[inline(always)]
    fn columns<K: Kernel, const V: usize>(self) {
        let Self { g, rank, x, width, n_rows, dropout, scale, panel, columns, to } = self;
        let (start, panel_width) = (panel * VECTORS_MAX * K::LANES, V * K::LANES);
        let n_columns = (width - start).min(panel_width);
        let columns = first(columns, n_rows * panel_width);
        for (row, (x, columns)) in x.chunks_exact(width).zip(columns.chunks_exact_mut(panel_width)).enumerate() {
            let (own, padding) = columns.split_at_mut(n_columns);
            match dropout {
                Some(dropout) => dropout.copy((row, width), start, &x[start..][..n_columns], own),
                None => copy(&x[start..], own),
            }
            padding.fill(0.0);
        }
        for (block, g) in g.chunks(BLOCK_ROWS_MAX * n_rows).enumerate() {
            let n = g.len() / n_rows;
            let mut sums = BlockSums::new();
            floats::<K, V>(g, n_rows, columns, &mut sums[..n * panel_width]);
            // SAFETY: `floats` has written all of them.
            let sums = unsafe { written(&mut sums, n * panel_width) };
            debug_assert!(block * BLOCK_ROWS_MAX + n <= rank);
            // SAFETY: each task has columns of its own.
            let to = unsafe { to.rows(block * BLOCK_ROWS_MAX * width + start, width, n, n_columns) };
            for (to, sums) in to.zip(sums.chunks_exact(panel_width)) {
                add_scaled(to, sums, scale);
            }
        }
    }
}

/// Copies numbers into uninitialized memory until it is full.
///
/// # Panics
/// If there are not enough numbers to initialize all elements.
#[inline(always)]
fn initialize(numbers: &[f32], to: &mut [MaybeUninit<f32>]) {
    let numbers = &numbers[..to.len()];
    for (to, number) in to.iter_mut().zip(numbers) {
        to.write(*number);
    }
}
