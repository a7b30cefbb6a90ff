//! Dates in texts, from year 1 to 9999.
//!
//! In documents a date is `2024-05-01` (its beginning in UTC), or such a day with a time: `2024-05-01T10:00:00+02:00`. In place
//! of the `T` there may be a space, seconds may be missing or have a fraction, and a time without a zone is in UTC. This is RFC
//! 3339 and what databases and programming languages write beside it. In filters a year (`2024`), a month (`2024-05`) and a day
//! are periods, and a date with a time is a point.
//!
//! Days are counted in the Gregorian calendar as if it had always been in force (ISO 8601). A leap second counts as the end of the
//! second before it.

use tantivy::DateTime;
use tantivy::time::util::days_in_year;
use tantivy::time::{Date, Month};

/// A point in time as a column holds it: an integer whose order is that of time, within 64 bits.
///
/// From 1700 to 2199 it counts nanoseconds since 1970, as tantivy does. 64 bits are not enough for nanoseconds over ten thousand
/// years, so that before and after it goes on in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(i64);

const NANOS_PER_SECOND: i128 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const JULIAN_DAY_OF_1970: i32 = 2_440_588;
/// How many nanoseconds one step is worth outside of the years from 1700 to 2199.
const FAR_STEP_NANOS: i128 = 1_000;
/// The nanoseconds since 1970 at the beginning of 1700, and of 2200.
const NEAR: std::ops::Range<i128> = -8_520_336_000 * NANOS_PER_SECOND..7_258_118_400 * NANOS_PER_SECOND;

impl Moment {
    /// The moment so many nanoseconds after 1970, cut to microseconds outside of the years from 1700 to 2199.
    pub(crate) fn from_nanos(nanos: i128) -> Self {
        let steps = if nanos < NEAR.start {
            NEAR.start + (nanos - NEAR.start).div_euclid(FAR_STEP_NANOS)
        } else if nanos >= NEAR.end {
            NEAR.end + (nanos - NEAR.end).div_euclid(FAR_STEP_NANOS)
        } else {
            nanos
        };
        // Ten thousand years are well within: beyond them, the ends of the integers are as good.
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

/// A span of time, from its first moment to its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period {
    pub first: Moment,
    pub last: Moment,
}

impl Period {
    fn of_days(first: Date, n_days: u16) -> Self {
        let start = nanos_of_days(days_since_1970(first));
        let end = start + nanos_of_days(n_days.into());
        Self { first: Moment::from_nanos(start), last: Moment::from_nanos(end - 1) }
    }
}

/// The moment that a document's text names, if it is a date.
pub(crate) fn moment_of(text: &str) -> Option<Moment> {
    // Nearly every text is no date: tell so by its fifth byte.
    if text.as_bytes().get(4) != Some(&b'-') {
        return None;
    }
    let (day, rest) = day(text)?;
    let nanos = if rest.is_empty() { 0 } else { nanos_of_time(rest)? };
    Some(Moment::from_nanos(nanos_of_days(days_since_1970(day)) + nanos))
}

/// The period that a filter's text names: a year, a month, a day, or a point in time.
pub(crate) fn period_of(text: &str) -> Option<Period> {
    match text.len() {
        4 => {
            let year = date(number(text, 0..4)?, 1, 1)?;
            Some(Period::of_days(year, days_in_year(year.year())))
        }
        7 if text.as_bytes()[4] == b'-' => {
            let month = date(number(text, 0..4)?, number(text, 5..7)?, 1)?;
            Some(Period::of_days(month, month.month().length(month.year()).into()))
        }
        10 => day(text).map(|(day, _)| Period::of_days(day, 1)),
        _ => moment_of(text).map(|moment| Period { first: moment, last: moment }),
    }
}

/// Whether a text begins as a date does, be it one or not: with a year and a month.
pub(crate) fn begins_like_a_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() > 5 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-' && bytes[5].is_ascii_digit()
}

/// Whether a text looks like a date from its beginning to its end, be it one or not.
pub(crate) fn is_shaped_like_a_date(text: &str) -> bool {
    begins_like_a_date(text) && text.bytes().all(|byte| byte.is_ascii_digit() || b"-:.,+ TtZz".contains(&byte))
}

/// The day that a text begins with, and the rest of the text.
fn day(text: &str) -> Option<(Date, &str)> {
    let bytes = text.as_bytes();
    if bytes.len() < 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let date = date(number(text, 0..4)?, number(text, 5..7)?, number(text, 8..10)?)?;
    Some((date, &text[10..]))
}

fn date(year: u32, month: u32, day: u32) -> Option<Date> {
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let year = i32::try_from(year).ok().filter(|year| (1..=9999).contains(year))?;
    Date::from_calendar_date(year, month, u8::try_from(day).ok()?).ok()
}

fn days_since_1970(date: Date) -> i64 {
    i64::from(date.to_julian_day() - JULIAN_DAY_OF_1970)
}

fn nanos_of_days(n_days: i64) -> i128 {
    i128::from(n_days * SECONDS_PER_DAY) * NANOS_PER_SECOND
}

/// The number that digits, and nothing but digits, write at a place in a text.
fn number(text: &str, at: std::ops::Range<usize>) -> Option<u32> {
    let digits = text.get(at)?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// The nanoseconds since midnight in UTC of a time, which follows the day: `T10:00:00.5+02:00`. Fewer than none, or more than a
/// day's, where the zone makes it another day.
fn nanos_of_time(text: &str) -> Option<i128> {
    let time = text.strip_prefix(['T', 't', ' '])?;
    let (hour, minute) = (number(time, 0..2)?, number(time, 3..5)?);
    let is_time = time.as_bytes()[2] == b':' && hour < 24 && minute < 60;
    let rest = time.get(5..).filter(|_| is_time)?;
    let (second, nanos, rest) = match rest.strip_prefix(':') {
        Some(rest) => {
            let (nanos, after) = fraction(rest.get(2..)?)?;
            (number(rest, 0..2)?, nanos, after)
        }
        None => (0, 0, rest),
    };
    let offset_minutes = offset_minutes(rest)?;
    let utc_minute = i64::from(hour * 60 + minute) - offset_minutes;
    let (second, nanos) = match second {
        0..=59 => (second, nanos),
        // A leap second is the last one of a day in UTC.
        60 if (utc_minute + 1).rem_euclid(24 * 60) == 0 => (59, 999_999_999),
        _ => return None,
    };
    Some(i128::from(utc_minute * 60 + i64::from(second)) * NANOS_PER_SECOND + i128::from(nanos))
}

/// The nanoseconds of a fraction of a second, if there is one, and the rest of the text. Digits beyond nanoseconds are cut.
fn fraction(text: &str) -> Option<(u32, &str)> {
    let Some(rest) = text.strip_prefix(['.', ',']) else { return Some((0, text)) };
    let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let nanos = format!("{:0<9}", &rest[..n_digits.min(9)]);
    if n_digits == 0 { None } else { Some((nanos.parse().ok()?, &rest[n_digits..])) }
}

/// The offset from UTC in minutes: `Z`, `+02:00`, `+0200`, `+02`, `UTC`, or none. There may be a space before it.
fn offset_minutes(text: &str) -> Option<i64> {
    let zone = text.strip_prefix(' ').unwrap_or(text);
    if text.is_empty() || ["Z", "UTC", "GMT"].iter().any(|utc| zone.eq_ignore_ascii_case(utc)) {
        return Some(0);
    }
    let (sign, zone) = match zone.split_at_checked(1)? {
        ("+", zone) => (1, zone),
        ("-", zone) => (-1, zone),
        _ => return None,
    };
    let (hours, minutes) = match zone.len() {
        2 => (number(zone, 0..2)?, 0),
        4 => (number(zone, 0..2)?, number(zone, 2..4)?),
        5 if zone.as_bytes()[2] == b':' => (number(zone, 0..2)?, number(zone, 3..5)?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then(|| sign * i64::from(hours * 60 + minutes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_are_points_in_time() {
        for (text, nanos) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T02:00:00.000000001+02:00", 1),
            ("1970-01-02", 86_400_000_000_000),
            ("1970-01-01T00:00:01", 1_000_000_000),
            ("1970-01-01 00:00:01", 1_000_000_000),
            ("1970-01-01t00:00:01z", 1_000_000_000),
            ("1970-01-01 00:01", 60_000_000_000),
            ("1970-01-01T00:00:00.5", 500_000_000),
            ("1970-01-01T00:00:00,25Z", 250_000_000),
            ("1970-01-01T00:00:00.0000000019Z", 1),
            ("1970-01-01 00:00:01+00", 1_000_000_000),
            ("1970-01-01 00:00:01 +0000", 1_000_000_000),
            ("1970-01-01 00:00:01 UTC", 1_000_000_000),
            ("1970-01-01 00:00:01 GMT", 1_000_000_000),
            ("1969-12-31T23:30-0030", 0),
            ("1970-01-01T00:30:00+00:30", 0),
            ("1969-12-31T23:59:60Z", -1),
            ("1970-01-01T01:59:60+02:00", -1),
            ("1700-01-01", NEAR.start),
            ("2199-12-31T23:59:59.999999999Z", NEAR.end - 1),
        ] {
            assert_eq!(moment_of(text), Some(Moment::from_nanos(nanos)), "{text}");
        }
        for no_date in [
            "",
            "1970",
            "1970-01",
            "1970-13-01",
            "1970-00-01",
            "1970-02-30",
            "1900-02-29",
            "1970-1-1-1-",
            "+970-01-01",
            "0000-01-01",
            "10000-01-01",
            "-001-01-01",
            "héé-",
            "1970-01-01T",
            "1970-01-01 ",
            "1970-01-01T1",
            "1970-01-01T1:00",
            "1970-01-01T24:00:00",
            "1970-01-01T23:60:00",
            "1970-01-01T23:59:61Z",
            "1970-01-01T12:59:60Z",
            "1970-01-01T00:00:00.",
            "1970-01-01T00:00:0",
            "1970-01-01T00:00:00+1",
            "1970-01-01T00:00:00+24:00",
            "1970-01-01T00:00:00 CET",
            "1970-01-01T00:00:00Zx",
            "1970-01-01TABC",
            "1970-01-01x",
            "1970-01-01T00:00:00+0é",
            "1970-01-0é",
            "19é-01-01",
            "1970-01-01T00-00",
        ] {
            assert_eq!(moment_of(no_date), None, "{no_date}");
        }
    }

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
