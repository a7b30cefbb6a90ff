//! Selection of the numeric precision.

use std::fmt;
use std::str::FromStr;

use lorank_core::Precision;

/// The requested precision: a name, or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PrecisionChoice {
    /// The fastest precision that preserves the ranking. On a CPU: int8 for BERT and its relatives with vector
    /// instructions for it, and bf16 for Llama, ModernBERT and GTE with bf16 instructions; on a GPU: bf16 if supported;
    /// otherwise f32. nDCG@10 of BERT and Llama was measured to be within 0.002 of f32's; `docs/benchmarks.md` has the
    /// tables. int8 is never selected for Llama: it loses 0.018, and a seventh of the first ten hits.
    #[default]
    Auto,
    /// A given precision.
    Fixed(Precision),
}

/// A precision, and the reason for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChosenPrecision {
    pub(crate) precision: Precision,
    pub(crate) why: &'static str,
}

/// What int8 does to the ranking of an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Int8Effect {
    /// It preserves the ranking, as measured for BERT.
    Preserves,
    /// It changes the ranking, as measured for Llama.
    Changes,
    /// Not measured, and its gates may produce the large activations that int8 cannot represent.
    Unmeasured,
}

/// The products that a CPU supports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuProducts {
    pub(crate) int8: bool,
    pub(crate) bf16: bool,
}

impl PrecisionChoice {
    /// The requested precision, or `auto` if that was requested.
    pub(crate) fn or(self, auto: ChosenPrecision) -> ChosenPrecision {
        match self {
            Self::Auto => auto,
            Self::Fixed(precision) => ChosenPrecision { precision, why: "as requested" },
        }
    }

    /// The precision for a model on a CPU.
    pub(crate) fn on_cpu(self, int8: Int8Effect, has: CpuProducts) -> ChosenPrecision {
        let (precision, why) = match (int8, has) {
            (Int8Effect::Changes, CpuProducts { bf16: true, .. }) => {
                (Precision::Bf16, "auto: int8 would change this architecture's ranking, and the CPU supports bf16")
            }
            (Int8Effect::Changes, _) => (
                Precision::F32,
                "auto: int8 would change this architecture's ranking, and the CPU does not support bf16",
            ),
            (Int8Effect::Unmeasured, CpuProducts { bf16: true, .. }) => {
                (Precision::Bf16, "auto: int8 may change this architecture's ranking, and the CPU supports bf16")
            }
            (Int8Effect::Unmeasured, _) => {
                (Precision::F32, "auto: int8 may change this architecture's ranking, and the CPU does not support bf16")
            }
            (Int8Effect::Preserves, CpuProducts { int8: true, .. }) => {
                (Precision::Int8, "auto: int8 preserves this architecture's ranking, and the CPU supports it")
            }
            (Int8Effect::Preserves, _) => (Precision::F32, "auto: the CPU has no vector instructions for int8"),
        };
        self.or(ChosenPrecision { precision, why })
    }

    /// The precision for a model on a GPU.
    pub(crate) fn on_gpu(self, has_bf16: bool) -> ChosenPrecision {
        self.or(match has_bf16 {
            true => ChosenPrecision { precision: Precision::Bf16, why: "auto: the GPU supports bf16" },
            false => ChosenPrecision { precision: Precision::F32, why: "auto: the GPU does not support bf16" },
        })
    }
}

/// The warning for int8 on a decoder.
pub(crate) const INT8_OF_DECODERS: &str = "int8 changes this architecture's ranking: a Llama lost 0.018 of nDCG@10 and 15 % of the first ten hits; bf16 lost nothing";

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
    fn auto_takes_what_the_model_and_the_chip_allow() {
        use Int8Effect::{Changes, Preserves, Unmeasured};
        let check = |effect: Int8Effect, int8: bool, bf16: bool, expected: Precision, why: &str| {
            let has = CpuProducts { int8, bf16 };
            let chosen = PrecisionChoice::Auto.on_cpu(effect, has);
            assert_eq!(chosen.precision, expected, "{effect:?} {has:?}");
            assert!(chosen.why.starts_with("auto: ") && chosen.why.contains(why), "{}", chosen.why);
            for precision in Precision::ALL {
                let asked = PrecisionChoice::Fixed(precision).on_cpu(effect, has);
                assert_eq!((asked.precision, asked.why), (precision, "as requested"));
            }
        };
        check(Changes, true, true, Precision::Bf16, "the CPU supports bf16");
        check(Changes, true, false, Precision::F32, "does not support bf16");
        check(Changes, false, false, Precision::F32, "does not support bf16");
        check(Unmeasured, true, true, Precision::Bf16, "int8 may change");
        check(Unmeasured, true, false, Precision::F32, "does not support bf16");
        check(Preserves, true, true, Precision::Int8, "int8 preserves");
        check(Preserves, true, false, Precision::Int8, "int8 preserves");
        check(Preserves, false, false, Precision::F32, "no vector instructions");
        assert_eq!(PrecisionChoice::Auto.on_gpu(true).precision, Precision::Bf16);
        assert_eq!(PrecisionChoice::Auto.on_gpu(false).precision, Precision::F32);
    }

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
