//! The innermost loops with AVX2 and FMA.

use std::arch::x86_64::*;

use super::{
    GROUP, GroupScaling, INT8_CHUNK, INT8_STEP, Int8Order, Kernel, Portable, RowPointers, Scaling, Tile, tiles,
};
use crate::groups::OFFSET;

/// AVX2 and FMA: 16 registers of 8 lanes.
///
/// Floats use tiles of 6 rows by 2 vectors: 12 sums, 2 vectors of weights and a broadcast value fill the registers, and
/// hide the latency of the fused multiply-add. Integers use one row by 8 columns.
pub(crate) struct Avx2;

const LANES: usize = 8;

// SAFETY: every product writes its whole tile, and `ROWS` is within `ROWS_MAX`; its products in bf16 are never asked for.
unsafe impl Kernel for Avx2 {
    const LANES: usize = LANES;
    const ROWS: usize = 6;
    const BF16_ROWS: usize = 6;
    const FMA: bool = true;

    type Vector = __m256;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the caller guarantees the instructions and the numbers.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(vector: __m256, to: *mut f32) {
        // SAFETY: the caller guarantees the instructions and the room.
        unsafe { _mm256_storeu_ps(to, vector) }
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller guarantees the instructions.
        unsafe { _mm256_add_ps(a, b) }
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
            let mut sums = [[_mm256_setzero_ps(); V]; M];
            if adds {
                for (at, sum) in sums.as_flattened_mut().iter_mut().enumerate() {
                    *sum = _mm256_loadu_ps(out.add(at * LANES));
                }
            }
            // Unrolled by two, because counting and addressing are a fifth of the instructions otherwise.
            for pair in 0..depth / 2 {
                add_products(a, 2 * pair, panel, &mut sums);
                add_products(a, 2 * pair + 1, panel, &mut sums);
            }
            if depth % 2 == 1 {
                add_products(a, depth - 1, panel, &mut sums);
            }
            store(&sums, out);
        }
    }

    const BF16_GROUP: usize = 2;

    #[inline(always)]
    unsafe fn bf16_products<const M: usize, const V: usize>(_: RowPointers<u16>, _: usize, _: *const u16, _: *mut f32) {
        unreachable!("AVX2 has no bf16 products: its inputs stay in f32");
    }

    const INT8_ORDER: Int8Order = Int8Order::Chunks;

    /// A vector holds 16 values of a row twice, or of two columns, and is summed horizontally at the end. Compared with
    /// columns in lanes this saves broadcasts, and compared with one column in all lanes most of the horizontal sums.
    #[inline(always)]
    unsafe fn int8<const V: usize>(
        a: RowPointers<u8>,
        n_rows: usize,
        depth: usize,
        panel: *const i8,
        scaling: Scaling,
        out: *mut f32,
    ) {
        // SAFETY: the caller guarantees the instructions, the rows and a panel of this depth, the scales of the
        // tile's rows and columns, and its room.
        unsafe {
            for m in 0..n_rows {
                let x = a.from(m).start;
                let mut sums = [[_mm256_setzero_si256(); PAIRS]; V];
                let n_whole = depth / INT8_CHUNK * INT8_CHUNK;
                let mut start = 0;
                while start < n_whole {
                    add_chunk::<4, V>(x.add(start), panel.add(start * LANES), depth, &mut sums);
                    start += INT8_CHUNK;
                }
                let (x, w) = (x.add(start), panel.add(start * LANES));
                match (depth - start) / INT8_STEP {
                    0 => {}
                    1 => add_chunk::<1, V>(x, w, depth, &mut sums),
                    2 => add_chunk::<2, V>(x, w, depth, &mut sums),
                    _ => add_chunk::<3, V>(x, w, depth, &mut sums),
                }
                let row_scale = _mm256_set1_ps(*scaling.row_scales.add(m));
                let minimum = _mm256_set1_ps(*scaling.row_minima.add(m));
                for (v, sums) in sums.into_iter().enumerate() {
                    let sums = _mm256_mul_ps(_mm256_cvtepi32_ps(across(sums)), row_scale);
                    let column_sums = _mm256_loadu_ps(scaling.column_sums.add(v * LANES));
                    let sums = _mm256_add_ps(sums, _mm256_mul_ps(column_sums, minimum));
                    let sums = _mm256_mul_ps(sums, _mm256_loadu_ps(scaling.column_scales.add(v * LANES)));
                    _mm256_storeu_ps(out.add((m * V + v) * LANES), sums);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn int8_groups<const V: usize>(
        a: RowPointers<u8>,
        n_rows: usize,
        n_groups: usize,
        panel: *const i8,
        scaling: GroupScaling,
        out: *mut f32,
    ) {
        // SAFETY: the caller guarantees all requirements of a tile.
        unsafe { tiles(n_rows, GROUPS_ROWS, &Int8Groups::<V> { a, n_groups, panel, scaling, out }) }
    }

    #[inline(always)]
    unsafe fn transpose(rows: RowPointers<f32>, to: *mut f32, stride: usize) {
        // SAFETY: the caller guarantees the instructions, and eight by eight numbers on both sides.
        unsafe {
            // Pairs of rows 4 apart share a vector, half by half; then come the usual two steps within halves.
            let mut halves = [_mm256_setzero_ps(); 4];
            for d in [0, 4] {
                for (m, halves) in halves.iter_mut().enumerate() {
                    let (low, high) = (rows.start.add(m * rows.stride + d), rows.start.add((m + 4) * rows.stride + d));
                    let low = _mm256_castps128_ps256(_mm_loadu_ps(low));
                    *halves = _mm256_insertf128_ps::<1>(low, _mm_loadu_ps(high));
                }
                let [a, b, c, e] = halves;
                let low = [_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, e)];
                let high = [_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, e)];
                let columns = [
                    _mm256_shuffle_ps::<0x44>(low[0], low[1]),
                    _mm256_shuffle_ps::<0xee>(low[0], low[1]),
                    _mm256_shuffle_ps::<0x44>(high[0], high[1]),
                    _mm256_shuffle_ps::<0xee>(high[0], high[1]),
                ];
                for (n, column) in columns.into_iter().enumerate() {
                    _mm256_storeu_ps(to.add((d + n) * stride), column);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn range(row: &[f32]) -> (f32, f32, f32) {
        const N: usize = 2;
        let (chunks, rest) = row.as_chunks::<{ N * LANES }>();
        // SAFETY: plain Rust.
        let (low, high, poison) = unsafe { Portable::range(rest) };
        // SAFETY: the caller guarantees the instructions; a chunk is `N` vectors long.
        unsafe {
            // Several accumulators hide the latency.
            let (mut lows, mut highs, mut poisons) =
                ([_mm256_set1_ps(low); N], [_mm256_set1_ps(high); N], [_mm256_set1_ps(poison); N]);
            for chunk in chunks {
                for n in 0..N {
                    let x = _mm256_loadu_ps(chunk.as_ptr().add(n * LANES));
                    lows[n] = _mm256_min_ps(lows[n], x);
                    highs[n] = _mm256_max_ps(highs[n], x);
                    poisons[n] = _mm256_fmadd_ps(x, _mm256_setzero_ps(), poisons[n]);
                }
            }
            let [low, other] = lows;
            let low = fold(_mm256_min_ps(low, other), |a, b| if b < a { b } else { a });
            let [high, other] = highs;
            let high = fold(_mm256_max_ps(high, other), |a, b| if b > a { b } else { a });
            let [poison, other] = poisons;
            (low, high, fold(_mm256_add_ps(poison, other), |a, b| a + b))
        }
    }

    #[inline(always)]
    unsafe fn quantise(row: &[f32], minimum: f32, factor: f32, to: &mut [u8]) {
        let (chunks, rest) = row.as_chunks::<{ 4 * LANES }>();
        let (to_chunks, to_rest) = to.split_at_mut(chunks.len() * 4 * LANES);
        // SAFETY: the caller guarantees the instructions; a chunk is four vectors of floats, and one of bytes.
        unsafe {
            let (minima, factors) = (_mm256_set1_ps(minimum), _mm256_set1_ps(factor));
            // Packing works within halves of vectors; this restores the order of the groups of 4 bytes.
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

/// The rows of a tile of integers in groups: 4 sums of integers and 4 of floats.
const GROUPS_ROWS: usize = 2;

/// A product of integers in groups, tile by tile. As both operands have 8 bits, two products fill 16 bits, and each pair is
/// widened before it is added.
struct Int8Groups<const V: usize> {
    a: RowPointers<u8>,
    n_groups: usize,
    panel: *const i8,
    scaling: GroupScaling,
    out: *mut f32,
}

impl<const V: usize> Tile for Int8Groups<V> {
    #[inline(always)]
    unsafe fn run<const M: usize>(&self, row: usize) {
        // SAFETY: the caller guarantees the instructions, `M` rows and a panel of this depth, the scales of the
        // tile's rows and columns, and its room.
        unsafe {
            let (a, scaling, out) = (self.a.from(row), self.scaling.from(row), self.out.add(row * V * LANES));
            let (to_signed, ones) = (_mm256_set1_epi8(OFFSET as i8), _mm256_set1_epi16(1));
            let mut totals = [[_mm256_setzero_ps(); V]; M];
            let (mut x, mut w) = (a.start, self.panel);
            let mut column_scales = scaling.column_scales;
            for g in 0..self.n_groups {
                // The rows' integers with their signs need no offset.
                let mut sums = [[_mm256_setzero_si256(); V]; M];
                for _ in 0..GROUP / 4 {
                    for (m, sums) in sums.iter_mut().enumerate() {
                        let x = _mm256_set1_epi32(x.add(m * a.stride).cast::<i32>().read_unaligned());
                        let x = _mm256_xor_si256(x, to_signed);
                        let magnitudes = _mm256_abs_epi8(x);
                        for v in 0..V {
                            let weights = _mm256_loadu_si256(w.add(v * 4 * LANES).cast());
                            let products = _mm256_maddubs_epi16(magnitudes, _mm256_sign_epi8(weights, x));
                            sums[v] = _mm256_add_epi32(sums[v], _mm256_madd_epi16(products, ones));
                        }
                    }
                    (x, w) = (x.add(4), w.add(V * 4 * LANES));
                }
                for (m, totals) in totals.iter_mut().enumerate() {
                    let row_scale = _mm256_set1_ps(*scaling.row_scales.start.add(m * scaling.row_scales.stride + g));
                    for v in 0..V {
                        let scales = _mm256_loadu_ps(column_scales.add(v * LANES));
                        let sums = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[m][v]), scales);
                        totals[v] = _mm256_fmadd_ps(sums, row_scale, totals[v]);
                    }
                }
                column_scales = column_scales.add(V * LANES);
            }
            store(&totals, out);
        }
    }
}

/// The horizontal sums of the vectors' halves: those of the lower halves, then those of the upper ones.
///
/// # Safety
/// As for the trait.
#[inline(always)]
unsafe fn across([a, b, c, d]: [__m256i; PAIRS]) -> __m256i {
    // SAFETY: the caller guarantees the instructions. (The one for horizontal sums takes as long as four of these.)
    unsafe {
        let ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
        _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd))
    }
}

/// Adds the products at one depth to the sums of a tile.
///
/// # Safety
/// As for the trait: the rows and the panel are deeper than `d`.
#[inline(always)]
unsafe fn add_products<const M: usize, const V: usize>(
    a: RowPointers<f32>,
    d: usize,
    panel: *const f32,
    sums: &mut [[__m256; V]; M],
) {
    // SAFETY: as the caller guarantees.
    unsafe {
        // Without closures: in large functions they are called, and the sums go to memory for each call.
        let mut weights = [_mm256_setzero_ps(); V];
        for (v, weights) in weights.iter_mut().enumerate() {
            *weights = _mm256_loadu_ps(panel.add((d * V + v) * LANES));
        }
        for (m, sums) in sums.iter_mut().enumerate() {
            let x = _mm256_set1_ps(*a.start.add(m * a.stride + d));
            for v in 0..V {
                sums[v] = _mm256_fmadd_ps(x, weights[v], sums[v]);
            }
        }
    }
}

/// The pairs of columns in eight.
const PAIRS: usize = LANES / 2;

/// Adds the products of a row and a panel over `N` steps of depth to their sums, which are in quarters of vectors.
///
/// # Safety
/// As for the trait: the row and the panel, whose depth is `depth`, have these steps from here.
#[inline(always)]
unsafe fn add_chunk<const N: usize, const V: usize>(
    x: *const u8,
    w: *const i8,
    depth: usize,
    sums: &mut [[__m256i; PAIRS]; V],
) {
    // SAFETY: the caller guarantees the instructions and the depth.
    unsafe {
        for half in 0..2 {
            let values = |n: usize| _mm_loadu_si128(x.add(n * INT8_STEP + half * 16).cast());
            let x: [__m256i; N] = std::array::from_fn(|n| _mm256_broadcastsi128_si256(values(n)));
            for (v, sums) in sums.iter_mut().enumerate() {
                for (pair, sum) in sums.iter_mut().enumerate() {
                    let w = w.add(v * LANES * depth + (half * PAIRS + pair) * N * 32);
                    let product = |n: usize| _mm256_maddubs_epi16(x[n], _mm256_loadu_si256(w.add(n * 32).cast()));
                    // Up to eight products per 16-bit lane: the packing's bound prevents overflow. One saturating
                    // addition keeps the compiler from reordering the sums into a tree, whose leaves would be spilled
                    // from the registers; more saturating additions would compete with the multiplications that bound
                    // this loop.
                    let mut products = product(0);
                    for n in 1..N {
                        products = match n {
                            2 => _mm256_adds_epi16(products, product(n)),
                            _ => _mm256_add_epi16(products, product(n)),
                        };
                    }
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(products, _mm256_set1_epi16(1)));
                }
            }
        }
    }
}

/// Combines the lanes of a vector by halving.
///
/// # Safety
/// As for the trait.
#[inline(always)]
unsafe fn fold(lanes: __m256, f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut numbers = [0.0; LANES];
    // SAFETY: the caller guarantees the instructions.
    unsafe { _mm256_storeu_ps(numbers.as_mut_ptr(), lanes) };
    crate::math::fold(numbers, f)
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
