//! Selection of the numeric precision.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use lorank_core::Precision;
use lorank_kernels::{Format, Isa};

use crate::config::Architecture;
use crate::int8_ranking::Int8Ranking;

/// The requested precision: a name, or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PrecisionChoice {
    /// The fastest precision that preserves the ranking. On a CPU: int8 for a model (a base model with an adapter, or
    /// without) for which it was measured to preserve the ranking ([`Int8Ranking`]), where the CPU has vector
    /// instructions for it; else bf16 where the CPU has instructions for it. On a GPU: bf16 if supported, never FP8, whose
    /// effect on the ranking has not been measured. Otherwise f32.
    #[default]
    Auto,
    /// A given precision.
    Fixed(Precision),
}

/// A precision, and the reason for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChosenPrecision {
    pub(crate) precision: Precision,
    pub(crate) why: Cow<'static, str>,
}

/// What int8 does to the ranking of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Int8Effect<'a> {
    /// A measurement shows it.
    Measured(&'a Int8Ranking),
    /// Not known.
    Unmeasured,
    /// An assumption, before the model is known: whether it preserves the ranking.
    Assumed(bool),
}

/// How int8 rounds the weights and inputs of linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Int8Form {
    /// One scale per output of a layer; a scale and a minimum per row of its input.
    Rows,
    /// Rotated, in groups of 64 with scales of their own on both sides. For decoders, whose activations have outliers that
    /// one scale per row does not survive.
    Groups,
}

impl Int8Form {
    pub(crate) fn of(architecture: &Architecture) -> Self {
        match architecture {
            Architecture::Llama(_) => Self::Groups,
            Architecture::Bert(_) | Architecture::Gte(_) | Architecture::ModernBert(_) => Self::Rows,
        }
    }

    pub(crate) fn format(self) -> Format {
        match self {
            Self::Rows => Format::Int8,
            Self::Groups => Format::Int8Groups,
        }
    }

    /// The form in words.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Rows => "one scale per row",
            Self::Groups => "rotated groups of 64 with scales of their own",
        }
    }

    /// How int8 is computed, with attention in f32, or in bf16 where the CPU has tiles of it. Change a name with the rounding,
    /// because measurements count for their arithmetic alone.
    pub(crate) fn arithmetic(self, isa: Isa) -> &'static str {
        match (self, isa.has_tiles()) {
            (Self::Rows, false) => "rows",
            (Self::Rows, true) => "rows, attention in bf16",
            (Self::Groups, false) => "rotated groups of 64",
            (Self::Groups, true) => "rotated groups of 64, attention in bf16",
        }
    }
}

/// The products that a CPU supports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuProducts {
    /// Whether int8 is faster than everything else, in the model's form.
    pub(crate) int8: bool,
    pub(crate) bf16: bool,
}

impl CpuProducts {
    pub(crate) fn of(isa: Isa, form: Int8Form) -> Self {
        let int8 = match form {
            Int8Form::Rows => isa.is_fast_in_int8(),
            Int8Form::Groups => isa.is_fast_in_int8_groups(),
        };
        Self { int8, bf16: isa.has_bf16_products() }
    }
}

impl ChosenPrecision {
    pub(crate) fn new(precision: Precision, why: impl Into<Cow<'static, str>>) -> Self {
        Self { precision, why: why.into() }
    }
}

impl PrecisionChoice {
    /// The requested precision, or `auto` if that was requested.
    pub(crate) fn or(self, auto: ChosenPrecision) -> ChosenPrecision {
        match self {
            Self::Auto => auto,
            Self::Fixed(precision) => ChosenPrecision::new(precision, "as requested"),
        }
    }

    /// The precision for a model on a CPU.
    pub(crate) fn on_cpu(self, int8: Int8Effect<'_>, has: CpuProducts) -> ChosenPrecision {
        let holds = match int8 {
            Int8Effect::Measured(ranking) => ranking.holds(),
            Int8Effect::Unmeasured => false,
            Int8Effect::Assumed(holds) => holds,
        };
        if !has.int8 {
            return self.or(match has.bf16 {
                true => ChosenPrecision::new(Precision::Bf16, "auto: bf16 is as fast as int8 on this CPU"),
                false => ChosenPrecision::new(Precision::F32, "auto: int8 is no faster than f32 on this CPU"),
            });
        }
        if holds {
            return self.or(ChosenPrecision::new(Precision::Int8, format!("auto: {}", int8.describe())));
        }
        let (precision, bf16) = match has.bf16 {
            true => (Precision::Bf16, "the CPU supports bf16"),
            false => (Precision::F32, "the CPU does not support bf16"),
        };
        self.or(ChosenPrecision::new(precision, format!("auto: {}; {bf16}", int8.describe())))
    }

    /// The precision for a model on a GPU.
    pub(crate) fn on_gpu(self, has_bf16: bool) -> ChosenPrecision {
        self.or(match has_bf16 {
            true => ChosenPrecision::new(Precision::Bf16, "auto: the GPU supports bf16"),
            false => ChosenPrecision::new(Precision::F32, "auto: the GPU does not support bf16"),
        })
    }
}

impl Int8Effect<'_> {
    /// The reason for a choice.
    fn describe(self) -> String {
        match self {
            Self::Measured(ranking) if ranking.holds() => format!("int8 preserves this model's ranking ({ranking})"),
            Self::Measured(ranking) if ranking.is_large_enough() => {
                format!("int8 changes this model's ranking ({ranking})")
            }
            Self::Measured(ranking) => format!("int8 was measured on too little ({ranking})"),
            Self::Assumed(true) => "int8 preserves this model's ranking".to_owned(),
            Self::Unmeasured | Self::Assumed(false) => {
                "int8's ranking was not measured for this model (`lorank bench --ranking` measures it)".to_owned()
            }
        }
    }

    /// The warning about a model that is asked for in int8, if a measurement shows that its ranking changes.
    pub(crate) fn warning(self) -> Option<String> {
        let Self::Measured(ranking) = self else { return None };
        (ranking.is_large_enough() && !ranking.holds()).then(|| self.describe())
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
            .ok_or_else(|| format!("`{text}` is not a precision; write `auto`, `f32`, `bf16`, `int8` or `fp8`"))
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
    fn auto_takes_what_was_measured_and_the_chip_allows() {
        use Int8Effect::{Assumed, Measured, Unmeasured};
        let check = |effect: Int8Effect<'_>, int8: bool, bf16: bool, expected: Precision, why: &str| {
            let has = CpuProducts { int8, bf16 };
            let chosen = PrecisionChoice::Auto.on_cpu(effect, has);
            assert_eq!(chosen.precision, expected, "{effect:?} {has:?}");
            assert!(chosen.why.starts_with("auto: ") && chosen.why.contains(why), "{}", chosen.why);
            for precision in Precision::ALL {
                let asked = PrecisionChoice::Fixed(precision).on_cpu(effect, has);
                assert_eq!((asked.precision, &*asked.why), (precision, "as requested"));
            }
        };
        let [good, bad] = [1.01, 1.05].map(Int8Ranking::of_scaled_scores);
        let few = Int8Ranking { n_queries: 9, ..good.clone() };
        check(Measured(&good), true, true, Precision::Int8, "int8 preserves this model's ranking (error 1.0 %");
        check(Measured(&good), true, false, Precision::Int8, "100.0 % of f32's first ten kept");
        check(Measured(&good), false, false, Precision::F32, "no faster than f32");
        check(Measured(&bad), true, true, Precision::Bf16, "int8 changes this model's ranking (error 5.0 %");
        check(Measured(&bad), true, false, Precision::F32, "does not support bf16");
        check(Measured(&few), true, false, Precision::F32, "measured on too little (error 1.0 %");
        check(Unmeasured, true, true, Precision::Bf16, "not measured for this model");
        check(Unmeasured, true, false, Precision::F32, "`lorank bench --ranking` measures it");
        check(Assumed(true), true, true, Precision::Int8, "");
        check(Assumed(false), true, true, Precision::Bf16, "");
        check(Measured(&good), false, true, Precision::Bf16, "as fast as int8");
        check(Unmeasured, false, true, Precision::Bf16, "as fast as int8");
        assert_eq!(PrecisionChoice::Auto.on_gpu(true).precision, Precision::Bf16);
        assert_eq!(PrecisionChoice::Auto.on_gpu(false).precision, Precision::F32);
    }

    #[test]
    fn int8_is_warned_of_where_it_was_measured_to_fail() {
        let [good, bad] = [1.01, 1.05].map(Int8Ranking::of_scaled_scores);
        assert_eq!(Int8Effect::Measured(&good).warning(), None);
        assert_eq!(Int8Effect::Unmeasured.warning(), None);
        let warning = Int8Effect::Measured(&bad).warning();
        assert!(warning.is_some_and(|text| text.contains("changes this model's ranking")));
    }

    #[test]
    fn precisions_are_read_as_they_are_written() {
        for text in ["auto", "f32", "bf16", "int8", "fp8"] {
            assert_eq!(text.parse::<PrecisionChoice>().map(|choice| choice.to_string()), Ok(text.to_owned()));
        }
        for text in ["f16", "INT8", "fp4", ""] {
            assert!(text.parse::<PrecisionChoice>().is_err(), "{text}");
        }
    }
}
