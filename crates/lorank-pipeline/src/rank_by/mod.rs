//! Ranking by an expression of scores, first-stage rank, and stored numbers and dates.
//!
//! An expression is one line of arithmetic, such as `sigmoid(rerank_score) * exp_decay(age_days(published), 30)`. It has no
//! loops, no side effects and bounded size, so it can come with a request.
//!
//! | part | meaning |
//! |---|---|
//! | `rerank_score` | the model's score (a logit); missing if the candidate has none |
//! | `first_stage_score`, `first_stage_rank` | the first stage's score, and its rank, from 1 |
//! | `now` | the time of the request, in seconds since 1970 |
//! | another name | a stored field: a number, a boolean (1 or 0) or a date (seconds since 1970); of a list, the first
//! such value; a dot reaches into an object; a name with special characters needs backquotes |
//! | `+ - * /`, brackets | arithmetic of 64-bit floats (IEEE 754) |
//! | `abs(x)`, `exp(x)`, `log(x)` (natural), `log10(x)`, `sqrt(x)`, `pow(x, y)`, `sigmoid(x)` | functions |
//! | `min(x, y, ...)`, `max(x, y, ...)` | the lowest, the highest; NaN if any argument is NaN |
//! | `coalesce(x, y, ...)` | the first argument that is a number |
//! | `age_days(date)` | `(now - date) / 86400` |
//! | `exp_decay(x, scale)`, `gauss_decay(x, scale)`, `linear_decay(x, scale)` | 1 at `x` = 0, falling on both sides to a half at `scale`; a third argument is the value there in place of 0.5 |
//!
//! Missing values and undefined results (`log(-1)`, `0 / 0`) are NaN, which propagates through every operation except
//! `coalesce`. Candidates are ordered by value, highest first, including infinities; NaN comes last. Candidates with
//! equal values keep their previous order.

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

/// An expression to rank candidates by. It is parsed from a text, and keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct RankBy {
    text: String,
    expression: Expression,
}

impl RankBy {
    /// The maximum length of an expression, in bytes.
    pub const BYTES_MAX: usize = parse::BYTES_MAX;
    /// The maximum nesting of brackets, calls and signs.
    pub const DEPTH_MAX: usize = parse::DEPTH_MAX;

    /// The stored fields that the expression reads, sorted and without duplicates.
    pub fn fields(&self) -> Vec<&str> {
        let mut fields = Vec::new();
        self.expression.collect_fields(&mut fields);
        fields.sort_unstable();
        fields.dedup();
        fields
    }

    /// Whether the value is NaN for a candidate without a rerank score: the expression reads that score outside of a
    /// `coalesce` with another argument.
    pub fn needs_rerank_score(&self) -> bool {
        self.expression.needs_rerank_score()
    }

    /// The value for a candidate; `None` if it is NaN.
    pub(crate) fn value(&self, inputs: &Inputs<'_>) -> Option<f64> {
        Some(self.expression.evaluate(inputs)).filter(|value| !value.is_nan())
    }

    /// The inputs for a candidate: each name with its value, `None` if it is NaN.
    pub(crate) fn inputs(&self, inputs: &Inputs<'_>) -> Vec<(String, Option<f64>)> {
        let mut names = Vec::new();
        self.expression.collect_names(&mut names);
        names.sort_unstable();
        names.dedup();
        let value = |name: &Name| Some(inputs.value(name)).filter(|value| !value.is_nan());
        names.into_iter().map(|name| (name.to_string(), value(name))).collect()
    }
}

/// The order of two values: highest first, NaN last.
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

/// Writes the original text.
impl fmt::Display for RankBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
