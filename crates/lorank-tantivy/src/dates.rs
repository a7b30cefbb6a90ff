//! Dates from year 1 to 9999 in columns. In documents, a day or a day with a time is a point in time; in filters, a
//! year, a month and a day are periods. [`lorank_core::nanos_since_1970`] describes their syntax.

use lorank_core::{nanos_since_1970, period_nanos_since_1970};
use tantivy::DateTime;

/// A point in time in a column: a 64-bit integer whose order is that of time.
///
/// From 1700 to 2199 it counts nanoseconds since 1970, as tantivy does. 64 bits cannot hold ten thousand years in
/// nanoseconds, so it counts microseconds before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(i64);

const NANOS_PER_SECOND: i128 = 1_000_000_000;
/// The length of a step outside of the years from 1700 to 2199, in nanoseconds.
const FAR_STEP_NANOS: i128 = 1_000;
/// The nanoseconds from 1970 to the start of 1700, and of 2200.
const NEAR: std::ops::Range<i128> = -8_520_336_000 * NANOS_PER_SECOND..7_258_118_400 * NANOS_PER_SECOND;

impl Moment {
    /// The moment `nanos` nanoseconds after 1970, truncated to microseconds outside of the years from 1700 to 2199.
    pub(crate) fn from_nanos(nanos: i128) -> Self {
        let steps = if nanos < NEAR.start {
            NEAR.start + (nanos - NEAR.start).div_euclid(FAR_STEP_NANOS)
        } else if nanos >= NEAR.end {
            NEAR.end + (nanos - NEAR.end).div_euclid(FAR_STEP_NANOS)
        } else {
            nanos
        };
        // Ten thousand years fit; values beyond are clamped.
        Self(i64::try_from(steps).unwrap_or(if steps < 0 { i64::MIN } else { i64::MAX }))
    }

    /// The nanoseconds since 1970.
    pub(crate) fn nanos(self) -> i128 {
        let steps = i128::from(self.0);
        if steps < NEAR.start {
            NEAR.start + (steps - NEAR.start) * FAR_STEP_NANOS
        } else if steps >= NEAR.end {
            NEAR.end + (steps - NEAR.end) * FAR_STEP_NANOS
        } else {
            steps
        }
    }

    /// The moment of a column's value.
    pub(crate) fn from_column(value: DateTime) -> Self {
        Self(value.into_timestamp_nanos())
    }

    /// The value for a column.
    pub(crate) fn to_column(self) -> DateTime {
        DateTime::from_timestamp_nanos(self.0)
    }
}

/// A period, from its first moment to its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period {
    pub first: Moment,
    pub last: Moment,
}

/// The moment in a document's text, if it is a date.
pub(crate) fn moment_of(text: &str) -> Option<Moment> {
    nanos_since_1970(text).map(Moment::from_nanos)
}

/// The period in a filter's text: a year, a month, a day, or a point in time.
pub(crate) fn period_of(text: &str) -> Option<Period> {
    let (first, last) = period_nanos_since_1970(text)?.into_inner();
    Some(Period { first: Moment::from_nanos(first), last: Moment::from_nanos(last) })
}

/// Whether a text starts like a date, with a year and a month, even if it is not one.
pub(crate) fn begins_like_a_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() > 5 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-' && bytes[5].is_ascii_digit()
}

/// Whether a text looks like a date as a whole, even if it is not one.
pub(crate) fn is_shaped_like_a_date(text: &str) -> bool {
    begins_like_a_date(text) && text.bytes().all(|byte| byte.is_ascii_digit() || b"-:.,+ TtZz".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn years_months_and_days_are_periods() {
        for (period, first, last) in [
            ("2023", "2023-01-01", "2023-12-31T23:59:59.999999999"),
            ("2024-02", "2024-02-01", "2024-02-29T23:59:59.999999999"),
            ("2023-12", "2023-12-01", "2023-12-31T23:59:59.999999999"),
            ("2023-12-31", "2023-12-31", "2023-12-31T23:59:59.999999999"),
            ("0001", "0001-01-01", "0001-12-31T23:59:59.999999"),
            ("9999", "9999-01-01", "9999-12-31T23:59:59.999999"),
            ("9999-12", "9999-12-01", "9999-12-31T23:59:59.999999"),
            ("9999-12-31", "9999-12-31", "9999-12-31T23:59:59.999999"),
            ("1699-12-31", "1699-12-31", "1699-12-31T23:59:59.999999"),
            ("2024-05-01T10:00", "2024-05-01T10:00:00Z", "2024-05-01T10:00:00Z"),
            ("2024-05-01 10:00:00.5", "2024-05-01T10:00:00.5Z", "2024-05-01T10:00:00.5Z"),
        ] {
            let (first, last) = (moment_of(first).unwrap(), moment_of(last).unwrap());
            assert_eq!(period_of(period), Some(Period { first, last }), "{period}");
        }
        for no_period in [
            "",
            "0000",
            "203",
            "20233",
            "+023",
            "2023-00",
            "2023-13",
            "2023-1",
            "2023/05",
            "2023-02-29",
            "2é23",
            "2023-0é",
        ] {
            assert_eq!(period_of(no_period), None, "{no_period}");
        }
    }

    #[test]
    fn what_looks_like_a_date_is_told() {
        for text in ["2024-13-01", "2024-02-30", "2024-5", "2024-05-01T25:00", "2024-05-01 10:00:00 +02:00"] {
            assert!(is_shaped_like_a_date(text), "{text}");
        }
        for text in ["2024-05-01TABC", "2024-05-01 report", "2024-1x"] {
            assert!(begins_like_a_date(text) && !is_shaped_like_a_date(text), "{text}");
        }
        for text in ["", "2024", "2024-", "2024-x", "a024-01", "202-01-01", "12345-67"] {
            assert!(!begins_like_a_date(text), "{text}");
        }
    }

    proptest! {
        /// The order of columns is the order of time, from year 1 to 9999 and over both of the bounds where the steps change.
        #[test]
        fn moments_are_in_the_order_of_time(
            a in -62_135_596_800_000_000_i128..253_402_300_800_000_000,
            b in prop_oneof![
                -62_135_596_800_000_000_i128..253_402_300_800_000_000,
                (-5_i128..5).prop_map(|n| NEAR.start / 1_000 + n),
                (-5_i128..5).prop_map(|n| NEAR.end / 1_000 + n),
            ],
        ) {
            let moment = |micros: i128| Moment::from_nanos(micros * 1_000);
            prop_assert_eq!(moment(a).cmp(&moment(b)), a.cmp(&b));
            prop_assert_eq!(Moment::from_column(moment(b).to_column()), moment(b));
            prop_assert_eq!(moment(b).nanos(), b * 1_000);
        }
    }
}
