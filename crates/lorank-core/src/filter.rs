//! Conditions on stored fields.

use crate::Value;

/// A condition on one stored field. A document without the field does not meet it.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// The field's name; a dot reaches into an object (`author.name`).
    pub field: String,
    /// What its value must satisfy.
    pub test: Test,
}

/// What a field's value must satisfy. A field with a list of values does so if one of them does.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Test {
    /// Equal to one of these values: keywords byte for byte, numbers and dates by value.
    AnyOf(Vec<Value>),
    /// Within these bounds (numbers, dates, keywords in byte order), each of them optional.
    Range {
        /// The lower bound and whether it is itself included.
        lower: Option<(Value, bool)>,
        /// The upper bound and whether it is itself included.
        upper: Option<(Value, bool)>,
    },
}
