//! Finite scores.

use std::cmp::Ordering;
use std::fmt;

/// A finite relevance score. Larger is more relevant; scores of different stages or models are not comparable.
///
/// NaN is rejected at construction, because it would sort before every number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score(f32);

/// A model or an engine produced a score that is not a finite number.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("the score is `{0}`, which is not a finite number")]
pub struct NotFinite(pub f32);

impl Score {
    /// Wraps a finite number.
    ///
    /// # Errors
    /// [`NotFinite`] for NaN and the infinities.
    pub fn new(value: f32) -> Result<Self, NotFinite> {
        if value.is_finite() { Ok(Self(value)) } else { Err(NotFinite(value)) }
    }

    /// The number.
    pub const fn get(self) -> f32 {
        self.0
    }
}

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        // -0.0 and 0.0 are equal, as for `==`; `total_cmp` alone would order them.
        if self.0 == other.0 { Ordering::Equal } else { self.0.total_cmp(&other.0) }
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finite_numbers_are_scores() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(Score::new(bad).is_err(), "{bad}");
        }
        assert_eq!(Score::new(-3.5).map(Score::get), Ok(-3.5));
    }

    #[test]
    fn order_agrees_with_equality() {
        let score = |x| Score::new(x).expect("finite");
        assert_eq!(score(0.0).cmp(&score(-0.0)), Ordering::Equal);
        assert!(score(-1.0) < score(-0.5) && score(-0.5) < score(2.0));
    }
}
