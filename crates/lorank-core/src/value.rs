//! The stored values of a document.

use std::fmt;
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
    /// Any other number, written as it prints.
    Float(f64),
    /// A number that is written otherwise than its value prints, as `3.50`, `1e3` or `-0`.
    Decimal(Decimal),
    /// A text. Dates are texts in RFC 3339 form. Clones share the text, so that a stored and reranked passage is in
    /// memory once.
    Text(Arc<str>),
    /// A list of values.
    List(Vec<Value>),
    /// Named values, in their written order.
    Object(Fields),
}

/// A number as it is written, in the grammar of JSON, with the value that it compares by.
#[derive(Debug, Clone, PartialEq)]
pub struct Decimal {
    digits: Arc<str>,
    value: f64,
}

impl Decimal {
    /// Reads a number; `None` for a text that is none in JSON, or that is beyond double precision's range.
    pub fn parse(digits: &str) -> Option<Self> {
        let value = digits.parse().ok().filter(|value: &f64| value.is_finite() && is_number(digits))?;
        Some(Self { digits: digits.into(), value })
    }

    /// The number as it is written.
    pub fn as_str(&self) -> &str {
        &self.digits
    }

    /// Its value, rounded to double precision.
    pub fn value(&self) -> f64 {
        self.value
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.digits)
    }
}

/// Whether a text is a number of JSON (RFC 8259, section 6).
fn is_number(text: &str) -> bool {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        None => (text, "0"),
    };
    let unsigned = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let has_leading_zero = whole.len() > 1 && whole.starts_with('0');
    is_digits(whole) && !has_leading_zero && is_digits(fraction) && is_digits(exponent)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        for (digits, value) in [
            ("3.50", 3.5),
            ("-0", 0.0),
            ("0", 0.0),
            ("1e3", 1000.0),
            ("1.50E+2", 150.0),
            ("-2e-2", -0.02),
            ("99999999999999999999", 1e20),
            ("0.1000000000000000055511151231257827", 0.1),
        ] {
            let decimal = Decimal::parse(digits).unwrap_or_else(|| panic!("{digits}"));
            assert_eq!((decimal.to_string().as_str(), decimal.value()), (digits, value));
        }
        for text in [
            "", "-", "+5", "007", "-01", "1.", ".5", "1e", "1e+", "1_000", "1,5", "inf", "NaN", "1e999", "0x1", " 1",
            "1e1e1", "1.2.3",
        ] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }
}
