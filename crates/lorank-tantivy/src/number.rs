//! Numbers that compare by value across integers and floats.

use std::cmp::Ordering;

/// A number, ordered by value across integers and floats. Never NaN.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    /// A signed or unsigned integer of 64 bits.
    Integer(i128),
    Float(f64),
}

impl Number {
    /// Parses a number as in JSON: without leading zeros and without `+`. Integers, and decimals without a fraction,
    /// are exact.
    pub(crate) fn from_json(text: &str) -> Option<Self> {
        let number = text.parse::<serde_json::Number>().ok()?;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if fraction.bytes().all(|digit| digit == b'0') && !whole.contains(['e', 'E']) {
            // Longer ones exceed every number in a column, as do the limits of `i128`.
            let end = if whole.starts_with('-') { i128::MIN } else { i128::MAX };
            return Some(Self::Integer(whole.parse().unwrap_or(end)));
        }
        number.as_f64().filter(|float| float.is_finite()).map(Self::Float)
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (*self, *other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(&b),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b).expect("no number is NaN"),
            (Self::Integer(a), Self::Float(b)) => compare(a, b),
            (Self::Float(a), Self::Integer(b)) => compare(b, a).reverse(),
        }
    }
}

/// Compares an integer with a float: the float's whole part first, then its fraction.
fn compare(integer: i128, float: f64) -> Ordering {
    let whole = float.trunc();
    // The cast saturates far beyond 64 bits, so infinities compare correctly.
    integer.cmp(&(whole as i128)).then_with(|| whole.partial_cmp(&float).expect("no number is NaN"))
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Number {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ordered_by_value() {
        let max = i128::from(u64::MAX);
        check(Number::Integer(3), Number::Float(3.0), Ordering::Equal);
        check(Number::Integer(0), Number::Float(-0.0), Ordering::Equal);
        check(Number::Integer(3), Number::Float(3.5), Ordering::Less);
        check(Number::Integer(-3), Number::Float(-3.5), Ordering::Greater);
        check(Number::Integer(max), Number::Float(max as f64), Ordering::Less);
        check(Number::Integer((1 << 53) + 1), Number::Float((1i64 << 53) as f64), Ordering::Greater);
        check(Number::Integer(max), Number::Float(f64::INFINITY), Ordering::Less);
        check(Number::Integer(i64::MIN.into()), Number::Float(f64::NEG_INFINITY), Ordering::Greater);
        check(Number::Float(0.1), Number::Float(0.2), Ordering::Less);
    }

    #[test]
    fn texts_are_numbers_as_json_writes_them() {
        for (text, number) in [
            ("0", Number::Integer(0)),
            ("-12", Number::Integer(-12)),
            ("12.00", Number::Integer(12)),
            ("9007199254740993", Number::Integer((1 << 53) + 1)),
            ("9007199254740993.0", Number::Integer((1 << 53) + 1)),
            ("99999999999999999999", Number::Integer(99_999_999_999_999_999_999)),
            ("-18446744073709551616", Number::Integer(-18_446_744_073_709_551_616)),
            ("3.5", Number::Float(3.5)),
            ("1e3", Number::Float(1000.0)),
            ("-1E+2", Number::Float(-100.0)),
        ] {
            assert_eq!(Number::from_json(text), Some(number), "{text}");
        }
        assert_eq!(Number::from_json(&"9".repeat(300)), Some(Number::Integer(i128::MAX)));
        for text in
            ["", "007", "+1", "1.", ".5", "-", "1,000", "1e", "1e999", "0x1", "NaN", "inf", "true", "\"1\"", "1 2"]
        {
            assert_eq!(Number::from_json(text), None, "{text}");
        }
    }

    fn check(a: Number, b: Number, ordering: Ordering) {
        assert_eq!((a.cmp(&b), b.cmp(&a)), (ordering, ordering.reverse()), "{a:?} {b:?}");
    }
}
