//! Views of device memory.

use std::ops::Range;
use std::sync::Arc;

use crate::Format;
use crate::memory::{Block, DeviceId, Region};

/// A matrix in a device's memory, row by row: activations, weights, an embedding table. Views are made without copying,
/// and the memory lives as long as its last view.
#[derive(Debug, Clone)]
pub struct Rows {
    block: Arc<Block>,
    format: Format,
    /// The first number, counted from the first one of the block.
    first: usize,
    /// From a row to the next one, in numbers.
    stride: usize,
    n_rows: usize,
    width: usize,
}

impl Rows {
    /// Rows that begin at a byte of a block.
    pub(crate) fn new(
        block: Arc<Block>,
        start: usize,
        format: Format,
        [n_rows, width]: [usize; 2],
        stride: usize,
    ) -> Self {
        let rows = Self { block, format, first: start / format.n_bytes(), stride, n_rows, width };
        assert!(rows.is_valid() && start.is_multiple_of(format.n_bytes()), "the rows lie within the block");
        rows
    }

    fn is_valid(&self) -> bool {
        let n_numbers = self.block.n_bytes / self.format.n_bytes();
        self.width <= self.stride && (self.is_empty() || self.end() <= n_numbers)
    }

    /// The number of rows.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// The numbers of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The distance of two rows, in numbers.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// How the numbers are stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether there is no number.
    pub fn is_empty(&self) -> bool {
        self.n_rows == 0 || self.width == 0
    }

    /// The bytes of its numbers, without those between rows.
    pub fn n_bytes(&self) -> usize {
        self.n_rows * self.width * self.format.n_bytes()
    }

    /// Whether no other view shares this memory, so that it may be written without changing another one.
    pub fn is_unique(&self) -> bool {
        Arc::strong_count(&self.block) == 1
    }

    /// A range of columns of every row.
    ///
    /// # Panics
    /// If the range is reversed or exceeds the width.
    #[must_use]
    pub fn columns(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.width, "{range:?} are columns of {}", self.width);
        Self { first: self.first + range.start, width: range.len(), ..self.clone() }
    }

    /// A range of rows.
    ///
    /// # Panics
    /// If the range is reversed or exceeds the rows.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.n_rows, "{range:?} are rows of {}", self.n_rows);
        Self { first: self.first + range.start * self.stride, n_rows: range.len(), ..self.clone() }
    }

    /// The columns in parts of these widths, from left to right.
    ///
    /// # Panics
    /// If the widths add up to more than the width.
    pub fn split<const N: usize>(&self, widths: [usize; N]) -> [Self; N] {
        let mut start = 0;
        widths.map(|width| {
            start += width;
            self.columns(start - width..start)
        })
    }

    /// The same numbers in rows of another width; `None` if there are gaps between the rows, or a part of a row would
    /// be left over.
    pub fn reshaped(&self, width: usize) -> Option<Self> {
        let n_numbers = self.n_rows * self.width;
        let is_possible = self.is_contiguous() && width > 0 && n_numbers.is_multiple_of(width);
        is_possible.then(|| Self { n_rows: n_numbers / width, width, stride: width, ..self.clone() })
    }

    /// Whether each row begins where the one before ends.
    pub fn is_contiguous(&self) -> bool {
        self.stride == self.width || self.n_rows <= 1
    }

    /// All rows of the parts as one view, if each begins where the one before ends: the weights of several layers with
    /// the same input, which were read one after another.
    pub fn stacked(parts: &[&Self]) -> Option<Self> {
        let first = *parts.first()?;
        let follows = |pair: &[&Self]| {
            pair[0].is_like(pair[1])
                && pair[0].width == pair[1].width
                && pair[0].first + pair[0].n_rows * pair[0].stride == pair[1].first
        };
        let n_rows = parts.iter().map(|part| part.n_rows).sum();
        parts.windows(2).all(follows).then(|| Self { n_rows, ..first.clone() })
    }

    /// All columns of the parts as one view, if each begins where the one before ends: parts of a fused result.
    pub fn side_by_side(parts: &[&Self]) -> Option<Self> {
        let first = *parts.first()?;
        let follows = |pair: &[&Self]| {
            pair[0].is_like(pair[1])
                && pair[0].n_rows == pair[1].n_rows
                && pair[0].first + pair[0].width == pair[1].first
        };
        let width: usize = parts.iter().map(|part| part.width).sum();
        let fits = width <= first.stride && parts.windows(2).all(follows);
        fits.then(|| Self { width, ..first.clone() })
    }

    /// Whether both are in one block, with the same distance of rows.
    fn is_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.block, &other.block) && self.format == other.format && self.stride == other.stride
    }

    /// Whether both views have the same numbers at the same places.
    pub fn is_same(&self, other: &Self) -> bool {
        self.is_like(other) && (self.first, self.n_rows, self.width) == (other.first, other.n_rows, other.width)
    }

    /// Whether a number of one view may be a number of the other. Exact for views with equal strides, of which none has
    /// a row that goes around an end of the other's; otherwise by the bytes from first to last.
    pub fn overlaps(&self, other: &Self) -> bool {
        let [a, b] = [self, other].map(|rows| {
            let n = rows.format.n_bytes();
            rows.block.start + rows.first * n..rows.block.start + rows.end() * n
        });
        let is_apart = !Arc::ptr_eq(&self.block.region, &other.block.region) || a.end <= b.start || b.end <= a.start;
        if self.is_empty() || other.is_empty() || is_apart {
            return false;
        }
        if !self.is_like(other) || self.stride == 0 {
            return true;
        }
        let [a, b] = [self, other].map(|rows| rows.first % rows.stride..rows.first % rows.stride + rows.width);
        let wraps = a.end > self.stride || b.end > self.stride;
        wraps || a.start < b.end && b.start < a.end
    }

    /// One after the last number.
    fn end(&self) -> usize {
        if self.is_empty() { self.first } else { self.first + (self.n_rows - 1) * self.stride + self.width }
    }

    pub(crate) fn device(&self) -> DeviceId {
        self.block.region.device
    }

    pub(crate) fn region(&self) -> &Arc<Region> {
        &self.block.region
    }

    /// The first byte within the region.
    pub(crate) fn first_byte(&self) -> usize {
        self.block.start + self.first * self.format.n_bytes()
    }

    /// The bytes of a row within the block's region.
    pub(crate) fn bytes_of_row(&self, row: usize) -> Range<usize> {
        let n = self.format.n_bytes();
        let start = self.block.start + (self.first + row * self.stride) * n;
        start..start + self.width * n
    }
}

/// Numbers of the host with a copy on the device: token ids, rows to gather, ranges.
#[derive(Debug, Clone)]
pub struct Indices {
    values: Arc<[u32]>,
    max: Option<u32>,
    ranges: Ranges,
    /// The same numbers, one a row; each has the size of an `F32`.
    data: Rows,
}

/// What pairs of numbers are as ranges; found out once, because every layer of a pass checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ranges {
    /// The number is odd, or an end comes before its start.
    Invalid,
    /// Some are empty.
    SomeEmpty,
    NoneEmpty,
}

impl Indices {
    pub(crate) fn new(values: Arc<[u32]>, data: Rows) -> Self {
        let max = values.iter().copied().max();
        let (pairs, rest) = values.as_chunks();
        let ranges = if !rest.is_empty() || pairs.iter().any(|[start, end]| start > end) {
            Ranges::Invalid
        } else if pairs.iter().any(|[start, end]| start == end) {
            Ranges::SomeEmpty
        } else {
            Ranges::NoneEmpty
        };
        Self { values, max, ranges, data }
    }

    pub(crate) fn ranges(&self) -> Ranges {
        self.ranges
    }

    /// The numbers.
    pub fn values(&self) -> &[u32] {
        &self.values
    }

    /// The largest of them.
    pub fn max(&self) -> Option<u32> {
        self.max
    }

    pub(crate) fn data(&self) -> &Rows {
        &self.data
    }
}

/// A bias, or the weights of a norm: `[width]`.
#[derive(Debug, Clone)]
pub struct Vector {
    /// In `F32`.
    pub(crate) exact: Rows,
    /// In `Bf16`: cublasLt adds a bias only in the format of the result.
    pub(crate) rounded: Rows,
}

impl Vector {
    /// The number of values.
    pub fn width(&self) -> usize {
        self.exact.width()
    }

    /// The bytes of both copies.
    pub fn n_bytes(&self) -> usize {
        self.exact.n_bytes() + self.rounded.n_bytes()
    }

    /// All values of the parts as one vector, if they are next to each other: biases that were read one after another.
    pub fn joined(parts: &[&Self]) -> Option<Self> {
        let join = |part: fn(&Self) -> &Rows| {
            // Rows of one number are columns of one row.
            let tall: Option<Vec<Rows>> = parts.iter().map(|vector| part(vector).reshaped(1)).collect();
            let stacked = Rows::stacked(&tall?.iter().collect::<Vec<_>>())?;
            stacked.reshaped(stacked.n_rows())
        };
        Some(Self { exact: join(|vector| &vector.exact)?, rounded: join(|vector| &vector.rounded)? })
    }

    /// A range of the values.
    ///
    /// # Panics
    /// If the range is reversed or exceeds the width.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        Self { exact: self.exact.columns(range.clone()), rounded: self.rounded.columns(range) }
    }

    /// The copy in a format: in `F32`, or else in `Bf16`.
    pub(crate) fn of(&self, format: Format) -> &Rows {
        if format == Format::F32 { &self.exact } else { &self.rounded }
    }
}

/// Rows in [`Format::E4m3`] with a factor for each row: `numbers[i] * scales[i]`.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// `[n_rows, width]`
    pub(crate) numbers: Rows,
    /// `[n_rows, 1]`, `F32`
    pub(crate) scales: Rows,
}

impl Quantized {
    /// The numbers, without their scales: `[n_rows, width]`, in `E4m3`.
    pub fn numbers(&self) -> &Rows {
        &self.numbers
    }

    /// `[n_rows, 1]`, in `F32`.
    pub fn scales(&self) -> &Rows {
        &self.scales
    }

    /// The number of rows.
    pub fn n_rows(&self) -> usize {
        self.numbers.n_rows()
    }

    /// The numbers of a row.
    pub fn width(&self) -> usize {
        self.numbers.width()
    }

    /// The bytes of numbers and scales.
    pub fn n_bytes(&self) -> usize {
        self.numbers.n_bytes() + self.scales.n_bytes()
    }

    /// As [`Rows::stacked`].
    pub fn stacked(parts: &[&Self]) -> Option<Self> {
        let join = |part: fn(&Self) -> &Rows| {
            Rows::stacked(&parts.iter().map(|quantized| part(quantized)).collect::<Vec<_>>())
        };
        Some(Self { numbers: join(|part| &part.numbers)?, scales: join(|part| &part.scales)? })
    }

    /// A range of rows.
    ///
    /// # Panics
    /// If the range is reversed or exceeds the rows.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        Self { numbers: self.numbers.slice(range.clone()), scales: self.scales.slice(range) }
    }
}
