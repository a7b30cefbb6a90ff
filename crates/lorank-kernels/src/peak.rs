//! What a processor can do at most: products on registers alone, without reading memory.

use std::time::{Duration, Instant};

use crate::{Format, Isa};

/// The length of a burst of products. Shorter ones end before the clock has risen.
const BURST: Duration = Duration::from_millis(4);
const N_BURSTS: usize = 5;

impl Isa {
    /// The multiply-adds a second of one thread by the instructions of a format's layers, while all threads of the current rayon
    /// pool do the same: the bound of this processor for linear layers and attention, which read memory in addition. The best of
    /// five bursts of 4 ms on each thread, and the mean over threads. `None` if the set has no measurement.
    pub fn peak(self, format: Format) -> Option<f64> {
        let peaks: Option<Vec<f64>> = rayon::broadcast(|_| self.peak_of_thread(format)).into_iter().collect();
        peaks.map(|peaks| peaks.iter().sum::<f64>() / peaks.len() as f64)
    }

    fn peak_of_thread(self, format: Format) -> Option<f64> {
        let mut best = 0.0_f64;
        for _ in 0..N_BURSTS {
            let (started, mut n_products) = (Instant::now(), 0);
            while started.elapsed() < BURST {
                n_products += self.chain(format, 10_000)?;
            }
            best = best.max(n_products as f64 / started.elapsed().as_secs_f64());
        }
        Some(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [Format; 4] = [Format::F32, Format::Bf16, Format::Int8, Format::Int8Groups];

    #[test]
    fn what_is_measured_is_a_rate() {
        for isa in Isa::available() {
            for format in FORMATS {
                // Its size is that of the machine, or of an emulator.
                assert!(isa.peak(format).is_none_or(|peak| peak.is_finite() && peak > 0.0), "{isa} {format:?}");
            }
        }
    }

    #[test]
    fn each_chain_counts_its_products() {
        for isa in Isa::available() {
            for format in FORMATS {
                let Some(one) = isa.chain(format, 1) else { continue };
                assert_eq!([isa.chain(format, 0), isa.chain(format, 7)], [Some(0), Some(7 * one)], "{isa} {format:?}");
            }
        }
    }
}
