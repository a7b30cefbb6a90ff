//! Input rows of linear layers, in the form that the weights require.

use std::ops::Range;

use crate::isa::{Computation, dispatch};
use crate::packed::{padded_depth, round_to_bf16};
use crate::threads::{self, Disjoint};
use crate::tile::Kernel;
use crate::{Format, Isa};

/// Rows of activations, `[n_rows, width]`, prepared once for all linear layers that read them.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    pub(crate) rows: &'a [f32],
    pub(crate) width: usize,
    pub(crate) form: Form,
}

#[derive(Debug, Clone)]
pub(crate) enum Form {
    /// Unchanged f32 rows.
    F32,
    /// Rows in bf16, `stride` apart.
    Bf16 { values: Vec<u16>, stride: usize },
    /// Rows of integers `q` up to 255, `stride` apart; each represents `q * scale + minimum` of its row.
    Int8 { values: Vec<u8>, stride: usize, scales: Vec<f32>, minima: Vec<f32> },
}

/// The number of rows that a thread prepares at a time.
const ROWS_PER_TASK: usize = 32;

impl<'a> Input<'a> {
    /// Prepares rows of `width` for weights in `format`, packed for `isa`.
    ///
    /// # Panics
    /// If `width` is zero or `rows` is not a whole number of rows.
    pub fn new(rows: &'a [f32], width: usize, format: Format, isa: Isa) -> Self {
        let plain = Self::plain(rows, width);
        let form = match format {
            Format::Int8 => quantise(rows, width, isa),
            Format::Bf16 if isa.has_bf16_products() => narrow(rows, width),
            Format::F32 | Format::Bf16 => Form::F32,
        };
        Self { form, ..plain }
    }

    /// Unprepared rows of `width`, for float matrices of every instruction set.
    ///
    /// # Panics
    /// If `width` is zero or `rows` is not a whole number of rows.
    pub fn plain(rows: &'a [f32], width: usize) -> Self {
        assert!(width > 0 && rows.len().is_multiple_of(width), "{} values make no rows of {width}", rows.len());
        Self { rows, width, form: Form::F32 }
    }

    /// A range of the rows, prepared in the same way.
    ///
    /// # Panics
    /// If the range is reversed or ends past the last row.
    pub fn rows(&self, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.n_rows(), "{rows:?} are no rows of {}", self.n_rows());
        let form = match &self.form {
            Form::F32 => Form::F32,
            Form::Bf16 { values, stride } => {
                Form::Bf16 { values: values[rows.start * stride..rows.end * stride].to_vec(), stride: *stride }
            }
            Form::Int8 { values, stride, scales, minima } => Form::Int8 {
                values: values[rows.start * stride..rows.end * stride].to_vec(),
                stride: *stride,
                scales: scales[rows.clone()].to_vec(),
                minima: minima[rows.clone()].to_vec(),
            },
        };
        Self { rows: &self.rows[rows.start * self.width..rows.end * self.width], width: self.width, form }
    }

    /// The number of rows.
    pub fn n_rows(&self) -> usize {
        self.rows.len() / self.width
    }
}

fn narrow(rows: &[f32], width: usize) -> Form {
    let stride = padded_depth(Format::Bf16, width);
    let mut values = vec![0; rows.len() / width * stride];
    threads::for_each_rows(&mut values, stride, ROWS_PER_TASK, |first, values| {
        for (row, values) in rows[first * width..].chunks(width).zip(values.chunks_mut(stride)) {
            for (value, x) in values.iter_mut().zip(row) {
                *value = round_to_bf16(*x);
            }
        }
    });
    Form::Bf16 { values, stride }
}

fn quantise(rows: &[f32], width: usize, isa: Isa) -> Form {
    let stride = padded_depth(Format::Int8, width);
    let n_rows = rows.len() / width;
    let (mut scales, mut minima) = (vec![0.0; n_rows], vec![0.0; n_rows]);
    let mut values = vec![0; n_rows * stride];
    let (scales_out, minima_out) = (Disjoint::new(&mut scales), Disjoint::new(&mut minima));
    threads::for_each_rows(&mut values, stride, ROWS_PER_TASK, |first, values| {
        let n = values.len() / stride;
        // SAFETY: `for_each_rows` gives each task rows of its own, so it alone has the scales and minima of these.
        let (scales, minima) = unsafe { (scales_out.slice(first, n), minima_out.slice(first, n)) };
        dispatch(isa, Quantise { rows: &rows[first * width..][..n * width], width, values, stride, scales, minima });
    });
    Form::Int8 { values, stride, scales, minima }
}

struct Quantise<'a> {
    rows: &'a [f32],
    width: usize,
    values: &'a mut [u8],
    stride: usize,
    scales: &'a mut [f32],
    minima: &'a mut [f32],
}

impl Computation for Quantise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        let rows = self.rows.chunks_exact(self.width).zip(self.values.chunks_exact_mut(self.stride));
        for (n, (row, values)) in rows.enumerate() {
            // SAFETY: `dispatch` runs this where the instructions are.
            let (low, high, poison) = unsafe { K::range(row) };
            // Comparisons ignore NaN; this propagates it to the row's results.
            let range = high - low + poison;
            let factor = int8_factor(range);
            // SAFETY: as above.
            unsafe { K::quantise(row, low, factor, &mut values[..row.len()]) };
            (self.scales[n], self.minima[n]) = (range / 255.0, low);
        }
    }
}

/// The factor that scales a row to 0 to 255; zero if that is not finite, for a range of zero or below 1e-36. An
/// infinite factor would produce infinities and NaN, which instruction sets convert differently.
#[inline(always)]
fn int8_factor(range: f32) -> f32 {
    let factor = 255.0 / range;
    if factor.is_finite() { factor } else { 0.0 }
}
