//! The syntax tree of an expression, and its evaluation.

use super::decay::Decay;
use super::inputs::Inputs;
use super::name::Name;

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Number(f64),
    Name(Name),
    Negated(Box<Expression>),
    Binary(Operator, Box<Expression>, Box<Expression>),
    Call(Function, Vec<Expression>),
}

/// An operator between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Abs,
    Exp,
    Log,
    Log10,
    Sqrt,
    Pow,
    Sigmoid,
    Min,
    Max,
    Coalesce,
    AgeDays,
    Decay(Decay),
}

/// The functions by name, each with the minimum and maximum number of arguments.
pub(super) const FUNCTIONS: [(&str, Function, usize, usize); 14] = [
    ("abs", Function::Abs, 1, 1),
    ("age_days", Function::AgeDays, 1, 1),
    ("coalesce", Function::Coalesce, 1, usize::MAX),
    ("exp", Function::Exp, 1, 1),
    ("exp_decay", Function::Decay(Decay::Exponential), 2, 3),
    ("gauss_decay", Function::Decay(Decay::Gauss), 2, 3),
    ("linear_decay", Function::Decay(Decay::Linear), 2, 3),
    ("log", Function::Log, 1, 1),
    ("log10", Function::Log10, 1, 1),
    ("max", Function::Max, 1, usize::MAX),
    ("min", Function::Min, 1, usize::MAX),
    ("pow", Function::Pow, 2, 2),
    ("sigmoid", Function::Sigmoid, 1, 1),
    ("sqrt", Function::Sqrt, 1, 1),
];

const SECONDS_OF_A_DAY: f64 = 86_400.0;

/// The default value of a decay at its scale.
const AT_SCALE: f64 = 0.5;

impl Expression {
    /// The value; NaN if it is not a number.
    pub(super) fn evaluate(&self, inputs: &Inputs<'_>) -> f64 {
        match self {
            Self::Number(number) => *number,
            Self::Name(name) => inputs.value(name),
            Self::Negated(inner) => -inner.evaluate(inputs),
            Self::Binary(operator, left, right) => {
                let (left, right) = (left.evaluate(inputs), right.evaluate(inputs));
                match operator {
                    Operator::Add => left + right,
                    Operator::Subtract => left - right,
                    Operator::Multiply => left * right,
                    Operator::Divide => left / right,
                }
            }
            Self::Call(function, arguments) => {
                let values: Vec<f64> = arguments.iter().map(|argument| argument.evaluate(inputs)).collect();
                function.value(&values, inputs.now)
            }
        }
    }

    pub(super) fn collect_names<'a>(&'a self, names: &mut Vec<&'a Name>) {
        match self {
            Self::Number(_) => {}
            Self::Name(name) => names.push(name),
            Self::Negated(inner) => inner.collect_names(names),
            Self::Binary(_, left, right) => {
                left.collect_names(names);
                right.collect_names(names);
            }
            Self::Call(_, arguments) => arguments.iter().for_each(|argument| argument.collect_names(names)),
        }
    }

    pub(super) fn collect_fields<'a>(&'a self, fields: &mut Vec<&'a str>) {
        let mut names = Vec::new();
        self.collect_names(&mut names);
        fields.extend(names.into_iter().filter_map(|name| match name {
            Name::Field(field) => Some(field.as_str()),
            _ => None,
        }));
    }

    pub(super) fn needs_rerank_score(&self) -> bool {
        match self {
            Self::Number(_) => false,
            Self::Name(name) => *name == Name::RerankScore,
            Self::Negated(inner) => inner.needs_rerank_score(),
            Self::Binary(_, left, right) => left.needs_rerank_score() || right.needs_rerank_score(),
            Self::Call(Function::Coalesce, choices) => choices.iter().all(Self::needs_rerank_score),
            Self::Call(_, arguments) => arguments.iter().any(Self::needs_rerank_score),
        }
    }
}

impl Function {
    /// The value of a call with the right number of arguments.
    fn value(self, arguments: &[f64], now: f64) -> f64 {
        let argument = |n: usize| arguments.get(n).copied().unwrap_or(f64::NAN);
        let x = argument(0);
        match self {
            Self::Abs => x.abs(),
            Self::Exp => x.exp(),
            Self::Log => x.ln(),
            Self::Log10 => x.log10(),
            Self::Sqrt => x.sqrt(),
            Self::Pow => power(x, argument(1)),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Min => extreme(arguments, f64::min),
            Self::Max => extreme(arguments, f64::max),
            Self::Coalesce => arguments.iter().copied().find(|value| !value.is_nan()).unwrap_or(f64::NAN),
            Self::AgeDays => (now - x) / SECONDS_OF_A_DAY,
            Self::Decay(decay) => decay.value(x, argument(1), arguments.get(2).copied().unwrap_or(AT_SCALE)),
        }
    }
}

/// `powf` returns 1 for `pow(1, NaN)` and `pow(NaN, 0)`; here NaN propagates.
fn power(base: f64, exponent: f64) -> f64 {
    if base.is_nan() || exponent.is_nan() { f64::NAN } else { base.powf(exponent) }
}

/// `f64::min` and `f64::max` ignore NaN; here it propagates.
fn extreme(values: &[f64], choose: fn(f64, f64) -> f64) -> f64 {
    let choose = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { choose(a, b) };
    values.iter().copied().reduce(choose).unwrap_or(f64::NAN)
}
