//! The innermost loops with AVX2 and FMA.

use std::arch::x86_64::*;

use super::{Kernel, Portable, Rows};

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
                    let weights: [__m256i; 4] =
                        std::array::from_fn(|group| _mm256_loadu_si256(w.add(group * V * 4 * LANES).cast()));
                    for (m, sum) in sums.iter_mut().enumerate() {
                        let x = a.start.add(m * a.stride + step * 16).cast::<i32>();
                        let product = |group: usize| {
                            _mm256_maddubs_epi16(_mm256_set1_epi32(x.add(group).read_unaligned()), weights[group])
                        };
                        // Eight products a lane of 16 bits: the packing's bound keeps their sum within it.
                        let products = _mm256_add_epi16(
                            _mm256_add_epi16(product(0), product(1)),
                            _mm256_add_epi16(product(2), product(3)),
                        );
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(products, ones));
                    }
                    w = w.add(V * 16 * LANES);
                }
                for (m, sum) in sums.into_iter().enumerate() {
                    _mm256_storeu_si256(out.add((m * V + v) * LANES).cast(), sum);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn range(row: &[f32]) -> (f32, f32, f32) {
        let (chunks, rest) = row.as_chunks::<LANES>();
        // SAFETY: plain Rust.
        let (mut low, mut high, mut poison) = unsafe { Portable::range(rest) };
        // SAFETY: the caller vouches for the instructions; a chunk is a vector long.
        unsafe {
            let (mut lows, mut highs, mut poisons) =
                (_mm256_set1_ps(low), _mm256_set1_ps(high), _mm256_set1_ps(poison));
            for chunk in chunks {
                let x = _mm256_loadu_ps(chunk.as_ptr());
                lows = _mm256_min_ps(lows, x);
                highs = _mm256_max_ps(highs, x);
                poisons = _mm256_fmadd_ps(x, _mm256_setzero_ps(), poisons);
            }
            let numbers = |lanes: __m256| {
                let mut numbers = [0.0; LANES];
                _mm256_storeu_ps(numbers.as_mut_ptr(), lanes);
                numbers
            };
            low = numbers(lows).into_iter().fold(low, f32::min);
            high = numbers(highs).into_iter().fold(high, f32::max);
            poison = numbers(poisons).into_iter().sum();
        }
        (low, high, poison)
    }

    #[inline(always)]
    unsafe fn quantise(row: &[f32], minimum: f32, factor: f32, to: &mut [u8]) {
        let (chunks, rest) = row.as_chunks::<{ 4 * LANES }>();
        let (to_chunks, to_rest) = to.split_at_mut(chunks.len() * 4 * LANES);
        // SAFETY: the caller vouches for the instructions; a chunk is four vectors of floats, and one of bytes.
        unsafe {
            let (minima, factors) = (_mm256_set1_ps(minimum), _mm256_set1_ps(factor));
            // Packing works within halves of vectors; this puts the quarters of 4 bytes back in order.
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            for (chunk, to) in chunks.iter().zip(to_chunks.chunks_exact_mut(4 * LANES)) {
                let integers: [__m256i; 4] = std::array::from_fn(|v| {
                    let x = _mm256_loadu_ps(chunk.as_ptr().add(v * LANES));
                    _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_sub_ps(x, minima), factors))
                });
                let low = _mm256_packs_epi32(integers[0], integers[1]);
                let high = _mm256_packs_epi32(integers[2], integers[3]);
                let bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
                _mm256_storeu_si256(to.as_mut_ptr().cast(), bytes);
            }
            Portable::quantise(rest, minimum, factor, to_rest);
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
