//! Dropout (arXiv 1207.0580) whose random numbers are computed again when the gradient needs them.

use lorank_core::split_mix;

/// Sets each number to zero with a probability, and scales the others so that the mean stays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Dropout {
    /// The probability times 2¹⁶.
    threshold: u16,
    seed: u64,
}

/// Each random number decides on this many elements.
const PER_NUMBER: usize = 4;

impl Dropout {
    /// `None` if the probability rounds to zero.
    pub(crate) fn new(probability: f32, seed: u64) -> Option<Self> {
        let threshold = (probability * 65_536.0).round() as u16;
        (threshold > 0).then_some(Self { threshold, seed })
    }

    /// The numbers after dropout.
    pub(super) fn of(self, numbers: &[f32]) -> Vec<f32> {
        let mut dropped = vec![0.0; numbers.len()];
        self.add(numbers, &mut dropped);
        dropped
    }

    /// Adds the numbers after dropout, which is also how a gradient passes it.
    pub(super) fn add(self, numbers: &[f32], to: &mut [f32]) {
        let factor = 65_536.0 / (65_536.0 - f32::from(self.threshold));
        for (at, (to, numbers)) in to.chunks_mut(PER_NUMBER).zip(numbers.chunks(PER_NUMBER)).enumerate() {
            let mut bits = split_mix(self.seed.wrapping_add((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            for (to, number) in to.iter_mut().zip(numbers) {
                let is_kept = bits as u16 >= self.threshold;
                *to += if is_kept { number * factor } else { 0.0 };
                bits >>= 16;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_and_the_mean_are_kept() {
        assert_eq!(Dropout::new(0.0, 7), None);
        let dropped = Dropout::new(0.25, 7).unwrap().of(&[1.0; 40_000]);
        let n_zeros = dropped.iter().filter(|x| **x == 0.0).count();
        assert!((9_600..10_400).contains(&n_zeros), "{n_zeros}");
        let mean = dropped.iter().sum::<f32>() / 40_000.0;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert_eq!(dropped, Dropout::new(0.25, 7).unwrap().of(&[1.0; 40_000]), "the same numbers again");
        assert_ne!(dropped, Dropout::new(0.25, 8).unwrap().of(&[1.0; 40_000]));
    }
}
