//! The innermost loops: a tile of a product, `M` rows by `V` vectors of columns, summed over the whole depth.
//!
//! A tile sums over the depth in order, with one accumulator per element, for every `M`. Therefore a row's result does
//! not depend on the rows it is computed with.

use std::marker::PhantomData;

use crate::groups::{self, GROUP};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
pub(crate) mod chains;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;
mod portable;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) use amx::{Amx, chain_bf16, chain_int8};
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
pub(crate) use neon::{Dotprod, Matrices, Neon, Widening};
pub(crate) use portable::{Portable, widen};
#[cfg(target_arch = "x86_64")]
pub(crate) use {
    avx2::Avx2,
    avx512::{Avx512Bf16, Avx512Vnni},
};

/// The maximum number of rows of a tile.
pub(crate) const ROWS_MAX: usize = 12;
/// The maximum number of columns of a tile.
pub(crate) const COLUMNS_MAX: usize = 32;
/// The maximum number of vectors across a tile.
pub(crate) const VECTORS_MAX: usize = 2;

/// The rows of a tile's left operand: a pointer to the first element, and the distance between rows in elements.
#[derive(Clone, Copy)]
pub(crate) struct RowPointers<T> {
    pub start: *const T,
    pub stride: usize,
}

impl<T> RowPointers<T> {
    /// The rows starting at `row`.
    ///
    /// # Safety
    /// There are that many rows.
    #[inline(always)]
    pub(crate) unsafe fn from(self, row: usize) -> Self {
        // SAFETY: as the caller guarantees.
        Self { start: unsafe { self.start.add(row * self.stride) }, ..self }
    }
}

/// An operation on `M` rows at a time, as a trait because closures cannot have const generics.
pub(crate) trait Tile {
    /// # Safety
    /// There are `M` rows starting at `row`; implementations may have further requirements.
    unsafe fn run<const M: usize>(&self, row: usize);
}

/// Runs a tile operation over all rows, with the largest possible tiles.
///
/// # Safety
/// As for [`Tile::run`], for `n_rows`.
#[inline(always)]
pub(crate) unsafe fn tiles(n_rows: usize, most: usize, tile: &impl Tile) {
    let mut row = 0;
    while row < n_rows {
        // SAFETY: as many rows are left, and the caller guarantees the rest.
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

/// Runs one tile; returns `M`.
///
/// # Safety
/// As for [`Tile::run`].
#[inline(always)]
unsafe fn rows<const M: usize>(tile: &impl Tile, row: usize) -> usize {
    // SAFETY: as the caller guarantees.
    unsafe { tile.run::<M>(row) };
    M
}

/// Converts the integer sums of a tile to floats: `(sum * row_scale + row_minimum * column_sum) * column_scale`, with
/// each step rounded, which equals `sum((q * row_scale + row_minimum) * (w * column_scale))`.
#[derive(Clone, Copy)]
pub(crate) struct Scaling {
    /// One per row of the tile.
    pub row_scales: *const f32,
    /// One per row of the tile.
    pub row_minima: *const f32,
    /// One per column of the tile.
    pub column_sums: *const f32,
    /// One per column of the tile.
    pub column_scales: *const f32,
}

impl Scaling {
    /// The scaling for the rows starting at `row`.
    ///
    /// # Safety
    /// There are that many rows.
    #[inline(always)]
    unsafe fn from(self, row: usize) -> Self {
        // SAFETY: as the caller guarantees.
        unsafe { Self { row_scales: self.row_scales.add(row), row_minima: self.row_minima.add(row), ..self } }
    }
}

/// The scales of a tile of [`Kernel::int8_groups`].
#[derive(Clone, Copy)]
pub(crate) struct GroupScaling {
    /// One per row of the tile and group.
    pub row_scales: RowPointers<f32>,
    /// One per group and column of the tile.
    pub column_scales: *const f32,
    /// The sums of a group start from these: one per group and column of the tile.
    pub offsets: *const i32,
}

impl GroupScaling {
    /// The scaling for the rows starting at `row`.
    ///
    /// # Safety
    /// There are that many rows.
    #[inline(always)]
    unsafe fn from(self, row: usize) -> Self {
        // SAFETY: as the caller guarantees.
        unsafe { Self { row_scales: self.row_scales.from(row), ..self } }
    }
}

/// The depth of numbers in bf16 and of integers is padded to a multiple of this, in bytes.
pub(crate) const DEPTH_BYTES: usize = 64;
const _: () = assert!(GROUP == DEPTH_BYTES, "no group ends in padding");
/// Room is made for a multiple of this many rows of numbers in bf16 and of integers.
pub(crate) const ROWS_STEP: usize = 16;
/// The distance between prepared rows of `n_bytes`: whole cache lines, and an odd number of them, because tile instructions read 16
/// rows at once, and would wait if several lay in one bank of the cache.
pub(crate) const fn row_distance(n_bytes: usize) -> usize {
    (n_bytes.div_ceil(DEPTH_BYTES) | 1) * DEPTH_BYTES
}

/// The distance in depth of a row's integers whose products are summed in 16 bits.
pub(crate) const INT8_STEP: usize = 32;
/// The number of a row's integers whose products are summed in 16 bits before widening, where they are [`INT8_STEP`]
/// apart.
pub(crate) const INT8_CHUNK: usize = 4 * INT8_STEP;

/// The order of the weights in a panel of integers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Int8Order {
    /// As for other formats: this many adjacent weights of each column of the panel, then the next ones. A divisor of
    /// [`INT8_STEP`].
    Groups(usize),
    /// Blocks of eight columns. Each block has the first [`INT8_CHUNK`] weights, then the next ones (the last may be
    /// fewer), in vectors of 32: 16 of a column, and 16 of the fourth column after it. The vectors of such a pair of
    /// columns are adjacent, [`INT8_STEP`] apart in depth, followed by those of the other pairs; the lower halves of the
    /// steps come first, then the upper ones.
    #[allow(dead_code, reason = "processors without kernels of their own have no use for it")]
    Chunks,
}

/// The number of rows whose sums are finished at a time, at most. A multiple of [`ROWS_STEP`].
pub(crate) const BLOCK_ROWS_MAX: usize = 48;

/// The innermost loops of one instruction set.
///
/// Each function computes, for `M` rows and `V * LANES` columns, the sums over the depth of
/// `a[row][d] * panel[d][column]`, and stores them in `out`, with rows `V * LANES` apart. The panel's order is that of
/// [`PackedMatrix`](crate::PackedMatrix).
///
/// # Safety
/// Callers treat the tile as initialized afterwards, so an implementation must write all `M * V * LANES`
/// elements of it (of [`int8`](Self::int8) and [`int8_groups`](Self::int8_groups), `n_rows * V * LANES`), and nothing
/// outside; [`transpose`](Self::transpose) must write all 64 elements.
///
/// The caller of each function must guarantee that it runs on a CPU with the set's instructions, inside a function that
/// enables them; that `a` has `M` readable rows and `panel` is readable, both as deep as the other arguments specify;
/// and that `out` has room for the tile, without other readers or writers. [`load`](Self::load) reads `LANES` numbers, and
/// [`store`](Self::store) writes them. [`bf16`](Self::bf16) and [`int8`](Self::int8) are called while the thread has
/// [`Entered`].
pub(crate) unsafe trait Kernel: Sized + 'static {
    /// The number of `f32` lanes of a vector.
    const LANES: usize;
    /// A vector.
    type Vector: Copy;
    /// The maximum number of rows of a tile in f32. At most [`ROWS_MAX`].
    const ROWS: usize;
    /// The maximum number of rows of a tile in bf16. At most [`ROWS_MAX`].
    const BF16_ROWS: usize;
    /// Whether `a * b + c` is one instruction; otherwise it would be a slow call.
    const FMA: bool;
    /// The number of rows whose sums are finished at a time: they stay in a core's L1 cache. At most [`BLOCK_ROWS_MAX`].
    const BLOCK_ROWS: usize = BLOCK_ROWS_MAX;
    /// The number of rows of a task: each panel of weights is read from memory once per task, and these rows stay in a
    /// core's L2 cache. A multiple of `BLOCK_ROWS`.
    const TASK_ROWS: usize = Self::BLOCK_ROWS;
    /// The number of products of a task, at least: starting a task takes some microseconds.
    const TASK_PRODUCTS: usize = 1;

    /// Whether the next panel of weights is asked for while one is multiplied.
    const PREFETCHES: bool = false;

    /// Asks for a cache line that will be read soon.
    #[inline(always)]
    unsafe fn prefetch(_line: *const u8) {}

    /// Prepares this thread for [`bf16`](Self::bf16) and [`int8`](Self::int8); see [`Entered`].
    #[inline(always)]
    unsafe fn enter() {}

    /// Ends what [`enter`](Self::enter) began.
    #[inline(always)]
    unsafe fn leave() {}

    unsafe fn load(from: *const f32) -> Self::Vector;

    unsafe fn store(vector: Self::Vector, to: *mut f32);

    /// The sums, lane by lane.
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// Reads `n` numbers, at most `LANES`; the other lanes are zero.
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self::Vector {
        let mut lanes = [0.0; COLUMNS_MAX];
        // SAFETY: `n` numbers on both sides, as the caller guarantees; a vector fits into the buffer.
        unsafe {
            lanes.as_mut_ptr().copy_from_nonoverlapping(from, n);
            Self::load(lanes.as_ptr())
        }
    }

    /// Writes the first `n` lanes, at most `LANES`.
    #[inline(always)]
    unsafe fn store_first(vector: Self::Vector, to: *mut f32, n: usize) {
        let mut lanes = [0.0; COLUMNS_MAX];
        // SAFETY: a vector fits into the buffer; `n` numbers on both sides, as the caller guarantees.
        unsafe {
            Self::store(vector, lanes.as_mut_ptr());
            to.copy_from_nonoverlapping(lanes.as_ptr(), n);
        }
    }

    /// `a` has `depth` values per row, the panel `depth` groups of one. If `adds`, the sums continue from those in
    /// `out`.
    unsafe fn f32<const M: usize, const V: usize>(
        a: RowPointers<f32>,
        depth: usize,
        panel: *const f32,
        adds: bool,
        out: *mut f32,
    );

    /// The number of adjacent weights of each column in a panel of bf16; 2 or 4.
    const BF16_GROUP: usize;

    /// Both operands in bf16, `depth` of each, a multiple of [`DEPTH_BYTES`].
    unsafe fn bf16_products<const M: usize, const V: usize>(
        a: RowPointers<u16>,
        depth: usize,
        panel: *const u16,
        out: *mut f32,
    );

    /// [`bf16_products`](Self::bf16_products) for any number of rows, because not every set has tiles of few. Both `a` and
    /// `out` have room for a multiple of [`ROWS_STEP`] rows.
    #[inline(always)]
    unsafe fn bf16<const V: usize>(a: RowPointers<u16>, n_rows: usize, depth: usize, panel: *const u16, out: *mut f32) {
        let product = Bf16Product::<Self, V> { a, depth, panel, out, kernel: PhantomData };
        // SAFETY: the caller guarantees all requirements of a tile.
        unsafe { tiles(n_rows, Self::BF16_ROWS, &product) }
    }

    /// The layout of a panel of integers.
    const INT8_ORDER: Int8Order;

    /// Unsigned times signed 8-bit integers, `depth` of each, a multiple of [`DEPTH_BYTES`];
    /// the weights keep the bound of [`Format::Int8`](crate::Format::Int8). Stores the [scaled](Scaling) sums in `out`.
    /// Takes any number of rows, because not every set benefits from tiles of several. Both `a` and `out` have room for a
    /// multiple of [`ROWS_STEP`] rows.
    unsafe fn int8<const V: usize>(
        a: RowPointers<u8>,
        n_rows: usize,
        depth: usize,
        panel: *const i8,
        scaling: Scaling,
        out: *mut f32,
    );

    /// Unsigned times signed 8-bit integers in `n_groups` groups of [`GROUP`]; a panel has four adjacent weights of each
    /// column, then the next ones. The sums of a group start from its [offsets](GroupScaling); as floats, multiplied by the
    /// scales of the column and of the row, they are added up in the order of the groups. Takes any number of rows.
    #[inline(always)]
    unsafe fn int8_groups<const V: usize>(
        a: RowPointers<u8>,
        n_rows: usize,
        n_groups: usize,
        panel: *const i8,
        scaling: GroupScaling,
        out: *mut f32,
    ) {
        // SAFETY: the same contract.
        unsafe { portable::int8_groups::<Self, V>(a, n_rows, n_groups, panel, scaling, out) }
    }

    /// [Rotates and rounds](crate::groups) a group of a row; returns its scale.
    #[inline(always)]
    unsafe fn quantise_group(group: &[f32; GROUP], to: &mut [u8; GROUP]) -> f32 {
        groups::quantise_row(*group, to)
    }

    /// Transposes eight rows of eight numbers: `to` has rows `stride` apart.
    #[inline(always)]
    unsafe fn transpose(rows: RowPointers<f32>, to: *mut f32, stride: usize) {
        for m in 0..8 {
            for d in 0..8 {
                // SAFETY: the caller guarantees eight by eight numbers on both sides.
                unsafe { *to.add(d * stride + m) = *rows.start.add(m * rows.stride + d) }
            }
        }
    }

    /// The minimum and maximum of a row, and NaN instead of zero if one of its numbers is not finite.
    unsafe fn range(row: &[f32]) -> (f32, f32, f32);

    /// `(x - minimum) * factor`, rounded to nearest even, for each number of a row; results are at most 255.
    unsafe fn quantise(row: &[f32], minimum: f32, factor: f32, to: &mut [u8]);
}

/// Shows that this thread is prepared for the products in bf16 and int8 of a set; until it is dropped.
pub(crate) struct Entered<K: Kernel> {
    kernel: PhantomData<K>,
    /// The preparation is the thread's.
    thread: PhantomData<*const ()>,
}

impl<K: Kernel> Entered<K> {
    /// # Safety
    /// This runs on a CPU with the set's instructions, inside a function that enables them, and the thread has not entered
    /// already.
    #[inline(always)]
    pub(crate) unsafe fn new() -> Self {
        // SAFETY: as the caller guarantees.
        unsafe { K::enter() };
        Self { kernel: PhantomData, thread: PhantomData }
    }
}

impl<K: Kernel> Drop for Entered<K> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: `new` has entered, where the instructions are.
        unsafe { K::leave() };
    }
}

/// A product in bf16, tile by tile.
struct Bf16Product<K, const V: usize> {
    a: RowPointers<u16>,
    depth: usize,
    panel: *const u16,
    out: *mut f32,
    kernel: PhantomData<K>,
}

impl<K: Kernel, const V: usize> Tile for Bf16Product<K, V> {
    #[inline(always)]
    unsafe fn run<const M: usize>(&self, row: usize) {
        // SAFETY: the caller guarantees the instructions, the rows and their room.
        unsafe {
            let out = self.out.add(row * V * K::LANES);
            K::bf16_products::<M, V>(self.a.from(row), self.depth, self.panel, out);
        }
    }
}
