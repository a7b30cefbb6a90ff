//! Which arithmetic.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;
use lorank_core::Precision;
use lorank_kernels::Isa;

use crate::ModelError;

/// The arithmetic asked for: one by its name, or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PrecisionChoice {
    /// The fastest whose ranking holds: int8 on a CPU that has vector instructions for it, bf16 on an NVIDIA GPU, else f32. That
    /// their nDCG@10 is within 0.002 of f32's was measured on six collections; the README has the tables.
    #[default]
    Auto,
    /// This one.
    Fixed(Precision),
}

impl PrecisionChoice {
    /// The arithmetic on a device.
    ///
    /// # Errors
    /// [`ModelError::Precision`] for what only the CPU's kernels have.
    pub(crate) fn on(self, device: &Device, is_reference: bool) -> Result<Precision, ModelError> {
        let refused = |precision, why| Err(ModelError::Precision { precision, why });
        match self {
            Self::Auto if device.is_cpu() && !is_reference && Isa::detect().is_fast_in_int8() => Ok(Precision::Int8),
            Self::Auto if device.is_cuda() && !is_reference => Ok(Precision::Bf16),
            Self::Auto | Self::Fixed(Precision::F32) => Ok(Precision::F32),
            Self::Fixed(precision) if is_reference => refused(precision, "the reference pass is in f32"),
            Self::Fixed(Precision::Int8) if !device.is_cpu() => {
                refused(Precision::Int8, "a GPU has it not in this version; write `bf16`, `f32` or `auto`")
            }
            Self::Fixed(precision) => Ok(precision),
        }
    }
}

impl From<Precision> for PrecisionChoice {
    fn from(precision: Precision) -> Self {
        Self::Fixed(precision)
    }
}

impl FromStr for PrecisionChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let found = Precision::ALL.into_iter().find(|precision| precision.name() == text);
        found
            .map(Self::Fixed)
            .ok_or_else(|| format!("`{text}` is not a precision; write `auto`, `f32`, `bf16` or `int8`"))
    }
}

impl fmt::Display for PrecisionChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Fixed(precision) => precision.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precisions_are_read_as_they_are_written() {
        for text in ["auto", "f32", "bf16", "int8"] {
            assert_eq!(text.parse::<PrecisionChoice>().map(|choice| choice.to_string()), Ok(text.to_owned()));
        }
        for text in ["f16", "INT8", ""] {
            assert!(text.parse::<PrecisionChoice>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_reference_is_in_f32() {
        assert_eq!(PrecisionChoice::Auto.on(&Device::Cpu, true).ok(), Some(Precision::F32));
        let error = PrecisionChoice::Fixed(Precision::Int8).on(&Device::Cpu, true).unwrap_err().to_string();
        assert!(error.contains("int8") && error.contains("reference"), "{error}");
    }
}
