//! Products of integers with the instructions of every 64-bit ARM processor, which widen them to 16 bits.

use std::arch::aarch64::*;

use super::super::{INT8_CHUNK, INT8_STEP, Int8Order, RowPointers, Scaling};
use super::{LANES, Products, corrections, load_signed, store_scaled};

/// SMULL and SMLAL: four products of a lane are summed in 16 bits, then those of two neighbors.
///
/// One row by 8 columns at a time. Two rows would load weights half as often, but need more registers than there are.
pub(crate) struct Widening;

/// The pairs of columns in eight: a column and the fourth after it.
const PAIRS: usize = LANES / 2;

/// The sums of a row and eight columns, each in four lanes, by the columns' pairs.
type Sums = [[int32x4_t; 2]; PAIRS];

// SAFETY: the product writes every row of its tile.
unsafe impl Products for Widening {
    const INT8_ORDER: Int8Order = Int8Order::Chunks;

    /// A register holds 16 values of a row, or of a column, and is summed horizontally at the end.
    #[inline(always)]
    unsafe fn int8<const V: usize>(
        a: RowPointers<u8>,
        n_rows: usize,
        depth: usize,
        panel: *const i8,
        scaling: Scaling,
        out: *mut f32,
    ) {
        // SAFETY: the caller guarantees the instructions, the rows and a panel of this depth, the scales of the tile's
        // rows and columns, and its room.
        unsafe {
            let corrections = corrections::<V>(&scaling);
            for m in 0..n_rows {
                let mut row = corrections;
                for (v, row) in row.iter_mut().enumerate() {
                    let [a, b, c, d] = sums(a.from(m).start, depth, panel.add(v * LANES * depth));
                    for n in 0..2 {
                        let sums = vpaddq_s32(vpaddq_s32(a[n], b[n]), vpaddq_s32(c[n], d[n]));
                        row[n] = vaddq_s32(row[n], sums);
                    }
                }
                store_scaled::<V>(&row, m, &scaling, out);
            }
        }
    }
}

/// The sums of products of a row and of a block of eight columns.
///
/// # Safety
/// As for the trait: both are this deep.
#[inline(always)]
unsafe fn sums(x: *const u8, depth: usize, block: *const i8) -> Sums {
    // SAFETY: the caller guarantees the instructions, the row and the block.
    unsafe {
        let mut sums = [[vdupq_n_s32(0); 2]; PAIRS];
        let n_whole = depth / INT8_CHUNK * INT8_CHUNK;
        for start in (0..n_whole).step_by(INT8_CHUNK) {
            add_chunk::<4>(x.add(start), block.add(start * LANES), &mut sums);
        }
        let (x, w) = (x.add(n_whole), block.add(n_whole * LANES));
        match (depth - n_whole) / INT8_STEP {
            0 => {}
            1 => add_chunk::<1>(x, w, &mut sums),
            2 => add_chunk::<2>(x, w, &mut sums),
            _ => add_chunk::<3>(x, w, &mut sums),
        }
        sums
    }
}

/// Adds the products of a row and of a block over `N` steps of depth.
///
/// # Safety
/// As for the trait: the row and the block have these steps from here.
#[inline(always)]
unsafe fn add_chunk<const N: usize>(x: *const u8, w: *const i8, sums: &mut Sums) {
    // SAFETY: the caller guarantees the instructions and the depth.
    unsafe {
        for half in 0..2 {
            let mut values = [vdupq_n_s8(0); N];
            for (n, values) in values.iter_mut().enumerate() {
                *values = load_signed(x.add(n * INT8_STEP + half * 16));
            }
            let w = w.add(half * PAIRS * N * 32);
            // By hand: the compiler would leave a loop, and the sums in memory.
            let [a, b, c, d] = &mut *sums;
            add_pair(&values, w, a);
            add_pair(&values, w.add(N * 32), b);
            add_pair(&values, w.add(2 * N * 32), c);
            add_pair(&values, w.add(3 * N * 32), d);
        }
    }
}

/// Adds the products of 16 values of a row in each of `N` steps with those of a pair of columns.
///
/// # Safety
/// As for the trait: `w` has their weights.
#[inline(always)]
unsafe fn add_pair<const N: usize>(values: &[int8x16_t; N], w: *const i8, sums: &mut [int32x4_t; 2]) {
    // SAFETY: the caller guarantees the instructions and the weights.
    unsafe {
        for (column, sum) in sums.iter_mut().enumerate() {
            let (mut low, mut high) = (vdupq_n_s16(0), vdupq_n_s16(0));
            for (n, x) in values.iter().enumerate() {
                let w = vld1q_s8(w.add(n * 32 + column * 16));
                low = vmlal_s8(low, vget_low_s8(*x), vget_low_s8(w));
                high = vmlal_high_s8(high, *x, w);
            }
            // Eight products: the packing's bound, for inputs from -128 to 127 as for those up to 255, prevents overflow.
            *sum = vpadalq_s16(*sum, vpaddq_s16(low, high));
        }
    }
}
