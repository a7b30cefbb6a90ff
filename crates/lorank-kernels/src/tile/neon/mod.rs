//! The innermost loops with NEON, the vector instructions of 64-bit ARM.
//!
//! Every such processor has the same floats; they differ in products of integers and of bf16, which are [`Products`].

mod dotprod;
mod matrices;
mod widening;

use std::arch::aarch64::*;
use std::marker::PhantomData;

pub(crate) use self::dotprod::Dotprod;
pub(crate) use self::matrices::Matrices;
pub(crate) use self::widening::Widening;
use super::{Int8Order, Kernel, Portable, RowPointers, Scaling};

/// NEON with products of integers and of bf16: 32 registers of four lanes.
///
/// A vector is a pair of registers, because the other sets' vectors have eight lanes at least. A tile of 6 rows by 2
/// vectors is 24 sums, one register of values a row, which are four in depth, and what is left for weights.
pub(crate) struct Neon<P>(PhantomData<P>);

const LANES: usize = 8;
/// The maximum number of rows of a tile in every format.
const ROWS: usize = 6;
/// The lanes of a register.
const QUAD: usize = 4;

/// A vector: two registers.
type Pair = [float32x4_t; 2];

/// The products in which processors differ.
///
/// # Safety
/// As for [`Kernel`], whose functions these are.
pub(crate) unsafe trait Products: 'static {
    const INT8_ORDER: Int8Order;

    unsafe fn int8<const V: usize>(
        a: RowPointers<u8>,
        n_rows: usize,
        depth: usize,
        panel: *const i8,
        scaling: Scaling,
        out: *mut f32,
    );

    const BF16_GROUP: usize = 2;

    #[inline(always)]
    unsafe fn bf16_products<const M: usize, const V: usize>(_: RowPointers<u16>, _: usize, _: *const u16, _: *mut f32) {
        unreachable!("without BFMMLA inputs stay in f32");
    }
}

// SAFETY: every product writes its whole tile, as those of `P` do, and `ROWS` is within `ROWS_MAX`.
unsafe impl<P: Products> Kernel for Neon<P> {
    const LANES: usize = LANES;
    const ROWS: usize = ROWS;
    const BF16_ROWS: usize = ROWS;
    const FMA: bool = true;

    type Vector = Pair;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Pair {
        // SAFETY: the caller guarantees the instructions and the numbers.
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(QUAD))] }
    }

    #[inline(always)]
    unsafe fn store(vector: Pair, to: *mut f32) {
        // SAFETY: the caller guarantees the instructions and the room.
        unsafe {
            vst1q_f32(to, vector[0]);
            vst1q_f32(to.add(QUAD), vector[1]);
        }
    }

    #[inline(always)]
    unsafe fn add(a: Pair, b: Pair) -> Pair {
        // SAFETY: the caller guarantees the instructions.
        unsafe { [vaddq_f32(a[0], b[0]), vaddq_f32(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn f32<const M: usize, const V: usize>(
        a: RowPointers<f32>,
        depth: usize,
        panel: *const f32,
        adds: bool,
        out: *mut f32,
    ) {
        // SAFETY: the caller guarantees the instructions, `M` rows and a panel of this depth, and the tile's room.
        unsafe {
            let mut sums: Sums<M, V> = [[[vdupq_n_f32(0.0); 2]; V]; M];
            if adds {
                for (at, sum) in sums.as_flattened_mut().as_flattened_mut().iter_mut().enumerate() {
                    *sum = vld1q_f32(out.add(at * QUAD));
                }
            }
            // Without closures: in large functions they are called, and the sums go to memory for each call.
            let mut values = [vdupq_n_f32(0.0); M];
            let mut w = panel;
            for group in 0..depth / QUAD {
                for (m, values) in values.iter_mut().enumerate() {
                    *values = vld1q_f32(a.start.add(m * a.stride + group * QUAD));
                }
                add_products::<M, V, 0>(&values, w, &mut sums);
                add_products::<M, V, 1>(&values, w.add(V * LANES), &mut sums);
                add_products::<M, V, 2>(&values, w.add(2 * V * LANES), &mut sums);
                add_products::<M, V, 3>(&values, w.add(3 * V * LANES), &mut sums);
                w = w.add(QUAD * V * LANES);
            }
            for d in depth / QUAD * QUAD..depth {
                for (m, values) in values.iter_mut().enumerate() {
                    *values = vld1q_dup_f32(a.start.add(m * a.stride + d));
                }
                add_products::<M, V, 0>(&values, w, &mut sums);
                w = w.add(V * LANES);
            }
            store(&sums, out);
        }
    }

    const BF16_GROUP: usize = P::BF16_GROUP;

    #[inline(always)]
    unsafe fn bf16_products<const M: usize, const V: usize>(
        a: RowPointers<u16>,
        depth: usize,
        panel: *const u16,
        out: *mut f32,
    ) {
        // SAFETY: the same contract.
        unsafe { P::bf16_products::<M, V>(a, depth, panel, out) }
    }

    const INT8_ORDER: Int8Order = P::INT8_ORDER;

    #[inline(always)]
    unsafe fn int8<const V: usize>(
        a: RowPointers<u8>,
        n_rows: usize,
        depth: usize,
        panel: *const i8,
        scaling: Scaling,
        out: *mut f32,
    ) {
        // SAFETY: the same contract.
        unsafe { P::int8::<V>(a, n_rows, depth, panel, scaling, out) }
    }

    #[inline(always)]
    unsafe fn transpose(rows: RowPointers<f32>, to: *mut f32, stride: usize) {
        // SAFETY: the caller guarantees the instructions, and eight by eight numbers on both sides.
        unsafe {
            for m in [0, 4] {
                for d in [0, 4] {
                    let row = |n: usize| vld1q_f32(rows.start.add((m + n) * rows.stride + d));
                    let [a, b, c, e] = [row(0), row(1), row(2), row(3)];
                    // Pairs of rows, interleaved, then pairs of those.
                    let (even, odd) = (vtrn1q_f32(a, b), vtrn2q_f32(a, b));
                    let (even_below, odd_below) = (vtrn1q_f32(c, e), vtrn2q_f32(c, e));
                    let columns = [
                        lower_halves(even, even_below),
                        lower_halves(odd, odd_below),
                        upper_halves(even, even_below),
                        upper_halves(odd, odd_below),
                    ];
                    for (n, column) in columns.into_iter().enumerate() {
                        vst1q_f32(to.add((d + n) * stride + m), column);
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn range(row: &[f32]) -> (f32, f32, f32) {
        const N: usize = 4;
        let (chunks, rest) = row.as_chunks::<{ N * QUAD }>();
        // SAFETY: plain Rust.
        let (low, high, poison) = unsafe { Portable::range(rest) };
        // SAFETY: the caller guarantees the instructions; a chunk is `N` registers long.
        unsafe {
            // Several accumulators hide the latency.
            let (mut lows, mut highs, mut poisons) =
                ([vdupq_n_f32(low); N], [vdupq_n_f32(high); N], [vdupq_n_f32(poison); N]);
            for chunk in chunks {
                for n in 0..N {
                    let x = vld1q_f32(chunk.as_ptr().add(n * QUAD));
                    // These ignore NaN, as the portable ones do.
                    lows[n] = vminnmq_f32(lows[n], x);
                    highs[n] = vmaxnmq_f32(highs[n], x);
                    poisons[n] = vfmaq_f32(poisons[n], x, vdupq_n_f32(0.0));
                }
            }
            let low = vminnmq_f32(vminnmq_f32(lows[0], lows[1]), vminnmq_f32(lows[2], lows[3]));
            let high = vmaxnmq_f32(vmaxnmq_f32(highs[0], highs[1]), vmaxnmq_f32(highs[2], highs[3]));
            let poison = vaddq_f32(vaddq_f32(poisons[0], poisons[1]), vaddq_f32(poisons[2], poisons[3]));
            (vminnmvq_f32(low), vmaxnmvq_f32(high), vaddvq_f32(poison))
        }
    }

    #[inline(always)]
    unsafe fn quantise(row: &[f32], minimum: f32, factor: f32, to: &mut [u8]) {
        let (chunks, rest) = row.as_chunks::<{ 4 * QUAD }>();
        let (to_chunks, to_rest) = to.as_chunks_mut::<{ 4 * QUAD }>();
        // SAFETY: the caller guarantees the instructions; a chunk is four registers of floats, and one of bytes.
        unsafe {
            let minima = vdupq_n_f32(minimum);
            for (chunk, to) in chunks.iter().zip(to_chunks) {
                let mut integers = [vdupq_n_u32(0); 4];
                for (n, integers) in integers.iter_mut().enumerate() {
                    let x = vsubq_f32(vld1q_f32(chunk.as_ptr().add(n * QUAD)), minima);
                    // To nearest even; NaN becomes zero.
                    *integers = vcvtnq_u32_f32(vmulq_n_f32(x, factor));
                }
                let [a, b, c, d] = integers;
                let low = vqmovn_high_u32(vqmovn_u32(a), b);
                let high = vqmovn_high_u32(vqmovn_u32(c), d);
                vst1q_u8(to.as_mut_ptr(), vqmovn_high_u16(vqmovn_u16(low), high));
            }
            Portable::quantise(rest, minimum, factor, to_rest);
        }
    }
}

/// The sums of a tile: rows of `V` pairs of registers.
type Sums<const M: usize, const V: usize> = [[Pair; V]; M];

/// Adds the products of one value of each row, in lane `LANE`, with the weights at its depth.
///
/// # Safety
/// As for [`Kernel`]: `w` has `V` vectors.
#[inline(always)]
unsafe fn add_products<const M: usize, const V: usize, const LANE: i32>(
    values: &[float32x4_t; M],
    w: *const f32,
    sums: &mut Sums<M, V>,
) {
    for v in 0..V {
        for n in 0..2 {
            // SAFETY: the caller guarantees the instructions and the weights.
            unsafe {
                let w = vld1q_f32(w.add(v * LANES + n * QUAD));
                for m in 0..M {
                    sums[m][v][n] = vfmaq_laneq_f32::<LANE>(sums[m][v][n], w, values[m]);
                }
            }
        }
    }
}

/// # Safety
/// As for [`Kernel`]: `out` has room for the tile.
#[inline(always)]
unsafe fn store<const M: usize, const V: usize>(sums: &Sums<M, V>, out: *mut f32) {
    for (at, sum) in sums.as_flattened().as_flattened().iter().enumerate() {
        // SAFETY: `out` has room for `M` rows of `V` vectors, which is what `sums` is.
        unsafe { vst1q_f32(out.add(at * QUAD), *sum) }
    }
}

/// Scales a row of integer sums, as [`Scaling`] says, and writes it: row `m` of the tile's rows.
///
/// # Safety
/// As for [`Kernel`]: there are scales for the row and for `V` vectors of columns, and `out` has room for it.
#[inline(always)]
unsafe fn store_scaled<const V: usize>(sums: &[[int32x4_t; 2]; V], m: usize, scaling: &Scaling, out: *mut f32) {
    // SAFETY: as the caller guarantees.
    unsafe {
        let (row_scale, minimum) = (*scaling.row_scales.add(m), *scaling.row_minima.add(m));
        for (at, sum) in sums.as_flattened().iter().enumerate() {
            // Each step rounded, as in the other sets: no fused instructions.
            let scaled = vmulq_n_f32(vcvtq_f32_s32(*sum), row_scale);
            let minima = vmulq_n_f32(vld1q_f32(scaling.column_sums.add(at * QUAD)), minimum);
            let sum = vmulq_f32(vaddq_f32(scaled, minima), vld1q_f32(scaling.column_scales.add(at * QUAD)));
            vst1q_f32(out.add(m * V * LANES + at * QUAD), sum);
        }
    }
}

/// What has to be added to the sums of `(x - 128) w` for those of `x w`: 128 times the columns' sums. Some sets multiply
/// signed numbers with signed ones alone, so their inputs, up to 255, are moved to -128 to 127.
///
/// The sums are whole numbers below 2²⁴ ([`INT8_DEPTH_MAX`](crate::packed) inputs), exact in f32. On the way an addition
/// may overflow 32 bits, but the result does not, and integers wrap.
///
/// # Safety
/// As for [`Kernel`]: there are sums for `V` vectors of columns.
#[inline(always)]
unsafe fn corrections<const V: usize>(scaling: &Scaling) -> [[int32x4_t; 2]; V] {
    // SAFETY: as the caller guarantees.
    unsafe {
        let mut corrections = [[vdupq_n_s32(0); 2]; V];
        for (at, correction) in corrections.as_flattened_mut().iter_mut().enumerate() {
            *correction = vshlq_n_s32::<7>(vcvtq_s32_f32(vld1q_f32(scaling.column_sums.add(at * QUAD))));
        }
        corrections
    }
}

/// 16 of a row's integers, minus 128.
///
/// # Safety
/// As for [`Kernel`]: there are 16.
#[inline(always)]
unsafe fn load_signed(x: *const u8) -> int8x16_t {
    // SAFETY: as the caller guarantees.
    unsafe { vreinterpretq_s8_u8(veorq_u8(vld1q_u8(x), vdupq_n_u8(0x80))) }
}

/// The lower halves of two registers.
///
/// # Safety
/// As for [`Kernel`].
#[inline(always)]
unsafe fn lower_halves(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    // SAFETY: the caller guarantees the instructions.
    unsafe { vreinterpretq_f32_f64(vtrn1q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b))) }
}

/// The upper halves of two registers.
///
/// # Safety
/// As for [`Kernel`].
#[inline(always)]
unsafe fn upper_halves(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    // SAFETY: the caller guarantees the instructions.
    unsafe { vreinterpretq_f32_f64(vtrn2q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b))) }
}
