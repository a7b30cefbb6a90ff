//! Products of integers by dot products of four, which ARMv8.4 requires and most processors since 2018 have.

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::{Int8Order, RowPointers, Scaling, Tile, tiles};
use super::{LANES, Products, QUAD, corrections, load_signed, store_scaled};

/// SDOT: signed integers, so the inputs are moved by 128.
pub(crate) struct Dotprod;

// SAFETY: the tiles cover all rows, and each writes all of its own.
unsafe impl Products for Dotprod {
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
        unsafe { tiles(n_rows, ROWS, &Int8::<V> { a, depth, panel, scaling, out }) }
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

/// The maximum number of rows of a tile: more would leave no register for the constant that moves inputs.
const ROWS: usize = 4;

/// The sums of a tile: rows of `V` pairs of registers.
type Sums<const M: usize, const V: usize> = [[[int32x4_t; 2]; V]; M];

impl<const V: usize> Tile for Int8<V> {
    #[inline(always)]
    unsafe fn run<const M: usize>(&self, row: usize) {
        // SAFETY: the caller guarantees the instructions, `M` rows and a panel of this depth, the scales of the tile's
        // rows and columns, and its room.
        unsafe {
            let (a, scaling, out) = (self.a.from(row), self.scaling.from(row), self.out.add(row * V * LANES));
            let mut sums = [[[vdupq_n_s32(0); 2]; V]; M];
            let mut values = [vdupq_n_s8(0); M];
            let mut w = self.panel;
            for start in (0..self.depth).step_by(16) {
                for (m, values) in values.iter_mut().enumerate() {
                    *values = load_signed(a.start.add(m * a.stride + start));
                }
                add_products::<M, V, 0>(&values, w, &mut sums);
                add_products::<M, V, 1>(&values, w.add(4 * V * LANES), &mut sums);
                add_products::<M, V, 2>(&values, w.add(8 * V * LANES), &mut sums);
                add_products::<M, V, 3>(&values, w.add(12 * V * LANES), &mut sums);
                w = w.add(16 * V * LANES);
            }
            // At the end: sums that begin with something else are copied between registers in each round of the loop.
            let corrections = corrections::<V>(&scaling);
            for (m, sums) in sums.iter_mut().enumerate() {
                for v in 0..V {
                    for n in 0..2 {
                        sums[v][n] = vaddq_s32(sums[v][n], corrections[v][n]);
                    }
                }
                store_scaled::<V>(sums, m, &scaling, out);
            }
        }
    }
}

/// Adds the products of four values of each row, in lane `LANE`, with the weights at their depths.
///
/// # Safety
/// As for the trait: `w` has a group of four weights for `V` vectors of columns.
#[inline(always)]
unsafe fn add_products<const M: usize, const V: usize, const LANE: i32>(
    values: &[int8x16_t; M],
    w: *const i8,
    sums: &mut Sums<M, V>,
) {
    for v in 0..V {
        for n in 0..2 {
            // SAFETY: the caller guarantees the instructions and the weights.
            unsafe {
                let w = vld1q_s8(w.add(4 * (v * LANES + n * QUAD)));
                for m in 0..M {
                    sums[m][v][n] = sdot_lane::<LANE>(sums[m][v][n], w, values[m]);
                }
            }
        }
    }
}

/// Adds the dot products of each four of `a` and the four of `b` in a lane of 32 bits.
///
/// By hand, because `vdotq_laneq_s32`, which is this instruction, is not stable in the oldest toolchain that is supported.
///
/// # Safety
/// The CPU has the instruction.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn sdot_lane<const LANE: i32>(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: it only computes.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {a:v}.16b, {b:v}.4b[{lane}]",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}
