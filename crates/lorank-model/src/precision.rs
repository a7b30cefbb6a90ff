//! Which arithmetic.

use std::fmt;
use std::str::FromStr;

use lorank_core::Precision;

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
    /// The precision that is asked for by its name, or for `auto` this one, which a backend knows to be its fastest.
    pub(crate) fn or(self, fastest: Precision) -> Precision {
        match self {
            Self::Auto => fastest,
            Self::Fixed(precision) => precision,
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
}
