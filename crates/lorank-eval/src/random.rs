//! Random numbers of resampling.

use lorank_core::SplitMix64;

/// Random numbers that are the same on every machine.
pub(crate) struct Random {
    numbers: SplitMix64,
    /// Bits that were drawn and not used yet.
    bits: u64,
    n_bits: u32,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { numbers: SplitMix64::new(seed), bits: 0, n_bits: 0 }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.numbers.draw()
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.numbers.below(n)
    }

    pub(crate) fn sign(&mut self) -> bool {
        if self.n_bits == 0 {
            (self.bits, self.n_bits) = (self.next(), 64);
        }
        let sign = self.bits & 1 == 1;
        self.bits >>= 1;
        self.n_bits -= 1;
        sign
    }

    /// A number with the Poisson distribution of mean 1 (Knuth's multiplication of uniform numbers).
    pub(crate) fn poisson(&mut self) -> u32 {
        let mut product = self.numbers.unit();
        let mut n = 0;
        while product > (-1.0f64).exp() {
            product *= self.numbers.unit();
            n += 1;
        }
        n
    }
}
