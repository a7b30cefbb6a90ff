//! Conditions on stored fields.

use crate::Value;

/// A condition on one stored field.
///
/// The text form is a field, an operator and a value: see [`Filter::from_str`](std::str::FromStr::from_str).
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// The field's name; a dot reaches into an object (`author.name`).
    pub field: String,
    /// The condition on its value.
    pub test: Test,
}

/// A condition on a field's value.
///
/// The types of the field's values in the documents decide how values are compared. A [`Value::Text`] is interpreted as
/// each of these types: `2023` is a number if the field holds numbers, a year if it holds dates, and a text if it holds
/// texts.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Test {
    /// Equal to one of these values: texts byte for byte, numbers by value, dates as points in time or within a period.
    /// A list matches if any of its values matches. A document without the field does not match.
    AnyOf(Vec<Value>),
    /// Not [`AnyOf`](Self::AnyOf): equal to none of these values. A list matches if none of its values is equal. A
    /// document without the field matches.
    NoneOf(Vec<Value>),
    /// Within these optional bounds (numbers, dates, texts in byte order). A list matches if any of its values matches.
    /// A document without the field does not match.
    Range {
        /// The lower bound, and whether it is inclusive.
        lower: Option<(Value, bool)>,
        /// The upper bound, and whether it is inclusive.
        upper: Option<(Value, bool)>,
    },
}
