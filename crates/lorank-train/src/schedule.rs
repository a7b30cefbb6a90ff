//! The learning rate over the steps.

use std::f64::consts::PI;

/// The learning rate of a step (from 0): a linear warm-up to `peak` over the first `n_warmup` steps, then a cosine to zero, as
/// `get_cosine_schedule_with_warmup` of Hugging Face computes it.
pub fn learning_rate(peak: f64, step: usize, n_warmup: usize, n_steps: usize) -> f64 {
    if step < n_warmup {
        return peak * step as f64 / n_warmup as f64;
    }
    let progress = (step - n_warmup) as f64 / n_steps.saturating_sub(n_warmup).max(1) as f64;
    peak * 0.5 * (1.0 + (PI * progress.min(1.0)).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_and_falls() {
        let rates: Vec<f64> = (0..=8).map(|step| learning_rate(1.0, step, 2, 8)).collect();
        let expected = [0.0, 0.5, 1.0, 0.933_012_7, 0.75, 0.5, 0.25, 0.066_987_3, 0.0];
        for (rate, expected) in rates.iter().zip(expected) {
            assert!((rate - expected).abs() < 1e-6, "{rates:?}");
        }
        assert_eq!(learning_rate(1.0, 0, 0, 1), 1.0);
    }
}
