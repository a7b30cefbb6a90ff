//! Times in ISO 8601, in UTC by default.

use std::time::{SystemTime, UNIX_EPOCH};

use time::format_description::well_known::Iso8601;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time};

/// The current time in milliseconds since 1970.
pub(crate) fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Parses a time, or a date as 00:00 UTC, in milliseconds since 1970.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let local = |_| PrimitiveDateTime::parse(text, &Iso8601::DEFAULT).map(PrimitiveDateTime::assume_utc);
    let date = |_| Date::parse(text, &Iso8601::DEFAULT).map(|date| date.with_time(Time::MIDNIGHT).assume_utc());
    let time = OffsetDateTime::parse(text, &Iso8601::DEFAULT).or_else(local).or_else(date);
    let time = time
        .map_err(|_| format!("`{text}` is not a time in ISO 8601, such as 2025-11-25T18:30:00Z or 2025-11-25 (UTC)"))?;
    // Years have at most six digits, so milliseconds fit.
    Ok((time.unix_timestamp_nanos() / 1_000_000) as i64)
}

/// Formats a time to the second, such as `2025-11-25T18:30:00Z`.
pub(crate) fn show(millis: i64) -> String {
    let Ok(time) = OffsetDateTime::from_unix_timestamp(millis.div_euclid(1_000)) else {
        return format!("{millis} ms since 1970");
    };
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, millis, shown) in [
            ("2018-11-13T20:20:39Z", 1_542_140_439_000, "2018-11-13T20:20:39Z"),
            ("2018-11-13T22:20:39.5+02:00", 1_542_140_439_500, "2018-11-13T20:20:39Z"),
            ("2018-11-13T20:20", 1_542_140_400_000, "2018-11-13T20:20:00Z"),
            ("2018-11-13", 1_542_067_200_000, "2018-11-13T00:00:00Z"),
            ("1969-12-31T23:59:59.5Z", -500, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!((parse(text), show(millis).as_str()), (Ok(millis), shown), "{text}");
        }
        for text in ["", "tomorrow", "2018-13-01", "20", "1542140439000"] {
            assert!(parse(text).unwrap_err().contains("ISO 8601"), "{text}");
        }
        assert!(show(i64::MAX).ends_with("ms since 1970"));
    }
}
