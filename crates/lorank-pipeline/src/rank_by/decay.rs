//! Functions that fall from 1 with the distance from 0: those of Elasticsearch's function score, without an offset.
//! (<https://www.elastic.co/docs/reference/query-languages/query-dsl/query-dsl-function-score-query#function-decay>)

/// How a decay falls. Each is 1 at 0 and `at_scale` at the distance `scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decay {
    /// By an equal share over equal distances.
    Exponential,
    /// As a normal density.
    Gauss,
    /// In a straight line down to 0.
    Linear,
}

impl Decay {
    /// The value at a distance. It is no number where `scale` is not above 0, or `at_scale` not between 0 and 1.
    pub(super) fn value(self, x: f64, scale: f64, at_scale: f64) -> f64 {
        if !(scale > 0.0 && at_scale > 0.0 && at_scale < 1.0) {
            return f64::NAN;
        }
        let distance = x.abs() / scale;
        match self {
            Self::Exponential => at_scale.powf(distance),
            Self::Gauss => at_scale.powf(distance * distance),
            // `f64::max` would make a number of what is none.
            Self::Linear if distance.is_nan() => f64::NAN,
            Self::Linear => (1.0 - (1.0 - at_scale) * distance).max(0.0),
        }
    }
}
