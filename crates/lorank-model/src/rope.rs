//! Frequencies of rotary positions.

use std::f32::consts::PI;

use candle_transformers::models::llama::Llama3RopeConfig;

use crate::config::RopeScaling;

/// The rotary frequencies `theta^(-2i/d)` (arXiv 2104.09864), scaled by the configuration.
pub(crate) fn frequencies(theta: f32, head_dim: usize, scaling: &RopeScaling) -> Vec<f32> {
    let plain = (0..head_dim).step_by(2).map(|i| 1.0 / theta.powf(i as f32 / head_dim as f32));
    match scaling {
        RopeScaling::None => plain.collect(),
        RopeScaling::Linear(factor) => plain.map(|f| f / factor).collect(),
        // Both the base and the frequencies are scaled (https://kexue.fm/archives/9706, formula 6).
        RopeScaling::Ntk(factor) => {
            let (base, divisor) = (theta * factor, factor.powf(2.0 / head_dim as f32));
            let scaled = (0..head_dim).step_by(2).map(|i| 1.0 / base.powf(i as f32 / head_dim as f32));
            scaled.map(|f| f / divisor).collect()
        }
        RopeScaling::Llama3(llama3) => plain.map(|f| llama3_frequency(f, llama3)).collect(),
    }
}

/// Hugging Face's `_compute_llama3_parameters`: divides the frequencies of wavelengths beyond the original context by
/// the factor, keeps those well within it, and interpolates between.
fn llama3_frequency(frequency: f32, scaling: &Llama3RopeConfig) -> f32 {
    let original = scaling.original_max_position_embeddings as f32;
    let wavelength = 2.0 * PI / frequency;
    if wavelength > original / scaling.low_freq_factor {
        frequency / scaling.factor
    } else if wavelength < original / scaling.high_freq_factor {
        frequency
    } else {
        let blend =
            (original / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
        (1.0 - blend) * frequency / scaling.factor + blend * frequency
    }
}
