//! Functions from a model's logit to the score that its authors publish.

use std::fmt;
use std::str::FromStr;

use crate::Score;

/// An activation function for logits. It preserves their order, except where rounding makes scores equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// 1 / (1 + e^-x): scores from 0 to 1.
    #[default]
    Sigmoid,
    /// The logit itself.
    Identity,
}

impl Activation {
    /// The score of a logit.
    pub fn apply(self, logit: Score) -> f32 {
        match self {
            // In double precision, so that a logit of 100 does not round above 1.
            Self::Sigmoid => (1.0 / (1.0 + (-f64::from(logit.get())).exp())) as f32,
            Self::Identity => logit.get(),
        }
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sigmoid => "sigmoid",
            Self::Identity => "identity",
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Activation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = [Self::Sigmoid, Self::Identity].into_iter().find(|activation| activation.name() == text);
        found.ok_or_else(|| format!("`{text}` is not an activation; write `sigmoid` or `identity`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sigmoid_keeps_scores_from_0_to_1() {
        for (logit, expected) in [(0.0, 0.5), (2.0, 0.880_797), (-2.0, 0.119_203), (1e30, 1.0), (-1e30, 0.0)] {
            let score = Activation::Sigmoid.apply(Score::new(logit).unwrap());
            assert!((score - expected).abs() < 1e-6, "{logit}: {score}");
            assert_eq!(Activation::Identity.apply(Score::new(logit).unwrap()), logit);
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for activation in [Activation::Sigmoid, Activation::Identity] {
            assert_eq!(activation.to_string().parse(), Ok(activation));
        }
        assert!("softmax".parse::<Activation>().is_err());
    }
}
