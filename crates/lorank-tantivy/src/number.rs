//! Numbers that compare by value, whether integer or float.

use std::cmp::Ordering;

/// A number, ordered by value across integers and floats. Never NaN.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    /// A signed or unsigned integer of 64 bits.
    Integer(i128),
    Float(f64),
}

impl Number {
    /// The number as a float: the nearest one, for an integer beyond 2^53.
    pub(crate) fn as_float(self) -> Self {
        match self {
            Self::Integer(integer) => Self::Float(integer as f64),
            Self::Float(float) => Self::Float(float),
        }
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

/// An integer against a float: first the float's whole part counts, then its fraction.
fn compare(integer: i128, float: f64) -> Ordering {
    let whole = float.trunc();
    // The cast saturates far beyond 64 bits, so that infinities stay on their side.
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

    fn check(a: Number, b: Number, ordering: Ordering) {
        assert_eq!((a.cmp(&b), b.cmp(&a)), (ordering, ordering.reverse()), "{a:?} {b:?}");
    }
}
