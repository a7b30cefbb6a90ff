//! Decay functions, as in Elasticsearch's function score, without an offset.
//! (<https://www.elastic.co/docs/reference/query-languages/query-dsl/query-dsl-function-score-query#function-decay>)

/// The shape of a decay. Each is 1 at 0 and `at_scale` at the distance `scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decay {
    /// Exponential.
    Exponential,
    /// Gaussian.
    Gauss,
    /// Linear down to 0.
    Linear,
}

impl Decay {
    /// The value at a distance; NaN if `scale` is not above 0, or `at_scale` not between 0 and 1.
    pub(super) fn value(self, x: f64, scale: f64, at_scale: f64) -> f64 {
        if !(scale > 0.0 && at_scale > 0.0 && at_scale < 1.0) {
            return f64::NAN;
        }
        let distance = x.abs() / scale;
        match self {
            Self::Exponential => at_scale.powf(distance),
            Self::Gauss => at_scale.powf(distance * distance),
            // `f64::max` would turn NaN into a number.
            Self::Linear if distance.is_nan() => f64::NAN,
            Self::Linear => (1.0 - (1.0 - at_scale) * distance).max(0.0),
        }
    }
}
