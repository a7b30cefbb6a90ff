//! Latency quantiles in bounded memory, to three significant digits.

use std::collections::BTreeMap;

/// A histogram of latencies, rounded up to three significant digits, so there are at most 900 buckets per power of ten.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Latencies {
    by_micros: BTreeMap<u64, u64>,
    n: u64,
}

impl Latencies {
    pub(crate) fn add(&mut self, micros: u64) {
        *self.by_micros.entry(rounded_up(micros)).or_default() += 1;
        self.n += 1;
    }

    /// The smallest latency in milliseconds that at least this share of the latencies does not exceed; `None` if there are none.
    pub(crate) fn quantile_millis(&self, share: f64) -> Option<f64> {
        let wanted = (share * self.n as f64).ceil() as u64;
        let mut n_within = 0;
        let within = self.by_micros.iter().find(|(_, n)| {
            n_within += **n;
            n_within >= wanted
        });
        within.map(|(micros, _)| *micros as f64 / 1_000.0)
    }
}

fn rounded_up(micros: u64) -> u64 {
    let magnitude = 10u64.pow(micros.max(1).ilog10().saturating_sub(2));
    micros.div_ceil(magnitude).saturating_mul(magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_and_quantiles_are_reached() {
        for (micros, size) in
            [(0, 0), (7, 7), (999, 999), (1_000, 1_000), (1_001, 1_010), (123_456, 124_000), (999_999, 1_000_000)]
        {
            assert_eq!(rounded_up(micros), size);
        }
        assert_eq!(rounded_up(u64::MAX), u64::MAX);
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile_millis(0.5), None);
        (1..=100).for_each(|n| latencies.add(n * 1_000));
        assert_eq!(
            [0.0, 0.5, 0.95, 1.0].map(|share| latencies.quantile_millis(share)),
            [1.0, 50.0, 95.0, 100.0].map(Some)
        );
    }
}
