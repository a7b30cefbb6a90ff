//! Dates in texts, from year 1 to 9999.
//!
//! A date is `2024-05-01` (the start of the day in UTC), or a day with a time: `2024-05-01T10:00:00+02:00`. A space may
//! replace the `T`, seconds are optional and may have a fraction, and a time without a zone is in UTC. This covers RFC
//! 3339 and the similar forms of databases and programming languages. For filters, a year (`2024`), a month (`2024-05`)
//! and a day are periods.
//!
//! Days follow the proleptic Gregorian calendar (ISO 8601). A leap second counts as the end of the second before it.

use std::ops::RangeInclusive;

use time::util::days_in_year;
use time::{Date, Month};

const NANOS_PER_SECOND: i128 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const JULIAN_DAY_OF_1970: i32 = 2_440_588;

/// The nanoseconds from 1970 to the date in `text`; `None` if it is not a date.
pub fn nanos_since_1970(text: &str) -> Option<i128> {
    // Almost no text is a date; the fifth byte rules most of them out.
    if text.as_bytes().get(4) != Some(&b'-') {
        return None;
    }
    let (day, rest) = day(text)?;
    let nanos = if rest.is_empty() { 0 } else { nanos_of_time(rest)? };
    Some(nanos_of_days(days_since_1970(day)) + nanos)
}

/// The nanoseconds from 1970 of the period in `text`: a year, a month, a day, or a point in time.
pub fn period_nanos_since_1970(text: &str) -> Option<RangeInclusive<i128>> {
    let of_days = |first: Date, n_days: i64| {
        let start = nanos_of_days(days_since_1970(first));
        start..=start + nanos_of_days(n_days) - 1
    };
    match text.len() {
        4 => {
            let year = date(number(text, 0..4)?, 1, 1)?;
            Some(of_days(year, days_in_year(year.year()).into()))
        }
        7 if text.as_bytes()[4] == b'-' => {
            let month = date(number(text, 0..4)?, number(text, 5..7)?, 1)?;
            Some(of_days(month, month.month().length(month.year()).into()))
        }
        10 => day(text).map(|(day, _)| of_days(day, 1)),
        _ => nanos_since_1970(text).map(|nanos| nanos..=nanos),
    }
}

/// The day at the start of `text`, and the rest of the text.
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

/// The number at `at`, if it consists of digits only.
fn number(text: &str, at: std::ops::Range<usize>) -> Option<u32> {
    let digits = text.get(at)?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// The nanoseconds since midnight UTC of a time that follows the day: `T10:00:00.5+02:00`. Negative, or more than a
/// day's, if the zone shifts it to another day.
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

/// The nanoseconds of a fraction of a second, if there is one, and the rest of the text. Further digits are dropped.
fn fraction(text: &str) -> Option<(u32, &str)> {
    let Some(rest) = text.strip_prefix(['.', ',']) else { return Some((0, text)) };
    let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let nanos = format!("{:0<9}", &rest[..n_digits.min(9)]);
    if n_digits == 0 { None } else { Some((nanos.parse().ok()?, &rest[n_digits..])) }
}

/// The offset from UTC in minutes: `Z`, `+02:00`, `+0200`, `+02`, `UTC`, or none. A space may precede it.
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
            ("1700-01-01", -8_520_336_000_000_000_000),
            ("0001-01-01", -62_135_596_800_000_000_000),
            ("9999-12-31T23:59:59.999999999Z", 253_402_300_799_999_999_999),
        ] {
            assert_eq!(nanos_since_1970(text), Some(nanos), "{text}");
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
            assert_eq!(nanos_since_1970(no_date), None, "{no_date}");
        }
    }
}
