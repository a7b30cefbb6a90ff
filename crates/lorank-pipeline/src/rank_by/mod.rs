//! Ranking by an expression: a reranked candidate's place by its scores, its first-stage rank and its stored numbers and dates.
//!
//! An expression is one line of arithmetic, such as `sigmoid(rerank_score) * exp_decay(age_days(published), 30)`. It has no
//! loops, no side effects and bounded size, so it can come with a request.
//!
//! | part | meaning |
//! |---|---|
//! | `rerank_score` | the model's score (a logit); missing where there is none |
//! | `first_stage_score`, `first_stage_rank` | the first stage's score, and its rank, from 1 |
//! | `now` | the time of the request, in seconds since 1970 |
//! | another name | a stored field: a number, a boolean (1 or 0) or a date (seconds since 1970); of a list, the first of them; a dot reaches into an object; a name with other characters stands in backquotes |
//! | `+ - * /`, brackets | arithmetic of 64-bit floats (IEEE 754) |
//! | `abs(x)`, `exp(x)`, `log(x)` (natural), `log10(x)`, `sqrt(x)`, `pow(x, y)`, `sigmoid(x)` | functions |
//! | `min(x, y, ...)`, `max(x, y, ...)` | the lowest, the highest; no number if one of them is none |
//! | `coalesce(x, y, ...)` | the first that is a number |
//! | `age_days(date)` | `(now - date) / 86400` |
//! | `exp_decay(x, scale)`, `gauss_decay(x, scale)`, `linear_decay(x, scale)` | 1 at `x` = 0, falling on both sides to a half at `scale`; a third argument is the value there in place of 0.5 |
//!
//! What is missing, and what has no value in the numbers (`log(-1)`, `0 / 0`), is no number: it makes every operation on it no
//! number, `coalesce` excepted. Candidates are ordered by their values, the highest first, infinities included; those without a
//! number come last. Equal ones stay in the order that they had before.

mod decay;
mod error;
mod expression;
mod inputs;
mod name;
mod parse;
#[cfg(test)]
mod tests;
mod token;

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

pub use error::InvalidRankBy;
use expression::Expression;
pub(crate) use inputs::Inputs;
use name::Name;

/// An expression that candidates are ranked by. It is parsed from its text, which it keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct RankBy {
    text: String,
    expression: Expression,
}

impl RankBy {
    /// The longest expression, in bytes.
    pub const BYTES_MAX: usize = parse::BYTES_MAX;
    /// How deep brackets, calls and signs may nest.
    pub const DEPTH_MAX: usize = parse::DEPTH_MAX;

    /// The stored fields that it reads, each once, in the order of their names.
    pub fn fields(&self) -> Vec<&str> {
        let mut fields = Vec::new();
        self.expression.collect_fields(&mut fields);
        fields.sort_unstable();
        fields.dedup();
        fields
    }

    /// Whether it is no number for a candidate without a rerank score: it reads that score outside of a `coalesce` that has
    /// another choice.
    pub fn needs_rerank_score(&self) -> bool {
        self.expression.needs_rerank_score()
    }

    /// The value for a candidate; `None` where it is no number.
    pub(crate) fn value(&self, inputs: &Inputs<'_>) -> Option<f64> {
        Some(self.expression.evaluate(inputs)).filter(|value| !value.is_nan())
    }

    /// What it reads of a candidate: each name with its value, `None` where that is no number.
    pub(crate) fn inputs(&self, inputs: &Inputs<'_>) -> Vec<(String, Option<f64>)> {
        let mut names = Vec::new();
        self.expression.collect_names(&mut names);
        names.sort_unstable();
        names.dedup();
        let value = |name: &Name| Some(inputs.value(name)).filter(|value| !value.is_nan());
        names.into_iter().map(|name| (name.to_string(), value(name))).collect()
    }
}

/// The order of two values, the better one first: the highest, and what is no number last.
pub(crate) fn best_first(a: Option<f64>, b: Option<f64>) -> Ordering {
    match (a, b) {
        // 0 and -0 are equal, as `==` has it; neither is NaN.
        (Some(a), Some(b)) => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

impl FromStr for RankBy {
    type Err = InvalidRankBy;

    fn from_str(text: &str) -> Result<Self, InvalidRankBy> {
        Ok(Self { text: text.to_owned(), expression: parse::parse(text)? })
    }
}

/// The text that it is parsed from.
impl fmt::Display for RankBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
