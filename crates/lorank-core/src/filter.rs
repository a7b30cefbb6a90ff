//! Conditions on stored fields.

use crate::Value;

/// A condition on one stored field.
///
/// Written as text it is a field, an operator and a value: see [`Filter::from_str`](std::str::FromStr::from_str).
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// The field's name; a dot reaches into an object (`author.name`).
    pub field: String,
    /// What its value must satisfy.
    pub test: Test,
}

/// What a field's value must satisfy.
///
/// A value compares by the types of the values that the field holds in the documents. A [`Value::Text`] is read as each of
/// them: `2023` is a number where the field holds numbers, the year where it holds dates, and a text where it holds texts.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Test {
    /// Equal to one of these values: texts byte for byte, numbers by value, dates as points in time or within a period. Of a
    /// list of values, one is enough. A document without the field does not satisfy it.
    AnyOf(Vec<Value>),
    /// The opposite of [`AnyOf`](Self::AnyOf): equal to none of these values. Of a list, no value may be equal. A document
    /// without the field satisfies it.
    NoneOf(Vec<Value>),
    /// Within these bounds (numbers, dates, texts in byte order), each of them optional. Of a list of values, one is enough. A
    /// document without the field does not satisfy it.
    Range {
        /// The lower bound and whether it is itself included.
        lower: Option<(Value, bool)>,
        /// The upper bound and whether it is itself included.
        upper: Option<(Value, bool)>,
    },
}
