//! The stored values of a document.

use std::sync::Arc;

/// A stored value, in the shape of JSON.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number that fits in an `i64`.
    Integer(i64),
    /// A whole number above `i64::MAX`.
    Unsigned(u64),
    /// Any other number.
    Float(f64),
    /// A text. Dates are texts in RFC 3339 form. Clones share the text, so that a stored and reranked passage is in
    /// memory once.
    Text(Arc<str>),
    /// A list of values.
    List(Vec<Value>),
    /// Named values, in their written order.
    Object(Fields),
}

/// The named values of a document, in their written order.
pub type Fields = Vec<(String, Value)>;

impl Value {
    /// The text, or `None` for other kinds of values.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}
