//! The innermost loops: a tile of a product, `M` rows by `V` vectors of columns, summed over the whole depth.
//!
//! A tile's sums run over the depth in order, one accumulator per element, whatever `M` is. So a row's result does not
//! depend on which rows it is computed with.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

pub(crate) use portable::{Portable, widen};

#[cfg(not(target_arch = "x86_64"))]
pub(crate) use portable::{Portable as Avx2, Portable as Avx512Bf16, Portable as Avx512Vnni};
#[cfg(target_arch = "x86_64")]
pub(crate) use {
    avx2::Avx2,
    avx512::{Avx512Bf16, Avx512Vnni},
};

/// The most rows of a tile.
pub(crate) const ROWS_MAX: usize = 12;
/// The most columns of a tile.
pub(crate) const COLUMNS_MAX: usize = 32;
/// The most vectors across a tile.
pub(crate) const VECTORS_MAX: usize = 2;

/// The rows of a tile's left operand: a pointer to the first element of the first row, and the distance between rows in
/// elements.
#[derive(Clone, Copy)]
pub(crate) struct RowPointers<T> {
    pub start: *const T,
    pub stride: usize,
}

impl<T> RowPointers<T> {
    /// The rows from one on.
    ///
    /// # Safety
    /// There are as many.
    #[inline(always)]
    pub(crate) unsafe fn from(self, row: usize) -> Self {
        // SAFETY: as the caller vouches.
        Self { start: unsafe { self.start.add(row * self.stride) }, ..self }
    }
}

/// Something that is done with `M` rows at a time, which a closure cannot be generic over.
pub(crate) trait Tile {
    /// # Safety
    /// There are `M` rows from this one on, and what else the implementation asks for.
    unsafe fn run<const M: usize>(&self, row: usize);
}

/// Runs over rows, as many at a time as a tile has.
///
/// # Safety
/// As for [`Tile::run`], for `n_rows`.
#[inline(always)]
pub(crate) unsafe fn tiles(n_rows: usize, most: usize, tile: &impl Tile) {
    let mut row = 0;
    while row < n_rows {
        // SAFETY: as many rows are left, and the caller vouches for the rest.
        row += unsafe {
            match (n_rows - row).min(most) {
                12.. => rows::<12>(tile, row),
                8.. => rows::<8>(tile, row),
                6.. => rows::<6>(tile, row),
                4.. => rows::<4>(tile, row),
                2.. => rows::<2>(tile, row),
                _ => rows::<1>(tile, row),
            }
        }
    }
}

/// `M`
///
/// # Safety
/// As for [`Tile::run`].
#[inline(always)]
unsafe fn rows<const M: usize>(tile: &impl Tile, row: usize) -> usize {
    // SAFETY: as the caller vouches.
    unsafe { tile.run::<M>(row) };
    M
}

/// What turns the integer sums of a tile into what they stand for: `(sum * row_scale + row_minimum * column_sum) * column_scale`,
/// each step rounded, which is `sum((q * row_scale + row_minimum) * (w * column_scale))` taken apart.
#[derive(Clone, Copy)]
pub(crate) struct Scaling {
    /// One for each row of the tile.
    pub row_scales: *const f32,
    /// One for each row of the tile.
    pub row_minima: *const f32,
    /// One for each column of the tile.
    pub column_sums: *const f32,
    /// One for each column of the tile.
    pub column_scales: *const f32,
}

impl Scaling {
    /// That of the rows from one on.
    ///
    /// # Safety
    /// There are as many.
    #[inline(always)]
    unsafe fn from(self, row: usize) -> Self {
        // SAFETY: as the caller vouches.
        unsafe { Self { row_scales: self.row_scales.add(row), row_minima: self.row_minima.add(row), ..self } }
    }
}

/// How the weights of a panel of integers follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Int8Order {
    /// As the other formats: four weights of each column of the panel side by side, then the next four.
    Groups,
    /// Eight columns after eight columns. Of each eight, the first [`INT8_CHUNK`](crate::packed::INT8_CHUNK) weights, then the next
    /// ones (the last may be fewer), in vectors of 32: 16 of a column, and as many of the fourth one after it. The vectors of
    /// one such pair of columns stand side by side, an [`INT8_STEP`](crate::packed::INT8_STEP) apart in depth, then those of
    /// the other pairs; the lower halves of the steps first, the upper ones after them.
    Chunks,
}

/// One instruction set's innermost loops.
///
/// Every function computes, for `M` rows and `V * LANES` columns, the sums over the depth of `a[row][d] * panel[d][column]`,
/// and leaves them in `out`, rows `V * LANES` apart. The panel's order is that of [`PackedMatrix`](crate::PackedMatrix).
///
/// # Safety
/// Callers treat the tile as initialized afterwards, so an implementation must write all `M * V * LANES` elements of it (of
/// [`int8`](Self::int8), `n_rows * V * LANES`), and nothing outside; [`transpose`](Self::transpose) must write all 64 elements.
///
/// Every function asks this of its caller: it runs on a CPU with the set's instructions, inside a function that enables
/// them. `a` has `M` readable rows and `panel` is readable, both as deep as the other arguments say, and `out` has room for
/// the tile, which nobody else reads or writes meanwhile.
pub(crate) unsafe trait Kernel: 'static {
    /// `f32` lanes of a vector.
    const LANES: usize;
    /// The most rows of a tile of floats. At most [`ROWS_MAX`].
    const ROWS: usize;
    /// Whether `a * b + c` is one instruction; elsewhere it would be a slow call.
    const FMA: bool;

    /// `a` has `depth` values in a row, the panel `depth` groups of one. Where it `adds`, `out` has the sums over what comes
    /// before this depth, and they go on from there.
    unsafe fn f32<const M: usize, const V: usize>(
        a: RowPointers<f32>,
        depth: usize,
        panel: *const f32,
        adds: bool,
        out: *mut f32,
    );

    /// Both operands in bf16; `a` has `2 * n_pairs` values in a row, the panel `n_pairs` groups of two.
    unsafe fn bf16_products<const M: usize, const V: usize>(
        a: RowPointers<u16>,
        n_pairs: usize,
        panel: *const u16,
        out: *mut f32,
    );

    /// How a panel of integers is laid out.
    const INT8_ORDER: Int8Order;

    /// Unsigned by signed 8-bit integers, `depth` of each, a multiple of [`INT8_STEP`](crate::packed::INT8_STEP);
    /// the weights keep the bound of [`Format::Int8`](crate::Format::Int8). The sums are [scaled](Scaling) in `out`. Any number
    /// of rows, since not every set profits from tiles of several.
    unsafe fn int8<const V: usize>(
        a: RowPointers<u8>,
        n_rows: usize,
        depth: usize,
        panel: *const i8,
        scaling: Scaling,
        out: *mut f32,
    );

    /// Eight rows of eight numbers as columns: `to` has rows `stride` apart.
    #[inline(always)]
    unsafe fn transpose(rows: RowPointers<f32>, to: *mut f32, stride: usize) {
        for m in 0..8 {
            for d in 0..8 {
                // SAFETY: the caller vouches for eight by eight numbers on both sides.
                unsafe { *to.add(d * stride + m) = *rows.start.add(m * rows.stride + d) }
            }
        }
    }

    /// The smallest and the largest number of a row, and NaN instead of zero where one of them is not finite.
    unsafe fn range(row: &[f32]) -> (f32, f32, f32);

    /// `(x - minimum) * factor`, rounded to nearest even, for each number of a row; the results are at most 255.
    unsafe fn quantise(row: &[f32], minimum: f32, factor: f32, to: &mut [u8]);
}
