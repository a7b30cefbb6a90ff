//! Dropout (arXiv 1207.0580) whose random numbers are computed again wherever they are needed.

use crate::isa::{Computation, dispatch};
use crate::tile::Kernel;
use crate::{Isa, threads};

/// Sets each number of a matrix to zero with a probability, and scales the others so that the mean stays.
///
/// Whether a number is kept depends on the seed and on its row and column alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// The probability times 2¹⁶.
    threshold: u32,
    /// What kept numbers are multiplied by.
    factor: f32,
    keys: [u32; 2],
}

/// The number of neighboring columns whose numbers are decided together.
const LANES: usize = 16;

impl Dropout {
    /// `None` if the probability rounds to zero.
    ///
    /// # Panics
    /// If the probability is not from 0 to below 1.
    pub fn new(probability: f32, seed: u64) -> Option<Self> {
        assert!((0.0..1.0).contains(&probability), "{probability} is no probability of dropout");
        let threshold = ((probability * 65_536.0).round() as u32).min(65_535);
        let factor = 65_536.0 / (65_536 - threshold) as f32;
        // Each bit of the seed changes both keys, as in SplitMix64.
        let seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let seed = seed ^ (seed >> 31);
        (threshold > 0).then_some(Self { threshold, factor, keys: [seed as u32, (seed >> 32) as u32] })
    }

    /// The rows of a matrix after dropout.
    ///
    /// # Panics
    /// If `width` is zero.
    pub fn of(self, rows: &[f32], width: usize, isa: Isa) -> Vec<f32> {
        assert!(width > 0, "the width is at least 1");
        let mut kept = vec![0.0; rows.len()];
        threads::for_each_rows(&mut kept, width, 32, |first, kept| {
            let rows = &rows[first * width..][..kept.len()];
            dispatch(isa, Kept { dropout: self, rows, width, first, kept });
        });
        kept
    }

    /// The factors of [`LANES`] columns of a row of `width`.
    #[inline(always)]
    fn factors(self, (row, width): (usize, usize), column: usize) -> [f32; LANES] {
        let group = row * width.div_ceil(LANES) + column / LANES;
        // The two halves of a random number decide on the lanes of two groups.
        let (first, shift) = ((group / 2 * LANES) as u32, (group % 2 * 16) as u32);
        let mut factors = [0.0; LANES];
        for (lane, factor) in factors.iter_mut().enumerate() {
            let drawn = mixed(first.wrapping_add(lane as u32), self.keys) >> shift & 0xffff;
            *factor = if drawn >= self.threshold { self.factor } else { 0.0 };
        }
        factors
    }

    /// Writes columns of a row after dropout, starting at `column`, a multiple of [`LANES`].
    #[inline(always)]
    pub(crate) fn copy(self, (row, width): (usize, usize), column: usize, numbers: &[f32], to: &mut [f32]) {
        for (n, (to, numbers)) in to.chunks_mut(LANES).zip(numbers.chunks(LANES)).enumerate() {
            let factors = self.factors((row, width), column + n * LANES);
            if let (Ok(to), Ok(numbers)) = (<&mut [f32; LANES]>::try_from(&mut *to), <&[f32; LANES]>::try_from(numbers))
            {
                for lane in 0..LANES {
                    to[lane] = numbers[lane] * factors[lane];
                }
                continue;
            }
            for ((to, number), factor) in to.iter_mut().zip(numbers).zip(factors) {
                *to = number * factor;
            }
        }
    }
}

/// The finalizer `lowbias32` of C. Wellons' hash prospector, with the seed's halves before and between its steps.
#[inline(always)]
fn mixed(x: u32, keys: [u32; 2]) -> u32 {
    let x = x ^ keys[0];
    let x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    let x = (x ^ (x >> 15)).wrapping_add(keys[1]).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

struct Kept<'a> {
    dropout: Dropout,
    rows: &'a [f32],
    width: usize,
    /// The number of the first row.
    first: usize,
    kept: &'a mut [f32],
}

impl Computation for Kept<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        let Self { dropout, rows, width, first, kept } = self;
        for (n, (row, kept)) in rows.chunks_exact(width).zip(kept.chunks_exact_mut(width)).enumerate() {
            dropout.copy((first + n, width), 0, row, kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(probability: f32, seed: u64, width: usize) -> Vec<f32> {
        Dropout::new(probability, seed).unwrap().of(&vec![1.0; 400 * width], width, Isa::detect())
    }

    #[test]
    fn the_share_and_the_mean_are_kept() {
        assert_eq!(Dropout::new(0.0, 7), None);
        for (seed, width) in [(7, 100), (8, 100), (7 << 32, 96), (0, 7)] {
            let dropped = of(0.25, seed, width);
            let n = dropped.len() as f32;
            let share = dropped.iter().filter(|x| **x == 0.0).count() as f32 / n;
            assert!((share - 0.25).abs() < 0.02, "{share}");
            assert!((dropped.iter().sum::<f32>() / n - 1.0).abs() < 0.03);
            assert_eq!(dropped, of(0.25, seed, width), "the same numbers again");
        }
    }

    #[test]
    fn seeds_rows_and_columns_are_independent() {
        let dropped = of(0.5, 7, 64);
        let equal = |a: &[f32], b: &[f32]| a.iter().zip(b).filter(|(a, b)| a == b).count() as f32 / a.len() as f32;
        for other in [of(0.5, 8, 64), of(0.5, 7 + (1 << 32), 64), [&dropped[64..], &dropped[..64]].concat()] {
            let share = equal(&dropped, &other);
            assert!((share - 0.5).abs() < 0.03, "{share}");
        }
        for by in [1, 16, 32] {
            let share = equal(&dropped[by..], &dropped[..dropped.len() - by]);
            assert!((share - 0.5).abs() < 0.03, "{by}: {share}");
        }
    }
}
