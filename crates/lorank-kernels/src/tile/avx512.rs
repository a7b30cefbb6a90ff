//! The innermost loops with AVX-512.

use std::arch::x86_64::*;

use super::{Avx2, GROUP, GroupScaling, Int8Order, Kernel, RowPointers, Scaling, Tile, tiles};
use crate::groups::{OFFSET, SIGNS, scale_of};

/// AVX-512 with VNNI: 32 registers of 16 lanes.
///
/// 12 rows by 2 vectors: 24 sums, 2 vectors of weights and a broadcast value. In f32, 8 rows: the compiler broadcasts the values of
/// all rows ahead, and would spill sums from the registers.
pub(crate) struct Avx512Vnni;

/// AVX-512 with VNNI and BF16.
pub(crate) struct Avx512Bf16;

const LANES: usize = 16;
/// The rows of a tile whose products are instructions that the compiler does not reorder.
const INTRINSIC_ROWS: usize = 12;

// SAFETY: every product writes its whole tile, and `ROWS` is within `ROWS_MAX`; its products in bf16 are never asked for.
unsafe impl Kernel for Avx512Vnni {
    const LANES: usize = LANES;
    const ROWS: usize = 8;
    const BF16_ROWS: usize = INTRINSIC_ROWS;
    const FMA: bool = true;

    type Vector = __m512;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: the caller guarantees the instructions and the numbers.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(vector: __m512, to: *mut f32) {
        // SAFETY: the caller guarantees the instructions and the room.
        unsafe { _mm512_storeu_ps(to, vector) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the caller guarantees the instructions.
        unsafe { _mm512_add_ps(a, b) }
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
            // Without closures: in large functions they are called, and the sums go to memory for each call.
            let mut sums = [[_mm512_setzero_ps(); V]; M];
            if adds {
                for (at, sum) in sums.as_flattened_mut().iter_mut().enumerate() {
                    *sum = _mm512_loadu_ps(out.add(at * LANES));
                }
            }
            let mut w = panel;
            let mut weights = [_mm512_setzero_ps(); V];
            for d in 0..depth {
                for (v, weights) in weights.iter_mut().enumerate() {
                    *weights = _mm512_loadu_ps(w.add(v * LANES));
                }
                for (m, sums) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_ps(*a.start.add(m * a.stride + d));
                    for v in 0..V {
                        sums[v] = _mm512_fmadd_ps(x, weights[v], sums[v]);
                    }
                }
                w = w.add(V * LANES);
            }
            store(&sums, out);
        }
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
        unsafe { tiles(n_rows, INTRINSIC_ROWS, &Int8::<V> { a, depth, panel, scaling, out }) }
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

    /// Four vectors: the first two steps of the rotation are between vectors, the others within them.
    #[inline(always)]
    unsafe fn quantise_group(group: &[f32; GROUP], to: &mut [u8; GROUP]) -> f32 {
        // SAFETY: the caller guarantees the instructions; a group is four vectors of floats, and one of bytes.
        unsafe {
            let [a, b, c, d] = std::array::from_fn(|v| {
                let x = _mm512_loadu_si512(group.as_ptr().add(v * LANES).cast());
                let signs = _mm512_loadu_si512(SIGN_BITS.as_ptr().add(v * LANES).cast());
                _mm512_castsi512_ps(_mm512_xor_si512(x, signs))
            });
            let (a, c) = (_mm512_add_ps(a, c), _mm512_sub_ps(a, c));
            let (b, d) = (_mm512_add_ps(b, d), _mm512_sub_ps(b, d));
            let mut x = [_mm512_add_ps(a, b), _mm512_sub_ps(a, b), _mm512_add_ps(c, d), _mm512_sub_ps(c, d)];
            let mut largest = _mm512_setzero_si512();
            for x in &mut x {
                *x = _mm512_fmadd_ps(*x, signs::<8>(), _mm512_shuffle_f32x4::<0x4e>(*x, *x));
                *x = _mm512_fmadd_ps(*x, signs::<4>(), _mm512_shuffle_f32x4::<0xb1>(*x, *x));
                *x = _mm512_fmadd_ps(*x, signs::<2>(), _mm512_permute_ps::<0x4e>(*x));
                *x = _mm512_fmadd_ps(*x, signs::<1>(), _mm512_permute_ps::<0xb1>(*x));
                let magnitude = _mm512_and_si512(_mm512_castps_si512(*x), _mm512_set1_epi32(0x7fff_ffff));
                largest = _mm512_max_epu32(largest, magnitude);
            }
            let (scale, inverse) = scale_of(f32::from_bits(_mm512_reduce_max_epu32(largest)));
            for (v, x) in x.into_iter().enumerate() {
                let integers = _mm512_cvtps_epi32(_mm512_mul_ps(x, _mm512_set1_ps(inverse)));
                let bytes = _mm_xor_si128(_mm512_cvtsepi32_epi8(integers), _mm_set1_epi8(OFFSET as i8));
                _mm_storeu_si128(to.as_mut_ptr().add(v * LANES).cast(), bytes);
            }
            scale
        }
    }

    #[inline(always)]
    unsafe fn transpose(rows: RowPointers<f32>, to: *mut f32, stride: usize) {
        // SAFETY: the same contract, and this set includes AVX2's instructions.
        unsafe { Avx2::transpose(rows, to, stride) }
    }

    #[inline(always)]
    unsafe fn range(row: &[f32]) -> (f32, f32, f32) {
        // SAFETY: the same contract, and this set includes AVX2's instructions.
        unsafe { Avx2::range(row) }
    }

    #[inline(always)]
    unsafe fn quantise(row: &[f32], minimum: f32, factor: f32, to: &mut [u8]) {
        // SAFETY: the same contract, and this set includes AVX2's instructions.
        unsafe { Avx2::quantise(row, minimum, factor, to) }
    }
}

/// What a set has of another one, whose instructions it includes: all but bf16 and int8 with a scale per row.
macro_rules! inherited {
    ($set:ty) => {
        type Vector = <$set as Kernel>::Vector;

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self::Vector {
            // SAFETY: the same contract.
            unsafe { <$set>::load(from) }
        }

        #[inline(always)]
        unsafe fn store(vector: Self::Vector, to: *mut f32) {
            // SAFETY: the same contract.
            unsafe { <$set>::store(vector, to) }
        }

        #[inline(always)]
        unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector {
            // SAFETY: the same contract.
            unsafe { <$set>::add(a, b) }
        }

        #[inline(always)]
        unsafe fn f32<const M: usize, const V: usize>(
            a: RowPointers<f32>,
            depth: usize,
            panel: *const f32,
            adds: bool,
            out: *mut f32,
        ) {
            // SAFETY: the same contract.
            unsafe { <$set>::f32::<M, V>(a, depth, panel, adds, out) }
        }

        const BF16_GROUP: usize = <$set>::BF16_GROUP;

        #[inline(always)]
        unsafe fn transpose(rows: RowPointers<f32>, to: *mut f32, stride: usize) {
            // SAFETY: the same contract.
            unsafe { <$set>::transpose(rows, to, stride) }
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
            // SAFETY: the same contract.
            unsafe { <$set>::int8_groups::<V>(a, n_rows, n_groups, panel, scaling, out) }
        }

        #[inline(always)]
        unsafe fn quantise_group(group: &[f32; GROUP], to: &mut [u8; GROUP]) -> f32 {
            // SAFETY: the same contract.
            unsafe { <$set>::quantise_group(group, to) }
        }

        #[inline(always)]
        unsafe fn range(row: &[f32]) -> (f32, f32, f32) {
            // SAFETY: the same contract.
            unsafe { <$set>::range(row) }
        }

        #[inline(always)]
        unsafe fn quantise(row: &[f32], minimum: f32, factor: f32, to: &mut [u8]) {
            // SAFETY: the same contract.
            unsafe { <$set>::quantise(row, minimum, factor, to) }
        }
    };
}
pub(super) use inherited;

// SAFETY: every product writes its whole tile, and `ROWS` is within `ROWS_MAX`.
unsafe impl Kernel for Avx512Bf16 {
    const LANES: usize = LANES;
    const ROWS: usize = Avx512Vnni::ROWS;
    const BF16_ROWS: usize = INTRINSIC_ROWS;
    const FMA: bool = true;

    inherited!(Avx512Vnni);

    #[inline(always)]
    unsafe fn bf16_products<const M: usize, const V: usize>(
        a: RowPointers<u16>,
        depth: usize,
        panel: *const u16,
        out: *mut f32,
    ) {
        // SAFETY: the caller guarantees the instructions, `M` rows and a panel of this depth, and the tile's room.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); V]; M];
            let mut w = panel;
            for pair in 0..depth / 2 {
                let weights: [__m512bh; V] =
                    std::array::from_fn(|v| std::mem::transmute(_mm512_loadu_si512(w.add(v * 2 * LANES).cast())));
                for (m, sums) in sums.iter_mut().enumerate() {
                    let x = a.start.add(m * a.stride + pair * 2).cast::<i32>().read_unaligned();
                    let x: __m512bh = std::mem::transmute(_mm512_set1_epi32(x));
                    for v in 0..V {
                        sums[v] = _mm512_dpbf16_ps(sums[v], x, weights[v]);
                    }
                }
                w = w.add(V * 2 * LANES);
            }
            store(&sums, out);
        }
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
        // SAFETY: the same contract, and this set includes the other's instructions.
        unsafe { Avx512Vnni::int8::<V>(a, n_rows, depth, panel, scaling, out) }
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
        // SAFETY: the caller guarantees the instructions, `M` rows and a panel of this depth, the scales of the
        // tile's rows and columns, and its room.
        unsafe {
            let (a, scaling, out) = (self.a.from(row), self.scaling.from(row), self.out.add(row * V * LANES));
            let mut sums = [[_mm512_setzero_si512(); V]; M];
            let mut w = self.panel;
            for group in 0..self.depth / 4 {
                let weights: [__m512i; V] = std::array::from_fn(|v| _mm512_loadu_si512(w.add(v * 4 * LANES).cast()));
                for (m, sums) in sums.iter_mut().enumerate() {
                    let x = a.start.add(m * a.stride + group * 4).cast::<i32>().read_unaligned();
                    let x = _mm512_set1_epi32(x);
                    for v in 0..V {
                        sums[v] = _mm512_dpbusd_epi32(sums[v], x, weights[v]);
                    }
                }
                w = w.add(V * 4 * LANES);
            }
            for (m, sums) in sums.iter().enumerate() {
                for v in 0..V {
                    _mm512_storeu_ps(out.add((m * V + v) * LANES), scaled(sums[v], scaling, m, v));
                }
            }
        }
    }
}

/// The rows of a tile of integers in groups: 12 sums of integers and 12 of floats, 2 vectors of weights and a broadcast value.
const GROUPS_ROWS: usize = 6;

/// A product of integers in groups, tile by tile.
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
            let mut totals = [[_mm512_setzero_ps(); V]; M];
            let (mut x, mut w) = (a.start, self.panel);
            let (mut column_scales, mut offsets) = (scaling.column_scales, scaling.offsets);
            for g in 0..self.n_groups {
                let first: [__m512i; V] = std::array::from_fn(|v| _mm512_loadu_si512(offsets.add(v * LANES).cast()));
                let mut sums = [first; M];
                for _ in 0..GROUP / 4 {
                    let weights: [__m512i; V] =
                        std::array::from_fn(|v| _mm512_loadu_si512(w.add(v * 4 * LANES).cast()));
                    for (m, sums) in sums.iter_mut().enumerate() {
                        let x = _mm512_set1_epi32(x.add(m * a.stride).cast::<i32>().read_unaligned());
                        for v in 0..V {
                            sums[v] = _mm512_dpbusd_epi32(sums[v], x, weights[v]);
                        }
                    }
                    (x, w) = (x.add(4), w.add(V * 4 * LANES));
                }
                let scales: [__m512; V] = std::array::from_fn(|v| _mm512_loadu_ps(column_scales.add(v * LANES)));
                for (m, totals) in totals.iter_mut().enumerate() {
                    let row_scale = _mm512_set1_ps(*scaling.row_scales.start.add(m * scaling.row_scales.stride + g));
                    for v in 0..V {
                        let sums = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[m][v]), scales[v]);
                        totals[v] = _mm512_fmadd_ps(sums, row_scale, totals[v]);
                    }
                }
                (column_scales, offsets) = (column_scales.add(V * LANES), offsets.add(V * LANES));
            }
            store(&totals, out);
        }
    }
}

/// One for lanes whose bit `DISTANCE` is not set, minus one for the others.
///
/// # Safety
/// The CPU has the instructions.
#[inline(always)]
unsafe fn signs<const DISTANCE: usize>() -> __m512 {
    // SAFETY: the caller guarantees the instructions.
    unsafe { _mm512_loadu_ps(const { factors(DISTANCE) }.as_ptr()) }
}

/// The lanes of [`signs`].
const fn factors(distance: usize) -> [f32; LANES] {
    let mut factors = [1.0; LANES];
    let mut lane = 0;
    while lane < LANES {
        if lane & distance != 0 {
            factors[lane] = -1.0;
        }
        lane += 1;
    }
    factors
}

/// The sign bits of [`SIGNS`].
static SIGN_BITS: [u32; GROUP] = {
    let mut bits = [0; GROUP];
    let mut d = 0;
    while d < GROUP {
        bits[d] = ((SIGNS >> d) as u32 & 1) << 31;
        d += 1;
    }
    bits
};

/// The scaled sums of row `m` in the vector `v` of columns, with each step rounded as [`Scaling`] says.
///
/// # Safety
/// The CPU has the instructions, and there are scales for this row and these columns.
#[inline(always)]
pub(super) unsafe fn scaled(sums: __m512i, scaling: Scaling, m: usize, v: usize) -> __m512 {
    // SAFETY: as the caller guarantees.
    unsafe {
        let row_scale = _mm512_set1_ps(*scaling.row_scales.add(m));
        let minimum = _mm512_set1_ps(*scaling.row_minima.add(m));
        let sums = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), row_scale);
        let column_sums = _mm512_loadu_ps(scaling.column_sums.add(v * LANES));
        let sums = _mm512_add_ps(sums, _mm512_mul_ps(column_sums, minimum));
        _mm512_mul_ps(sums, _mm512_loadu_ps(scaling.column_scales.add(v * LANES)))
    }
}

/// # Safety
/// As for the trait: `out` has room for the tile.
#[inline(always)]
unsafe fn store<const M: usize, const V: usize>(sums: &[[__m512; V]; M], out: *mut f32) {
    for (m, sums) in sums.iter().enumerate() {
        for v in 0..V {
            // SAFETY: `out` has room for `M` rows of `V` vectors.
            unsafe { _mm512_storeu_ps(out.add((m * V + v) * LANES), sums[v]) }
        }
    }
}
