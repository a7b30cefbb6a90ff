//! Input rows of linear layers, in the form that the weights require.

use std::ops::Range;
use std::sync::OnceLock;

use crate::aligned::{Aligned, Number};
use crate::groups::{GROUP, group_of};
use crate::isa::{Computation, dispatch};
use crate::packed::round_to_bf16;
use crate::threads::{self, Disjoint};
use crate::tile::{Kernel, ROWS_STEP, row_distance};
use crate::{Format, Isa};

/// Rows of activations, `[n_rows, width]`, prepared once for all linear layers that read them.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    pub(crate) rows: &'a [f32],
    pub(crate) width: usize,
    form: Form,
    /// The rows in bf16 for updates, if they have some and the rows are in another form.
    bf16: OnceLock<Form>,
}

#[derive(Debug, Clone)]
pub(crate) enum Form {
    /// Unchanged f32 rows.
    F32,
    /// Rows in bf16, `stride` apart, padded with zeros, with [`room`] after the last one.
    Bf16 { values: Aligned<u16>, stride: usize },
    /// Rows of integers `q` up to 255, `stride` apart, padded with zeros, with [`room`] after the last one; each represents
    /// `q * scale + minimum` of its row.
    Int8 { values: Aligned<u8>, stride: usize, scales: Vec<f32>, minima: Vec<f32> },
    /// Rotated rows of integers in groups, `stride` apart, with [`room`] after the last one; each represents
    /// `(q - 128) * scale` of its row and group.
    Int8Groups {
        values: Aligned<u8>,
        stride: usize,
        /// `[n_rows, n_groups]`
        scales: Vec<f32>,
    },
}

impl Form {
    /// A copy of a range of the rows of `width`.
    fn rows(&self, rows: &Range<usize>, width: usize) -> Self {
        match self {
            Self::F32 => Self::F32,
            Self::Bf16 { values, stride } => {
                let values = with_room(&values[rows.start * stride..rows.end * stride], *stride);
                Self::Bf16 { values, stride: *stride }
            }
            Self::Int8 { values, stride, scales, minima } => Self::Int8 {
                values: with_room(&values[rows.start * stride..rows.end * stride], *stride),
                stride: *stride,
                scales: scales[rows.clone()].to_vec(),
                minima: minima[rows.clone()].to_vec(),
            },
            Self::Int8Groups { values, stride, scales } => {
                let n_groups = width.div_ceil(GROUP);
                let values = with_room(&values[rows.start * stride..rows.end * stride], *stride);
                let scales = scales[rows.start * n_groups..rows.end * n_groups].to_vec();
                Self::Int8Groups { values, stride: *stride, scales }
            }
        }
    }

    /// Rows of `width` in bf16.
    pub(crate) fn bf16(rows: &[f32], width: usize, isa: Isa) -> Self {
        let stride = row_distance(2 * width) / 2;
        let n_rows = rows.len() / width;
        let mut values = room(n_rows, stride);
        threads::for_each_rows(&mut values[..n_rows * stride], stride, ROWS_PER_TASK, |first, values| {
            dispatch(isa, Narrow { rows: &rows[first * width..], width, values, stride });
        });
        Self::Bf16 { values, stride }
    }
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
            Format::Int8Groups => quantise_groups(rows, width, isa),
            Format::Bf16 if isa.has_bf16_products() => Form::bf16(rows, width, isa),
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
        Self { rows, width, form: Form::F32, bf16: OnceLock::new() }
    }

    /// The form for weights in `format`.
    pub(crate) fn form(&self, format: Format) -> &Form {
        match self.bf16.get() {
            Some(bf16) if format == Format::Bf16 => bf16,
            _ => &self.form,
        }
    }

    /// Prepares the rows in bf16 too, for weights in that format.
    pub(crate) fn add_bf16(&self, isa: Isa) {
        if !matches!(self.form, Form::Bf16 { .. }) {
            self.bf16.get_or_init(|| Form::bf16(self.rows, self.width, isa));
        }
    }

    /// A range of the rows, prepared in the same way.
    ///
    /// # Panics
    /// If the range is reversed or ends past the last row.
    pub fn rows(&self, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.n_rows(), "{rows:?} are no rows of {}", self.n_rows());
        let bf16 = self.bf16.get().map_or_else(OnceLock::new, |form| form.rows(&rows, self.width).into());
        let numbers = &self.rows[rows.start * self.width..rows.end * self.width];
        Self { rows: numbers, width: self.width, form: self.form.rows(&rows, self.width), bf16 }
    }

    /// The number of rows.
    pub fn n_rows(&self) -> usize {
        self.rows.len() / self.width
    }
}

/// Room for prepared rows, so that [`ROWS_STEP`] rows can be read from any of them.
fn room<T: Number>(n_rows: usize, stride: usize) -> Aligned<T> {
    let n_rows = n_rows.checked_add(ROWS_STEP - 1).expect("the rows fit into memory");
    Aligned::zeros(n_rows.checked_mul(stride).expect("the rows fit into memory"))
}

/// A copy of prepared rows with [`room`] after them.
fn with_room<T: Number>(rows: &[T], stride: usize) -> Aligned<T> {
    let mut values = room(rows.len() / stride, stride);
    values[..rows.len()].copy_from_slice(rows);
    values
}

struct Narrow<'a> {
    rows: &'a [f32],
    width: usize,
    values: &'a mut [u16],
    stride: usize,
}

impl Computation for Narrow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        for (row, values) in self.rows.chunks_exact(self.width).zip(self.values.chunks_exact_mut(self.stride)) {
            for (value, x) in values.iter_mut().zip(row) {
                *value = round_to_bf16(*x);
            }
        }
    }
}

fn quantise(rows: &[f32], width: usize, isa: Isa) -> Form {
    let stride = row_distance(width);
    let n_rows = rows.len() / width;
    let (mut scales, mut minima) = (vec![0.0; n_rows], vec![0.0; n_rows]);
    let mut values = room(n_rows, stride);
    let (scales_out, minima_out) = (Disjoint::new(&mut scales), Disjoint::new(&mut minima));
    threads::for_each_rows(&mut values[..n_rows * stride], stride, ROWS_PER_TASK, |first, values| {
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

fn quantise_groups(rows: &[f32], width: usize, isa: Isa) -> Form {
    let (stride, n_groups) = (row_distance(width), width.div_ceil(GROUP));
    let n_rows = rows.len() / width;
    let mut scales = vec![0.0; n_rows * n_groups];
    let mut values = room(n_rows, stride);
    let scales_out = Disjoint::new(&mut scales);
    threads::for_each_rows(&mut values[..n_rows * stride], stride, ROWS_PER_TASK, |first, values| {
        let n = values.len() / stride;
        // SAFETY: `for_each_rows` gives each task rows of its own, so it alone has the scales of these.
        let scales = unsafe { scales_out.slice(first * n_groups, n * n_groups) };
        dispatch(isa, QuantiseGroups { rows: &rows[first * width..][..n * width], width, values, stride, scales });
    });
    Form::Int8Groups { values, stride, scales }
}

struct QuantiseGroups<'a> {
    rows: &'a [f32],
    width: usize,
    values: &'a mut [u8],
    stride: usize,
    scales: &'a mut [f32],
}

impl Computation for QuantiseGroups<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        let Self { rows, width, values, stride, scales } = self;
        let rows = rows.chunks_exact(width).zip(values.chunks_exact_mut(stride));
        for ((row, values), scales) in rows.zip(scales.chunks_exact_mut(width.div_ceil(GROUP))) {
            let groups = values.as_chunks_mut::<GROUP>().0;
            for (g, (scale, values)) in scales.iter_mut().zip(groups).enumerate() {
                // SAFETY: `dispatch` runs this where the instructions are.
                *scale = unsafe { K::quantise_group(&group_of(row, g * GROUP), values) };
            }
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
