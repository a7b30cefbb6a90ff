//! The numbers of the tests.

/// Numbers between -1 and 1, with some zeros and outliers.
pub(crate) fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let x = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
        match state % 50 {
            0 => 0.0,
            1 => x * 20.0,
            _ => x,
        }
    };
    (0..n).map(|_| next()).collect()
}
