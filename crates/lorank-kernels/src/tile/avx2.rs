//! The innermost loops with AVX2 and FMA.

use std::arch::x86_64::*;

use super::{Kernel, Rows};

/// AVX2 and FMA: 16 registers of 8 lanes.
///
/// Floats take 6 rows by 2 vectors: 12 sums, 2 vectors of weights and a broadcast value fill the registers, and hide the
/// latency of the fused multiply-add. Integers need registers between, so they take 8 rows by one vector at a time.
pub(crate) struct Avx2;

const LANES: usize = 8;

impl Kernel for Avx2 {
    const LANES: usize = LANES;
    const ROWS: usize = 6;
    const ROWS_INT8: usize = 8;
    const FMA: bool = true;

    #[inline(always)]
    unsafe fn f32<const M: usize, const V: usize>(a: Rows<f32>, depth: usize, panel: *const f32, out: *mut f32) {
        // SAFETY: the caller vouches for the instructions, for `M` rows and a panel of this depth, and for the tile's room.
        unsafe {
            let mut sums = [[_mm256_setzero_ps(); V]; M];
            let mut w = panel;
            for d in 0..depth {
                let weights: [__m256; V] = std::array::from_fn(|v| _mm256_loadu_ps(w.add(v * LANES)));
                for (m, sums) in sums.iter_mut().enumerate() {
                    let x = _mm256_set1_ps(*a.start.add(m * a.stride + d));
                    for v in 0..V {
                        sums[v] = _mm256_fmadd_ps(x, weights[v], sums[v]);
                    }
                }
                w = w.add(V * LANES);
            }
            store(&sums, out);
        }
    }

    #[inline(always)]
    unsafe fn bf16_widened<const M: usize, const V: usize>(
        a: Rows<f32>,
        depth: usize,
        panel: *const u16,
        out: *mut f32,
    ) {
        // SAFETY: the caller vouches for the instructions, for `M` rows and a panel of this depth, and for the tile's room.
        unsafe {
            let mut sums = [[_mm256_setzero_ps(); V]; M];
            let upper = _mm256_set1_epi32(0xffff_0000_u32.cast_signed());
            let mut w = panel;
            for d in (0..depth - depth % 2).step_by(2) {
                // Each 32 bits hold one column's weights at `d` (below) and at `d + 1` (above).
                let pairs: [__m256i; V] = std::array::from_fn(|v| _mm256_loadu_si256(w.add(v * 2 * LANES).cast()));
                let even = pairs.map(|pair| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pair)));
                let odd = pairs.map(|pair| _mm256_castsi256_ps(_mm256_and_si256(pair, upper)));
                for (m, sums) in sums.iter_mut().enumerate() {
                    let x = a.start.add(m * a.stride + d);
                    for v in 0..V {
                        sums[v] = _mm256_fmadd_ps(_mm256_set1_ps(*x), even[v], sums[v]);
                    }
                }
                for (m, sums) in sums.iter_mut().enumerate() {
                    let x = a.start.add(m * a.stride + d + 1);
                    for v in 0..V {
                        sums[v] = _mm256_fmadd_ps(_mm256_set1_ps(*x), odd[v], sums[v]);
                    }
                }
                w = w.add(V * 2 * LANES);
            }
            if !depth.is_multiple_of(2) {
                for (m, sums) in sums.iter_mut().enumerate() {
                    let x = _mm256_set1_ps(*a.start.add(m * a.stride + depth - 1));
                    for v in 0..V {
                        let pair = _mm256_loadu_si256(w.add(v * 2 * LANES).cast());
                        sums[v] = _mm256_fmadd_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pair)), sums[v]);
                    }
                }
            }
            store(&sums, out);
        }
    }

    #[inline(always)]
    unsafe fn bf16_products<const M: usize, const V: usize>(_: Rows<u16>, _: usize, _: *const u16, _: *mut f32) {
        unreachable!("AVX2 has no bf16 products: its inputs stay in f32");
    }

    #[inline(always)]
    unsafe fn int8<const M: usize, const V: usize>(a: Rows<u8>, n_steps: usize, panel: *const i8, out: *mut i32) {
        // SAFETY: the caller vouches for the instructions, for `M` rows and a panel of this depth, and for the tile's room.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            for v in 0..V {
                let mut sums = [_mm256_setzero_si256(); M];
                let mut w = panel.add(v * 4 * LANES);
                for step in 0..n_steps {
                    let weights_0 = _mm256_loadu_si256(w.cast());
                    let weights_1 = _mm256_loadu_si256(w.add(V * 4 * LANES).cast());
                    for (m, sum) in sums.iter_mut().enumerate() {
                        let x = a.start.add(m * a.stride + step * 8).cast::<i32>();
                        let x_0 = _mm256_set1_epi32(x.read_unaligned());
                        let x_1 = _mm256_set1_epi32(x.add(1).read_unaligned());
                        // Four products a lane of 16 bits: the packing's bound keeps their sum within it.
                        let products = _mm256_add_epi16(
                            _mm256_maddubs_epi16(x_0, weights_0),
                            _mm256_maddubs_epi16(x_1, weights_1),
                        );
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(products, ones));
                    }
                    w = w.add(V * 8 * LANES);
                }
                for (m, sum) in sums.into_iter().enumerate() {
                    _mm256_storeu_si256(out.add((m * V + v) * LANES).cast(), sum);
                }
            }
        }
    }
}

/// # Safety
/// As for the trait: `out` has room for the tile.
#[inline(always)]
unsafe fn store<const M: usize, const V: usize>(sums: &[[__m256; V]; M], out: *mut f32) {
    for (m, sums) in sums.iter().enumerate() {
        for v in 0..V {
            // SAFETY: `out` has room for `M` rows of `V` vectors.
            unsafe { _mm256_storeu_ps(out.add((m * V + v) * LANES), sums[v]) }
        }
    }
}
