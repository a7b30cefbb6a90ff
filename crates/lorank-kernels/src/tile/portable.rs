//! The innermost loops in portable Rust. They run everywhere, and are the reference for the others.

use std::marker::PhantomData;

use super::{GROUP, GroupScaling, Int8Order, Kernel, RowPointers, Scaling, Tile, tiles};
use crate::math::mul_add;

/// Portable Rust: eight columns at a time, which the compiler vectorizes for the target.
pub(crate) struct Portable;

const LANES: usize = 8;

// SAFETY: every product writes its whole tile, and `ROWS` is within `ROWS_MAX`.
unsafe impl Kernel for Portable {
    const LANES: usize = LANES;
    const ROWS: usize = 4;
    const BF16_ROWS: usize = 4;
    const FMA: bool = false;

    type Vector = [f32; LANES];

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; LANES] {
        // SAFETY: the caller guarantees the numbers.
        unsafe { from.cast::<[f32; LANES]>().read() }
    }

    #[inline(always)]
    unsafe fn store(vector: [f32; LANES], to: *mut f32) {
        // SAFETY: the caller guarantees the room.
        unsafe { to.cast::<[f32; LANES]>().write(vector) }
    }

    #[inline(always)]
    unsafe fn add(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        std::array::from_fn(|lane| a[lane] + b[lane])
    }

    #[inline(always)]
    unsafe fn f32<const M: usize, const V: usize>(
        a: RowPointers<f32>,
        depth: usize,
        panel: *const f32,
        adds: bool,
        out: *mut f32,
    ) {
        let mut sums = [[[0.0; LANES]; V]; M];
        if adds {
            // SAFETY: `out` holds `M` rows of `V` vectors of sums.
            sums = unsafe { out.cast::<[[[f32; LANES]; V]; M]>().read() };
        }
        for d in 0..depth {
            for (m, sums) in sums.iter_mut().enumerate() {
                // SAFETY: row `m` of the tile's `M`, and `d` is below the depth.
                let x = unsafe { *a.start.add(m * a.stride + d) };
                for (v, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: group `d` of the panel, vector `v` of its `V`.
                    let w = unsafe { &*panel.add((d * V + v) * LANES).cast::<[f32; LANES]>() };
                    for lane in 0..LANES {
                        sums[lane] += x * w[lane];
                    }
                }
            }
        }
        // SAFETY: `out` has room for `M` rows of `V` vectors, which is what `sums` is.
        unsafe { out.cast::<[[[f32; LANES]; V]; M]>().write(sums) }
    }

    const BF16_GROUP: usize = 2;

    #[inline(always)]
    unsafe fn bf16_products<const M: usize, const V: usize>(_: RowPointers<u16>, _: usize, _: *const u16, _: *mut f32) {
        unreachable!("without AVX512-BF16 inputs stay in f32");
    }

    const INT8_ORDER: Int8Order = Int8Order::Groups(4);

    #[inline(always)]
    unsafe fn int8<const V: usize>(
        a: RowPointers<u8>,
        n_rows: usize,
        depth: usize,
        panel: *const i8,
        scaling: Scaling,
        out: *mut f32,
    ) {
        // SAFETY: the caller guarantees all requirements of a tile.
        unsafe { tiles(n_rows, Self::ROWS, &Int8::<V> { a, depth, panel, scaling, out }) }
    }

    #[inline(always)]
    unsafe fn range(row: &[f32]) -> (f32, f32, f32) {
        let mut range = (f32::MAX, f32::MIN, 0.0);
        for x in row {
            // Comparisons ignore NaN; the product does not.
            range = (range.0.min(*x), range.1.max(*x), range.2 + x * 0.0);
        }
        range
    }

    #[inline(always)]
    unsafe fn quantise(row: &[f32], minimum: f32, factor: f32, to: &mut [u8]) {
        for (to, x) in to.iter_mut().zip(row) {
            *to = ((x - minimum) * factor).round_ties_even() as u8;
        }
    }
}

/// A product of integers, tile by tile.
struct Int8<const V: usize> {
    a: RowPointers<u8>,
    depth: usize,
    panel: *const i8,
    scaling: Scaling,
    out: *mut f32,
}

impl<const V: usize> Tile for Int8<V> {
    #[inline(always)]
    unsafe fn run<const M: usize>(&self, row: usize) {
        // SAFETY: the caller guarantees these rows, their scales and their room.
        let (a, scaling, out) = unsafe { (self.a.from(row), self.scaling.from(row), self.out.add(row * V * LANES)) };
        let mut sums = [[[0; LANES]; V]; M];
        for group in 0..self.depth / 4 {
            for (m, sums) in sums.iter_mut().enumerate() {
                // SAFETY: row `m` of the tile's `M`; a row has four values for each group.
                let x = unsafe { *a.start.add(m * a.stride + group * 4).cast::<[u8; 4]>() };
                for (v, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: group `group` of the panel, vector `v` of its `V`.
                    let w = unsafe { &*self.panel.add((group * V + v) * 4 * LANES).cast::<[[i8; 4]; LANES]>() };
                    for lane in 0..LANES {
                        for i in 0..4 {
                            sums[lane] += i32::from(x[i]) * i32::from(w[lane][i]);
                        }
                    }
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            // SAFETY: row `m` of the tile's `M`.
            let (row_scale, minimum) = unsafe { (*scaling.row_scales.add(m), *scaling.row_minima.add(m)) };
            for (column, sum) in sums.iter().flatten().enumerate() {
                // SAFETY: one of the tile's columns, and `out` has room for `M` rows of `V` vectors.
                unsafe {
                    let scaled = *sum as f32 * row_scale + minimum * *scaling.column_sums.add(column);
                    *out.add(m * V * LANES + column) = scaled * *scaling.column_scales.add(column);
                }
            }
        }
    }
}

/// bf16 is the upper half of an f32.
#[inline(always)]
pub(crate) fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// [`Kernel::int8_groups`] for any set.
///
/// # Safety
/// As for the trait.
#[inline(always)]
pub(super) unsafe fn int8_groups<K: Kernel, const V: usize>(
    a: RowPointers<u8>,
    n_rows: usize,
    n_groups: usize,
    panel: *const i8,
    scaling: GroupScaling,
    out: *mut f32,
) {
    // SAFETY: the caller guarantees all requirements of a tile.
    unsafe {
        let product = Int8Groups::<K, V> { a, n_groups, panel, scaling, out, kernel: PhantomData };
        tiles(n_rows, Portable::ROWS, &product)
    }
}

/// A product of integers in groups, tile by tile.
struct Int8Groups<K, const V: usize> {
    a: RowPointers<u8>,
    n_groups: usize,
    panel: *const i8,
    scaling: GroupScaling,
    out: *mut f32,
    kernel: PhantomData<K>,
}

impl<K: Kernel, const V: usize> Tile for Int8Groups<K, V> {
    #[inline(always)]
    unsafe fn run<const M: usize>(&self, row: usize) {
        let width = V * K::LANES;
        for m in row..row + M {
            // SAFETY: the caller guarantees the rows, their scales, the panel with its scales, and room for `width` numbers a
            // row.
            unsafe {
                let (x, scaling) = (self.a.from(m).start, self.scaling.from(m));
                let row_scales = scaling.row_scales.start;
                let out = self.out.add(m * width);
                for column in 0..width {
                    let mut total = 0.0;
                    for g in 0..self.n_groups {
                        let mut sum = *scaling.offsets.add(g * width + column);
                        for quad in g * GROUP / 4..(g + 1) * GROUP / 4 {
                            let x = *x.add(quad * 4).cast::<[u8; 4]>();
                            let w = *self.panel.add((quad * width + column) * 4).cast::<[i8; 4]>();
                            sum += (0..4).map(|i| i32::from(x[i]) * i32::from(w[i])).sum::<i32>();
                        }
                        let scaled = sum as f32 * *scaling.column_scales.add(g * width + column);
                        total = mul_add::<K>(scaled, *row_scales.add(g), total);
                    }
                    *out.add(column) = total;
                }
            }
        }
    }
}
