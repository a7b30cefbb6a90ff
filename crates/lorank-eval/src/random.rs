//! Random numbers of resampling.

/// Random numbers that are the same on every machine: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
pub(crate) struct Random {
    state: u64,
    /// Bits that were drawn and not used yet.
    bits: u64,
    n_bits: u32,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed, bits: 0, n_bits: 0 }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, nearly uniform: the bias is below `n / 2^64`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
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

    /// A number between 0 and 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number with the Poisson distribution of mean 1 (Knuth's multiplication of uniform numbers).
    pub(crate) fn poisson(&mut self) -> u32 {
        let mut product = self.unit();
        let mut n = 0;
        while product > (-1.0f64).exp() {
            product *= self.unit();
            n += 1;
        }
        n
    }
}
