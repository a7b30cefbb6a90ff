//! The inputs of an expression.

use lorank_core::{Candidate, Fields, Score, Value, nanos_since_1970};

use super::name::Name;

/// A candidate with its scores.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub candidate: &'a Candidate,
    pub rerank_score: Option<Score>,
    /// The rank, from 1.
    pub first_stage_rank: usize,
    /// The time of the request, in seconds since 1970.
    pub now: f64,
}

impl Inputs<'_> {
    /// The value of a name; NaN if it has none.
    pub(super) fn value(&self, name: &Name) -> f64 {
        match name {
            Name::RerankScore => self.rerank_score.map_or(f64::NAN, |score| score.get().into()),
            Name::FirstStageScore => self.candidate.first_stage_score.get().into(),
            Name::FirstStageRank => self.first_stage_rank as f64,
            Name::Now => self.now,
            Name::Field(path) => field(&self.candidate.fields, path).unwrap_or(f64::NAN),
        }
    }
}

/// The first number of a field. A dot in a key is equivalent to a step into an object, as in filters.
fn field(fields: &Fields, path: &str) -> Option<f64> {
    fields.iter().find_map(|(name, value)| match path.strip_prefix(name.as_str())? {
        "" => number(value),
        rest => inside(value, rest.strip_prefix('.')?),
    })
}

fn inside(value: &Value, path: &str) -> Option<f64> {
    match value {
        Value::Object(fields) => field(fields, path),
        Value::List(values) => values.iter().find_map(|value| inside(value, path)),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        Value::Integer(number) => Some(*number as f64),
        Value::Unsigned(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        Value::Decimal(number) => Some(number.value()),
        Value::Text(text) => nanos_since_1970(text).map(seconds),
        Value::List(values) => values.iter().find_map(number),
        _ => None,
    }
}

/// Converts nanoseconds to seconds; whole seconds are exact.
fn seconds(nanos: i128) -> f64 {
    const NANOS_PER_SECOND: i128 = 1_000_000_000;
    nanos.div_euclid(NANOS_PER_SECOND) as f64 + nanos.rem_euclid(NANOS_PER_SECOND) as f64 / NANOS_PER_SECOND as f64
}
