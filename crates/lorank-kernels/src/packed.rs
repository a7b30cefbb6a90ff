//! Weight matrices in the order in which the innermost loops read them.

use crate::aligned::{Aligned, bytes};
use crate::groups::{GROUP, OFFSET, group_of, largest, quantise_weights};
use crate::tile::{DEPTH_BYTES, INT8_CHUNK, INT8_STEP, Int8Order, VECTORS_MAX, widen};
use crate::{Format, Isa};

/// A weight matrix `[n_out, n_in]`, packed for an instruction set.
///
/// It consists of panels of `VECTORS_MAX` vectors of outputs (the last may be narrower); within a panel, the depth is
/// the outermost dimension, in groups of one (f32), two (bf16) or four (int8) adjacent numbers per output. Some
/// instruction sets have larger groups, or their own order for integers.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedMatrix {
    pub(crate) isa: Isa,
    pub(crate) n_out: usize,
    pub(crate) n_in: usize,
    pub(crate) numbers: Numbers,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Numbers {
    F32(Aligned<f32>),
    Bf16(Aligned<u16>),
    Int8 {
        weights: Aligned<i8>,
        /// One per output, padded with zeros to the end of the last panel.
        scales: Vec<f32>,
        /// The sum of each output's integers, padded with zeros to the end of the last panel.
        sums: Vec<f32>,
    },
    Int8Groups {
        weights: Aligned<i8>,
        /// One per group and output, in panels as the numbers of a matrix in f32 that is as deep as there are groups.
        scales: Aligned<f32>,
        /// What the offset of the rows' integers adds to the sum of a group, negated; in the order of the scales.
        offsets: Aligned<i32>,
    },
}

impl PackedMatrix {
    /// Packs a matrix; `read` writes the `n_in` weights of an output into the given row.
    ///
    /// # Panics
    /// If a dimension is zero, the packed matrix does not fit into the address space, or `n_in` exceeds 2¹⁹ in
    /// [`Format::Int8`], because sums could overflow 32 bits.
    pub fn pack(format: Format, isa: Isa, n_out: usize, n_in: usize, mut read: impl FnMut(usize, &mut [f32])) -> Self {
        assert!(n_out > 0 && n_in > 0, "a matrix of {n_out} by {n_in} has no weights");
        let lanes = isa.lanes();
        assert!(format != Format::Int8 || n_in <= INT8_DEPTH_MAX, "int8 sums of {n_in} products may overflow 32 bits");
        // The address space is far smaller than `usize`, and below half of it no rounding overflows.
        let is_small = |n: usize| n <= usize::MAX / 2;
        let columns = Some(n_out).filter(|n| is_small(*n)).map(|n| n.next_multiple_of(lanes));
        let depth = Some(n_in).filter(|n| is_small(*n)).map(|n| padded_depth(format, n));
        let size = columns.zip(depth).and_then(|(columns, depth)| Some((columns, columns.checked_mul(depth)?)));
        let (n_columns, len) = size.unwrap_or_else(|| panic!("a matrix of {n_out} by {n_in} does not fit into memory"));
        let mut numbers = match format {
            Format::F32 => Numbers::F32(Aligned::zeros(len)),
            Format::Bf16 => Numbers::Bf16(Aligned::zeros(len)),
            Format::Int8 => {
                Numbers::Int8 { weights: Aligned::zeros(len), scales: vec![0.0; n_columns], sums: vec![0.0; n_columns] }
            }
            Format::Int8Groups => Numbers::Int8Groups {
                weights: Aligned::zeros(len),
                scales: Aligned::zeros(len / GROUP),
                offsets: Aligned::zeros(len / GROUP),
            },
        };
        let (mut row, mut halves, mut integers) = (vec![0.0; n_in], Vec::new(), Vec::new());
        let (mut group_scales, mut group_offsets) = (Vec::new(), Vec::new());
        for out in 0..n_out {
            read(out, &mut row);
            let layout = OutputLayout::of(format, isa, n_out, n_in, out);
            match &mut numbers {
                Numbers::F32(packed) => layout.put(packed, &row),
                Numbers::Bf16(packed) => {
                    halves.clear();
                    halves.extend(row.iter().map(|w| round_to_bf16(*w)));
                    layout.put(packed, &halves);
                }
                Numbers::Int8 { weights, scales, sums } => {
                    let scale = int8_scale(&row);
                    // A scale of zero, or one too small to have an inverse, gives zeros; so does NaN.
                    let inverse = Some(1.0 / scale).filter(|inverse| inverse.is_finite()).unwrap_or(0.0);
                    integers.clear();
                    integers.extend(row.iter().map(|w| round_to_int8(w * inverse)));
                    sums[out] = integers.iter().map(|w| i32::from(*w)).sum::<i32>() as f32;
                    scales[out] = scale;
                    layout.put(weights, &integers);
                }
                Numbers::Int8Groups { weights, scales, offsets } => {
                    integers.clear();
                    group_scales.clear();
                    group_offsets.clear();
                    for start in (0..n_in).step_by(GROUP) {
                        let mut group = [0; GROUP];
                        group_scales.push(quantise_weights(group_of(&row, start), &mut group));
                        group_offsets.push(-OFFSET * group.iter().map(|w| i32::from(*w)).sum::<i32>());
                        integers.extend(group);
                    }
                    layout.put(weights, &integers);
                    let of_groups = OutputLayout::of(Format::F32, isa, n_out, group_scales.len(), out);
                    of_groups.put(scales, &group_scales);
                    of_groups.put(offsets, &group_offsets);
                }
            }
        }
        Self { isa, n_out, n_in, numbers }
    }

    /// The number format.
    pub fn format(&self) -> Format {
        match self.numbers {
            Numbers::F32(_) => Format::F32,
            Numbers::Bf16(_) => Format::Bf16,
            Numbers::Int8 { .. } => Format::Int8,
            Numbers::Int8Groups { .. } => Format::Int8Groups,
        }
    }

    /// Whether the weights are floats, and not integers.
    pub(crate) fn is_float(&self) -> bool {
        matches!(self.numbers, Numbers::F32(_) | Numbers::Bf16(_))
    }

    /// The number of outputs.
    pub fn n_out(&self) -> usize {
        self.n_out
    }

    /// The number of inputs.
    pub fn n_in(&self) -> usize {
        self.n_in
    }

    /// The memory of the numbers, in bytes.
    pub fn n_bytes(&self) -> usize {
        match &self.numbers {
            Numbers::F32(packed) => packed.len() * 4,
            Numbers::Bf16(packed) => packed.len() * 2,
            Numbers::Int8 { weights, scales, sums } => weights.len() + 4 * (scales.len() + sums.len()),
            Numbers::Int8Groups { weights, scales, offsets } => weights.len() + 4 * (scales.len() + offsets.len()),
        }
    }

    /// The number of panels.
    pub(crate) fn n_panels(&self) -> usize {
        self.n_out.div_ceil(VECTORS_MAX * self.isa.lanes())
    }

    /// The offset of a panel's numbers.
    pub(crate) fn panel_start(&self, panel: usize) -> usize {
        panel * VECTORS_MAX * self.isa.lanes() * padded_depth(self.format(), self.n_in)
    }

    /// A panel's weights as bytes.
    #[inline(always)]
    pub(crate) fn panel_bytes(&self, panel: usize) -> &[u8] {
        let start = self.panel_start(panel);
        let len = self.panel_vectors(panel) * self.isa.lanes() * padded_depth(self.format(), self.n_in);
        match &self.numbers {
            Numbers::F32(numbers) => bytes(&numbers[start..][..len]),
            Numbers::Bf16(numbers) => bytes(&numbers[start..][..len]),
            Numbers::Int8 { weights, .. } | Numbers::Int8Groups { weights, .. } => bytes(&weights[start..][..len]),
        }
    }

    /// A panel's weights in f32: unchanged, or widened from bf16 into `room`. A panel is read for many rows, so
    /// widening is cheap, and a loop over f32 is the fastest one without bf16 instructions.
    ///
    /// # Panics
    /// For integers.
    #[inline(always)]
    pub(crate) fn float_panel<'a>(&'a self, panel: usize, room: &'a mut Vec<f32>) -> &'a [f32] {
        let width = self.panel_vectors(panel) * self.isa.lanes();
        let start = self.panel_start(panel);
        let bits = match &self.numbers {
            Numbers::F32(numbers) => return &numbers[start..][..width * self.n_in],
            Numbers::Bf16(numbers) => &numbers[start..][..width * padded_depth(Format::Bf16, self.n_in)],
            Numbers::Int8 { .. } | Numbers::Int8Groups { .. } => panic!("integers have no panels of f32"),
        };
        room.resize(bits.len(), 0.0);
        match self.isa.bf16_group() {
            2 => widen_pairs(bits, width, room),
            _ => widen_fours(bits, width, room),
        }
        &room[..width * self.n_in]
    }

    /// The width of a panel in vectors.
    pub(crate) fn panel_vectors(&self, panel: usize) -> usize {
        let lanes = self.isa.lanes();
        (self.n_out - panel * VECTORS_MAX * lanes).div_ceil(lanes).min(VECTORS_MAX)
    }
}

/// The maximum depth of integers: by the bound of [`Format::Int8`], a chunk adds at most 16 times 128 times 255 to a
/// sum, and 2¹⁹ inputs are 4,096 chunks, which stays below 2³¹.
const INT8_DEPTH_MAX: usize = 1 << 19;

/// Widens a panel in bf16, pairs of adjacent weights of each of `width` columns, to rows of columns.
#[inline(always)]
fn widen_pairs(bits: &[u16], width: usize, room: &mut [f32]) {
    // Each 32 bits hold one column's weights at an even depth (lower half) and at the following odd one (upper half).
    for (pairs, rows) in bits.chunks_exact(2 * width).zip(room.chunks_exact_mut(2 * width)) {
        let (even, odd) = rows.split_at_mut(width);
        for ((pair, even), odd) in pairs.as_chunks::<2>().0.iter().zip(even).zip(odd) {
            (*even, *odd) = (widen(pair[0]), widen(pair[1]));
        }
    }
}

/// The same for groups of four.
#[inline(always)]
fn widen_fours(bits: &[u16], width: usize, room: &mut [f32]) {
    for (groups, rows) in bits.chunks_exact(4 * width).zip(room.chunks_exact_mut(4 * width)) {
        for (d, row) in rows.chunks_exact_mut(width).enumerate() {
            for (to, group) in row.iter_mut().zip(groups.as_chunks::<4>().0) {
                *to = widen(group[d]);
            }
        }
    }
}

/// The depth, padded with zeros to full steps.
pub(crate) fn padded_depth(format: Format, n_in: usize) -> usize {
    match format {
        Format::F32 => n_in,
        Format::Bf16 => n_in.next_multiple_of(DEPTH_BYTES / 2),
        Format::Int8 | Format::Int8Groups => n_in.next_multiple_of(DEPTH_BYTES),
    }
}

/// The layout of one output's weights: the outputs of a block are interleaved, a few adjacent weights of each at a
/// time.
struct OutputLayout {
    /// The start of the block.
    start: usize,
    /// The number of outputs in the block.
    width: usize,
    /// The output's position in the block.
    column: usize,
    /// The padded depth.
    depth: usize,
    interleave: Interleave,
}

/// The number of adjacent weights of an output before those of the next one.
enum Interleave {
    /// A group of this many.
    Group(usize),
    /// [`INT8_CHUNK`] weights, in the order of [`Int8Order::Chunks`].
    Chunk,
}

impl OutputLayout {
    fn of(format: Format, isa: Isa, n_out: usize, n_in: usize, out: usize) -> Self {
        let (depth, lanes) = (padded_depth(format, n_in), isa.lanes());
        let panel = VECTORS_MAX * lanes;
        let (interleave, block) = match (format, isa.int8_order()) {
            (Format::F32, _) => (Interleave::Group(1), panel),
            (Format::Bf16, _) => (Interleave::Group(isa.bf16_group()), panel),
            (Format::Int8Groups, _) => (Interleave::Group(4), panel),
            (Format::Int8, Int8Order::Groups(n)) => (Interleave::Group(n), panel),
            (Format::Int8, Int8Order::Chunks) => (Interleave::Chunk, lanes),
        };
        let first = out / block * block;
        let width = (n_out - first).next_multiple_of(lanes).min(block);
        Self { start: first * depth, width, column: out - first, depth, interleave }
    }

    fn index(&self, d: usize) -> usize {
        let Self { start, width, column, .. } = *self;
        match self.interleave {
            Interleave::Group(n) => start + d / n * n * width + column * n + d % n,
            Interleave::Chunk => {
                let (chunk, in_chunk) = (d - d % INT8_CHUNK, d % INT8_CHUNK);
                let n_steps = (self.depth - chunk).min(INT8_CHUNK) / INT8_STEP;
                let (step, half, at) = (in_chunk / INT8_STEP, in_chunk % INT8_STEP / 16, in_chunk % 16);
                // The vectors of a pair of columns in the lower halves of the steps, then those of the next pair, and
                // so on.
                let n_pairs = width / 2;
                let vector = (half * n_pairs + column % n_pairs) * n_steps + step;
                start + chunk * width + vector * 32 + column / n_pairs * 16 + at
            }
        }
    }

    /// Writes an output's weights. The frequent groups have loops without divisions, because models are packed when they are
    /// loaded.
    fn put<T: Copy>(&self, packed: &mut [T], row: &[T]) {
        match self.interleave {
            Interleave::Group(1) => self.put_groups::<T, 1>(packed, row),
            Interleave::Group(2) => self.put_groups::<T, 2>(packed, row),
            Interleave::Group(4) => self.put_groups::<T, 4>(packed, row),
            _ => row.iter().enumerate().for_each(|(d, number)| packed[self.index(d)] = *number),
        }
    }

    fn put_groups<T: Copy, const N: usize>(&self, packed: &mut [T], row: &[T]) {
        let mut at = self.start + self.column * N;
        let (groups, rest) = row.as_chunks::<N>();
        for group in groups {
            packed[at..at + N].copy_from_slice(group);
            at += N * self.width;
        }
        if !rest.is_empty() {
            packed[at..at + rest.len()].copy_from_slice(rest);
        }
    }
}

/// The smallest scale with which a row fits into 8 bits and keeps the bound of [`Format::Int8`]; NaN if the row
/// contains NaN, so that it propagates to the output.
fn int8_scale(row: &[f32]) -> f32 {
    let largest = largest(row);
    if largest.is_nan() {
        return f32::NAN;
    }
    // Rounding adds at most a half to each of eight numbers, so a sum of 124 becomes at most 128.
    const SUM_MAX: f32 = 124.0;
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let of_chunk = |chunk: &[f32]| {
        // Sums of positive and of negative weights that share 16 bits.
        let mut sums = [[0.0_f32; INT8_STEP / 2]; 2];
        for step in chunk.chunks(INT8_STEP) {
            let mut padded = [0.0; INT8_STEP];
            padded[..step.len()].copy_from_slice(step);
            for (lane, pair) in padded.as_chunks::<2>().0.iter().enumerate() {
                for w in pair {
                    sums[0][lane] += larger(*w, 0.0);
                    sums[1][lane] += larger(-*w, 0.0);
                }
            }
        }
        sums.as_flattened().iter().copied().fold(0.0, larger)
    };
    let sum = row.chunks(INT8_CHUNK).map(of_chunk).fold(0.0, larger);
    larger(largest / 127.0, sum / SUM_MAX)
}

/// Rounds a number of at most 127 to the nearest integer, ties to even; NaN becomes 0. Unlike `round_ties_even`, which is a call
/// on processors of the baseline, this is a few instructions of a vector.
#[inline(always)]
fn round_to_int8(x: f32) -> i8 {
    /// Adding this to a number below 2²² leaves the nearest integer in the lowest bits.
    const TO_INTEGER: f32 = 12_582_912.0;
    let x = if x.abs() < 128.0 { x } else { 0.0 };
    (x + TO_INTEGER).to_bits() as i8
}

/// Rounds a finite number to the nearest bf16, ties to even.
#[inline(always)]
pub(crate) fn round_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    // Adds one less than half of the last kept bit, plus that bit, which carries exactly if rounding up gives the
    // nearest even. NaN could carry into infinity or beyond, so it keeps its upper half, with a bit that marks it.
    if x.is_nan() {
        ((bits >> 16) | 0x40) as u16
    } else {
        (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn weights_keep_the_bound(row in prop::collection::vec(-3.0_f32..3.0, 1..300), spike in 0.0_f32..50.0) {
            let mut row = row;
            row[0] = spike;
            let packed = PackedMatrix::pack(Format::Int8, Isa::detect(), 1, row.len(), |_, to| to.copy_from_slice(&row));
            let Numbers::Int8 { weights, .. } = &packed.numbers else { unreachable!() };
            let layout = OutputLayout::of(Format::Int8, packed.isa, 1, row.len(), 0);
            for start in (0..row.len()).step_by(INT8_CHUNK) {
                let chunk = start..(start + INT8_CHUNK).min(row.len());
                for lane in 0..INT8_STEP / 2 {
                    let shared = || chunk.clone().filter(|d| d % INT8_STEP / 2 == lane).map(|d| weights[layout.index(d)]);
                    let sum = |sign: i32| shared().map(|w| (sign * i32::from(w)).max(0)).sum::<i32>();
                    prop_assert!(sum(1) * 255 <= 32_767 && sum(-1) * 255 <= 32_767);
                }
            }
        }

        #[test]
        fn bf16_is_the_nearest(x in -1e30_f32..1e30) {
            let rounded = f32::from_bits(u32::from(round_to_bf16(x)) << 16);
            prop_assert!((rounded - x).abs() <= x.abs() / 256.0);
        }
    }

    #[test]
    fn integers_are_the_nearest() {
        for n in -127 * 64..=127 * 64 {
            let x = n as f32 / 64.0;
            assert_eq!(round_to_int8(x), x.round_ties_even() as i8, "{x}");
        }
        assert_eq!([f32::NAN, f32::INFINITY, -0.0].map(round_to_int8), [0, 0, 0]);
    }

    /// The layouts with loops of their own agree with the definition of the order.
    #[test]
    fn weights_are_where_the_layout_has_them() {
        for (interleave, n_in) in [1, 2, 4, 8].into_iter().flat_map(|n| [1_usize, 5, 16, 19].map(|n_in| (n, n_in))) {
            for column in [0, 3, 15] {
                let interleave = Interleave::Group(interleave);
                let layout = OutputLayout { start: 7, width: 16, column, depth: n_in.next_multiple_of(64), interleave };
                let row: Vec<u16> = (1..).take(n_in).collect();
                let mut packed = vec![0; 7 + 16 * layout.depth];
                layout.put(&mut packed, &row);
                let mut expected = vec![0; packed.len()];
                row.iter().enumerate().for_each(|(d, number)| expected[layout.index(d)] = *number);
                assert_eq!(packed, expected);
            }
        }
    }

    #[test]
    fn ties_go_to_the_even_bf16() {
        for (bits, rounded) in [(0x3f80_8000, 0x3f80), (0x3f81_8000, 0x3f82), (0x3f80_8001, 0x3f81), (0, 0)] {
            assert_eq!(round_to_bf16(f32::from_bits(bits)), rounded, "{bits:x}");
        }
        assert!(f32::from_bits(u32::from(round_to_bf16(f32::NAN)) << 16).is_nan());
    }
}
