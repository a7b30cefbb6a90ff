//! Products of integers and of bf16 by products of small matrices, which ARMv8.6 requires: servers since 2021 (Neoverse V1
//! and N2), Apple's processors since the M2.

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::{Int8Order, RowPointers, Scaling, Tile, tiles};
use super::{LANES, Products, QUAD, ROWS, lower_halves, store_scaled, upper_halves};

/// USMMLA, two rows of eight unsigned numbers times two columns of eight signed ones, and BFMMLA, two rows of four times
/// two columns of four.
pub(crate) struct Matrices;

/// The pairs of columns of a vector.
const PAIRS: usize = LANES / 2;
/// The integers of a row or column that are multiplied at a time.
const INT8_GROUP: usize = 8;
/// The same for numbers in bf16.
const BF16_GROUP: usize = 4;

// SAFETY: the tiles of integers cover all rows, and each writes all of its own, as the product in bf16 does.
unsafe impl Products for Matrices {
    const INT8_ORDER: Int8Order = Int8Order::Groups(INT8_GROUP);

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

    const BF16_GROUP: usize = BF16_GROUP;

    #[inline(always)]
    unsafe fn bf16_products<const M: usize, const V: usize>(
        a: RowPointers<u16>,
        depth: usize,
        panel: *const u16,
        out: *mut f32,
    ) {
        // SAFETY: the same contract, and the pairs are those of `M` rows.
        unsafe {
            match M {
                6 => pairs::<M, 3, V>(a, depth, panel, out),
                4 => pairs::<M, 2, V>(a, depth, panel, out),
                1 | 2 => pairs::<M, 1, V>(a, depth, panel, out),
                _ => unreachable!("a tile has at most six rows, in pairs or one"),
            }
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
        // SAFETY: the caller guarantees all requirements of a tile, and the pairs are those of `M` rows.
        unsafe {
            match M {
                6 => self.pairs::<M, 3>(row),
                4 => self.pairs::<M, 2>(row),
                1 | 2 => self.pairs::<M, 1>(row),
                _ => unreachable!("a tile has at most six rows, in pairs or one"),
            }
        }
    }
}

impl<const V: usize> Int8<V> {
    /// The product of `M` rows in `P` pairs; a single row takes the place of both.
    ///
    /// # Safety
    /// As for [`Tile::run`].
    #[inline(always)]
    unsafe fn pairs<const M: usize, const P: usize>(&self, row: usize) {
        // SAFETY: the caller guarantees the instructions, `M` rows and a panel of this depth, the scales of the tile's
        // rows and columns, and its room.
        unsafe {
            let (a, scaling, out) = (self.a.from(row), self.scaling.from(row), self.out.add(row * V * LANES));
            let to_second = if M == 1 { 0 } else { a.stride };
            // Two rows by two columns each.
            let mut sums = [[[vdupq_n_s32(0); PAIRS]; V]; P];
            let mut values = [vdupq_n_u8(0); P];
            let mut w = self.panel;
            for start in (0..self.depth).step_by(INT8_GROUP) {
                for (pair, values) in values.iter_mut().enumerate() {
                    let x = a.start.add(2 * pair * a.stride + start);
                    *values = vcombine_u8(vld1_u8(x), vld1_u8(x.add(to_second)));
                }
                for v in 0..V {
                    for n in 0..PAIRS {
                        let w = vld1q_s8(w.add(INT8_GROUP * (v * LANES + 2 * n)));
                        for pair in 0..P {
                            sums[pair][v][n] = usmmla(sums[pair][v][n], values[pair], w);
                        }
                    }
                }
                w = w.add(INT8_GROUP * V * LANES);
            }
            for (pair, sums) in sums.iter().enumerate() {
                store_scaled::<V>(&rows::<V, false>(sums), 2 * pair, &scaling, out);
                if M > 1 {
                    store_scaled::<V>(&rows::<V, true>(sums), 2 * pair + 1, &scaling, out);
                }
            }
        }
    }
}

/// One of the rows of squares of sums: their lower or upper halves.
///
/// # Safety
/// As for the trait.
#[inline(always)]
unsafe fn rows<const V: usize, const UPPER: bool>(squares: &[[int32x4_t; PAIRS]; V]) -> [[int32x4_t; 2]; V] {
    // SAFETY: the caller guarantees the instructions.
    unsafe {
        let mut rows = [[vdupq_n_s32(0); 2]; V];
        for v in 0..V {
            for n in 0..2 {
                let left = vreinterpretq_f32_s32(squares[v][2 * n]);
                let right = vreinterpretq_f32_s32(squares[v][2 * n + 1]);
                let row = if UPPER { upper_halves(left, right) } else { lower_halves(left, right) };
                rows[v][n] = vreinterpretq_s32_f32(row);
            }
        }
        rows
    }
}

/// The product of `M` rows in `P` pairs; a single row takes the place of both.
///
/// # Safety
/// As for [`Products::bf16_products`].
#[inline(always)]
unsafe fn pairs<const M: usize, const P: usize, const V: usize>(
    a: RowPointers<u16>,
    depth: usize,
    panel: *const u16,
    out: *mut f32,
) {
    // SAFETY: the caller guarantees the instructions, `M` rows and a panel of this depth, and the tile's room.
    unsafe {
        let to_second = if M == 1 { 0 } else { a.stride };
        // Two rows by two columns each.
        let mut sums = [[[vdupq_n_f32(0.0); PAIRS]; V]; P];
        let mut values = [vdupq_n_u16(0); P];
        let mut w = panel;
        for start in (0..depth).step_by(BF16_GROUP) {
            for (pair, values) in values.iter_mut().enumerate() {
                let x = a.start.add(2 * pair * a.stride + start);
                *values = vcombine_u16(vld1_u16(x), vld1_u16(x.add(to_second)));
            }
            for v in 0..V {
                for n in 0..PAIRS {
                    let w = vld1q_u16(w.add(BF16_GROUP * (v * LANES + 2 * n)));
                    for pair in 0..P {
                        sums[pair][v][n] = bfmmla(sums[pair][v][n], values[pair], w);
                    }
                }
            }
            w = w.add(BF16_GROUP * V * LANES);
        }
        for (pair, sums) in sums.iter().enumerate() {
            for (at, [left, right]) in sums.as_flattened().as_chunks::<2>().0.iter().enumerate() {
                let out = out.add(2 * pair * V * LANES + at * QUAD);
                vst1q_f32(out, lower_halves(*left, *right));
                if M > 1 {
                    vst1q_f32(out.add(V * LANES), upper_halves(*left, *right));
                }
            }
        }
    }
}

/// Adds the products of the two rows of eight of `a` and those of `b`: the first row by both, then the second.
///
/// By hand, because `vusmmlaq_s32`, which is this instruction, is not stable in the oldest toolchain that is supported.
///
/// # Safety
/// The CPU has the instruction.
#[inline]
#[target_feature(enable = "neon,i8mm")]
unsafe fn usmmla(mut sums: int32x4_t, a: uint8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: it only computes.
    unsafe {
        asm!(
            "usmmla {sums:v}.4s, {a:v}.16b, {b:v}.16b",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Adds the products of the two rows of four of `a` and those of `b`: the first row by both, then the second.
///
/// By hand, because the standard library has no stable function for this instruction.
///
/// # Safety
/// The CPU has the instruction.
#[inline]
#[target_feature(enable = "neon,bf16")]
unsafe fn bfmmla(mut sums: float32x4_t, a: uint16x8_t, b: uint16x8_t) -> float32x4_t {
    // SAFETY: it only computes.
    unsafe {
        asm!(
            "bfmmla {sums:v}.4s, {a:v}.8h, {b:v}.8h",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}
