//! Gradients of linear layers, norms and activations, for training.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::attention::{first, transpose};
use crate::elementwise::sum;
use crate::isa::{Computation, dispatch};
use crate::linear::{BLOCK_ROWS_MAX, floats, written};
use crate::threads::{self, Disjoint};
use crate::tile::{COLUMNS_MAX, Kernel, VECTORS_MAX};
use crate::{Activation, Format, Isa, PackedMatrix};

/// The number of rows that a thread processes at a time.
const ROWS_PER_TASK: usize = 32;

impl PackedMatrix {
    /// The gradient of [`linear`](Self::linear)'s input: adds `scale * dy W` to `dx`.
    ///
    /// `dy` is `[n_rows, n_out]`, `dx` is `[n_rows, n_in]`. The weights are transposed panel by panel, so the matrix is
    /// held once for both directions.
    ///
    /// # Panics
    /// If the shapes disagree, or the matrix is in [`Format::Int8`].
    pub fn add_transposed(&self, dy: &[f32], scale: f32, dx: &mut [f32]) {
        assert_ne!(self.format(), Format::Int8, "integers have no gradient");
        assert!(dy.len().is_multiple_of(self.n_out), "{} values make no rows of {}", dy.len(), self.n_out);
        let n_rows = dy.len() / self.n_out;
        assert_eq!(Some(dx.len()), n_rows.checked_mul(self.n_in), "the gradient has the input's shape");
        let dx = &Disjoint::new(dx);
        let n_panels = self.n_in.div_ceil(VECTORS_MAX * self.isa.lanes());
        (0..n_panels).into_par_iter().for_each_init(TransposedScratch::default, |scratch, panel| {
            dispatch(self.isa, Transposed { matrix: self, dy, scale, panel, scratch, dx });
        });
    }
}

/// The gradient of a weight matrix: adds `scale * gᵀ x`, a sum over rows, to `to`.
///
/// `g` is `[n_rows, rank]`, `x` is `[n_rows, width]`, `to` is `[rank, width]`. It is meant for small ranks.
///
/// # Panics
/// If `rank` or `width` is zero, or the shapes disagree.
pub fn add_products((g, rank): (&[f32], usize), (x, width): (&[f32], usize), scale: f32, to: &mut [f32], isa: Isa) {
    assert!(rank > 0 && width > 0, "a matrix of {rank} by {width} has no weights");
    assert!(g.len().is_multiple_of(rank) && x.len().is_multiple_of(width), "whole rows");
    let n_rows = x.len() / width;
    assert_eq!(g.len() / rank, n_rows, "both have the same rows");
    assert_eq!(Some(to.len()), rank.checked_mul(width), "the gradient has the matrix's shape");
    if n_rows == 0 {
        return;
    }
    let mut transposed = vec![0.0; g.len()];
    for (row, g) in g.chunks_exact(rank).enumerate() {
        for (column, g) in g.iter().enumerate() {
            transposed[column * n_rows + row] = *g;
        }
    }
    let (g, to) = (&transposed[..], &Disjoint::new(to));
    let n_panels = width.div_ceil(VECTORS_MAX * isa.lanes());
    (0..n_panels).into_par_iter().for_each_init(Vec::new, |columns, panel| {
        dispatch(isa, Products { g, rank, x, width, n_rows, scale, panel, columns, to });
    });
}

/// The gradient of [`layer_norm`](crate::layer_norm)'s input, in place of that of its result.
///
/// With `n = (x - mean) / deviation` and `d = dy * weight`: `dx = (d - mean(d) - n mean(d n)) / deviation`.
///
/// `gradient` and `x` are `[n, width]`, `weight` is `[width]`.
///
/// # Panics
/// If `weight` is empty or the shapes disagree.
pub fn layer_norm_gradient(gradient: &mut [f32], x: &[f32], weight: &[f32], eps: f32, isa: Isa) {
    norm_gradient::<true>(gradient, x, weight, eps, isa);
}

/// The gradient of [`rms_norm`](crate::rms_norm)'s input, in place of that of its result.
///
/// With `n = x / rms` and `d = dy * weight`: `dx = (d - n mean(d n)) / rms`.
///
/// `gradient` and `x` are `[n, width]`, `weight` is `[width]`.
///
/// # Panics
/// If `weight` is empty or the shapes disagree.
pub fn rms_norm_gradient(gradient: &mut [f32], x: &[f32], weight: &[f32], eps: f32, isa: Isa) {
    norm_gradient::<false>(gradient, x, weight, eps, isa);
}

/// Multiplies each gradient by the derivative of an activation at the corresponding number.
///
/// # Panics
/// If the lengths disagree.
pub fn activation_gradient(gradient: &mut [f32], x: &[f32], activation: Activation, isa: Isa) {
    assert_eq!(gradient.len(), x.len(), "a gradient for each number");
    threads::for_each_rows(gradient, 1, 16 << 10, |first, gradient| {
        let x = &x[first..][..gradient.len()];
        dispatch(isa, ActivationGradient { gradient, x, activation });
    });
}

fn norm_gradient<const IS_CENTERED: bool>(gradient: &mut [f32], x: &[f32], weight: &[f32], eps: f32, isa: Isa) {
    let width = weight.len();
    assert!(width > 0, "the width is at least 1");
    assert!(gradient.len() == x.len() && x.len().is_multiple_of(width), "rows, gradients and weight are as wide");
    threads::for_each_rows(gradient, width, ROWS_PER_TASK, |first, gradient| {
        let x = &x[first * width..][..gradient.len()];
        dispatch(isa, NormGradient::<IS_CENTERED> { gradient, x, weight, eps });
    });
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

/// One panel of the transposed matrix, for all rows.
struct Transposed<'a> {
    matrix: &'a PackedMatrix,
    dy: &'a [f32],
    scale: f32,
    panel: usize,
    scratch: &'a mut TransposedScratch,
    dx: &'a Disjoint<'a, f32>,
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
        let Self { matrix, dy, scale, panel, scratch, dx } = self;
        let (n_out, n_in, width) = (matrix.n_out, matrix.n_in, V * K::LANES);
        let start = panel * VECTORS_MAX * K::LANES;
        let n_columns = (n_in - start).min(width);
        let weights = first(&mut scratch.weights, n_out.next_multiple_of(K::LANES) * width);
        for from in 0..matrix.n_panels() {
            let depth = matrix.panel_vectors(from) * K::LANES;
            let numbers = &matrix.float_panel(from, &mut scratch.widened)[start * depth..][..n_columns * depth];
            let to = &mut weights[from * VECTORS_MAX * K::LANES * width..][..depth * width];
            if n_columns == width {
                transpose::<K>(numbers, depth, to, width);
            } else {
                let padded = first(&mut scratch.padded, width * depth);
                padded[..numbers.len()].copy_from_slice(numbers);
                padded[numbers.len()..].fill(0.0);
                transpose::<K>(padded, depth, to, width);
            }
        }
        let weights = &weights[..n_out * width];
        for (block, dy) in dy.chunks(BLOCK_ROWS_MAX * n_out).enumerate() {
            let n = dy.len() / n_out;
            let mut sums = [MaybeUninit::uninit(); BLOCK_ROWS_MAX * COLUMNS_MAX];
            floats::<K, V>(dy, n_out, weights, &mut sums[..n * width]);
            // SAFETY: `floats` has written all of them.
            let sums = unsafe { written(&mut sums, n * width) };
            // SAFETY: each task has columns of its own.
            let to = unsafe { dx.rows(block * BLOCK_ROWS_MAX * n_in + start, n_in, n, n_columns) };
            for (to, sums) in to.zip(sums.chunks_exact(width)) {
                add_scaled(to, sums, scale);
            }
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
        let Self { g, rank, x, width, n_rows, scale, panel, columns, to } = self;
        let (start, panel_width) = (panel * VECTORS_MAX * K::LANES, V * K::LANES);
        let n_columns = (width - start).min(panel_width);
        columns.clear();
        columns.resize(n_rows * panel_width, 0.0);
        for (x, columns) in x.chunks_exact(width).zip(columns.chunks_exact_mut(panel_width)) {
            columns[..n_columns].copy_from_slice(&x[start..][..n_columns]);
        }
        for (block, g) in g.chunks(BLOCK_ROWS_MAX * n_rows).enumerate() {
            let n = g.len() / n_rows;
            let mut sums = [MaybeUninit::uninit(); BLOCK_ROWS_MAX * COLUMNS_MAX];
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

/// `to += scale * numbers`, until `to` ends.
#[inline(always)]
pub(crate) fn add_scaled(to: &mut [f32], numbers: &[f32], scale: f32) {
    for (to, number) in to.iter_mut().zip(numbers) {
        *to += scale * number;
    }
}

struct NormGradient<'a, const IS_CENTERED: bool> {
    gradient: &'a mut [f32],
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
}

impl<const IS_CENTERED: bool> Computation for NormGradient<'_, IS_CENTERED> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        let width = self.weight.len();
        let mut product = vec![0.0; width];
        for (row, x) in self.gradient.chunks_exact_mut(width).zip(self.x.chunks_exact(width)) {
            let mean = if IS_CENTERED { sum(x, |x| x) / width as f32 } else { 0.0 };
            let variance = sum(x, |x| (x - mean) * (x - mean)) / width as f32;
            let inverse = 1.0 / (variance + self.eps).sqrt();
            for ((d, w), (x, product)) in row.iter_mut().zip(self.weight).zip(x.iter().zip(&mut product)) {
                *d *= w;
                *product = *d * (x - mean);
            }
            let of_d = if IS_CENTERED { sum(row, |d| d) / width as f32 } else { 0.0 };
            let of_product = sum(&product, |p| p) / width as f32 * inverse * inverse;
            for (d, x) in row.iter_mut().zip(x) {
                *d = (*d - of_d - (x - mean) * of_product) * inverse;
            }
        }
    }
}

struct ActivationGradient<'a> {
    gradient: &'a mut [f32],
    x: &'a [f32],
    activation: Activation,
}

impl Computation for ActivationGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        self.activation.apply_derivative::<K>(self.gradient, self.x);
    }
}
