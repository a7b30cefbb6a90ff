//! Score heads: one logit from a hidden state.

use crate::ModelError;
use crate::labels::HeadRow;
use crate::weights::Weights;

/// The state that an encoder's head scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// The first token's.
    First,
    /// The mean of all tokens.
    Mean,
}

/// The location of an architecture's score head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadSpec {
    pub(crate) weight: &'static str,
    pub(crate) bias: Option<&'static str>,
}

impl HeadSpec {
    /// The module's name.
    pub(crate) fn module(&self) -> &'static str {
        self.weight.trim_end_matches(".weight")
    }
}

/// The ids of the tokens whose logits make the score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScoreTokens {
    pub(crate) positive: u32,
    /// Its logit is subtracted.
    pub(crate) negative: Option<u32>,
}

/// Computes one logit from a hidden state. Runs on the CPU, even if the model runs on a GPU.
#[derive(Debug)]
pub(crate) struct Head {
    /// [hidden]
    weight: Vec<f32>,
    bias: Option<f32>,
    /// The tokens whose logits it compares, if it is made of their rows.
    tokens: Option<ScoreTokens>,
}

impl Head {
    /// A head with these weights, [hidden].
    pub(crate) fn new(weight: Vec<f32>, bias: Option<f32>) -> Self {
        Self { weight, bias, tokens: None }
    }

    /// [hidden]
    pub(crate) fn weight(&self) -> &[f32] {
        &self.weight
    }

    /// Reads a row of a head whose tensor names are mapped by `name`.
    pub(crate) fn read(
        weights: &mut Weights,
        spec: HeadSpec,
        mut name: impl FnMut(&str) -> String,
        HeadRow { row, n_rows }: HeadRow,
        hidden: usize,
    ) -> Result<Self, ModelError> {
        let weight = weights.rows(&name(spec.weight), [n_rows, hidden], &[row])?;
        let bias = spec.bias.map(|bias| weights.values(&name(bias), &[n_rows])).transpose()?;
        Ok(Self { weight, bias: bias.map(|bias| bias[row]), tokens: None })
    }

    /// The head of the logits of two tokens. weight: [hidden].
    pub(crate) fn of_tokens(weight: Vec<f32>, tokens: ScoreTokens) -> Self {
        Self { weight, bias: None, tokens: Some(tokens) }
    }

    /// The tokens whose logits it compares, if it is made of their rows.
    pub(crate) fn tokens(&self) -> Option<ScoreTokens> {
        self.tokens
    }

    /// This head with a low-rank update and another bias. a: [r, hidden], b: [r].
    pub(crate) fn updated(&self, update: Option<(&[f32], &[f32], f64)>, bias: Option<f32>) -> Self {
        let mut weight = self.weight.clone();
        if let Some((a, b, scale)) = update {
            for (a, b) in a.chunks(weight.len()).zip(b) {
                let factor = scale * f64::from(*b);
                weight.iter_mut().zip(a).for_each(|(w, a)| *w = (f64::from(*w) + factor * f64::from(*a)) as f32);
            }
        }
        Self { weight, bias: bias.or(self.bias), tokens: self.tokens }
    }

    /// The bias, if there is one.
    pub(crate) fn bias(&self) -> Option<f32> {
        self.bias
    }

    pub(crate) fn n_parameters(&self) -> usize {
        self.weight.len() + usize::from(self.bias.is_some())
    }

    /// state: [hidden].
    pub(crate) fn score(&self, state: &[f32]) -> f32 {
        // f64 costs nothing here, because it is one sum per pair, and makes the order of additions irrelevant.
        let sum: f64 = state.iter().zip(&self.weight).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
        (sum + f64::from(self.bias.unwrap_or(0.0))) as f32
    }
}
